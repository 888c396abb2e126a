//! Interfaces of the row, by name and index.

use anyhow::Result;
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};

pub(in crate::bench) use fw_testkit::lab::{LEFT, RIGHT};

/// The index of an interface in this thread's name space.
pub(in crate::bench) fn index(name: &str) -> Result<u32> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(name_to_index(&any, name)?)
}
