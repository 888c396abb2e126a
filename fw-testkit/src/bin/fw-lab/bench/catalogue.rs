//! The benchmarks that there are. Those of a group share what they raise.

use anyhow::{Result, bail};

use super::outcome::Outcome;
use super::session::Session;
use super::{
    collection, concurrent, connections, denied, established, flood, latency, new, rule_sets, sockets, telemetry,
    variants,
};

/// Benchmarks that are run together.
pub(super) struct Group {
    names: Vec<&'static str>,
    run: fn(&Session, &[&str]) -> Result<Vec<Outcome>>,
}

/// Every group, in the order in which they are run.
fn groups() -> Vec<Group> {
    vec![
        Group { names: established::CASES.map(|case| case.name).to_vec(), run: established::run },
        Group { names: variants::CASES.map(|case| case.name).to_vec(), run: variants::run },
        Group { names: new::BENCHMARKS.map(|(name, _)| name).to_vec(), run: new::run },
        Group { names: latency::names(), run: latency::run },
        Group { names: vec![telemetry::NAME], run: telemetry::run },
        Group { names: vec![rule_sets::NAME], run: rule_sets::run },
        Group { names: vec![collection::NAME], run: collection::run },
        Group { names: denied::BENCHMARKS.map(|(name, _)| name).to_vec(), run: denied::run },
        Group { names: vec![connections::NAME], run: connections::run },
        Group { names: vec![concurrent::NAME], run: concurrent::run },
        Group { names: sockets::names(), run: sockets::run },
        Group { names: vec![flood::NAME], run: flood::run },
    ]
}

/// The names of all benchmarks.
pub(super) fn names() -> Vec<&'static str> {
    groups().into_iter().flat_map(|group| group.names).collect()
}

/// A group and what was chosen of it.
pub(super) struct Choice {
    group: Group,
    names: Vec<&'static str>,
}

/// The benchmarks with these names; all if none is named.
pub(super) fn choose(only: &[String]) -> Result<Vec<Choice>> {
    let known = names();
    if let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no benchmark {unknown:?}; there are: {}", known.join(", "));
    }
    let is_chosen = |name: &&'static str| only.is_empty() || only.iter().any(|chosen| chosen == name);
    let choices = groups().into_iter().map(|group| {
        let names = group.names.iter().copied().filter(|name| is_chosen(name)).collect();
        Choice { group, names }
    });
    Ok(choices.filter(|choice| !choice.names.is_empty()).collect())
}

impl Choice {
    /// The benchmarks, for people.
    pub(super) fn title(&self) -> String {
        self.names.join(", ")
    }

    pub(super) fn run(&self, session: &Session) -> Result<Vec<Outcome>> {
        (self.group.run)(session, &self.names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_runs_only_what_was_chosen_of_it() {
        let chosen = choose(&["established_100k".to_owned()]).unwrap();
        assert_eq!(chosen.iter().map(|choice| choice.names.clone()).collect::<Vec<_>>(), [["established_100k"]]);
        assert!(choose(&["nothing".to_owned()]).is_err());
        assert_eq!(choose(&[]).unwrap().len(), groups().len());
    }
}
