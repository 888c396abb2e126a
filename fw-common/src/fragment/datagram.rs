//! A datagram in fragments: what has passed of it, and what may still come.

use super::Fragment;
use crate::DropReason;
use crate::abi::fragment::{Datagram, DatagramKey, MAX_FRAGMENTS};
use crate::wire::Packet;

/// How far a datagram has come. The numbers are those of [`Datagram::progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Progress {
    /// There is none here.
    Free = 0,
    /// Its first fragment has not been judged.
    Waiting = 1,
    /// Its first fragment has passed.
    Passed = 2,
    /// One of its fragments was dropped, and so is the rest.
    Dropped = 3,
    /// All of it has passed. The identification may be used anew.
    Complete = 4,
}

impl Progress {
    /// Reads [`Datagram::progress`]; an unknown number is [`Progress::Free`].
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Waiting,
            2 => Self::Passed,
            3 => Self::Dropped,
            4 => Self::Complete,
            _ => Self::Free,
        }
    }
}

/// What becomes of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is the first one: it is judged as a packet is, and [`conclude`] is told what came of it.
    Judge,
    /// It follows the first one.
    Follow,
    /// It has to wait for the first one.
    Wait,
    /// It does not pass.
    Drop(DropReason),
}

/// How long the fragments of a datagram are waited for, in seconds: as Linux does (`IP_FRAG_TIME` in include/net/ip.h,
/// `IPV6_FRAG_TIMEOUT` in include/net/ipv6.h).
#[inline(always)]
#[must_use]
pub const fn lifetime(ipv4: bool) -> u32 {
    if ipv4 { 30 } else { 60 }
}

/// How much a place of a bucket is worth to its datagram, for one with `key`: [`OWN`] if that is the very datagram, otherwise the
/// lowest is given away first.
///
/// What has not been judged, or was dropped, goes before what has passed: who sends fragments that are not allowed cannot
/// interrupt those that are. Of equals the oldest goes.
#[inline(always)]
#[must_use]
pub const fn worth(datagram: &Datagram, key: &DatagramKey, now: u32) -> u64 {
    let class = match Progress::from_number(datagram.progress) {
        Progress::Free | Progress::Complete => return FREE,
        Progress::Waiting => 1,
        Progress::Dropped => 2,
        Progress::Passed => 3,
    };
    if now > datagram.expires {
        return FREE;
    }
    let (held, key) = (&datagram.key.words, &key.words);
    // Without a branch for each word.
    let different =
        (held[0] ^ key[0]) | (held[1] ^ key[1]) | (held[2] ^ key[2]) | (held[3] ^ key[3]) | (held[4] ^ key[4]);
    if different == 0 { OWN } else { class << 32 | datagram.expires as u64 }
}

/// The [`worth`] of the datagram that is looked for.
pub const OWN: u64 = 0;
/// The [`worth`] of a place without a datagram.
const FREE: u64 = 1;

/// A fragment compared with those of its datagram that have passed, one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    range: u32,
    equal: bool,
    overlapping: bool,
}

impl Comparison {
    const fn new(fragment: &Fragment) -> Self {
        Self { range: fragment.range(), equal: false, overlapping: false }
    }

    /// Compares with another one's element of [`Datagram::ranges`].
    #[inline(always)]
    pub const fn with(&mut self, other: u32) {
        if other == self.range {
            self.equal = true;
        }
        if (other & 0xffff) < self.range >> 16 && self.range & 0xffff < other >> 16 {
            self.overlapping = true;
        }
    }

    /// Compares with every fragment that has passed.
    ///
    /// This is what [`arrive`] and [`conclude`] are given, where the verifier does not have to follow a loop.
    pub fn with_all(&mut self, datagram: &Datagram) {
        let passed = datagram.ranges.iter().take(usize::from(datagram.passed));
        passed.for_each(|range| self.with(*range));
    }
}

impl Datagram {
    /// A place without a datagram.
    pub const FREE: Self = Self {
        key: DatagramKey { words: [0; 5] },
        expires: 0,
        progress: Progress::Free as u8,
        passed: 0,
        held: 0,
        protocol: 0,
        src_port: 0,
        dst_port: 0,
        icmp: [0; 2],
        end: 0,
        len: 0,
        highest: 0,
        ranges: [0; MAX_FRAGMENTS],
    };

    /// Begins a datagram in this place.
    #[inline(always)]
    pub fn begin(&mut self, key: &DatagramKey, expires: u32) {
        self.key = *key;
        self.expires = expires;
        self.progress = Progress::Waiting as u8;
        self.passed = 0;
        self.held = 0;
        self.end = 0;
        self.len = 0;
        self.highest = 0;
    }

    /// Takes a fragment that passes over, or says why it may not pass.
    #[inline(always)]
    fn place(&mut self, fragment: &Fragment, compare: impl FnOnce(&mut Comparison, &Self)) -> Result<(), DropReason> {
        let mut comparison = Comparison::new(fragment);
        compare(&mut comparison, self);
        let (behind, end) = (comparison.range >> 16, fragment.offset + fragment.len);
        let ends_otherwise = match (fragment.more, self.end) {
            (true, 0) => false,
            (true, known) => end >= known,
            (false, 0) => u32::from(self.highest) > behind,
            (false, known) => end != known,
        };
        if comparison.equal && !ends_otherwise {
            return Err(DropReason::FragmentDuplicate);
        }
        if comparison.overlapping {
            return self.give_up(DropReason::FragmentOverlap);
        }
        if ends_otherwise {
            return self.give_up(DropReason::FragmentEnd);
        }
        let count = usize::from(self.passed);
        let Some(place) = self.ranges.get_mut(count) else { return self.give_up(DropReason::FragmentTooMany) };
        *place = comparison.range;
        self.passed += 1;
        self.len = self.len.wrapping_add(fragment.len);
        if behind > u32::from(self.highest) {
            self.highest = behind as u16;
        }
        if !fragment.more {
            self.end = end;
        }
        if self.end != 0 && self.len == self.end {
            self.progress = Progress::Complete as u8;
        }
        Ok(())
    }

    /// Drops what is still to come.
    #[inline(always)]
    fn give_up(&mut self, reason: DropReason) -> Result<(), DropReason> {
        self.progress = Progress::Dropped as u8;
        Err(reason)
    }
}

/// Decides about a fragment that has come in. `waited`: it has waited already, and does not wait again. `compare`: as
/// [`Comparison::with_all`].
#[inline(always)]
#[must_use]
pub fn arrive(
    datagram: &mut Datagram,
    fragment: &Fragment,
    waited: bool,
    compare: impl FnOnce(&mut Comparison, &Datagram),
) -> Arrival {
    match Progress::from_number(datagram.progress) {
        Progress::Waiting if fragment.is_first() => Arrival::Judge,
        Progress::Waiting if waited => Arrival::Drop(DropReason::FragmentWithoutFirst),
        Progress::Waiting => {
            if usize::from(datagram.held) >= MAX_FRAGMENTS {
                return Arrival::Drop(DropReason::FragmentTooMany);
            }
            datagram.held += 1;
            Arrival::Wait
        }
        Progress::Passed => match datagram.place(fragment, compare) {
            Ok(()) => Arrival::Follow,
            Err(reason) => Arrival::Drop(reason),
        },
        Progress::Dropped | Progress::Complete | Progress::Free => Arrival::Drop(DropReason::FragmentOfDropped),
    }
}

/// Notes what came of a first fragment. Whether others wait for it; or why it does not pass after all.
#[inline(always)]
pub fn conclude(
    datagram: &mut Datagram,
    fragment: &Fragment,
    packet: &Packet,
    passed: bool,
    compare: impl FnOnce(&mut Comparison, &Datagram),
) -> Result<bool, DropReason> {
    if Progress::from_number(datagram.progress) != Progress::Waiting {
        // Two first ones at the same time on two processors.
        return match arrive(datagram, fragment, true, compare) {
            Arrival::Drop(reason) => Err(reason),
            Arrival::Judge | Arrival::Follow | Arrival::Wait => Ok(false),
        };
    }
    datagram.protocol = packet.protocol;
    datagram.src_port = packet.src_port;
    datagram.dst_port = packet.dst_port;
    datagram.icmp = [packet.icmp_type, packet.icmp_code];
    if passed {
        datagram.progress = Progress::Passed as u8;
        datagram.place(fragment, |_, _| {})?;
    } else {
        datagram.progress = Progress::Dropped as u8;
    }
    Ok(datagram.held != 0)
}
