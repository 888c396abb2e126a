//! The temporary credentials of an instance's role, as the metadata service hands them out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::Time;
use super::state::Caller;

/// How long credentials are good unless it is said otherwise (EC2 user guide, "Retrieve security credentials").
const LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// What somebody signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credential {
    pub(super) key: String,
    pub(super) secret: String,
    pub(super) session: String,
    pub(super) from: Time,
    pub(super) until: Time,
}

/// All that have been handed out.
#[derive(Debug)]
pub(super) struct Credentials {
    lifetime: Duration,
    count: u64,
    newest: BTreeMap<String, Credential>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self { lifetime: LIFETIME, count: 0, newest: BTreeMap::new() }
    }
}

impl Credentials {
    pub(super) fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    /// Those of an instance: new ones when less than a quarter of their time is left. New ones come with who may use them.
    pub(super) fn of(&mut self, instance: &str, account: &str, now: Time) -> (Credential, Option<Caller>) {
        let good = |known: &&Credential| now + self.lifetime / 4 < known.until;
        if let Some(known) = self.newest.get(instance).filter(good) {
            return (known.clone(), None);
        }
        self.count += 1;
        let made = Credential {
            key: format!("ASIAFAKE{:012}", self.count),
            secret: format!("secret-{}", self.count),
            session: format!("session-{}", self.count),
            from: now,
            until: now + self.lifetime,
        };
        self.newest.insert(instance.to_owned(), made.clone());
        let caller = Caller { session: Some(made.session.clone()), expires: Some(made.until), ..Caller::of(account) };
        (made, Some(caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_renewed_before_they_expire() {
        let at = Duration::from_secs;
        let mut credentials = Credentials::default();
        credentials.set_lifetime(at(100));
        let (first, caller) = credentials.of("i-1", "1", at(0));
        assert_eq!(caller.unwrap().expires, Some(at(100)));
        assert_eq!(credentials.of("i-1", "1", at(74)), (first.clone(), None));
        let (second, caller) = credentials.of("i-1", "1", at(75));
        assert_ne!(first.key, second.key);
        assert_eq!(caller.unwrap().session, Some(second.session));
    }
}
