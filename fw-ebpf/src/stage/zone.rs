//! Which zone an address belongs to, seen from an interface, and whether it is one of the host's own.

use aya_ebpf::btf_maps::lpm_trie::Key;
use fw_common::DropReason;
use fw_common::abi::interface::local_kind;
use fw_common::abi::policy::{ZoneAddress, zone};
use fw_common::wire::Address;

use crate::maps::{LOCAL4, LOCAL6, ZONES4, ZONES6, exact};

/// The zone of `addr` behind the interface in `interface_slot`, by the policy tables in `slot`.
#[inline(never)]
pub(crate) fn zone_of(slot: u32, interface_slot: u32, addr: &Address) -> u8 {
    let interface_slot = interface_slot.to_be_bytes();
    let entry = if addr.is_ipv4() {
        let key: Key<ZoneAddress<[u8; 4]>> = exact(ZoneAddress { slot: interface_slot, addr: addr.first4() });
        ZONES4.get(slot).and_then(|trie| trie.get(&key))
    } else {
        let key: Key<ZoneAddress<[u8; 16]>> = exact(ZoneAddress { slot: interface_slot, addr: addr.octets() });
        ZONES6.get(slot).and_then(|trie| trie.get(&key))
    };
    match entry {
        Some(entry) => *entry as u8,
        None => zone::NONE,
    }
}

/// The [`fw_common::abi::interface::local_kind`] of an address; 0 if it is not the host's.
#[inline(never)]
pub(crate) fn local_kind_of(addr: &Address) -> u32 {
    let entry = if addr.is_ipv4() {
        // SAFETY: entries are one word each, written whole by the agent.
        unsafe { LOCAL4.get(&addr.first4()) }
    } else {
        // SAFETY: as above.
        unsafe { LOCAL6.get(&addr.octets()) }
    };
    match entry {
        Some(entry) => entry.kind,
        None => 0,
    }
}

/// Whether a packet from the wire has a source that can only be ours, or that of all hosts of a subnet of ours.
#[inline(always)]
pub(crate) fn source_is_not_ours(src_addr: &Address) -> Result<(), DropReason> {
    match local_kind_of(src_addr) {
        local_kind::OWN => Err(DropReason::SourceOwn),
        local_kind::BROADCAST => Err(DropReason::SourceDirectedBroadcast),
        _ => Ok(()),
    }
}
