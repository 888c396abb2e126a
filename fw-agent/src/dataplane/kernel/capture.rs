//! Which packets are captured.

use fw_common::abi::capture::CaptureFilter;
use fw_common::abi::interface::interface_flags;

use super::object::{Object, map_error};
use super::{interfaces, monotonic_seconds};
use crate::dataplane::DataplaneError;

/// Begins to capture what a filter wants, for so many seconds; or ends that. The filter comes before the interfaces that ask for it.
pub(super) fn set(object: &mut Object, capture: Option<(CaptureFilter, u32)>) -> Result<(), DataplaneError> {
    let filter = capture.map(|(filter, seconds)| CaptureFilter {
        // A second more, since the current one is not over.
        until: monotonic_seconds().saturating_add(seconds).saturating_add(1),
        ..filter
    });
    object
        .array_mut::<CaptureFilter>("CAPTURE")?
        .set(0, filter.unwrap_or_default(), 0)
        .map_err(|error| map_error("CAPTURE", &error))?;
    // Interfaces that are attached meanwhile ask, too.
    object.captured = filter.is_some();
    for (ifindex, mut entry) in interfaces::all(object)? {
        entry.flags &= !interface_flags::CAPTURED;
        if filter.is_some() {
            entry.flags |= interface_flags::CAPTURED;
        }
        interfaces::store(object, ifindex, entry)?;
    }
    Ok(())
}
