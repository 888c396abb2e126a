//! A plan for people: what comes, goes and changes, each behind its mark, and a last line that sums it up.

use std::fmt::Write as _;
use std::path::Path;

use fw_policy::PacketClass;
use fw_policy::plan::{Change, DecidedBy, DefinitionChange, Flip, KeyChange, Moved, RuleChange};

use super::known::{FeedList, Side};
use super::{Against, Answer};
use crate::plan::live::{Group, Live};

/// The lines are no longer than this, in characters.
const WIDTH: usize = 80;

/// So many classes of a flip, elements of a list, or groups of flows are shown; all are in JSON.
const SHOWN: usize = 5;

/// So many rules, and other definitions, are shown.
const RULES: usize = 100;

/// So many flips of a kind are shown.
const FLIPS: usize = 10;

/// A mark in front of what it says.
#[derive(Clone, Copy)]
enum Mark {
    Added,
    Removed,
    Changed,
    Moved,
}

impl Mark {
    const fn of(change: Change) -> Self {
        match change {
            Change::Added => Self::Added,
            Change::Removed => Self::Removed,
            Change::Changed => Self::Changed,
            Change::Moved => Self::Moved,
        }
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Added => "+",
            Self::Removed => "-",
            Self::Changed => "~",
            Self::Moved => "→",
        }
    }

    /// A colour of ECMA-48, section 8.3.117.
    const fn color(self) -> &'static str {
        match self {
            Self::Added => "\u{1b}[32m",
            Self::Removed => "\u{1b}[31m",
            Self::Changed => "\u{1b}[33m",
            Self::Moved => "\u{1b}[36m",
        }
    }
}

/// Lines in the making.
struct Page {
    lines: Vec<String>,
    color: bool,
}

impl Page {
    fn heading(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.lines.push(String::new());
        }
        let first = self.lines.len();
        self.text(0, text);
        if self.color {
            self.lines[first..].iter_mut().for_each(|line| *line = format!("\u{1b}[1m{line}\u{1b}[0m"));
        }
    }

    /// Text that stands in so far; what is too long goes on in the next line, a little further in.
    fn text(&mut self, indent: usize, text: &str) {
        let mut line = " ".repeat(indent);
        let mut is_begun = false;
        for word in text.split(' ') {
            if is_begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.lines.push(std::mem::replace(&mut line, " ".repeat(indent + 2)));
                is_begun = false;
            }
            if is_begun {
                line.push(' ');
            }
            line.push_str(word);
            is_begun = true;
        }
        self.lines.push(line);
    }

    /// The same behind a mark.
    fn marked(&mut self, indent: usize, mark: Mark, text: &str) {
        let first = self.lines.len();
        self.text(indent, &format!("{} {text}", mark.sign()));
        if self.color {
            let (color, sign) = (mark.color(), mark.sign());
            self.lines[first] = self.lines[first].replacen(sign, &format!("{color}{sign}\u{1b}[0m"), 1);
        }
    }

    fn more(&mut self, indent: usize, shown: usize, total: usize) {
        if total > shown {
            self.text(indent, &format!("and {} more", total - shown));
        }
    }
}

/// The lines of a plan for the files in a directory.
pub(super) fn lines(answer: &Answer, directory: &Path, color: bool) -> Vec<String> {
    let mut page = Page { lines: Vec::new(), color };
    let (plan, against) = (&answer.plan, against(&answer.against));
    page.heading(&format!("{} in place of {against}", directory.display()));
    if !plan.difference.rules.is_empty() {
        page.heading("Rules");
        plan.difference.rules.iter().take(RULES).for_each(|rule| show_rule(&mut page, rule));
        page.more(4, RULES, plan.difference.rules.len());
    }
    if !plan.difference.definitions.is_empty() {
        page.heading("Definitions");
        plan.difference.definitions.iter().take(RULES).for_each(|definition| show_definition(&mut page, definition));
        page.more(4, RULES, plan.difference.definitions.len());
    }
    if !plan.flips.is_empty() || !plan.undecided.is_empty() {
        page.heading("Packets that open flows");
        show_flips(&mut page, &plan.flips);
    }
    for pair in plan.undecided.iter().take(SHOWN) {
        let text = format!("{} > {}: not decided, it would take too long; there may be more", pair.from, pair.to);
        page.marked(2, Mark::Changed, &text);
    }
    page.more(4, SHOWN, plan.undecided.len());
    if let Some(live) = &answer.live {
        show_live(&mut page, live);
    }
    if !plan.dated.is_empty() {
        page.heading("Within 30 days");
        for dated in plan.dated.iter().take(SHOWN) {
            page.text(2, &format!("`{}` ({}) {} {}", dated.rule, dated.action, dated.what, dated.at));
        }
        page.more(4, SHOWN, plan.dated.len());
    }
    let unknown: Vec<&FeedList> = answer.feeds.iter().filter(|feed| feed.entries.is_none()).collect();
    if !unknown.is_empty() {
        page.heading("Feeds whose lists are not known, counted as empty");
        unknown.iter().for_each(|feed| show_unknown(&mut page, feed));
    }
    if !answer.tests.failed.is_empty() {
        page.heading("Tests of the new policy that fail");
        answer.tests.failed.iter().for_each(|failed| page.marked(2, Mark::Removed, failed));
    }
    let (summary, details) = summary(answer);
    page.heading(&summary);
    page.text(0, &details);
    page.lines
}

fn against(against: &Against) -> String {
    match against {
        Against::Revision(revision) => format!("revision {revision}, which is in force"),
        Against::Directory(directory) => directory.display().to_string(),
    }
}

fn show_rule(page: &mut Page, rule: &RuleChange) {
    let renamed = rule.renamed_from.as_ref().map(|old| format!(", renamed from `{old}`")).unwrap_or_default();
    let head = format!("`{}` ({}) {}{renamed}", rule.id, rule.place, rule.action);
    let moved = rule.moved.as_ref().map(|Moved { was_behind, is_behind }| {
        let behind =
            |rule: &Option<String>| rule.as_ref().map_or("first".to_owned(), |rule| format!("behind `{rule}`"));
        format!("{}, was {}", behind(is_behind), behind(was_behind))
    });
    match moved {
        Some(moved) if rule.change == Change::Moved => page.marked(2, Mark::Moved, &format!("{head}: {moved}")),
        moved => {
            page.marked(2, Mark::of(rule.change), &head);
            rule.keys.iter().for_each(|key| show_key(page, key));
            moved.iter().for_each(|moved| page.marked(6, Mark::Moved, moved));
        }
    }
}

fn show_definition(page: &mut Page, definition: &DefinitionChange) {
    let DefinitionChange { change, kind, name, keys } = definition;
    let name = if name.is_empty() { String::new() } else { format!(" `{name}`") };
    page.marked(2, Mark::of(*change), &format!("{kind}{name}"));
    keys.iter().for_each(|key| show_key(page, key));
}

fn show_key(page: &mut Page, key: &KeyChange) {
    let KeyChange { key, old, new, added, removed, more } = key;
    let name = if key.is_empty() { String::new() } else { format!("{key} ") };
    if added.is_empty() && removed.is_empty() {
        match (old, new) {
            (Some(old), Some(new)) => page.marked(6, Mark::Changed, &format!("{name}{old} → {new}")),
            (None, Some(new)) => page.marked(6, Mark::Added, &format!("{name}{new}")),
            (Some(old), None) => page.marked(6, Mark::Removed, &format!("{name}{old}")),
            (None, None) => page.marked(6, Mark::Changed, &name),
        }
        return;
    }
    for (mark, elements) in [(Mark::Added, added), (Mark::Removed, removed)] {
        let shown: Vec<&str> = elements.iter().take(SHOWN).map(String::as_str).collect();
        if !shown.is_empty() {
            let rest = elements.len() - shown.len();
            let rest = if rest == 0 { String::new() } else { format!(" and {rest} more") };
            page.marked(6, mark, &format!("{name}{}{rest}", shown.join(", ")));
        }
    }
    if *more > 0 {
        page.text(8, &format!("and {more} more elements"));
    }
}

/// What is opened, what is closed, and what is denied in another way, the first of each kind.
fn show_flips(page: &mut Page, flips: &[Flip]) {
    for (kind, mark) in [(Kind::Opened, Mark::Added), (Kind::Closed, Mark::Removed), (Kind::Denied, Mark::Changed)] {
        let of_kind: Vec<&Flip> = flips.iter().filter(|flip| Kind::of(flip) == kind).collect();
        of_kind.iter().take(FLIPS).for_each(|flip| show_flip(page, mark, flip));
        if of_kind.len() > FLIPS {
            page.marked(2, mark, &format!("and {} more", of_kind.len() - FLIPS));
        }
    }
}

/// What a flip does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Opened,
    Closed,
    Denied,
}

impl Kind {
    fn of(flip: &Flip) -> Self {
        match (flip.old.action, flip.new.action) {
            (_, "allow") => Self::Opened,
            ("allow", _) => Self::Closed,
            _ => Self::Denied,
        }
    }
}

fn show_flip(page: &mut Page, mark: Mark, flip: &Flip) {
    page.marked(2, mark, &format!("{} → {}", decided(&flip.old), decided(&flip.new)));
    flip.classes.iter().take(SHOWN).for_each(|class| page.text(6, &class_text(class)));
    page.more(8, SHOWN.min(flip.classes.len()), flip.classes.len() + flip.more);
    if flip.partial {
        page.text(8, "and others, which are too scattered to be listed");
    }
    page.text(6, &format!("such as {}", flip.example));
}

fn decided(by: &DecidedBy) -> String {
    let place = by.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
    match &by.rule {
        Some(rule) => format!("{} by `{rule}`{place}", by.action),
        None => format!("{}, in no zone", by.action),
    }
}

fn class_text(class: &PacketClass) -> String {
    let zone = |name: &str, was: &Option<String>| match was {
        Some(was) => format!("{name} (was {was})"),
        None => name.to_owned(),
    };
    let mut text = format!("{} > {}: ", zone(&class.from, &class.from_was), zone(&class.to, &class.to_was));
    // Writing to a text cannot fail.
    let _ = write!(text, "{} > {}, {}", class.source, class.destination, class.services);
    if class.families.len() == 1 && class.source.to_string() == "any" && class.destination.to_string() == "any" {
        let _ = write!(text, " ({})", class.families[0]);
    }
    text
}

fn show_live(page: &mut Page, live: &Live) {
    if live.cut_flows() > 0 || live.unsure > 0 {
        page.heading(&format!("Flows that would be cut: {} of {}", live.cut_flows(), live.flows));
        live.cut.iter().take(SHOWN).for_each(|group| show_group(page, Mark::Removed, "allowed", "denied", group));
        page.more(4, SHOWN, live.cut.len());
    }
    if live.unsure > 0 {
        let text = format!("{} flows may be cut as well, by where they leave, which is not known", live.unsure);
        page.marked(2, Mark::Changed, &text);
    }
    if live.passing_flows() > 0 {
        page.heading(&format!("Denied lately, and would pass: {} of {}", live.passing_flows(), live.denied));
        live.passing.iter().take(SHOWN).for_each(|group| show_group(page, Mark::Added, "denied", "allowed", group));
        page.more(4, SHOWN, live.passing.len());
    }
}

fn show_unknown(page: &mut Page, FeedList { feed, url, policy, .. }: &FeedList) {
    let mark = match policy {
        Side::New => Mark::Added,
        Side::Old => Mark::Removed,
        Side::Both => Mark::Changed,
    };
    page.marked(2, mark, &format!("`{feed}`, {url}"));
}

fn show_group(page: &mut Page, mark: Mark, was: &str, is: &str, group: &Group) {
    let by = |rule: &Option<String>| match rule {
        Some(rule) => format!("by `{rule}`"),
        None => "in no zone".to_owned(),
    };
    let (old, new) = (by(&group.old_rule), by(&group.new_rule));
    let flows = counted(group.flows, "flow");
    page.marked(2, mark, &format!("{flows} {was} {old} → {is} {new}: {} bytes", group.bytes));
    for example in &group.examples {
        page.text(6, &format!("{}: {} bytes", example.shown(), example.bytes));
    }
}

fn counted(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// The last lines: what it comes to, and what else is to be known.
fn summary(answer: &Answer) -> (String, String) {
    let plan = &answer.plan;
    let of = |wanted: Change| plan.difference.rules.iter().filter(|rule| rule.change == wanted).count();
    let rules = [
        (of(Change::Added), "added"),
        (of(Change::Removed), "removed"),
        (of(Change::Changed), "changed"),
        (of(Change::Moved), "moved"),
    ];
    let flips = |kind: Kind| plan.flips.iter().filter(|flip| Kind::of(flip) == kind).count();
    let [opened, closed, others] = [Kind::Opened, Kind::Closed, Kind::Denied].map(flips);
    let summary = if plan.is_empty() {
        "Plan: nothing changes.".to_owned()
    } else {
        let rules = rules.map(|(count, what)| format!("{count} {what}")).join(", ");
        let cut = answer.live.as_ref().map(|live| format!("; {} cut", counted(live.cut_flows(), "flow")));
        format!(
            "Plan: rules: {rules}; {} changed; kinds of packets: {opened} opened, {closed} closed, {others} denied otherwise{}.",
            counted(plan.difference.definitions.len() as u64, "other definition"),
            cut.unwrap_or_default()
        )
    };
    let kib = |bytes: u64| bytes.div_ceil(1024);
    let mut details = format!("Tables: {} KiB, then {} KiB.", kib(answer.memory.before), kib(answer.memory.after));
    let _ = write!(details, " Tests: {} passed, {} failed.", answer.tests.passed, answer.tests.failed.len());
    if plan.handovers > 0 {
        let _ = write!(
            details,
            " In {} a rule decides what another one did, alike.",
            counted(plan.handovers as u64, "case")
        );
    }
    (summary, details)
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
