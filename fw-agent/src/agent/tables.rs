//! Are the flow tables nearly full? Said in the log when it begins and ends, and with the checks as long as it lasts.

use super::supervisor::Supervisor;
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

#[cfg(test)]
mod tests {
    use super::*;

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
