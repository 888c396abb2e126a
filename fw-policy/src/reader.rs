//! Reads policies one after the other, of which each differs little from the one before.
//!
//! Nearly all of what a large policy takes to be read is its rules. Where an edit has changed some of them and nothing else, only
//! these are read ([`crate::edit`] says which), checked against what the others name, and put in the place of the old ones. The
//! result is that of reading everything; what that cannot be told of is read whole: other tables, anything that there is to say
//! about the new rules or about the policy before, files that come or go.

use std::collections::HashSet;
use std::sync::Arc;

use crate::diagnostic::{Diagnostics, Report};
use crate::edit::{self, Edit};
use crate::feed::FeedContents;
use crate::include::{self, Surroundings};
use crate::parse;
use crate::policy::{Placed, Policy};
use crate::source::{Location, SourceFile, Sources};
use crate::validate::{self, Context};

/// Reads policies, and remembers the last one that was valid.
///
/// ```
/// # use fw_policy::{Reader, Rule, SourceFile};
/// # let text = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[[rule]]\nid = \"r\"\nfrom = [\"a\"]\nto = [\"a\"]\naction = \"drop\"\n";
/// # let files = [SourceFile { name: "policy.toml".into(), text: text.into() }];
/// let mut reader = Reader::default();
/// assert_eq!(reader.load(&files)?.rules().next().map(Rule::id), Some("r"));
/// let edited = [SourceFile { name: "policy.toml".into(), text: text.replace("\"r\"", "\"s\"") }];
/// assert_eq!(reader.load(&edited)?.rules().next().map(Rule::id), Some("s"));
/// # Ok::<(), fw_policy::Diagnostics>(())
/// ```
#[derive(Default)]
pub struct Reader {
    last: Option<Last>,
}

/// A valid policy without warnings, and what it takes to change its rules.
struct Last {
    policy: Policy,
    context: Context,
    /// For each file whether its rules can be told apart by their first lines.
    plain: Vec<bool>,
}

impl Reader {
    /// As [`crate::load`], and quicker if only some rules differ from the last time.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in any of the files, at once; the last policy is forgotten then.
    pub fn load(&mut self, files: &[SourceFile]) -> Result<&Policy, Diagnostics> {
        self.load_with(files, &FeedContents::default())
    }

    /// The same, with what is known of feeds.
    ///
    /// # Errors
    ///
    /// As [`Reader::load`].
    pub fn load_with(&mut self, files: &[SourceFile], contents: &FeedContents) -> Result<&Policy, Diagnostics> {
        let renewed = self.last.take().and_then(|last| last.renewed(files));
        let mut last = match renewed {
            Some(last) => last,
            None => {
                let (policy, context) = read(files)?;
                Last { policy, context, plain: files.iter().map(|file| edit::is_plain(&file.text)).collect() }
            }
        };
        if last.policy.fill(contents) {
            // Rules that are read later name the feeds as well.
            last.context.take_addresses(&last.policy.addresses);
        }
        Ok(&self.last.insert(last).policy)
    }
}

/// Reads all files.
pub(crate) fn read(files: &[SourceFile]) -> Result<(Policy, Context), Diagnostics> {
    read_among(files, &Surroundings::default())
}

/// The same, where it is known what else there is.
pub(crate) fn read_among(files: &[SourceFile], around: &Surroundings) -> Result<(Policy, Context), Diagnostics> {
    let sources = Arc::new(Sources::new(files));
    let mut report = Report::new(Arc::clone(&sources));
    let definitions = parse::parse(&sources, &mut report);
    include::check(&definitions.includes, &sources, around, &mut report);
    let (mut policy, context) = validate::validate(definitions, sources, &mut report);
    report.drop_consequences_of_what_was_not_read();
    policy.warnings = report.finish()?;
    Ok((policy, context))
}

impl Last {
    /// The policy of files of which some rules differ; `None` if they must be read whole.
    fn renewed(mut self, files: &[SourceFile]) -> Option<Self> {
        let before = Arc::clone(&self.policy.sources);
        let same_names = before.files().map(|(_, file)| &file.name).eq(files.iter().map(|file| &file.name));
        if !same_names || !self.policy.warnings.is_empty() {
            return None;
        }
        let now = Arc::new(before.renewed(files));
        self.policy.sources = Arc::clone(&now);
        for (file, old, new) in now.changed_from(&before) {
            let plain = self.plain.get(file as usize).is_some_and(|plain| *plain);
            let edit = plain.then(|| edit::between(&old.text, &new.text))??;
            self.replace_rules(file, &edit, &old.text, &new.text)?;
        }
        Some(self)
    }

    /// Follows an edit of a file.
    fn replace_rules(&mut self, file: u32, edit: &Edit, before: &str, text: &str) -> Option<()> {
        let mut report = Report::new(Arc::clone(&self.policy.sources));
        let definitions = parse::parse_rules(file, &text[edit.new.clone()], &mut report)?;
        let count = definitions.len();
        let mut rules = self.context.rules(definitions, &mut report);
        if report.finish().ok()?.is_empty().then_some(rules.len()) != Some(count) {
            return None;
        }
        let at = |offset: usize| Location::new(file, offset..offset);
        let first = self.policy.rules.partition_point(|rule| rule.at < at(edit.old.start));
        let behind = self.policy.rules.partition_point(|rule| rule.at < at(edit.old.end));
        // What was there were rules as well, and nothing behind them that has gone or changed with them.
        let mut report_of_old = Report::new(Arc::clone(&self.policy.sources));
        let old = parse::parse_rules(file, &before[edit.old.clone()], &mut report_of_old)?;
        if old.len() != behind - first || !self.names_fit(&rules, first..behind) {
            return None;
        }
        rules.iter_mut().for_each(|rule| rule.at = rule.at.shifted(i64::try_from(edit.new.start).unwrap_or(0)));
        self.policy.rules.splice(first..behind, rules);
        self.shift(file, edit, first + count);
        Some(())
    }

    /// Whether no other rule has one of the new ids, and no test expects a rule that is gone.
    fn names_fit(&self, rules: &[Placed], replaced: std::ops::Range<usize>) -> bool {
        let ids = |rules: &[Placed]| rules.iter().map(|rule| rule.id.clone()).collect::<HashSet<String>>();
        let (new, old) = (ids(rules), ids(&self.policy.rules[replaced.clone()]));
        let (before, behind) = (&self.policy.rules[..replaced.start], &self.policy.rules[replaced.end..]);
        // An id that was one of the replaced rules' was no other's.
        let fresh: HashSet<&String> = new.difference(&old).collect();
        let taken = !fresh.is_empty() && before.iter().chain(behind).any(|rule| fresh.contains(&rule.id));
        let gone: HashSet<&str> = old.difference(&new).map(String::as_str).collect();
        let mut expected = self.policy.tests.iter().filter_map(|test| test.expected_rule.as_deref());
        !taken && !expected.any(|rule| gone.contains(rule))
    }

    /// What stands behind an edit, stands elsewhere now; the rules from `first` on among it.
    fn shift(&mut self, file: u32, edit: &Edit, first: usize) {
        let by = edit.new.len() as i64 - edit.old.len() as i64;
        if by == 0 {
            return;
        }
        let end = u32::try_from(edit.old.end).unwrap_or(u32::MAX);
        let shift = |at: &mut Location| {
            if at.file == file && at.start >= end {
                *at = at.shifted(by);
            }
        };
        let Policy {
            defaults,
            zones,
            rules,
            zone_pairs,
            tests,
            invariants,
            feeds,
            named_addresses,
            named_services,
            ..
        } = &mut self.policy;
        rules[first..].iter_mut().take_while(|rule| rule.at.file == file).for_each(|rule| shift(&mut rule.at));
        shift(&mut defaults.at);
        zones.iter_mut().for_each(|zone| shift(&mut zone.at));
        zone_pairs.iter_mut().for_each(|pair| shift(&mut pair.at));
        Arc::make_mut(feeds).iter_mut().for_each(|feed| shift(&mut feed.at));
        tests.iter_mut().for_each(|test| shift(&mut test.at));
        invariants.iter_mut().for_each(|invariant| shift(&mut invariant.at));
        named_addresses.iter_mut().chain(named_services).for_each(|set| shift(&mut set.at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(middle: &str, tail: &str) -> [SourceFile; 2] {
        let rule = |id: &str| format!("[[rule]]\nid = \"{id}\"\nfrom = [\"a\"]\nto = [\"a\"]\naction = \"drop\"\n");
        let head = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n";
        let texts = [format!("{head}{}{middle}{}{tail}", rule("first"), rule("last")), "version = 1\n".to_owned()];
        texts.map(|text| SourceFile { name: text.len().to_string(), text })
    }

    fn last(files: &[SourceFile]) -> Last {
        let mut reader = Reader::default();
        reader.load(files).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        reader.last.unwrap()
    }

    fn renamed(files: [SourceFile; 2], like: &[SourceFile; 2]) -> [SourceFile; 2] {
        let [one, two] = files;
        [SourceFile { name: like[0].name.clone(), ..one }, SourceFile { name: like[1].name.clone(), ..two }]
    }

    const RULE: &str = "[[rule]]\nid = \"r\"\nfrom = [\"a\"]\nto = [\"a\"]\naction = \"allow\"\n";

    #[test]
    fn an_edit_of_rules_is_read_by_itself() {
        let before = files(RULE, "");
        for middle in
            [RULE.replace("allow", "reject"), RULE.replace("\"r\"", "\"s\""), format!("{RULE}# a\n"), String::new()]
        {
            let after = renamed(files(&middle, ""), &before);
            let renewed = last(&before).renewed(&after).expect("nothing else has changed");
            let places =
                |policy: &Policy| policy.rules.iter().map(|rule| (rule.id.clone(), rule.at)).collect::<Vec<_>>();
            assert_eq!(places(&renewed.policy), places(&last(&after).policy));
        }
    }

    #[test]
    fn what_is_more_than_that_is_read_whole() {
        let expects = "[[test]]\nname = \"t\"\npacket = { from = \"a\", to = \"a\", src = \"10.0.0.1\", dst = \"10.0.0.2\", \
                       service = \"tcp/80\" }\nexpect = \"drop\"\nrule = \"r\"\n";
        let before = files(RULE, expects);
        let wholly = |middle: &str| last(&before).renewed(&renamed(files(middle, expects), &before)).is_none();
        assert!(wholly(&RULE.replace("\"r\"", "\"first\"")), "the id is taken");
        assert!(wholly(&RULE.replace("\"r\"", "\"s\"")), "a test expects the rule");
        assert!(wholly(&RULE.replace("[\"a\"]", "[\"a\", \"a\"]")), "there is something to say");
        assert!(wholly(&format!("{RULE}[addresses]\n")), "not only rules");
        assert!(last(&before).renewed(&files(RULE, expects)[..1]).is_none(), "a file is gone");
    }
}
