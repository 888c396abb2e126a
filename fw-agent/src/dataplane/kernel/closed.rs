//! Keeps a device closed while it has no XDP program: a classifier lets nothing to the host, and outlives an agent that is killed.

use std::path::{Path, PathBuf};

use aya::programs::links::{Link as _, LinkError};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, qdisc_add_clsact};
use aya::programs::{LinkOrder, TcAttachType};

use super::attach::{
    TC_HANDLE, TC_PRIORITY, attach_error, filter_of, has_tcx, links_dir, name_of, pin_link, replaced, take_off,
};
use super::object::Object;
use crate::dataplane::{AttachedInterface, DataplaneError};

/// Where its link is pinned.
pub(super) fn pin(links: &Path, ifindex: u32) -> PathBuf {
    links.join(format!("closed-{ifindex}"))
}

/// Puts the classifier on, before all others, or replaces the one that a killed agent has left.
pub(super) fn close(object: &mut Object, links: &Path, interface: &AttachedInterface) -> Result<(), DataplaneError> {
    let refused = |error: &dyn std::error::Error| attach_error(interface, error);
    let pin = pin(links, interface.ifindex);
    let program = object.closed()?;
    if !has_tcx() {
        // An error here means that the qdisc is there already; if it is not, the next step says so.
        let _ = qdisc_add_clsact(&interface.name);
        let id = match filter_of(&interface.name, TcAttachType::Ingress) {
            Some(left) => program.attach_to_link(left),
            None => {
                let options = NlOptions { priority: TC_PRIORITY, handle: TC_HANDLE, classid: None };
                program.attach_with_options(&interface.name, TcAttachType::Ingress, TcAttachOptions::Netlink(options))
            }
        };
        let link = id.and_then(|id| program.take_link(id)).map_err(|error| refused(&error))?;
        // Dropping a link of this kind would take the filter off.
        std::mem::forget(link);
        return Ok(());
    }
    let update =
        |link: SchedClassifierLink| program.attach_to_link(link).and_then(|id| program.take_link(id).map(drop));
    if replaced(&pin, interface, update)? {
        return Ok(());
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program
        .attach_with_options(&interface.name, TcAttachType::Ingress, options)
        .map_err(|error| refused(&error))?;
    let link = program.take_link(id).map_err(|error| refused(&error))?;
    pin_link(link.try_into().map_err(|error: LinkError| refused(&error))?, &pin)
}

/// Takes the classifier off, if it is there: the device has an XDP program, is gone, or is not ours any more.
pub(super) fn open(links: &Path, ifindex: u32) -> Result<(), DataplaneError> {
    if has_tcx() {
        let pin = pin(links, ifindex);
        return if pin.exists() { take_off(&pin) } else { Ok(()) };
    }
    if let Some(link) = name_of(ifindex).and_then(|name| filter_of(&name, TcAttachType::Ingress)) {
        let _ = link.detach();
    }
    Ok(())
}

/// The devices that are closed without a link, on kernels before 6.6: nothing is pinned for them, so all devices are asked.
pub(super) fn open_unpinned(pin_dir: &Path) -> Result<(), DataplaneError> {
    if has_tcx() {
        return Ok(());
    }
    let devices = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let names = devices.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    for link in names.filter_map(|name| filter_of(name, TcAttachType::Ingress)) {
        link.detach().map_err(|error| DataplaneError::Pin {
            path: links_dir(pin_dir).display().to_string(),
            reason: format!("a filter could not be taken off: {error}"),
        })?;
    }
    Ok(())
}
