//! Programs on interfaces: attached by links that are pinned, so that they stay without the agent, and replaced in place.

use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{MapError, xdp::DevMap};
use aya::programs::links::Link as _;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, XdpMode};
use aya::sys::SyscallError;
use aya::util::KernelVersion;
use fw_common::abi::interface::{Interface, interface_flags};
use rustix::net::{AddressFamily, SocketType};

use super::object::{Object, chain, map_error};
use super::{calls, closed, interfaces};
use crate::dataplane::{AttachedInterface, DataplaneError};
use crate::nic::Mode;

/// Priority of the classifier on kernels before 6.6, where programs have no links that can be pinned.
pub(super) const TC_PRIORITY: u16 = 9477;
/// Its handle: fixed, so that a restarted agent replaces the program and adds no second one.
pub(super) const TC_HANDLE: TcHandle = TcHandle::new(0, 1);

/// In the name of a pin: the program runs in generic mode.
const GENERIC: &str = "generic-";

/// Where the links are pinned: `xdp-IFINDEX` or `xdp-generic-IFINDEX`, `tc-IFINDEX`, and between two modes `closed-IFINDEX`.
pub(super) fn links_dir(pin_dir: &Path) -> PathBuf {
    pin_dir.join("links")
}

/// Puts both programs on an interface, or replaces those that are there.
///
/// The maps come first: a program that runs finds its interface, and other interfaces may send to it only once it can
/// transmit.
pub(super) fn attach(object: &mut Object, pin_dir: &Path, interface: &AttachedInterface) -> Result<(), DataplaneError> {
    let was_known = ifindexes_of(object, interface.slot)?.contains(&interface.ifindex);
    write_interface(object, interface)?;
    let attached = attach_programs(object, &links_dir(pin_dir), interface);
    if attached.is_err() && !was_known {
        remove_interface(object, interface.ifindex)?;
    }
    attached
}

/// Puts both programs on, and lets packets be sent from the interface.
fn attach_programs(object: &mut Object, links: &Path, interface: &AttachedInterface) -> Result<(), DataplaneError> {
    attach_egress(object, &links.join(format!("tc-{}", interface.ifindex)), interface)?;
    let [native, generic] = ingress_pins(links, interface.ifindex);
    let (pin, other) = if interface.mode == Mode::Native { (native, generic) } else { (generic, native) };
    if other.exists() {
        change_mode(object, links, &other, &pin, interface)?;
    } else {
        attach_ingress(object, &pin, interface)?;
    }
    // Closed by this change of the mode, or by one that an agent did not live to finish.
    closed::open(links, interface.ifindex)?;
    allow_egress(object, interface.slot, interface.ifindex)
}

/// Takes the XDP program off and puts it on in the other mode: a device takes one of both, and the mode of a link cannot be changed.
/// Meanwhile the kernel forwards nothing by itself, as always, and nothing gets to the host. If the device does not take the new
/// mode, the old one is put back; if it does not take that either, it stays closed.
fn change_mode(
    object: &mut Object,
    links: &Path,
    other: &Path,
    pin: &Path,
    interface: &AttachedInterface,
) -> Result<(), DataplaneError> {
    closed::close(object, links, interface)?;
    let Err(error) = take_off(other).and_then(|()| attach_ingress(object, pin, interface)) else { return Ok(()) };
    tracing::error!(interface = %interface.name, %error, "the mode could not be changed; the program is put back as it was");
    let mode = if interface.mode == Mode::Native { Mode::Generic } else { Mode::Native };
    let put_back = attach_ingress(object, other, &AttachedInterface { mode, ..interface.clone() });
    match put_back.and_then(|()| closed::open(links, interface.ifindex)) {
        Ok(()) => Err(error),
        Err(also) => Err(DataplaneError::Attach {
            interface: interface.name.clone(),
            reason: format!(
                "{error}; and the program that was there could not be put back, so nothing gets to the host: {also}"
            ),
        }),
    }
}

/// Takes the program of a pinned link off its device.
pub(super) fn take_off(pin: &Path) -> Result<(), DataplaneError> {
    match calls::detach_pinned_link(pin) {
        Ok(()) => unpin(pin),
        // Its device has vanished, or somebody was quicker.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOLINK | libc::ENOENT)) => unpin(pin),
        Err(error) => Err(pin_error(pin, &error)),
    }
}

/// Where the link of the XDP program is pinned: the one in the driver, and the one in generic mode.
fn ingress_pins(links: &Path, ifindex: u32) -> [PathBuf; 2] {
    [links.join(format!("xdp-{ifindex}")), links.join(format!("xdp-{GENERIC}{ifindex}"))]
}

/// How the program is on a device: a link is pinned for it.
pub(super) fn carried(pin_dir: &Path, ifindex: u32) -> Option<Mode> {
    let pins = ingress_pins(&links_dir(pin_dir), ifindex);
    [Mode::Native, Mode::Generic].into_iter().zip(pins).find(|(_, pin)| pin.exists()).map(|(mode, _)| mode)
}

/// Forgets interfaces that are stored under another slot than the given one, or that are not given.
pub(super) fn keep_slots(object: &mut Object, slots: &[(u32, u32)]) -> Result<(), DataplaneError> {
    for (ifindex, entry) in interfaces::all(object)? {
        if !slots.contains(&(ifindex, entry.slot)) {
            remove_interface(object, ifindex)?;
        }
    }
    Ok(())
}

/// Tells the program about the interface.
fn write_interface(object: &mut Object, interface: &AttachedInterface) -> Result<(), DataplaneError> {
    let flag = |set: bool, bit: u32| if set { bit } else { 0 };
    let entry = Interface {
        slot: interface.slot,
        flags: interface_flags::PRESENT
            | flag(interface.hairpin, interface_flags::HAIRPIN)
            | flag(interface.management, interface_flags::MANAGEMENT)
            | flag(object.captured, interface_flags::CAPTURED),
        mac: interface.mac,
        mtu: interface.mtu,
        ipv4: interface.ipv4.map(|addr| addr.octets()).unwrap_or_default(),
        ipv6: interface.ipv6.map(|addr| addr.octets()).unwrap_or_default(),
    };
    forget_others(object, interface)?;
    interfaces::store(object, interface.ifindex, entry)
}

/// Removes entries of the same slot under another kernel index: the device was plugged in again.
fn forget_others(object: &mut Object, interface: &AttachedInterface) -> Result<(), DataplaneError> {
    for ifindex in ifindexes_of(object, interface.slot)? {
        if ifindex != interface.ifindex {
            remove_interface(object, ifindex)?;
        }
    }
    Ok(())
}

/// Kernel indexes that are stored for a slot.
fn ifindexes_of(object: &Object, slot: u32) -> Result<Vec<u32>, DataplaneError> {
    let all = interfaces::all(object)?;
    Ok(all.into_iter().filter(|(_, entry)| entry.slot == slot).map(|(ifindex, _)| ifindex).collect())
}

/// Lets packets be redirected to an interface, by its slot.
pub(super) fn allow_egress(object: &mut Object, slot: u32, ifindex: u32) -> Result<(), DataplaneError> {
    let map = object.map_mut("EGRESS")?;
    let mut map = DevMap::try_from(map).map_err(|error| map_error("EGRESS", &error))?;
    map.set(slot, ifindex, None, 0).map_err(|error| map_error("EGRESS", &error))
}

/// Forgets a kernel index. The kernel takes a vanished device out of `EGRESS` by itself.
fn remove_interface(object: &mut Object, ifindex: u32) -> Result<(), DataplaneError> {
    let Some(entry) = interfaces::remove(object, ifindex)? else { return Ok(()) };
    let map = object.map("EGRESS")?;
    let map = DevMap::try_from(map).map_err(|error| map_error("EGRESS", &error))?;
    let sends_from = match map.get(entry.slot, 0) {
        Ok(value) => value.if_index,
        Err(MapError::KeyNotFound) => return Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(map_error("EGRESS", &error)),
    };
    // The slot may be another interface's by now.
    if sends_from != ifindex {
        return Ok(());
    }
    forbid_egress(object, entry.slot)
}

/// Lets nothing be redirected to a slot.
fn forbid_egress(object: &mut Object, slot: u32) -> Result<(), DataplaneError> {
    // No interface: `__dev_map_update_elem` in kernel/bpf/devmap.c empties the entry.
    allow_egress(object, slot, 0)
}

/// Puts the XDP program on an interface: in generic mode, which is slow, only if that is asked for.
fn attach_ingress(object: &mut Object, pin: &Path, interface: &AttachedInterface) -> Result<(), DataplaneError> {
    let refused = |error: &dyn std::error::Error| attach_error(interface, error);
    let program = object.ingress()?;
    let update = |link: XdpLink| program.attach_to_link(link).and_then(|id| program.take_link(id).map(drop));
    if replaced(pin, interface, update)? {
        return Ok(());
    }
    let mode = match interface.mode {
        Mode::Native => XdpMode::Driver,
        Mode::Generic => XdpMode::Skb,
    };
    let id = program.attach_to_if_index(interface.ifindex, mode).map_err(|error| refused(&error))?;
    let link = program.take_link(id).map_err(|error| refused(&error))?;
    pin_link(link.try_into().map_err(|error: LinkError| refused(&error))?, pin)
}

/// Puts the classifier behind the host's own stack.
fn attach_egress(object: &mut Object, pin: &Path, interface: &AttachedInterface) -> Result<(), DataplaneError> {
    let refused = |error: &dyn std::error::Error| attach_error(interface, error);
    let program = object.egress()?;
    if !has_tcx() {
        return attach_egress_by_netlink(program, interface);
    }
    let update =
        |link: SchedClassifierLink| program.attach_to_link(link).and_then(|id| program.take_link(id).map(drop));
    if replaced(pin, interface, update)? {
        return Ok(());
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id =
        program.attach_with_options(&interface.name, TcAttachType::Egress, options).map_err(|error| refused(&error))?;
    let link = program.take_link(id).map_err(|error| refused(&error))?;
    pin_link(link.try_into().map_err(|error: LinkError| refused(&error))?, pin)
}

/// Replaces the program of the link that is pinned here, if there is one and its device still exists; whether it did.
///
/// `update` gives the program to the link and lets go of its own reference: the pin keeps the link. After any other failure
/// the program that is there goes on: better an old one than none.
pub(super) fn replaced<L: TryFrom<FdLink, Error = LinkError>>(
    pin: &Path,
    interface: &AttachedInterface,
    update: impl FnOnce(L) -> Result<(), ProgramError>,
) -> Result<bool, DataplaneError> {
    let Some(link) = adopt(pin)? else { return Ok(false) };
    let link = L::try_from(link).map_err(|error| attach_error(interface, &error))?;
    match update(link) {
        Ok(()) => Ok(true),
        Err(error) if device_is_gone(&error) => unpin(pin).map(|()| false),
        Err(error) => Err(attach_error(interface, &error)),
    }
}

/// Whether the kernel has TCX links, which came with 6.6.
pub(super) fn has_tcx() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

/// Whether a link could not be updated because its device has vanished.
fn device_is_gone(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::ENOLINK))
}

pub(super) fn attach_error(interface: &AttachedInterface, error: &dyn std::error::Error) -> DataplaneError {
    DataplaneError::Attach { interface: interface.name.clone(), reason: chain(error) }
}

/// The same on kernels without TCX: the filter stays on the device without any link, under a priority and a handle of
/// ours.
fn attach_egress_by_netlink(
    program: &mut SchedClassifier,
    interface: &AttachedInterface,
) -> Result<(), DataplaneError> {
    let refused = |error: &dyn std::error::Error| attach_error(interface, error);
    // An error here means that the qdisc is there already; if it is not, the next step says so.
    let _ = qdisc_add_clsact(&interface.name);
    let replaced = filter_of(&interface.name, TcAttachType::Egress).and_then(|link| program.attach_to_link(link).ok());
    let id = match replaced {
        Some(id) => id,
        None => {
            let options = NlOptions { priority: TC_PRIORITY, handle: TC_HANDLE, classid: None };
            program
                .attach_with_options(&interface.name, TcAttachType::Egress, TcAttachOptions::Netlink(options))
                .map_err(|error| refused(&error))?
        }
    };
    let link = program.take_link(id).map_err(|error| refused(&error))?;
    // Dropping a link of this kind would take the filter off.
    std::mem::forget(link);
    Ok(())
}

/// The filter that an agent has left on an interface, on kernels without TCX.
pub(super) fn filter_of(interface: &str, side: TcAttachType) -> Option<SchedClassifierLink> {
    SchedClassifierLink::attached(interface, side, TC_PRIORITY, TC_HANDLE, None).ok()
}

/// Takes that filter off. Without a device, or without a filter, there is nothing to do.
fn remove_filter(ifindex: u32) {
    if has_tcx() {
        return;
    }
    if let Some(link) = name_of(ifindex).and_then(|name| filter_of(&name, TcAttachType::Egress)) {
        let _ = link.detach();
    }
}

/// The name of a device, if there is one.
pub(super) fn name_of(ifindex: u32) -> Option<String> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    rustix::net::netdevice::index_to_name(&socket, ifindex).ok()
}

/// The link that is pinned at a path.
fn adopt(pin: &Path) -> Result<Option<FdLink>, DataplaneError> {
    match PinnedLink::from_pin(pin) {
        Ok(link) => Ok(Some(FdLink::from(link))),
        Err(LinkError::SyscallError(SyscallError { io_error, .. })) if io_error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(pin_error(pin, &error)),
    }
}

/// Pins a link.
pub(super) fn pin_link(link: FdLink, pin: &Path) -> Result<(), DataplaneError> {
    link.pin(pin).map(drop).map_err(|error| pin_error(pin, &error))
}

/// Removes a pin, if there is one.
fn unpin(pin: &Path) -> Result<(), DataplaneError> {
    match std::fs::remove_file(pin) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(pin_error(pin, &error)),
    }
}

fn pin_error(pin: &Path, error: &dyn std::error::Error) -> DataplaneError {
    DataplaneError::Pin { path: pin.display().to_string(), reason: chain(error) }
}

/// Forgets the interface of a slot, whose device has vanished.
pub(super) fn forget(object: &mut Object, pin_dir: &Path, slot: u32) -> Result<(), DataplaneError> {
    let links = links_dir(pin_dir);
    for ifindex in ifindexes_of(object, slot)? {
        // The programs first: without the entry they would drop everything that the host says there.
        unpin(&links.join(format!("tc-{ifindex}")))?;
        remove_filter(ifindex);
        for pin in ingress_pins(&links, ifindex) {
            unpin(&pin)?;
        }
        closed::open(&links, ifindex)?;
        remove_interface(object, ifindex)?;
    }
    Ok(())
}

/// Forgets a slot whose device is another interface's. The programs stay on the device: without an entry they drop everything.
pub(super) fn vacate(object: &mut Object, slot: u32) -> Result<(), DataplaneError> {
    for ifindex in ifindexes_of(object, slot)? {
        remove_interface(object, ifindex)?;
    }
    // If the device has its entry for the other slot already, this one sends from it still.
    forbid_egress(object, slot)
}

/// Whether an interface that should carry the program has no pinned link any more.
pub(super) fn has_lost_links(object: &Object, pin_dir: &Path) -> Result<bool, DataplaneError> {
    let links = links_dir(pin_dir);
    let all = interfaces::all(object)?;
    Ok(all.into_iter().any(|(ifindex, _)| !ingress_pins(&links, ifindex).iter().any(|pin| pin.exists())))
}

/// Takes every program off: the last reference to a link is its pin, and filters without links are removed by hand.
pub(super) fn remove_links(pin_dir: &Path) -> Result<(), DataplaneError> {
    let links = links_dir(pin_dir);
    let entries = match std::fs::read_dir(&links) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(pin_error(&links, &error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| pin_error(&links, &error))?;
        let name = entry.file_name();
        if let Some(ifindex) =
            name.to_str().and_then(|name| name.strip_prefix("xdp-")?.trim_start_matches(GENERIC).parse().ok())
        {
            remove_filter(ifindex);
        }
        unpin(&entry.path())?;
    }
    closed::open_unpinned(pin_dir)
}
