//! Who had which interface when: what tests ask to know that there were never two.

use super::Time;

/// One instance's time with one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The interface.
    pub interface: String,
    /// The instance.
    pub instance: String,
    /// From the call that attached it.
    pub from: Time,
    /// Until it was available again; `None`: to this day.
    pub until: Option<Time>,
}

/// All of them, in the order in which they began.
#[derive(Clone, Debug, Default)]
pub struct Owners(Vec<Ownership>);

impl Owners {
    pub(super) fn begin(&mut self, interface: &str, instance: &str, now: Time) {
        let (interface, instance) = (interface.to_owned(), instance.to_owned());
        self.0.push(Ownership { interface, instance, from: now, until: None });
    }

    pub(super) fn end(&mut self, interface: &str, now: Time) {
        let open = self.0.iter_mut().rev().find(|one| one.interface == interface && one.until.is_none());
        if let Some(open) = open {
            open.until = Some(now);
        }
    }

    /// Who had an interface, from the first to the last.
    pub fn of<'a>(&'a self, interface: &'a str) -> impl Iterator<Item = &'a Ownership> {
        self.0.iter().filter(move |one| one.interface == interface)
    }

    /// Two that had the same interface at the same time, if there are any.
    #[must_use]
    pub fn overlap(&self) -> Option<(&Ownership, &Ownership)> {
        self.0.iter().enumerate().find_map(|(position, first)| {
            let later = self.0.iter().skip(position + 1).filter(|second| second.interface == first.interface);
            later
                .into_iter()
                .find(|second| first.until.is_none_or(|until| second.from < until))
                .map(|second| (first, second))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_overlap_is_found() {
        let at = Duration::from_secs;
        let mut owners = Owners::default();
        owners.begin("eni-1", "i-1", at(1));
        owners.end("eni-1", at(2));
        owners.begin("eni-1", "i-2", at(2));
        owners.begin("eni-2", "i-1", at(2));
        assert_eq!(owners.overlap(), None);
        assert_eq!(owners.of("eni-1").map(|one| one.until).collect::<Vec<_>>(), [Some(at(2)), None]);
        owners.begin("eni-1", "i-3", at(9));
        let (first, second) = owners.overlap().unwrap();
        assert_eq!((first.instance.as_str(), second.instance.as_str()), ("i-2", "i-3"));
    }
}
