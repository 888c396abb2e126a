//! What the functions that judge a connection say, as numbers: they are verified once, and such a function takes and returns nothing else
//! ([`crate::verified_once`]).

use fw_common::DropReason;
use fw_common::tcp::Side;

use super::Progress;

/// The packet passes.
pub(super) const CONTINUES: u32 = 0;
/// The connection is over, and the packet opens another.
pub(super) const REOPENS: u32 = 1;
/// The packet does not fit the connection's state.
pub(super) const WRONG_STATE: u32 = 2;
/// Nor its numbers: who sent it does not see the connection.
pub(super) const WRONG_NUMBER: u32 = 3;

/// What was said, and the reason to drop what does not fit the state, or the numbers.
#[inline(always)]
pub(super) fn progress(said: u32, wrong_state: DropReason, wrong_number: DropReason) -> Result<Progress, DropReason> {
    match said {
        CONTINUES => Ok(Progress::Continues),
        REOPENS => Ok(Progress::Reopens),
        WRONG_STATE => Err(wrong_state),
        _ => Err(wrong_number),
    }
}

/// The side that was handed over as a number.
#[inline(always)]
pub(super) const fn side(number: u32) -> Side {
    if number == Side::Originator as u32 { Side::Originator } else { Side::Responder }
}
