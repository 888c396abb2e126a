//! Maps `RULE_LIMITS` and `LIMITS`: what rules limit, and what counts for it.

use super::{assert_size, plain_bytes};

/// What a limit counts for: values of [`RuleLimit::rate_per`], [`RuleLimit::flows_per`] and [`SubjectKey::per`].
pub mod per {
    /// The whole rule.
    pub const RULE: u8 = 0;
    /// Each source; an IPv6 source is its /64.
    pub const SOURCE: u8 = 1;
    /// Each pair of source and destination.
    pub const SOURCE_DESTINATION: u8 = 2;
}

/// Which limit: values of [`SubjectKey::kind`].
pub mod kind {
    /// Flows that open in a time.
    pub const RATE: u8 = 0;
    /// Flows at once.
    pub const FLOWS: u8 = 1;
}

/// Value of `RULE_LIMITS`, by the handle of the rule; meaningless for rules whose clauses have no
/// [`LIMITED`](super::tables::LIMITED).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleLimit {
    /// Nanoseconds for each flow that opens; 0: no limit.
    pub interval: u64,
    /// Nanoseconds after which a bucket of which everything was taken is full again: those of all flows that may open at once.
    pub capacity: u64,
    /// Flows at once; 0: no limit.
    pub max_flows: u32,
    /// One of [`per`].
    pub rate_per: u8,
    /// One of [`per`].
    pub flows_per: u8,
    /// Explicit padding.
    pub _pad: [u8; 2],
}

/// What a limit counts for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubjectKey {
    /// The handle of the rule; 0: the entry is free.
    pub rule: u32,
    /// One of [`kind`].
    pub kind: u8,
    /// 4 or 6; 0 for both.
    pub family: u8,
    /// One of [`per`].
    pub per: u8,
    /// Explicit padding.
    pub _pad: u8,
    /// The source in network byte order, an IPv4 address in the first word; zero if it does not matter.
    pub source: [u32; 4],
    /// The destination, likewise.
    pub destination: [u32; 4],
}

/// Value of `LIMITS`: a subject, one cache line.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Who it is.
    pub key: SubjectKey,
    /// Of a rate: when the bucket is full again, in nanoseconds of `CLOCK_MONOTONIC`.
    pub full_at: u64,
    /// Of flows at once: how many there are. Each of them has the entry's number in [`super::flow::Flow::subject`], so the entry
    /// stays as long as one of them does.
    pub flows: u32,
    /// Explicit padding.
    pub _pad: [u32; 3],
}

/// Subjects of a bucket: a key is in one of them.
pub const WAYS: u32 = 8;
/// Buckets of `LIMITS`.
pub const BUCKETS: u32 = 8192;
/// Entries of `LIMITS`.
pub const SUBJECTS: u32 = WAYS * BUCKETS;

assert_size!(RuleLimit = 24, SubjectKey = 40, Subject = 64);
plain_bytes!(RuleLimit, Subject);
