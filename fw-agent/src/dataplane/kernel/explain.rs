//! Asks the program what would become of a frame.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{Array, MapData};
use fw_common::abi::explained::Explained;

use super::calls::{self, Frame};
use super::object::{Object, chain, map_error};
use super::run::with_context;
use crate::dataplane::DataplaneError;

/// The map of the answer.
const EXPLAINED: &str = "EXPLAINED";
/// Kernel action of `include/uapi/linux/bpf.h`.
const XDP_PASS: u32 = 2;

/// The program and its answer, apart from the object: who asks often keeps nobody from the object's lock.
pub(super) struct Explainer {
    program: OwnedFd,
    answer: Array<MapData, Explained>,
}

impl Explainer {
    /// Takes both from the object.
    pub(super) fn new(object: &mut Object) -> Result<Self, DataplaneError> {
        let map = object.take_map(EXPLAINED)?;
        let answer = Array::try_from(map).map_err(|error| map_error(EXPLAINED, &error))?;
        Ok(Self { program: object.program_fd("fw_explain")?, answer })
    }

    /// What would become of a frame that comes in by an interface of this network name space.
    pub(super) fn ask(&mut self, frame: &[u8], ifindex: u32) -> Result<Explained, DataplaneError> {
        let (data, context) = with_context(&[], frame, ifindex);
        let mut after = vec![0; data.len()];
        let (action, _) = calls::run(self.program.as_fd(), &data, &context, Frame::Tried(&mut after))
            .map_err(|error| DataplaneError::Load(format!("the packet could not be asked about: {}", chain(&error))))?;
        if action != XDP_PASS {
            return Err(DataplaneError::Load(format!("the packet was not looked at (action {action})")));
        }
        self.answer.get(&0, 0).map_err(|error| map_error(EXPLAINED, &error))
    }
}
