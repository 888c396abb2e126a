//! What is known of an end of an association.

/// What is known of one end. Kept in [`crate::abi::flow::Direction::memory`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Its verification tag: what packets to it carry. 0: not known.
    pub tag: u32,
    /// Another tag that it may have by now: one that it has announced, or by which it was addressed, but on which both ends
    /// have not agreed. 0: none.
    pub offered: u32,
    /// Bits of [`end_flags`], about [`End::offered`].
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
}

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

    /// Notes a tag that this end announces while an association is being opened.
    ///
    /// `first`: in its own first attempt, or in answer to the other end's. Answers to further attempts, which may be a stranger's, do
    /// not take the place of that one.
    #[inline(always)]
    pub(super) fn announce(&mut self, tag: u32, first: bool) {
        if first && self.tag == 0 {
            self.tag = tag;
        } else if tag != self.tag {
            self.offered = tag;
            self.flags = 0;
        }
    }

    /// Notes a tag that the other end believes this one to have, which takes the place of none that this end has announced.
    #[inline(always)]
    pub(super) fn suppose(&mut self, tag: u32, flags: u32) {
        if !self.has_announced() {
            self.offered = tag;
            self.flags = flags;
        }
    }

    /// Notes another tag that this end announces; whether it is not the one that was noted.
    #[inline(always)]
    pub(super) fn offer(&mut self, tag: u32) -> bool {
        let is_new = self.offered != tag || !self.has_announced();
        if is_new {
            self.offered = tag;
            self.flags = 0;
        }
        is_new
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
