//! The map of TCP segment sizes by prefix.

use std::collections::BTreeMap;

use aya::maps::lpm_trie::{Key, LpmTrie};
use fw_common::abi::interface::{MAPPED_BITS, mapped};
use fw_common::wire::Address;
use ipnet::IpNet;

use super::object::{Object, map_error};
use crate::dataplane::DataplaneError;

const NAME: &str = "SEGMENT_LIMITS";

/// Makes the map hold exactly `limits`: adds first, then removes, so that what stays is never missing.
pub(super) fn replace(object: &mut Object, limits: &BTreeMap<IpNet, u16>) -> Result<(), DataplaneError> {
    let error = |error| map_error(NAME, &error);
    let mut trie: LpmTrie<_, [u8; 16], u32> = LpmTrie::try_from(object.map_mut(NAME)?).map_err(error)?;
    let wanted: Vec<Key<[u8; 16]>> = limits.keys().map(key).collect();
    for (key, limit) in wanted.iter().zip(limits.values()) {
        trie.insert(key, u32::from(*limit), 0).map_err(error)?;
    }
    let held: Vec<Key<[u8; 16]>> = trie.keys().collect::<Result<_, _>>().map_err(error)?;
    let same = |one: &Key<[u8; 16]>, other: &Key<[u8; 16]>| {
        (one.prefix_len(), one.data()) == (other.prefix_len(), other.data())
    };
    for key in held.iter().filter(|held| !wanted.iter().any(|wanted| same(wanted, held))) {
        trie.remove(key).map_err(error)?;
    }
    Ok(())
}

fn key(net: &IpNet) -> Key<[u8; 16]> {
    let (addr, front) = match net {
        IpNet::V4(net) => (Address::v4(net.addr().octets()), MAPPED_BITS),
        IpNet::V6(net) => (Address::v6(net.addr().octets()), 0),
    };
    Key::new(front + u32::from(net.prefix_len()), mapped(&addr))
}
