//! `fwctl policy fmt`: one form, the same meaning, every comment.

use std::collections::BTreeMap;

use fw_policy::{Binding, Code, Compiled, ExampleVerdict, RuleInfo, SourceFile, format, load};
use proptest::prelude::*;
use time::macros::datetime;

fn formatted(text: &str) -> String {
    let files = [SourceFile { name: "p.toml".into(), text: text.to_owned() }];
    format(&files).unwrap_or_else(|diagnostics| panic!("{diagnostics}\n{text}")).remove(0)
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let once = formatted(text);
    assert_eq!(once, expected);
    assert_eq!(formatted(&once), once, "a second time");
}

const UGLY: &str = "

# The top.
version=1
   [ defaults ]   # what else
log = true
action=\"drop\"


[zones]
[zones.'ot']
networks = [
  '10.1.0.0/16', # plants
  # the labs
  '10.9.0.0/16'

  , 'fd00::/56' ]
description = \"OT\\t\\\"plant\\\"\"
# About the sets,

# and more.
[addresses]
b = [\"10.0.0.1\",\"10.0.0.2\",]
a.b = [ ]
long = ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6', '10.0.0.7', '10.0.0.8', '10.0.0.9']
\"a b\"   =   ['10.0.0.1']
[[ rule ]]

# Why it is allowed.
action = 'allow' # always
id = \"r-1\"
services = [{port=['80'],proto='tcp'},\"udp\"]
rate={per='source',new_flows='1/s'}
unheard-of = 1979-05-27 07:32:00Z
description = '''
Long.
'''
  # The end.";

const PRETTY: &str = "# The top.
version = 1

[defaults] # what else
action = \"drop\"
log = true

[zones]

[zones.ot]
description = \"OT\\t\\\"plant\\\"\"
networks = [
    \"10.1.0.0/16\", # plants
    # the labs
    \"10.9.0.0/16\",

    \"fd00::/56\",
]

# About the sets,

# and more.
[addresses]
b = [
    \"10.0.0.1\",
    \"10.0.0.2\",
]
a.b = []
long = [
    \"10.0.0.1\",
    \"10.0.0.2\",
    \"10.0.0.3\",
    \"10.0.0.4\",
    \"10.0.0.5\",
    \"10.0.0.6\",
    \"10.0.0.7\",
    \"10.0.0.8\",
    \"10.0.0.9\",
]
\"a b\" = [\"10.0.0.1\"]

[[rule]]
id = \"r-1\"
description = '''
Long.
'''
services = [{ proto = \"tcp\", port = [\"80\"] }, \"udp\"]
# Why it is allowed.
action = \"allow\" # always
rate = { new_flows = \"1/s\", per = \"source\" }
unheard-of = 1979-05-27 07:32:00Z
# The end.
";

#[test]
fn everything_has_one_form() {
    check(UGLY, PRETTY);
    check(PRETTY, PRETTY);
}

#[test]
fn small_texts_have_one_form_too() {
    check("", "");
    check("\n\n", "");
    check("\u{feff}version = 1", "version = 1\n");
    check("# only\r\n\r\n\r\n# comments\r\n", "# only\n\n# comments\n");
    check("a = [[1,\n2], # x\n[ [ ] ]]", "a = [\n    [1, 2], # x\n    [[]],\n]\n");
    check("a = { b = 1, # why\n c = [1 ,2] }\n", "a = { b = 1, # why\n c = [1 ,2] }\n");
    check("a = {\n b = 1,\n c . d = [1 ,2],\n}\n", "a = { b = 1, c.d = [1, 2] }\n");
    check("a = [ # first\n 1 ]", "a = [\n    # first\n    1,\n]\n");
    check(
        "[[rule]]\nrate.burst = 2\nrate.new_flows = '1/s'\nid = 'x'\n",
        "[[rule]]\nid = \"x\"\nrate.burst = 2\nrate.new_flows = \"1/s\"\n",
    );
    check(
        "[[invariant]]\nallow_all = { to = ['a'], except = [{ services = ['tcp'], from = ['b'] }], from = ['a'] }\nname = 'x'\n",
        "[[invariant]]\nname = \"x\"\nallow_all = { from = [\"a\"], to = [\"a\"], except = [{ from = [\"b\"], services = [\"tcp\"] }] }\n",
    );
    check(
        "[[invariant]]\n[[invariant.deny_all.except]]\nto = ['a']\nfrom = ['b']\n",
        "[[invariant]]\n\n[[invariant.deny_all.except]]\nfrom = [\"b\"]\nto = [\"a\"]\n",
    );
    check("'' = '\\'\n", "\"\" = '\\'\n");
    let long = "a = \"\"\"'x' \"y\"\"\"\"\nb = 1\n";
    check(long, long);
}

#[test]
fn the_example_policy_has_the_form_already() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        check(&text, &text);
        files += 1;
    }
    assert!(files >= 5);
}

#[test]
fn what_is_not_toml_is_refused_with_its_places_in_all_files() {
    let files = ["version = \n", "version = 1\n", "a = [\nb = 1\na = 2\nb = 3\n"];
    let files: Vec<_> =
        files.map(|text| SourceFile { name: format!("{}.toml", text.len()), text: text.to_owned() }).into();
    let refused = format(&files).unwrap_err();
    let found: Vec<_> = refused.items.iter().map(|item| (item.code, item.place.as_ref().unwrap().line)).collect();
    assert_eq!(found, [(Code::Syntax, 1), (Code::Syntax, 1), (Code::Duplicate, 4)]);
}

/// All of a compiled policy but the lines that its rules stand in. `others`: its files besides.
fn meaning(text: &str, others: &[SourceFile]) -> Option<(fw_policy::Tables, Vec<RuleInfo>, Vec<fw_policy::ZoneInfo>)> {
    let file = SourceFile { name: "p.toml".into(), text: text.to_owned() };
    let policy = load(&[&[file], others].concat()).ok()?;
    let compiled = policy.compile(&Binding::offline(&policy), datetime!(2026-07-01 0:00 UTC)).ok()?;
    let Compiled { tables, rules, zones, .. } = compiled;
    Some((tables, rules.iter().map(|rule| RuleInfo { line: 0, ..rule.clone() }).collect(), zones))
}

fn comments(text: &str) -> BTreeMap<&str, usize> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        // The texts here have no `#` within strings.
        if let Some(at) = line.find('#') {
            *found.entry(line[at..].trim_end()).or_default() += 1;
        }
    }
    found
}

#[track_caller]
fn keeps_meaning(text: &str) {
    keeps_meaning_beside(text, &[]);
}

#[track_caller]
fn keeps_meaning_beside(text: &str, others: &[SourceFile]) {
    let once = formatted(text);
    assert_eq!(formatted(&once), once, "a second time:\n{text}");
    assert_eq!(comments(&once), comments(text), "{once}");
    let (before, after) = (meaning(text, others), meaning(&once, others));
    assert!(before == after, "{text}\n became\n{once}");
    assert!(before.is_some(), "{text}");
}

#[test]
fn the_examples_of_the_codes_mean_what_they_did() {
    for code in Code::ALL {
        let explanation = code.explain();
        let right = explanation.examples().filter(|example| example.verdict == ExampleVerdict::Right);
        right.for_each(|example| keeps_meaning_beside(&example.file(), &example.others));
    }
}

/// The complete policy, written anyhow: blanks and comments wherever TOML allows them.
fn written_anyhow() -> impl Strategy<Value = String> {
    let noise = prop::sample::select(vec!["", "", "", " ", "\t", "  "]);
    let lines = prop::sample::select(vec!["", "", "", "\n", "# one\n", "\n\n\n# two\n\n", "\t# three \n"]);
    let inside = prop::sample::select(vec!["", "", " ", "\n", " # four\n", "\n  # five\n\n\n"]);
    let comma = any::<bool>();
    prop::collection::vec((noise, lines, inside, comma), 1..40).prop_map(|choices| {
        let mut choices = choices.iter().cycle();
        let mut text = String::new();
        for line in include_str!("complete.toml").lines() {
            let Some((noise, lines, inside, comma)) = choices.next() else { break };
            text += lines;
            match line.split_once(" = ") {
                Some((key, value)) => {
                    let value = match value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                        Some(elements) => {
                            let end = if *comma { "," } else { "" };
                            format!(
                                "[{inside}{}{inside}{end}{inside}]",
                                elements.replace("\", \"", &format!("\"{inside},{inside}\""))
                            )
                        }
                        None if noise.is_empty() => value.replace('"', "'"),
                        None => value.to_owned(),
                    };
                    text += &format!("{noise}{key}{noise}={noise}{value}{noise}");
                }
                None => text += line,
            }
            text += if *comma { " # six\n" } else { "\n" };
        }
        text
    })
}

proptest! {
    #[test]
    fn however_it_was_written_it_means_the_same(text in written_anyhow()) {
        keeps_meaning(&text);
    }

    #[test]
    fn whatever_is_toml_has_one_form(texts in prop::collection::vec(any::<String>(), 0..3)) {
        let files: Vec<_> = texts.into_iter().map(|text| SourceFile { name: "p.toml".into(), text }).collect();
        if let Ok(once) = format(&files) {
            let again: Vec<_> = once.iter().map(|text| SourceFile { name: "p.toml".into(), text: text.clone() }).collect();
            prop_assert_eq!(format(&again).unwrap(), once);
        }
    }
}
