//! What an end of an SCTP association is called: by the tag that it has announced, and perhaps by another.

/// Why an end may have another name than the one that both agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Because {
    /// It has said so; the other end has given it a cookie back by that name; and whether an INIT ACK was about it.
    Announced { echoed: bool, answer: Answer },
    /// Somebody has tried to reach it by that name.
    Tried,
    /// It was called so in an association that the other end has not done with.
    Closing,
}

/// What is known of the INIT ACK to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Awaited,
    /// It was seen: now it is the turn of the cookie.
    Seen,
    /// Another attempt was seen since then, in vain.
    Old,
}

/// What an end is called.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names {
    pub(super) name: Option<u32>,
    pub(super) other: Option<(u32, Because)>,
}

impl Names {
    pub(super) const fn only(name: Option<u32>) -> Self {
        Self { name, other: None }
    }

    pub(super) fn is(&self, tag: u32) -> bool {
        self.name == Some(tag)
    }

    pub(super) fn may_be(&self, tag: u32) -> bool {
        self.is(tag) || self.other.is_some_and(|(other, because)| other == tag && because != Because::Closing)
    }

    pub(super) fn tried(&self) -> Option<u32> {
        self.other.filter(|(_, because)| *because == Because::Tried).map(|(tag, _)| tag)
    }

    pub(super) fn announced(&self) -> Option<(u32, bool)> {
        match self.other {
            Some((tag, Because::Announced { echoed, .. })) => Some((tag, echoed)),
            Some((_, Because::Tried | Because::Closing)) | None => None,
        }
    }

    pub(super) fn answer(&self) -> Answer {
        match self.other {
            Some((_, Because::Announced { answer, .. })) => answer,
            Some((_, Because::Tried | Because::Closing)) | None => Answer::Awaited,
        }
    }

    /// The end says of itself, or is answered, that this is its other name.
    pub(super) fn say(&mut self, tag: u32, answer: Answer) {
        if self.announced().map(|(other, _)| other) != Some(tag) {
            self.other = Some((tag, Because::Announced { echoed: false, answer }));
        } else if let Some((_, Because::Announced { answer: known, .. })) = &mut self.other
            && *known == Answer::Awaited
        {
            *known = answer;
        }
    }

    /// The end begins by this name. False if it is no news, or an attempt stands before it whose cookie may come.
    pub(super) fn begin(&mut self, tag: u32) -> bool {
        if self.announced().map(|(other, _)| other) == Some(tag) {
            return false;
        }
        if let Some((_, Because::Announced { answer, .. })) = &mut self.other
            && *answer == Answer::Seen
        {
            *answer = Answer::Old;
            return false;
        }
        self.say(tag, Answer::Awaited);
        true
    }

    /// What it has said of itself has come to nothing.
    pub(super) fn take_back(&mut self) {
        self.other = self.other.filter(|(_, because)| !matches!(because, Because::Announced { .. }));
    }

    /// Another name by hearsay counts less than what the end has said itself.
    pub(super) fn hear(&mut self, tag: u32, because: Because) {
        if self.announced().is_none() {
            self.other = Some((tag, because));
        }
    }
}
