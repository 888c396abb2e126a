//! What goes wrong on purpose: for single actions, and for the Region as a whole.

use std::time::Duration;

use super::model::ApiError;

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Harm {
    /// It is refused, and changes nothing.
    Refused(ApiError),
    /// It waits before anything is done.
    Delayed(Duration),
    /// Nothing is done, and nobody ever answers.
    Hangs,
    /// Nothing is done, and the connection is reset.
    Reset,
    /// It is done, and the connection is reset instead of an answer.
    DoneThenReset,
    /// It is done, and nobody ever answers.
    DoneThenHangs,
}

/// A rule: what happens to calls of an action, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The action, such as `AttachNetworkInterface`; `*` is every action.
    pub action: String,
    /// How often; `None` is for ever.
    pub times: Option<u32>,
    /// What happens.
    pub harm: Harm,
}

impl Fault {
    /// What happens to the next call of an action.
    #[must_use]
    pub fn once(action: &str, harm: Harm) -> Self {
        Self { action: action.to_owned(), times: Some(1), harm }
    }

    /// What happens to all calls of an action.
    #[must_use]
    pub fn always(action: &str, harm: Harm) -> Self {
        Self { action: action.to_owned(), times: None, harm }
    }

    /// The next calls of an action are too many (EC2 developer guide, "Request throttling").
    #[must_use]
    pub fn throttled(action: &str, times: u32) -> Self {
        Self { action: action.to_owned(), times: Some(times), harm: Harm::Refused(throttled_in_ec2()) }
    }
}

/// What EC2 says to who asks too often.
pub(super) fn throttled_in_ec2() -> ApiError {
    ApiError::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503)
}

/// The rules, of which the first that fits a call counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn set(&mut self, faults: Vec<Fault>) {
        self.0 = faults;
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// What happens to a call of this action.
    pub(super) fn next(&mut self, action: &str) -> Option<Harm> {
        let fits = |fault: &&mut Fault| (fault.action == action || fault.action == "*") && fault.times != Some(0);
        let fault = self.0.iter_mut().find(fits)?;
        fault.times = fault.times.map(|times| times - 1);
        Some(fault.harm.clone())
    }
}

/// Whether the Region can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Region {
    /// It answers.
    #[default]
    Up,
    /// Nobody listens.
    Refuses,
    /// Connections are taken, and nobody ever answers.
    BlackHole,
    /// Everything is too much.
    Throttles,
    /// All credentials have expired.
    CredentialsExpired,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_used_up_in_their_order() {
        let mut faults = Faults::default();
        faults.add(Fault::once("A", Harm::Hangs));
        faults.add(Fault::always("*", Harm::Reset));
        faults.add(Fault::once("B", Harm::Hangs));
        let harms = ["B", "A", "A"].map(|action| faults.next(action));
        assert_eq!(harms, [Some(Harm::Reset), Some(Harm::Hangs), Some(Harm::Reset)]);
        faults.set(Vec::new());
        assert_eq!(faults.next("A"), None);
    }
}
