//! What the ratios should be.

use std::fmt;

/// A bound that a ratio should keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

use Aim::{AtLeast, AtMost};

/// The aims, by name of the ratio or, before a `*`, by how it starts.
const AIMS: &[(&str, Aim)] = &[
    ("established_1", AtLeast(0.80)),
    ("established_100k", AtLeast(0.70)),
    ("established_1m", AtLeast(0.55)),
    ("cost_vs_nftables_*", AtMost(0.2)),
    ("cost_vs_kernel_forward", AtMost(0.25)),
    ("ipv6_vs_ipv4*", AtLeast(0.9)),
    ("new_vs_nftables_linear_10k", AtMost(1.0 / 150.0)),
    ("new_vs_nftables_set_10k", AtMost(0.5)),
    ("new_100k_rules_vs_10", AtMost(1.3)),
    ("new_100k_rules_vs_10_uniform", AtMost(2.0)),
    ("sweep_share_of_core_1m", AtMost(0.05)),
    ("dead_flows_gone_within_10s_1m", AtMost(1.0)),
    ("connections_vs_nftables", AtLeast(2.0)),
    ("sockets_cost_vs_nftables", AtMost(1.0 / 3.0)),
    ("concurrent_judged_right", AtLeast(1.0)),
    ("flood_established_kept", AtLeast(1.0)),
    ("flood_new_succeeded", AtLeast(0.99)),
];

/// The aim of a ratio, if it has one.
pub(super) fn of(ratio: &str) -> Option<Aim> {
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => ratio.starts_with(start),
        None => ratio == pattern,
    };
    AIMS.iter().find(|(pattern, _)| matches(pattern)).map(|(_, aim)| *aim)
}

impl Aim {
    pub(super) fn is_met(self, value: f64) -> bool {
        match self {
            AtLeast(bound) => value >= bound,
            AtMost(bound) => value <= bound,
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, bound) = match self {
            AtLeast(bound) => ('≥', bound),
            AtMost(bound) => ('≤', bound),
        };
        if *bound < 0.1 { write!(f, "{sign} {bound:.4}") } else { write!(f, "{sign} {bound:.2}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_is_found_by_name_and_by_start() {
        assert_eq!(of("established_1"), Some(AtLeast(0.8)));
        assert_eq!(of("cost_vs_nftables_established_1m"), Some(AtMost(0.2)));
        assert_eq!(of("established_1x"), None);
        assert!(AtMost(0.2).is_met(0.2) && !AtMost(0.2).is_met(0.21));
        assert!(AtLeast(2.0).is_met(2.5) && !AtLeast(2.0).is_met(1.9));
        assert_eq!(AtMost(1.0 / 150.0).to_string(), "≤ 0.0067");
    }
}
