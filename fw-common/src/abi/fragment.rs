//! Maps `FRAGMENTS` and `FRAGMENTS_HELD`: datagrams whose fragments are under way, and fragments that wait for their first one.
//!
//! See `docs/adr/0012-fragments.md`.

use super::{assert_size, plain_bytes};

/// What the fragments of one datagram have in common, as words: the addresses (two words each, IPv4 in the first half of
/// the first), and the identification with the protocol, the family and the slot of the ingress interface above it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DatagramKey {
    /// The words.
    pub words: [u64; 5],
}

/// The most fragments of a datagram: 65,535 bytes in packets of 1,280, the least that every IPv6 link carries, are 54.
pub const MAX_FRAGMENTS: usize = 64;

/// What is known of a datagram.
///
/// It belongs to the processor that holds the lock of its bucket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Which one it is.
    pub key: DatagramKey,
    /// Until when its fragments are waited for, in seconds since boot.
    pub expires: u32,
    /// One of [`crate::fragment::Progress`].
    pub progress: u8,
    /// Fragments that have passed.
    pub passed: u8,
    /// Fragments that the agent holds.
    pub held: u8,
    /// Transport protocol, from the first fragment.
    pub protocol: u8,
    /// Source port of the flow key, from the first fragment.
    pub src_port: u16,
    /// Destination port of the flow key, likewise.
    pub dst_port: u16,
    /// ICMP type and code, likewise.
    pub icmp: [u8; 2],
    /// Length of what was fragmented, in bytes; 0 until the last fragment has passed.
    pub end: u16,
    /// Bytes of it that have passed.
    pub len: u16,
    /// The unit of eight bytes behind the highest that has passed.
    pub highest: u16,
    /// The fragments that have passed: first unit of eight bytes, and above it the unit behind the last.
    pub ranges: [u32; MAX_FRAGMENTS],
}

/// Datagrams of a bucket.
pub const BUCKET_DATAGRAMS: usize = 4;
/// Buckets of `FRAGMENTS`.
pub const FRAGMENT_BUCKETS: u32 = 2048;

/// Value of `FRAGMENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentBucket {
    /// 1 while a processor reads or writes the datagrams.
    pub lock: u32,
    /// Explicit padding.
    pub _pad: u32,
    /// The datagrams.
    pub datagrams: [Datagram; BUCKET_DATAGRAMS],
}

/// What a record of `FRAGMENTS_HELD` begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldHeader {
    /// The datagram.
    pub key: DatagramKey,
    /// Interface that the frame came in by. 0: the record holds no frame, but says that the first fragment has been judged.
    pub ingress_ifindex: u32,
    /// Bytes of the frame, link-layer header included.
    pub len: u32,
}

/// The longest frame that can wait: a live frame (`bpf_test_run_xdp_live` in net/bpf/test_run.c) is in a page of 4,096 bytes
/// with 256 of headroom, 320 of tailroom, and what the kernel and the agent put in front of it.
pub const MAX_HELD_FRAME: usize = 3392;

/// Bytes for a frame in a record.
pub const HELD_ROOM: usize = 4096;

/// Bytes of a record with a frame.
pub const HELD_RECORD: usize = size_of::<HeldHeader>() + HELD_ROOM;

/// Bytes of `FRAGMENTS_HELD`.
pub const HELD_RING: usize = 1 << 23;

assert_size!(DatagramKey = 40, Datagram = 320, FragmentBucket = 1288, HeldHeader = 48);
plain_bytes!(DatagramKey, Datagram, FragmentBucket, HeldHeader);
