//! The denied flows.

use fw_common::abi::event::{DENIED_FILLING, DENIED_FREE, Denied, DeniedKey, DeniedSlot};

use super::flows::mapped;
use super::memory::Mapped;
use super::object::Object;
use crate::dataplane::DataplaneError;

/// Takes the denied flows out. A packet that is counted between the reading and the freeing of its slot is counted by
/// reason and by rule, but in no record.
pub(super) fn take(object: &Object) -> Result<Vec<(DeniedKey, Denied)>, DataplaneError> {
    let slots: Mapped<DeniedSlot> = mapped(object, "DENIED")?;
    let taken = (0..slots.len()).filter_map(|number| {
        let DeniedSlot { mark, packets, key, bytes, first_at, last_at, .. } = slots.get(number);
        let in_use = mark != DENIED_FREE && mark != DENIED_FILLING;
        (in_use && slots.replace_word(number, mark, DENIED_FREE))
            .then_some((key, Denied { packets, bytes, first_at, last_at }))
    });
    Ok(taken.collect())
}
