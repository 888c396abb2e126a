//! A reader that reads only what an edit has changed against one that reads everything.

use fw_policy::{Binding, Compiled, Compiler, Diagnostics, Options, Policy, Reader, SourceFile, load};
use proptest::prelude::*;
use time::OffsetDateTime;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

const HEAD: &str = r#"version = 1
[defaults]
action = "drop"
[zones.a]
networks = ["10.1.0.0/16"]
[zones.b]
[addresses]
some = ["10.1.0.0/24", "!10.1.0.7"]
[services]
web = ["tcp/80", "tcp/443"]
"#;

const TAIL: &str = r#"[[test]]
name = "t"
packet = { from = "a", to = "b", src = "10.1.0.1", dst = "10.2.0.1", service = "tcp/80" }
expect = "allow"
rule = "r-1"
[[zone_pair]]
from = "b"
to = "a"
action = "reject"
"#;

/// What may be written in place of anything.
const SNIPPETS: &[&str] = &[
    "",
    "\n",
    "é",
    "# [[rule]]\n",
    "[[rule]]\n",
    "\"\"\"\n",
    "'''",
    "\"",
    "[rule.extra]\n",
    "[zones.c]\n",
    "rule = 1\n",
    "x = [\n",
    "[[rule]]\nid = \"new\"\nfrom = [\"a\"]\nto = [\"b\"]\naction = \"allow\"\n",
    "[[rule]]\nid = \"r-1\"\nfrom = [\"a\"]\nto = [\"b\"]\naction = \"drop\"\n",
    "services = [\"tcp/1-9\"]\n",
    "source = [\"10.1.0.9\", \"10.1.0.9\"]\n",
    "description = \"\"\"\n[[rule]]\n\"\"\"\n",
];

fn rule(number: usize, kind: usize) -> String {
    let services = ["\"tcp/80\"", "\"@web\"", "\"udp/53\", \"!udp/99\"", "\"@none\""][kind % 4];
    let source = ["@some", "10.1.0.0/30", "10.1.0.0/29"][kind / 4];
    format!(
        "[[rule]]\nid = \"r-{number}\"\nfrom = [\"a\"]\nto = [\"b\"]\nsource = [\"{source}\"]\nservices = [{services}]\n\
         action = \"allow\"\n"
    )
}

fn file(name: &str, text: String) -> SourceFile {
    SourceFile { name: name.to_owned(), text }
}

/// A firewall that reads and compiles one policy after the other.
#[derive(Default)]
struct Follower {
    reader: Reader,
    compiler: Compiler,
}

/// What a policy compiles to, and what its tests and its author are told.
type Told = Result<(Compiled, String), String>;

fn told(policy: &Policy, compile: impl FnOnce(&Binding) -> Result<Compiled, Diagnostics>) -> Told {
    let compiled = compile(&Binding::offline(policy)).map_err(|diagnostics| diagnostics.render(false))?;
    let results = format!("{:?} {:?}", policy.warnings(), policy.run_tests(&compiled, NOW));
    Ok((compiled, results))
}

impl Follower {
    fn compare(&mut self, files: &[SourceFile]) -> Result<(), TestCaseError> {
        self.compare_at(NOW, files)
    }

    fn compare_at(&mut self, now: OffsetDateTime, files: &[SourceFile]) -> Result<(), TestCaseError> {
        let Self { reader, compiler } = self;
        let anew = load(files).map_err(|diagnostics| diagnostics.render(false));
        let anew = anew.and_then(|policy| told(&policy, |binding| policy.compile(binding, now)));
        let followed = reader.load(files).map_err(|diagnostics| diagnostics.render(false));
        let followed = followed
            .and_then(|policy| told(policy, |binding| compiler.compile(policy, binding, now, &Options::default())));
        match (followed, anew) {
            (Ok((followed, told)), Ok((anew, expected))) => {
                prop_assert_eq!(told, expected, "{:?}", files);
                prop_assert_eq!(&followed.rules, &anew.rules, "{:?}", files);
                prop_assert_eq!(&followed.zones, &anew.zones, "{:?}", files);
                prop_assert!(followed.tables == anew.tables, "other tables: {:?}", files);
                prop_assert_eq!((followed.digest, followed.memory), (anew.digest, anew.memory), "{:?}", files);
            }
            (followed, anew) => prop_assert_eq!(followed.map(|_| ()), anew.map(|_| ()), "{:?}", files),
        }
        Ok(())
    }
}

/// Replaces the bytes in a part of a text, where they are characters.
fn write_over(text: &mut String, (at, len): (f64, usize), snippet: &str) {
    let start = text.floor_char_boundary((text.len() as f64 * at) as usize);
    // At the start of a line more often than not.
    let start = if len.is_multiple_of(3) { start } else { text[..start].rfind('\n').map_or(0, |line| line + 1) };
    let end = text.ceil_char_boundary((start + len / 3).min(text.len()));
    text.replace_range(start..end, snippet);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn edited_rules_are_read_as_if_all_were(
        rules in prop::collection::vec(prop::sample::select(&[0usize, 1, 2, 4, 5, 8, 9]), 1..8),
        edits in prop::collection::vec((any::<bool>(), 0usize..8, 0usize..4, 0usize..12), 1..8),
        // Enough for pages that no edit touches.
        others in prop::sample::select(&[0usize, 70, 150]),
    ) {
        let others = [1000, 2000].map(|first| {
            (first..first + others).map(|number| rule(number, number % 3)).collect::<String>()
        });
        let mut rules: Vec<[String; 2]> =
            rules.iter().enumerate().map(|(number, of)| [rule(number * 2, *of), rule(number * 2 + 1, *of)]).collect();
        let files = |rules: &[[String; 2]]| {
            let texts = [0, 1].map(|side| rules.iter().map(|pair| pair[side].as_str()).collect::<String>());
            [
                file("1.toml", format!("{HEAD}{}{}{}", others[0], texts[0], others[1])),
                file("2.toml", format!("version = 1\n{}{TAIL}", texts[1])),
            ]
        };
        let mut follower = Follower::default();
        follower.compare(&files(&rules))?;
        for (number, (second, at, change, kind)) in edits.into_iter().enumerate() {
            let position = at % rules.len();
            let of_edit = rule(100 + number, kind);
            let text = &mut rules[position][usize::from(second)];
            *text = match change {
                0 => of_edit,
                1 => format!("{text}{of_edit}"),
                2 => format!("{of_edit}description = \"a line more\"\n"),
                _ => String::new(),
            };
            follower.compare(&files(&rules))?;
        }
    }

    #[test]
    fn texts_that_are_edited_anyhow_are_read_as_if_anew(
        edits in prop::collection::vec((0.0..1.0, 0usize..60, prop::sample::select(SNIPPETS), any::<bool>()), 1..6),
    ) {
        let rules: String = (0..4).map(|number| rule(number, number % 3)).collect();
        let valid = format!("{HEAD}{rules}{TAIL}");
        let mut text = valid.clone();
        let mut follower = Follower::default();
        for (at, len, snippet, back) in edits {
            // From something valid, more often than not.
            if back || load(&[file("a.toml", text.clone())]).is_err() {
                text.clone_from(&valid);
                follower.compare(&[file("a.toml", text.clone())])?;
            }
            write_over(&mut text, (at, len), snippet);
            follower.compare(&[file("a.toml", text.clone())])?;
        }
    }
}

#[test]
fn what_goes_with_a_rule_is_missed() {
    let allowing = rule(0, 0);
    let dropping = allowing.replace("\"allow\"", "\"drop\"");
    let test = "[[test]]\nname = \"s\"\npacket = { from = \"a\", to = \"b\", src = \"10.1.0.1\", dst = \"10.2.0.1\", service = \"tcp/80\" }\nexpect = \"allow\"\n";
    let pair = "[[zone_pair]]\nfrom = \"b\"\nto = \"a\"\naction = \"reject\"\n";
    let set = "[addresses]\nlate = [\"10.1.0.3\"]\n";
    let head = HEAD.replace("[addresses]\nsome = [\"10.1.0.0/24\", \"!10.1.0.7\"]\n", "");
    let last = rule(1, 4);
    for table in [test, pair, "[zones.c]\n", set] {
        let mut follower = Follower::default();
        for text in [
            // Between two rules of which the first changes as well, and behind the last one.
            format!("{head}{allowing}{table}{last}"),
            format!("{head}{dropping}{last}"),
            format!("{head}{dropping}{last}{table}"),
            format!("{head}{dropping}{last}"),
        ] {
            let text = text.replace("@some", "10.1.0.0/30");
            follower.compare(&[file("a.toml", text)]).unwrap();
        }
    }
}

#[test]
fn rules_start_and_expire_in_policies_that_stay() {
    let moments = |starts: u8, expires: u8| {
        format!("starts = \"1970-01-0{starts}T00:00:00Z\"\nexpires = \"1970-01-0{expires}T00:00:00Z\"\n")
    };
    let rules: String = (0..150).map(|number| rule(number, number % 3)).collect();
    let middle = [2, 4].map(|starts| rule(200 + usize::from(starts), 4) + &moments(starts, starts + 1)).concat();
    let text = |middle: &str| format!("{HEAD}{rules}{middle}{}{TAIL}", rules.replace("r-", "s-"));
    let mut follower = Follower::default();
    for day in [0, 1, 3, 4, 1, 9] {
        let now = NOW + time::Duration::days(day);
        follower.compare_at(now, &[file("a.toml", text(&middle))]).unwrap();
        follower.compare_at(now, &[file("a.toml", text(&middle.replace("10.1.0.0/30", "10.1.0.0/29")))]).unwrap();
    }
}
