//! Which classes an address is in: sixteen bits by index, the others six a step.

use super::{Lookup, PolicyTables, Walk};
use crate::abi::tables::{AddressClass, ClassLine, NodeLine, ROOT_BITS, ROOT_IS_CLASS, ROOT_LINES, RootLine, Side};
use crate::wire::Address;

/// Bits that a node decides.
pub const STEP_BITS: u32 = 6;
/// Steps to the end of an IPv4 address.
const STEPS4: u32 = (32 - ROOT_BITS).div_ceil(STEP_BITS);
/// Steps to the end of an IPv6 address.
const STEPS6: u32 = (128 - ROOT_BITS).div_ceil(STEP_BITS);

/// The classes of an address: those of the longest prefixes that hold it.
#[inline(always)]
pub fn class<T: PolicyTables>(tables: &T, lookup: &mut Lookup, side: Side, addr: &Address) -> AddressClass {
    let ipv4 = addr.is_ipv4();
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = addr.octets();
    let high = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let low = u64::from_be_bytes([i, j, k, l, m, n, o, p]);
    let first = (high >> (64 - ROOT_BITS)) as u32;
    let trie = (side as u32 * 2 + u32::from(!ipv4)) * ROOT_LINES;
    let Some(line) = tables.line::<RootLine>(trie + (first >> 4)) else { return AddressClass::default() };
    let root = line.roots[(first & 15) as usize];
    let mut index = root & !ROOT_IS_CLASS;
    if root & ROOT_IS_CLASS == 0 {
        // What stands behind the four bytes of an IPv4 address is no part of it, and no prefix asks for it.
        lookup.high = high << ROOT_BITS | low >> (64 - ROOT_BITS);
        lookup.low = low << ROOT_BITS;
        lookup.index = index;
        tables.repeat::<Descent>(if ipv4 { STEPS4 } else { STEPS6 }, lookup);
        index = lookup.index;
    }
    match tables.line::<ClassLine>(index >> 3) {
        Some(line) => line.classes[(index & 7) as usize],
        None => AddressClass::default(),
    }
}

/// A walk down a trie.
struct Descent;

impl<T: PolicyTables> Walk<T> for Descent {
    #[inline(always)]
    fn step(lookup: &mut Lookup, _position: u32, tables: &T) -> bool {
        let Some(line) = tables.line::<NodeLine>(lookup.index >> 1) else {
            lookup.index = 0;
            return false;
        };
        let node = &line.nodes[(lookup.index & 1) as usize];
        let branch = lookup.high >> (64 - STEP_BITS);
        // The bits of all branches up to this one.
        let up_to = (2u64 << branch).wrapping_sub(1);
        if node.inner >> branch & 1 == 0 {
            lookup.index = node.first_class + (node.classes & up_to).count_ones() - 1;
            return false;
        }
        lookup.index = node.first_node + (node.inner & up_to).count_ones() - 1;
        lookup.high = lookup.high << STEP_BITS | lookup.low >> (64 - STEP_BITS);
        lookup.low <<= STEP_BITS;
        true
    }
}
