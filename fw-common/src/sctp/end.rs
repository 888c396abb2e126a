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
}

impl End {
    /// An end with a tag; 0: one whose tag is not known.
    #[inline(always)]
    #[must_use]
    pub const fn tagged(tag: u32) -> Self {
        Self { tag, offered: 0, flags: 0 }
    }

    /// As it is kept in a flow.
    #[inline(always)]
    #[must_use]
    pub const fn to_memory(self) -> [u32; 3] {
        [self.tag, self.offered, self.flags]
    }

    /// Reads what [`End::to_memory`] made.
    #[inline(always)]
    #[must_use]
    pub const fn from_memory([tag, offered, flags]: [u32; 3]) -> Self {
        Self { tag, offered, flags }
    }

    /// Whether a packet with this tag can be for this end: it is its own, or one that it has offered.
    #[inline(always)]
    #[must_use]
    pub const fn is_addressed_by(&self, tag: u32) -> bool {
        tag != 0 && (tag == self.tag || tag == self.offered)
    }

    /// Whether the offered tag is one of a HEARTBEAT.
    #[inline(always)]
    pub(super) const fn is_tried(&self) -> bool {
        self.flags & end_flags::TRIED != 0
    }

    /// Notes a tag that this end announces while an association is being opened.
    #[inline(always)]
    pub(super) fn announce(&mut self, tag: u32) {
        if self.tag == 0 {
            self.tag = tag;
        } else if tag != self.tag {
            self.offered = tag;
        }
    }

    /// Notes a tag that this end may have; whether it is another than was noted.
    #[inline(always)]
    pub(super) fn offer(&mut self, tag: u32, flags: u32) -> bool {
        let is_new = self.offered != tag || self.flags & end_flags::TRIED != flags;
        if is_new {
            self.offered = tag;
            self.flags = flags;
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

    /// Forgets a tag that a HEARTBEAT was sent to.
    #[inline(always)]
    pub(super) fn forget_trial(&mut self) {
        if self.is_tried() {
            self.forget_offer();
        }
    }
}
