//! Maps of counters. All are per CPU, so that counting is a plain add.

use super::{assert_size, plain_bytes};

/// Packets and bytes. `DROPS` holds one per [`crate::DropReason`].
///
/// Bytes are those of the IP packet, without the link-layer header.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Number of packets.
    pub packets: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// What one rule did. `RULE_COUNTERS` is indexed by the rule's handle.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounter {
    /// Packets that the rule decided: those of flows it allowed, or those it dropped. Of a rule that observes, those that were judged and
    /// matched it in front of the rule that decided.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Flows that the rule allowed.
    pub flows: u64,
    /// When it last decided or observed a packet, in seconds since boot.
    pub last_hit: u64,
    /// Packets that would have opened flows, and were dropped because of its limits.
    pub limited: u64,
}

/// What crossed one interface. `INTERFACE_COUNTERS` is indexed by the interface's slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounter {
    /// Packets that the program received.
    pub received: Counter,
    /// Packets that it sent on to this interface by redirect.
    pub forwarded: Counter,
    /// Packets received here that it dropped.
    pub dropped: Counter,
    /// Packets received here that it gave to the host.
    pub passed: Counter,
}

/// Events that did not fit, and other rare happenings. One entry, in `HAPPENINGS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happenings {
    /// Flow-end events lost because the ring buffer was full.
    pub events_lost: u64,
    /// Flows that the in-kernel sweep removed.
    pub swept: u64,
    /// Flows that could not be opened because the table was full.
    pub table_full: u64,
    /// Packets handed to the kernel because the next hop was not resolved.
    pub handed_over: u64,
    /// ICMP errors and resets sent.
    pub answers: u64,
    /// ICMP errors and resets not sent because of the rate limit.
    pub answers_limited: u64,
    /// Flows opened.
    pub opened: u64,
    /// Flows judged again because the policy had changed.
    pub rejudged: u64,
    /// Denied and observed packets that are counted by reason or rule but are in no record, because `DENIED` had no place for their flow.
    pub denied_unrecorded: u64,
    /// Records for observers not made, because there were too many.
    pub observed_lost: u64,
    /// Packets not captured, because there were too many.
    pub captured_lost: u64,
    /// Half-open flows that were ended to make room for others.
    pub evicted: u64,
    /// Flows refused because `LIMITS` had no room for their source.
    pub limits_full: u64,
}

/// How much this processor has done of something in the current second: answers in `ANSWER_BUDGET`, records for observers in
/// `OBSERVE_BUDGET`. One entry each.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerBudget {
    /// The second, since boot.
    pub second: u32,
    /// Answers sent, or records made, in it.
    pub sent: u32,
}

assert_size!(AnswerBudget = 8, Counter = 16, RuleCounter = 40, InterfaceCounter = 64, Happenings = 104);
plain_bytes!(AnswerBudget, Counter, RuleCounter, InterfaceCounter, Happenings);
