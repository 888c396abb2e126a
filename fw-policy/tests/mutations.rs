//! One mistake, somewhere in a policy that is right: nothing panics, and whatever is reported leads to the mistake.
//!
//! An error *leads to* a changed line if one of its places, the primary one or a related one, is
//!
//! 1. on that line, or where a line was removed on the one in front of it or behind it;
//! 2. on the header of the table that the line stands in, for what is missing there or what the table as a whole means;
//! 3. on a key of the same table that goes with the one on the line (FW0033, FW0034);
//! 4. in a table that begins or ends at the line: a header was changed, so that keys have come under another one;
//! 5. a use of a name that the line, or the table that it stood in, defined, and that is not defined any more;
//! 6. at the top of the file, for `version`, or of the first file, for `[defaults]`, which have no other place if they are gone.

use fw_policy::{Code, Diagnostic, Place, SourceFile, load};

/// A policy that uses what those in `policies/` do not.
const MORE: &str = include_str!("complete.toml");

/// Pseudo-random numbers (Marsaglia, Xorshift RNGs, 2003), the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap_or(0)
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }
}

/// A changed file.
#[derive(Debug)]
struct Mutation {
    what: String,
    text: String,
    /// The changed line, from 1.
    line: usize,
    /// Whether it is gone, so that the number is that of the line behind it.
    is_removed: bool,
    /// What stood there.
    old: String,
    /// The names that the table there defined: that of its header, its keys, its id, and that of a zone pair.
    defined: Vec<String>,
}

const CHARACTERS: &[char] =
    &['x', '7', '"', '\'', '[', ']', '{', '}', '=', ',', '.', '/', '#', ' ', '@', '!', '-', 'é', '\0'];
const VALUES: &[&str] = &[
    "1",
    "true",
    "\"x\"",
    "[]",
    "[1]",
    "{}",
    "2026-13-01",
    "\"10.0.0.0/8\"",
    "[\"10.1.2.3/8\"]",
    "[\"@nowhere\"]",
    "",
    "inf",
];

fn mutate(text: &str, random: &mut Random) -> Option<Mutation> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let number = random.below(lines.len());
    let old = lines[number].clone();
    let key_and_value = old.split_once(" = ").map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut is_removed = false;
    let characters: Vec<char> = old.chars().collect();
    let what = match random.below(7) {
        0 => {
            lines.remove(number);
            is_removed = true;
            "line removed".to_owned()
        }
        1 | 2 if !characters.is_empty() => {
            let at = random.below(characters.len());
            let mut changed = characters;
            let new = random.pick(CHARACTERS);
            let what = if random.below(2) == 0 {
                changed.remove(at);
                format!("character {at} removed")
            } else {
                changed[at] = *new;
                format!("character {at} is now {new:?}")
            };
            lines[number] = changed.into_iter().collect();
            what
        }
        3 => {
            let words: Vec<&str> = old.split_inclusive([' ', ',', '"', '[', ']', '=']).collect();
            let at = random.below(words.len());
            let removed = words.get(at)?.to_string();
            let kept: Vec<&str> =
                words.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, word)| *word).collect();
            lines[number] = kept.concat();
            format!("token {removed:?} removed")
        }
        4 => {
            let (key, value) = key_and_value?;
            lines[number] = format!("{key}{} = {value}", random.pick(&["s", "_", "2"]));
            "key misspelt".to_owned()
        }
        5 => {
            let (key, _) = key_and_value?;
            let value = random.pick(VALUES);
            lines[number] = format!("{key} = {value}");
            format!("value is now {value}")
        }
        _ => {
            lines.insert(number, old.clone());
            "line doubled".to_owned()
        }
    };
    let defined = defined_by(text, number + 1);
    let text = lines.iter().map(|line| format!("{line}\n")).collect();
    Some(Mutation { what, text, line: number + 1, is_removed, old, defined })
}

fn defined_by(text: &str, line: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let table = table_of(text, line);
    let header = lines[table.start() - 1].trim_matches(['[', ']']).rsplit('.').next().unwrap_or_default();
    let pairs: Vec<_> =
        lines[table.start() - 1..*table.end()].iter().filter_map(|line| line.split_once(" = ")).collect();
    let value = |key: &str| pairs.iter().find(|(known, _)| *known == key).map(|(_, value)| value.trim_matches('"'));
    let pair = format!("default:{}>{}", value("from").unwrap_or_default(), value("to").unwrap_or_default());
    let keys = pairs.iter().map(|(key, _)| *key);
    keys.chain([header]).chain(value("id")).chain(value("name")).map(str::to_owned).chain([pair]).collect()
}

/// Lines that belong to the table that a line stands in: from its header to the line in front of the next one.
fn table_of(text: &str, line: usize) -> std::ops::RangeInclusive<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let is_header = |index: &usize| lines.get(*index).is_some_and(|line| line.trim_start().starts_with('['));
    let first = (0..line.min(lines.len())).rev().find(is_header).map_or(1, |index| index + 1);
    let last = (line..lines.len()).find(is_header).unwrap_or(lines.len());
    first..=last.max(first)
}

fn leads_to(error: &Diagnostic, mutation: &Mutation, file: &str, first_file: &str) -> bool {
    error.place.iter().chain(&error.related).any(|place| place_leads_to(error.code, place, mutation, file, first_file))
}

fn place_leads_to(code: Code, place: &Place, mutation: &Mutation, file: &str, first_file: &str) -> bool {
    let (line, text) = (place.line as usize, mutation.text.as_str());
    let Mutation { line: changed, old, defined, .. } = mutation;
    let used = place.text.trim_matches(['"', '\'']).trim_start_matches(['!', '@']);
    let is_unknown = matches!(code, Code::UnknownSet | Code::UnknownZone | Code::UnknownRule);
    if is_unknown && defined.iter().any(|name| name == used)
        || code == Code::Version && line == 1 && place.file == file
        || code == Code::Defaults && line == 1 && place.file == first_file
    {
        return true;
    }
    if place.file != file {
        return false;
    }
    let near = if mutation.is_removed { changed - 1..=*changed } else { *changed..=*changed };
    let table = table_of(text, *changed);
    let was_header = old.trim_start().starts_with('[');
    let is_header = text.lines().nth(changed - 1).is_some_and(|line| line.trim_start().starts_with('['));
    let in_front = table_of(text, table.start().saturating_sub(1).max(1));
    near.contains(&line)
        || line == *table.start()
        || matches!(code, Code::Schedule | Code::Contradiction) && table.contains(&line)
        || (was_header || is_header) && (table.contains(&line) || in_front.contains(&line))
}

fn files() -> Vec<SourceFile> {
    let names = ["00-zones", "10-addresses", "20-services", "50-rules", "90-tests"];
    let path = |name: &str| format!("{}/../policies/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(path(name)).expect("the file is in the repository");
    names.iter().map(|name| SourceFile { name: (*name).to_owned(), text: read(name) }).collect()
}

fn try_mutations(files: &[SourceFile], seed: u64, count: usize) {
    assert!(load(files).is_ok());
    let mut random = Random(seed);
    let (mut tried, mut refused) = (0, 0);
    while tried < count {
        let position = random.below(files.len());
        let Some(mutation) = mutate(&files[position].text, &mut random) else { continue };
        tried += 1;
        let mut changed = files.to_vec();
        changed[position].text.clone_from(&mutation.text);
        let Err(diagnostics) = load(&changed) else { continue };
        refused += 1;
        assert!(!diagnostics.render(true).is_empty());
        for error in &diagnostics.items {
            assert!(
                leads_to(error, &mutation, &files[position].name, &files[0].name),
                "{}:{}: {} of {:?}, now {:?}:\n{diagnostics}",
                files[position].name,
                mutation.line,
                mutation.what,
                mutation.old,
                mutation.text.lines().nth(mutation.line - 1)
            );
        }
    }
    assert!(refused > count / 4, "{refused} of {count} refused");
}

#[test]
fn a_mistake_in_the_example_policy_is_found_where_it_is() {
    try_mutations(&files(), 0x9e37_79b9_7f4a_7c15, 1_500);
}

#[test]
fn a_mistake_in_a_policy_that_uses_the_whole_language_is_found_where_it_is() {
    let file = SourceFile { name: "complete".to_owned(), text: MORE.to_owned() };
    try_mutations(&[file], 0x2545_f491_4f6c_dd1d, 1_500);
}
