//! The parameters of ClassBench: what real rule sets look like, in numbers.
//!
//! They are those of the parameter files `acl1_seed`, `fw1_seed` and `ipc1_seed` that were published with D. E. Taylor and
//! J. S. Turner, "ClassBench: A Packet Classification Benchmark", IEEE/ACM Transactions on Networking 15(3), 2007, rounded
//! to ten-thousandths.

mod acl;
mod fw;
mod ipc;

use super::Style;

/// What a rule says about a port (section III.B of the paper); its class `LO`, 0 to 1023, occurs in none of these seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortClass {
    /// `WC`: nothing.
    Wildcard,
    /// `HI`: 1024 to 65535.
    High,
    /// `AR`: some other range.
    Arbitrary,
    /// `EM`: one port.
    Exact,
}

/// The classes of source and destination port.
pub(super) type PortClasses = (PortClass, PortClass);

/// Values, each with how often it occurs.
pub(super) type Weighted<T> = &'static [(T, u32)];

/// The parameters of one style.
pub(super) struct Seed {
    /// Number of rules of the set that was measured.
    pub(super) scale: u32,
    /// Protocol number (0: any), how often, and the classes of its ports.
    pub(super) protocols: &'static [(u8, u32, Weighted<PortClasses>)],
    /// Ranges of the class [`PortClass::Arbitrary`] and ports of the class [`PortClass::Exact`], of sources.
    pub(super) source_ranges: Weighted<(u16, u16)>,
    pub(super) source_ports: Weighted<(u16, u16)>,
    /// The same of destinations.
    pub(super) destination_ranges: Weighted<(u16, u16)>,
    pub(super) destination_ports: Weighted<(u16, u16)>,
    /// For each pair of port classes the pairs of prefix lengths.
    pub(super) lengths: &'static [(PortClasses, Weighted<(u8, u8)>)],
    /// The tree of source prefixes.
    pub(super) source: Tree,
    /// The tree of destination prefixes.
    pub(super) destination: Tree,
    /// How probably the next bit of the destination is that of the source, while all bits before were equal, by length.
    pub(super) correlation: [u32; 32],
}

/// How the prefixes of one side branch (section III.C).
#[derive(Clone)]
pub(super) struct Tree {
    /// How many prefixes of rules may contain each other.
    pub(super) nesting: u32,
    /// How probably a node of each depth has two children.
    pub(super) branching: [u32; 32],
    /// How unequal they are: 1 less the weight of the lighter as a part of that of the heavier.
    pub(super) skew: [u32; 32],
}

/// The parameters of a style.
pub(super) const fn of(style: Style) -> &'static Seed {
    match style {
        Style::Acl => &acl::SEED,
        Style::Fw => &fw::SEED,
        Style::Ipc => &ipc::SEED,
    }
}

impl Tree {
    /// The tree for a set that is `factor` times as large as the one that was measured: more addresses, not deeper ones, so
    /// the first levels fill up (section IV.B, "address prefix scaling").
    pub(super) fn scaled(&self, factor: f64) -> ScaledTree {
        let real = |value: &u32| f64::from(*value) / 10_000.0;
        let mut tree = ScaledTree {
            nesting: self.nesting,
            branching: self.branching.each_ref().map(real),
            skew: self.skew.each_ref().map(real),
        };
        let mut wanted = if factor > 1.0 { factor } else { 0.0 };
        for (branching, skew) in tree.branching.iter_mut().zip(&mut tree.skew) {
            if wanted <= 0.0 {
                break;
            }
            let imbalance = 2.0 * ((1.0 - *branching) + *skew * *branching);
            if imbalance <= wanted {
                wanted -= imbalance;
                (*branching, *skew) = (1.0, 0.0);
                continue;
            }
            if imbalance - 2.0 * *skew > wanted {
                *branching = ((imbalance - wanted) / 2.0 - 1.0) / (*skew - 1.0);
            } else {
                *branching = 1.0;
                *skew = (2.0 * *skew - wanted) / 2.0;
            }
            break;
        }
        tree
    }
}

/// [`Tree`], with probabilities as such.
pub(super) struct ScaledTree {
    pub(super) nesting: u32,
    pub(super) branching: [f64; 32],
    pub(super) skew: [f64; 32],
}
