//! What can be asked.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A request: one JSON object on one line.
///
/// The variants without content have braces, because serde takes unknown keys from a unit variant without a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the firewall is.
    Status {},
    /// Live flows.
    Flows(FlowFilter),
    /// Dropped packets by reason.
    Drops {},
    /// The rules and what they did.
    Rules {},
    /// The zones and the interfaces that they lie behind.
    Zones {},
    /// Take over changed files.
    Reload {},
}

/// Which flows are asked for; all conditions that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowFilter {
    /// The most flows to return, those with the most bytes first; 100 without, 10,000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// A zone at either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// An address at either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<IpAddr>,
    /// A port at either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A protocol's name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// A state's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

impl FlowFilter {
    /// The most flows to return.
    #[must_use]
    pub fn effective_limit(&self) -> usize {
        self.limit.unwrap_or(100).min(10_000) as usize
    }
}

/// Reads a request; the error is for the one who asked.
pub fn parse(line: &[u8]) -> Result<Request, String> {
    serde_json::from_slice(line).map_err(|error| format!("this is not a request: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        let filter = FlowFilter { limit: Some(5), addr: Some("10.1.1.20".parse().unwrap()), ..FlowFilter::default() };
        for request in
            [Request::Status {}, Request::Flows(filter), Request::Flows(FlowFilter::default()), Request::Reload {}]
        {
            let line = serde_json::to_vec(&request).unwrap();
            assert_eq!(parse(&line), Ok(request));
        }
        assert_eq!(parse(br#"{"command":"drops"}"#), Ok(Request::Drops {}));
    }

    #[test]
    fn garbage_is_refused_with_a_reason() {
        for wrong in [
            "",
            "{}",
            "null",
            "\u{0}",
            r#"{"command":"explode"}"#,
            r#"{"command":"flows","limt":3}"#,
            r#"{"command":"flows","port":70000}"#,
        ] {
            let reason = parse(wrong.as_bytes()).unwrap_err();
            assert!(reason.starts_with("this is not a request: "), "{wrong}: {reason}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
