//! Where the packets of a flow are counted that is denied, or that a rule observes: in one of two slots of `DENIED`, told from others by a
//! mark.
//!
//! The table is one of bounded size that the agent empties every few seconds. A flow that finds both its slots taken is not
//! recorded, and its packets are counted as such: a flood fills the table, and neither the memory nor the log.

use crate::DropReason;
use crate::abi::event::{DENIED_FILLING, DENIED_FREE, DENIED_SLOTS, DeniedKey, NOT_OBSERVED};
use crate::flow_index::{join, mix};
use crate::policy::Query;
use crate::wire::{Address, Packet};

/// Nanoseconds after its last packet for which a slot belongs to its flow even if the agent does not come to empty it: without an
/// agent, the table follows what is denied now.
pub const KEPT_NS: u64 = 30_000_000_000;

/// A [`DeniedKey`] as it lies in memory. The program handles words: the compiler would take arrays of bytes apart.
pub type Words = [u64; size_of::<DeniedKey>() / 8];

/// Why and where a packet was denied.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The reason.
    pub reason: DropReason,
    /// Slot of the ingress interface; [`crate::abi::event::NO_SLOT`] for traffic of the host itself.
    pub ingress_slot: u16,
    /// Source zone, or 0.
    pub from_zone: u8,
    /// Destination zone, or 0.
    pub to_zone: u8,
    /// Handle of the rule that decided, or 0.
    pub rule: u32,
}

/// The key of a denied packet.
#[inline(always)]
#[must_use]
pub const fn words(packet: &Packet, why: &Circumstances) -> Words {
    let ports = packet.policy_ports();
    let said = [why.reason as u8, why.from_zone, why.to_zone, NOT_OBSERVED];
    key(&packet.src_addr, &packet.dst_addr, (packet.protocol, ports), why.ingress_slot, said, why.rule)
}

/// The key of what a rule observes, which would have done `action` (an [`Action`](crate::abi::policy::Action) by number). As the originator
/// of the flow sent it, whoever has sent this packet.
#[inline(always)]
#[must_use]
pub const fn observed_words(query: &Query, ingress_slot: u16, rule: u32, action: u8) -> Words {
    let said = [0, query.from_zone, query.to_zone, action.wrapping_add(1)];
    let service = (query.protocol, (query.src_port, query.dst_port));
    key(&query.src_addr, &query.dst_addr, service, ingress_slot, said, rule)
}

#[inline(always)]
const fn key(
    src_addr: &Address,
    dst_addr: &Address,
    (protocol, (src_port, dst_port)): (u8, (u16, u16)),
    ingress_slot: u16,
    said: [u8; 4],
    rule: u32,
) -> Words {
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (src_addr.words(), dst_addr.words());
    let ([sp0, sp1], [dp0, dp1]) = (src_port.to_be_bytes(), dst_port.to_be_bytes());
    let [i0, i1] = ingress_slot.to_ne_bytes();
    [
        join(s0, s1),
        join(s2, s3),
        join(d0, d1),
        join(d2, d3),
        u64::from_ne_bytes([sp0, sp1, dp0, dp1, i0, i1, src_addr.family, protocol]),
        join(u32::from_ne_bytes(said), rule),
    ]
}

/// Where a denied flow is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What tells it from other flows: 62 bits of a hash with a secret seed, which nobody can make two flows agree in.
    pub mark: u64,
    /// The slot in which it is, unless that was taken.
    pub first: u32,
    /// The slot in which it is otherwise.
    pub second: u32,
}

/// The place of a denied flow.
#[inline(always)]
#[must_use]
pub const fn place(words: &Words, seed: u64) -> Place {
    let mut hash = seed;
    let mut at = 0;
    while at < words.len() {
        hash = mix(hash, words[at]);
        at += 1;
    }
    let hash = mix(hash, 0xa076_1d64_78bd_642f);
    let (first, second) = (hash as u32 % DENIED_SLOTS, (hash >> 32) as u32 % DENIED_SLOTS);
    // Neither of the two marks that mean something else.
    const _: () = assert!(DENIED_FREE < 2 && DENIED_FILLING < 2);
    Place { mark: hash | 2, first, second }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::policy::Action;
    use std::collections::BTreeSet;

    fn packet(source: u32) -> Packet {
        let mut packet = Packet::EMPTY;
        packet.src_addr = Address::v4(source.to_be_bytes());
        packet.dst_addr = Address::v4([10, 2, 1, 20]);
        packet.protocol = 17;
        (packet.src_port, packet.dst_port) = (4000, 53);
        packet
    }

    const WHY: Circumstances =
        Circumstances { reason: DropReason::Policy, ingress_slot: 0x0102, from_zone: 3, to_zone: 4, rule: 0x0506_0708 };

    #[test]
    fn words_are_the_key_as_it_lies_in_memory() {
        let mut packet = packet(0x0a01_0132);
        packet.src_addr = Address::v6([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        let key = DeniedKey {
            src_addr: packet.src_addr.octets(),
            dst_addr: packet.dst_addr.octets(),
            src_port: 4000u16.to_be_bytes(),
            dst_port: 53u16.to_be_bytes(),
            ingress_slot: WHY.ingress_slot,
            family: 6,
            protocol: 17,
            reason: DropReason::Policy as u8,
            from_zone: 3,
            to_zone: 4,
            would: NOT_OBSERVED,
            rule: WHY.rule,
        };
        // SAFETY: both have the same size, and words take any bytes.
        let expected: Words = unsafe { core::mem::transmute(key) };
        assert_eq!(words(&packet, &WHY), expected);
        let query = Query {
            src_addr: packet.src_addr,
            dst_addr: packet.dst_addr,
            from_zone: 3,
            to_zone: 4,
            protocol: 17,
            src_port: 4000,
            dst_port: 53,
        };
        let observed = DeniedKey { reason: 0, would: Action::Reject as u8 + 1, ..key };
        assert_eq!((observed.would(), key.would()), (Some(Action::Reject), None));
        // SAFETY: as above.
        let expected: Words = unsafe { core::mem::transmute(observed) };
        assert_eq!(observed_words(&query, WHY.ingress_slot, WHY.rule, Action::Reject as u8), expected);
    }

    #[test]
    fn flows_that_differ_in_anything_have_marks_of_their_own() {
        let sources = (0..100_000).map(|source| words(&packet(source), &WHY));
        let others = [
            Circumstances { reason: DropReason::NoRoute, ..WHY },
            Circumstances { ingress_slot: 7, ..WHY },
            Circumstances { rule: 9, ..WHY },
            Circumstances { to_zone: 9, ..WHY },
        ];
        let keys: Vec<Words> = sources.chain(others.iter().map(|why| words(&packet(1), why))).collect();
        let marks: BTreeSet<u64> = keys.iter().map(|words| place(words, 0x1234_5677).mark).collect();
        assert_eq!(marks.len(), keys.len());
        assert!(marks.iter().all(|mark| *mark > DENIED_FILLING));
    }

    #[test]
    fn half_as_many_flows_as_slots_nearly_all_find_one() {
        let mut taken = BTreeSet::new();
        let flows = DENIED_SLOTS / 2;
        let found = (0..flows).filter(|source| {
            let Place { first, second, .. } = place(&words(&packet(*source), &WHY), 99);
            taken.insert(first) || taken.insert(second)
        });
        let found = found.count();
        assert!(found as u32 > flows * 9 / 10, "{found} of {flows}");
    }

    use std::vec::Vec;
}
