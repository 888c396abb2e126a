//! Are the flow tables nearly full, and have they the size that `agent.toml` says? Said in the log when it begins and ends, and with the
//! checks as long as it lasts.

use super::supervisor::Supervisor;
use crate::config::ConntrackConfig;
use crate::dataplane::Occupancy;

/// Per cent of a table, or of the half-open flows, from which it is told.
const NEARLY_FULL: u64 = 90;

impl Supervisor {
    /// Looks at the tables, and logs what has changed; the caller publishes it.
    pub(super) fn watch_tables(&mut self) {
        // What keeps the data plane from being read is told by those who read it every second.
        let Ok(occupancy) = self.dataplane.occupancy() else { return };
        let pressure = pressure(&occupancy);
        if self.facts.pressure.is_empty() != pressure.is_empty() {
            match pressure.as_slice() {
                [] => tracing::info!("the flow tables have room again"),
                reasons => tracing::warn!(reason = reasons.join("; "), "a flow table is nearly full"),
            }
        }
        self.facts.pressure = pressure;
        let sizes = other_sizes(&self.config.conntrack, &occupancy[0]);
        if sizes != self.facts.table_sizes {
            sizes.iter().for_each(|reason| tracing::warn!(reason, "the flow tables stay as they are"));
        }
        self.facts.table_sizes = sizes;
    }
}

/// What is nearly full, in tenths of the limit, so that the text does not change with every flow.
fn pressure(tables: &[Occupancy; 2]) -> Vec<String> {
    let mut reasons = Vec::new();
    for (family, table) in ["IPv4", "IPv6"].into_iter().zip(tables) {
        // The half-open ones make room: what only they fill is told as what it is.
        let lasting = table.used.saturating_sub(table.half_open);
        for (what, count, limit) in [
            ("flows for which none gives way", lasting, table.limit.saturating_sub(table.reserved)),
            ("half-open flows", table.half_open, table.half_open_limit),
        ] {
            if limit > 0 && count * 100 > limit * NEARLY_FULL {
                reasons.push(format!("{family}: more than {NEARLY_FULL} % of {limit} {what}"));
            }
        }
    }
    reasons
}

/// What `agent.toml` says of the tables and they are not: a start takes tables over as it finds them, because they hold the flows.
fn other_sizes(wanted: &ConntrackConfig, table: &Occupancy) -> Vec<String> {
    let half_open = wanted.max_half_open.map(|most| u64::from(most).min(table.limit));
    let sizes = [
        ("max_flows", wanted.max_flows.map(u64::from), table.limit),
        ("max_half_open", half_open, table.half_open_limit),
    ];
    let other = sizes.into_iter().filter_map(|(key, wanted, size)| Some((key, wanted?, size)));
    let other = other.filter(|(_, wanted, size)| *size > 0 && wanted != size);
    other
        .map(|(key, wanted, size)| {
            format!("`{key}` is {wanted} in agent.toml, and {size} in the tables until `fw-agent detach`, which ends all flows")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_waits_for_new_tables_is_told() {
        let table = Occupancy { limit: 4_096, half_open_limit: 1_024, ..Occupancy::default() };
        let told = |max_flows, max_half_open| {
            other_sizes(&ConntrackConfig { max_flows, max_half_open, ..ConntrackConfig::default() }, &table)
        };
        assert!(told(None, None).is_empty() && told(Some(4_096), Some(1_024)).is_empty());
        assert_eq!(
            told(Some(8_192), Some(512)),
            [
                "`max_flows` is 8192 in agent.toml, and 4096 in the tables until `fw-agent detach`, which ends all flows",
                "`max_half_open` is 512 in agent.toml, and 1024 in the tables until `fw-agent detach`, which ends all flows"
            ]
        );
        let all_half_open = Occupancy { half_open_limit: 4_096, ..table };
        let wanted = ConntrackConfig { max_half_open: Some(1 << 20), ..ConntrackConfig::default() };
        assert!(other_sizes(&wanted, &all_half_open).is_empty(), "more than `max_flows` is taken as that");
        let wanted = ConntrackConfig { max_flows: Some(4_096), ..ConntrackConfig::default() };
        assert!(other_sizes(&wanted, &Occupancy::default()).is_empty(), "before there are tables");
    }

    #[test]
    fn what_is_above_nine_tenths_is_told_with_its_class() {
        let table = Occupancy { used: 899, half_open: 0, limit: 1_010, half_open_limit: 100, reserved: 10 };
        assert!(pressure(&[table; 2]).is_empty());
        let full = Occupancy { used: 901, ..table };
        assert_eq!(pressure(&[table, full]), ["IPv6: more than 90 % of 1000 flows for which none gives way"]);
        let flooded = Occupancy { used: 950, half_open: 91, ..table };
        assert_eq!(pressure(&[flooded, table]), ["IPv4: more than 90 % of 100 half-open flows"]);
        assert!(pressure(&[Occupancy::default(); 2]).is_empty(), "before there are tables");
    }
}
