//! What is known of an end of an association.

/// What is known of one end. Kept in [`crate::abi::flow::Direction::memory`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Its verification tag: what packets to it carry. 0: not known.
    pub tag: u32,
    /// Another tag that it may have by now: one that it has announced, or by which it was addressed, but on which both ends
    /// have not agreed. 0: none.
    pub offered: u32,
    /// Bits of [`end_flags`], about [`End::offered`]; above them, with [`end_flags::ECHOED`], the second of the last COOKIE ECHO.
    pub flags: u32,
}

/// Bits of [`End::flags`].
pub mod end_flags {
    /// The other end has sent a HEARTBEAT to the offered tag.
    pub const TRIED: u32 = 1;
    /// The other end has sent a COOKIE ECHO to the offered tag.
    pub const ECHOED: u32 = 2;
    /// The other end has sent a SHUTDOWN ACK to the offered tag, of an older association that it is still closing: all that may
    /// follow is the SHUTDOWN COMPLETE that reflects it (RFC 9260, section 8.5.1 (C)).
    pub const CLOSING: u32 = 4;
    /// An INIT ACK has answered the offered tag, or announced it.
    pub const ANSWERED: u32 = 8;
    /// Since then an INIT with another tag has gone by: the next one takes the place.
    pub const PASSED_OVER: u32 = 16;
    /// Where the second of the last COOKIE ECHO begins.
    pub const SECOND_SHIFT: u32 = 8;
}

/// The bits of a second that are kept: they come again after 194 days.
const SECOND_MASK: u32 = u32::MAX >> end_flags::SECOND_SHIFT;

/// For how many seconds after a COOKIE ECHO no INIT takes the place of its attempt: three repetitions of it (RFC 9260, section 16:
/// the first after one second, each next after twice the time).
pub const ECHO_HOLD: u32 = 10;

impl End {
    /// An end with a tag; 0: one whose tag is not known.
    #[inline(always)]
    #[must_use]
    pub const fn tagged(tag: u32) -> Self {
        Self { tag, offered: 0, flags: 0 }
    }

    /// As it is kept in a flow: what is offered and its flags belong together, and are there in an aligned pair.
    #[inline(always)]
    #[must_use]
    pub const fn to_memory(self) -> [u32; 3] {
        [self.offered, self.flags, self.tag]
    }

    /// Reads what [`End::to_memory`] made.
    #[inline(always)]
    #[must_use]
    pub const fn from_memory([offered, flags, tag]: [u32; 3]) -> Self {
        Self { tag, offered, flags }
    }

    /// Whether a packet with this tag can be for this end: it is its own, or one that it may have by now.
    #[inline(always)]
    #[must_use]
    pub const fn is_addressed_by(&self, tag: u32) -> bool {
        tag != 0 && (tag == self.tag || (tag == self.offered && self.flags & end_flags::CLOSING == 0))
    }

    /// Whether this was its tag in an older association that the other end is still closing.
    #[inline(always)]
    pub(super) const fn is_closing(&self, tag: u32) -> bool {
        tag == self.offered && self.flags & end_flags::CLOSING != 0
    }

    /// Whether it has announced the offered tag itself.
    #[inline(always)]
    pub(super) const fn has_announced(&self) -> bool {
        self.offered != 0 && self.flags & (end_flags::TRIED | end_flags::CLOSING) == 0
    }

    /// Whether the offered tag is one of a HEARTBEAT.
    #[inline(always)]
    pub(super) const fn is_tried(&self) -> bool {
        self.flags & end_flags::TRIED != 0
    }

    /// Notes that an INIT ACK has answered this tag, or announced it.
    #[inline(always)]
    pub(super) fn mark_answered(&mut self, tag: u32) {
        if self.offered == tag && self.flags == 0 {
            self.flags = end_flags::ANSWERED;
        }
    }

    /// Whether an INIT ACK has answered the offered tag, or announced it.
    #[inline(always)]
    pub(super) const fn was_answered(&self) -> bool {
        self.flags & (end_flags::ANSWERED | end_flags::PASSED_OVER) != 0
    }

    /// Notes a tag that the other end believes this one to have, which takes the place of none that this end has announced.
    #[inline(always)]
    pub(super) fn suppose(&mut self, tag: u32, flags: u32) {
        if !self.has_announced() {
            self.offered = tag;
            self.flags = flags;
        }
    }

    /// Forgets that an INIT with another tag may go by.
    #[inline(always)]
    pub(super) fn forget_answer(&mut self) {
        if self.flags & end_flags::ANSWERED != 0 {
            self.flags = end_flags::PASSED_OVER;
        }
    }

    /// Notes another tag that this end announces in an INIT; whether it is not the one that was noted.
    ///
    /// An attempt that was answered lets one INIT go by. Not more, because everybody's INIT is answered, a stranger's too: who has
    /// begun anew gets the place when it repeats its own.
    #[inline(always)]
    pub(super) fn offer(&mut self, tag: u32) -> bool {
        if self.offered != 0 && self.flags & end_flags::ANSWERED != 0 && self.offered != tag {
            self.forget_answer();
            return false;
        }
        self.note(tag)
    }

    /// Notes another tag that this end announces; whether it is not the one that was noted.
    #[inline(always)]
    pub(super) fn note(&mut self, tag: u32) -> bool {
        let is_new = self.offered != tag || !self.has_announced();
        if is_new {
            self.offered = tag;
            self.flags = 0;
        }
        is_new
    }

    /// Notes that the other end has sent a COOKIE ECHO to the offered tag: it has got the answer that announced it.
    #[inline(always)]
    pub(super) fn echo(&mut self, now: u32) {
        self.flags = end_flags::ECHOED | now << end_flags::SECOND_SHIFT;
    }

    /// Whether a COOKIE ECHO to the offered tag is under way, or its answer.
    #[inline(always)]
    pub(super) const fn is_echoed(&self) -> bool {
        self.flags & end_flags::ECHOED != 0
    }

    /// Whether that was so lately that the answer may still come.
    #[inline(always)]
    pub(super) const fn is_held(&self, now: u32) -> bool {
        self.is_echoed() && now.wrapping_sub(self.flags >> end_flags::SECOND_SHIFT) & SECOND_MASK < ECHO_HOLD
    }

    /// From now on this is the end's tag.
    #[inline(always)]
    pub(super) fn settle(&mut self, tag: u32) {
        *self = Self::tagged(tag);
    }

    /// Forgets the tag that was offered.
    #[inline(always)]
    pub(super) fn forget_offer(&mut self) {
        self.offered = 0;
        self.flags = 0;
    }

    /// Forgets its tag: if it has announced another, that is its tag now.
    #[inline(always)]
    pub(super) fn forget_first(&mut self) {
        let other = if self.has_announced() { self.offered } else { 0 };
        self.settle(other);
    }

    /// Forgets a tag that it has announced.
    #[inline(always)]
    pub(super) fn forget_announced(&mut self) {
        if self.has_announced() {
            self.forget_offer();
        }
    }

    /// Forgets a tag that a HEARTBEAT was sent to.
    #[inline(always)]
    pub(super) fn forget_trial(&mut self) {
        if self.is_tried() {
            self.forget_offer();
        }
    }
}
