//! The guide is right: each policy in `docs/policy.md` is taken and passes its own tests, or is refused with the code that it is an
//! example of; and the guide names every key of the language.

use std::collections::BTreeSet;

use fw_policy::{Binding, SourceFile, json_schema, load};
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::datetime;

#[path = "guide/blocks.rs"]
mod blocks;

use blocks::{Example, GUIDE, examples};

/// Before all dates of the guide.
const NOW: OffsetDateTime = datetime!(2026-12-01 0:00 UTC);

/// The codes of all findings, warnings too.
fn codes(example: &Example) -> BTreeSet<String> {
    let found = match load(&example.files) {
        Err(refused) => refused.items,
        Ok(policy) => match policy.compile(&Binding::offline(&policy), NOW) {
            Err(refused) => refused.items,
            Ok(_) => policy.warnings().to_vec(),
        },
    };
    found.iter().map(|item| item.code.to_string()).collect()
}

#[test]
fn each_policy_is_taken_or_refused_as_it_says() {
    let examples = examples(GUIDE);
    assert!(examples.len() > 15, "the guide has examples: {}", examples.len());
    for example in &examples {
        let expected: BTreeSet<String> = example.refused.iter().cloned().collect();
        assert_eq!(codes(example), expected, "docs/policy.md:{}", example.line);
    }
}

#[test]
fn the_tests_of_each_policy_pass_unless_it_shows_how_they_fail() {
    let mut tests = 0;
    for example in examples(GUIDE).iter().filter(|example| example.refused.is_none()) {
        let policy =
            load(&example.files).unwrap_or_else(|refused| panic!("docs/policy.md:{}: {refused}", example.line));
        let compiled = policy.compile(&Binding::offline(&policy), NOW).expect("it was compiled before");
        let fails = example.sessions.iter().any(|(_, output)| output.contains("FAILED"));
        for result in policy.run_tests(&compiled, NOW) {
            assert!(result.passed || fails, "docs/policy.md:{}: {}: {}", example.line, result.name, result.message);
            tests += 1;
        }
    }
    assert!(tests > 4, "{tests}");
}

/// The names of all keys in a schema.
fn keys(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(properties) = object.get("properties").and_then(Value::as_object) {
                found.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| keys(value, found));
        }
        Value::Array(elements) => elements.iter().for_each(|value| keys(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_guide_names_every_key_of_the_language() {
    let mut names = BTreeSet::new();
    keys(&json_schema(), &mut names);
    assert!(names.len() > 40, "{names:?}");
    let words: BTreeSet<&str> =
        GUIDE.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_')).collect();
    let missing: Vec<&String> = names.iter().filter(|name| !words.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn an_example_that_is_wrong_is_noticed() {
    let guide = |information: &str, text: &str| format!("```{information}\n{text}```\n");
    let base = guide("toml base", "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n");
    let found = |text: String| codes(examples(&(base.clone() + &text)).last().expect("there are two"));
    assert_eq!(found(guide("toml fragment", "[addresses]\na = [\"10.0.0.1/8\"]\n")), ["FW0013".to_owned()].into());
    assert_eq!(found(guide("toml wrong=FW0013", "[addresses]\na = [\"10.0.0.1\"]\n")), BTreeSet::new());
    for unknown in ["toml", "", "rust", "toml wole", "toml wrong"] {
        let text = guide(unknown, "version = 1\n");
        assert!(std::panic::catch_unwind(|| examples(&text)).is_err(), "{unknown}");
    }
    let file = SourceFile { name: "b/c.toml".to_owned(), text: "x = 1\n".to_owned() };
    assert_eq!(examples(&(base.clone() + &guide("toml file=b/c.toml", "x = 1\n")))[0].files[1], file);
}
