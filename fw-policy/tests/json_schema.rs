//! The JSON Schema is that of the parser: what the parser takes is valid by it, it has the parser's keys, and what is wrong in
//! itself, not for a name that is missing, is invalid.

use fw_policy::{Code, ExampleVerdict, SourceFile, json_schema, load};
use jsonschema::Validator;
use serde_json::Value;

fn validator() -> Validator {
    jsonschema::options().should_validate_formats(true).build(&json_schema()).expect("it is a schema")
}

/// TOML as language servers show it to a schema: dates and times are strings.
fn as_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::Datetime(moment) => Value::String(moment.to_string()),
        toml::Value::Array(elements) => elements.iter().map(as_json).collect(),
        toml::Value::Table(table) => {
            Value::Object(table.iter().map(|(key, value)| (key.clone(), as_json(value))).collect())
        }
        other
        @ (toml::Value::String(_) | toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_)) => {
            serde_json::to_value(other).expect("TOML has no other values than JSON")
        }
    }
}

fn faults(text: &str) -> Vec<String> {
    let value: toml::Value = toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let value = as_json(&value);
    let validator = validator();
    validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path)).collect()
}

#[test]
fn policies_that_are_right_are_valid() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    let mut texts = vec![include_str!("complete.toml").to_owned()];
    for entry in std::fs::read_dir(directory).unwrap() {
        texts.push(std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    assert!(texts.len() > 5);
    for code in Code::ALL {
        let explanation = code.explain();
        let right = explanation.examples().filter(|example| example.verdict == ExampleVerdict::Right);
        texts.extend(right.map(fw_policy::Example::file));
    }
    for text in texts {
        assert_eq!(faults(&text), Vec::<String>::new(), "{text}");
    }
}

/// What shows without looking at other definitions, and is not about bits or the calendar.
const SHOWS: &[Code] = &[
    Code::WrongType,
    Code::UnknownKey,
    Code::MissingKey,
    Code::Unsupported,
    Code::EmptyArray,
    Code::InvalidName,
    Code::Version,
    Code::InvalidValue,
    Code::InvalidService,
    Code::InvalidDuration,
    Code::InvalidDate,
    Code::InvalidRate,
];

#[test]
fn what_is_wrong_in_itself_is_invalid() {
    for code in SHOWS {
        let explanation = code.explain();
        let wrong = explanation.examples().find(|example| example.verdict == ExampleVerdict::Wrong).unwrap();
        assert!(!faults(&wrong.file()).is_empty(), "{code}");
    }
}

/// All paths of keys in a schema, such as `rule.rate.burst`, each with its schema.
fn keys<'s>(schema: &'s Value, path: &str, found: &mut Vec<(String, &'s Value)>) {
    for part in ["items", "additionalProperties"] {
        if schema[part].is_object() {
            keys(&schema[part], path, found);
        }
    }
    // A table or an array of such tables: the table comes first.
    if schema["anyOf"][0]["type"] == "object" {
        keys(&schema["anyOf"][0], path, found);
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        found.push((path.clone(), schema));
        keys(schema, &path, found);
    }
}

fn found_in(text: &str) -> Vec<String> {
    let loaded = load(&[SourceFile { name: "p.toml".into(), text: text.to_owned() }]);
    loaded.err().into_iter().flat_map(|diagnostics| diagnostics.items).map(|item| item.message).collect()
}

#[test]
fn each_key_of_the_schema_is_read_by_the_parser() {
    let schema = json_schema();
    let mut found = Vec::new();
    keys(&schema, "", &mut found);
    assert!(found.len() > 40, "{found:?}");
    for (path, _) in &found {
        // No key takes a table with this name in it, nor a date, where it does not take anything else either.
        let (table, key) = path.rsplit_once('.').unwrap_or(("", path));
        let value = if matches!(key, "starts" | "expires" | "at") { "true" } else { "1979-05-27" };
        let written = match table {
            "" => format!("{key} = {value}"),
            "zones" => format!("[zones.x]\n{key} = {value}"),
            "feed" | "rule" | "test" | "zone_pair" | "invariant" => format!("[[{table}]]\n{key} = {value}"),
            "defaults" => format!("[defaults]\n{key} = {value}"),
            nested => {
                let (outer, inner) = nested.split_once('.').expect("a table within another");
                format!("[[{outer}]]\n{inner} = {{ {key} = {value} }}")
            }
        };
        let version = if path == "version" { "" } else { "version = 1\n" };
        let messages = found_in(&format!("{version}{written}\n"));
        let is_read = messages
            .iter()
            .any(|message| message.starts_with(&format!("`{key}` takes")) && !message.contains("has no key"));
        assert!(is_read, "{path}: {messages:?}");
    }
}

#[test]
fn each_key_of_the_parser_is_in_the_schema() {
    let schema = json_schema();
    let mut found = Vec::new();
    keys(&schema, "", &mut found);
    // The parser lists the keys of a table where it meets one that it does not know.
    for (table, path) in [
        ("", ""),
        ("[defaults]\n", "defaults."),
        ("[zones.x]\n", "zones."),
        ("[[rule]]\n", "rule."),
        ("[[zone_pair]]\n", "zone_pair."),
        ("[[test]]\n", "test."),
        ("[[test]]\n[test.packet]\n", "test.packet."),
        ("[[invariant]]\n", "invariant."),
        ("[[invariant]]\n[invariant.deny_all]\n", "invariant.deny_all."),
        ("[[invariant]]\n[invariant.deny_all.except]\n", "invariant.deny_all.except."),
        ("[[invariant]]\n[[invariant.allow_all.except]]\n", "invariant.allow_all.except."),
        ("[[rule]]\n[rule.rate]\n", "rule.rate."),
        ("[[rule]]\n[rule.max_flows]\n", "rule.max_flows."),
    ] {
        let text = format!("{}{table}unheard-of = 1\n", if table.is_empty() { "" } else { "version = 1\n" });
        let refused = load(&[SourceFile { name: "p.toml".into(), text }]).expect_err("the key is unknown");
        let help =
            refused.items.iter().find(|item| item.code == Code::UnknownKey).and_then(|item| item.help.clone()).unwrap();
        let listed: Vec<&str> = help.split('`').skip(1).step_by(2).filter(|word| !word.starts_with('[')).collect();
        assert!(listed.len() > 1, "{help}");
        for key in listed {
            assert!(found.iter().any(|(known, _)| *known == format!("{path}{key}")), "{path}{key}");
        }
    }
}
