//! What an attachment does to the machine that the instance is.

use super::model::Event;

/// Somebody who plugs devices in and out.
pub trait Devices: Send {
    /// The device of an interface appears on the instance.
    fn plug(&mut self, event: &Event);
    /// The device goes away.
    fn unplug(&mut self, event: &Event);
}

/// Nobody: instances are names only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoDevices;

impl Devices for NoDevices {
    fn plug(&mut self, _: &Event) {}
    fn unplug(&mut self, _: &Event) {}
}
