//! The interfaces that the program knows: an array for low kernel indexes, a hash for the others.

use aya::maps::MapError;
use fw_common::abi::interface::{Interface, NEAR_INTERFACES, interface_flags};

use super::object::{Object, map_error};
use crate::dataplane::DataplaneError;

const NEAR: &str = "INTERFACES";
const FAR: &str = "FAR_INTERFACES";

/// All of them, by kernel index.
pub(super) fn all(object: &Object) -> Result<Vec<(u32, Interface)>, DataplaneError> {
    let near = object.array::<Interface>(NEAR)?;
    let mut all = Vec::new();
    for ifindex in 0..NEAR_INTERFACES {
        let entry = near.get(&ifindex, 0).map_err(|error| map_error(NEAR, &error))?;
        if entry.flags & interface_flags::PRESENT != 0 {
            all.push((ifindex, entry));
        }
    }
    let far = object.hash::<u32, Interface>(FAR)?;
    for entry in far.iter() {
        all.push(entry.map_err(|error| map_error(FAR, &error))?);
    }
    Ok(all)
}

/// Stores one. What the program remembers of it is looked up again.
pub(super) fn store(object: &mut Object, ifindex: u32, entry: Interface) -> Result<(), DataplaneError> {
    if ifindex < NEAR_INTERFACES {
        object.array_mut(NEAR)?.set(ifindex, entry, 0).map_err(|error| map_error(NEAR, &error))?;
    } else {
        object.hash_mut(FAR)?.insert(ifindex, entry, 0).map_err(|error| map_error(FAR, &error))?;
    }
    object.invalidate_next_hops()
}

/// Removes one; what it was.
pub(super) fn remove(object: &mut Object, ifindex: u32) -> Result<Option<Interface>, DataplaneError> {
    let removed = take(object, ifindex)?;
    if removed.is_some() {
        object.invalidate_next_hops()?;
    }
    Ok(removed)
}

fn take(object: &mut Object, ifindex: u32) -> Result<Option<Interface>, DataplaneError> {
    if ifindex < NEAR_INTERFACES {
        let mut near = object.array_mut::<Interface>(NEAR)?;
        let entry = near.get(&ifindex, 0).map_err(|error| map_error(NEAR, &error))?;
        if entry.flags & interface_flags::PRESENT == 0 {
            return Ok(None);
        }
        near.set(ifindex, Interface::default(), 0).map_err(|error| map_error(NEAR, &error))?;
        return Ok(Some(entry));
    }
    let mut far = object.hash_mut::<u32, Interface>(FAR)?;
    let entry = match far.get(&ifindex, 0) {
        Ok(entry) => entry,
        Err(MapError::KeyNotFound) => return Ok(None),
        Err(error) => return Err(map_error(FAR, &error)),
    };
    match far.remove(&ifindex) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(Some(entry)),
        Err(error) => Err(map_error(FAR, &error)),
    }
}
