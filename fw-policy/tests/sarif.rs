//! The log for code hosts has what SARIF 2.1.0 demands of each object, and says what the findings say.

use fw_policy::{Binding, Code, Diagnostics, SourceFile, load, sarif, sarif_of_problem};
use serde_json::Value;
use time::OffsetDateTime;

fn findings() -> Diagnostics {
    let rules = "version = 1\n[[rule]]\nid = \"ß\"\nfrom = [\"ot\"]\nto = [\"ot\"]\nsorce = [\"10.1.0.1\"]\naction = \"drop\"\n";
    let head = "version = 1\n[defaults]\naction = \"drop\"\n[defaults.x]\n[zones.ot]\nnetworks = [\"10.1.0.0/16\"]\n";
    let again = "version = 1\n[zones.ot]\nnetworks = [\"10.7.2.0/16\", \"10.1.7.0/24\"]\n";
    let files = [("0 head.toml", head), ("1.toml", rules), ("2.toml", again)];
    let files = files.map(|(name, text)| SourceFile { name: name.to_owned(), text: text.to_owned() });
    load(&files).expect_err("there are mistakes")
}

/// All objects below a value that a key leads to, such as every `region`.
fn objects<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    found.push(value);
                }
                objects(value, key, found);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| objects(element, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn all<'v>(value: &'v Value, key: &str) -> Vec<&'v Value> {
    let mut found = Vec::new();
    objects(value, key, &mut found);
    assert!(!found.is_empty(), "no {key}");
    found
}

#[test]
fn each_object_has_what_the_standard_demands() {
    let log = sarif(&findings().items, "policies/", "1.2.3");
    assert_eq!(log["version"], "2.1.0");
    let [run] = log["runs"].as_array().unwrap().as_slice() else { panic!("one run") };
    let driver = &run["tool"]["driver"];
    assert_eq!((&driver["name"], &driver["version"]), (&Value::from("fwctl"), &Value::from("1.2.3")));
    for rule in driver["rules"].as_array().unwrap() {
        assert!(Code::parse(rule["id"].as_str().unwrap()).is_some());
        assert!(rule["help"]["text"].as_str().is_some_and(|text| text.len() > 40));
    }
    for region in all(&log, "region").into_iter().chain(all(&log, "deletedRegion")) {
        let number = |key: &str| region[key].as_u64().unwrap_or_else(|| panic!("{key} in {region}"));
        assert!(number("startLine") >= 1 && number("startColumn") >= 1, "{region}");
        assert!((number("endLine"), number("endColumn")) >= (number("startLine"), number("startColumn")), "{region}");
        assert!(number("byteOffset") + number("byteLength") > 0 || region["startLine"] == 1);
    }
    for message in all(&log, "message").into_iter().chain(all(&log, "description")) {
        assert!(message["text"].is_string(), "{message}");
    }
    for change in all(&log, "artifactChanges") {
        assert!(
            change[0]["artifactLocation"]["uri"].is_string()
                && change[0]["replacements"][0]["deletedRegion"].is_object()
        );
    }
    let uris = all(&log, "uri");
    assert!(uris.contains(&&Value::from("policies/0%20head.toml")), "{uris:?}");
}

#[test]
fn each_result_is_a_finding() {
    let findings = findings();
    let log = sarif(&findings.items, "", "1");
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), findings.items.len());
    for (result, finding) in results.iter().zip(&findings.items) {
        assert_eq!(result["ruleId"], finding.code.to_string());
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        assert!(result["message"]["text"].as_str().unwrap().starts_with(&finding.message));
        assert_eq!(result["locations"].as_array().map_or(0, Vec::len), usize::from(finding.place.is_some()));
        assert_eq!(result["relatedLocations"].as_array().map_or(0, Vec::len), finding.related.len());
        assert_eq!(result["fixes"].is_array(), finding.fix.is_some());
    }
}

#[test]
fn what_the_analysis_finds_has_its_level() {
    let text = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[[rule]]\nid = \"r\"\nfrom = [\"a\"]\nto = [\"a\"]\naction = \"allow\"\n";
    let policy = load(&[SourceFile { name: "a.toml".to_owned(), text: text.to_owned() }]).unwrap();
    let found = policy.analyse(&Binding::offline(&policy), OffsetDateTime::UNIX_EPOCH);
    let log = sarif(&found.items, "", "1");
    let results = log["runs"][0]["results"].as_array().unwrap();
    let levels: Vec<_> = results.iter().map(|result| (&result["ruleId"], &result["level"])).collect();
    let expected =
        [("FW0116", "warning"), ("FW0200", "note")].map(|(code, level)| (Value::from(code), Value::from(level)));
    assert_eq!(levels, expected.iter().map(|(code, level)| (code, level)).collect::<Vec<_>>());
}

#[test]
fn a_run_that_could_not_look_says_why() {
    let log = sarif_of_problem("a.toml:1:2: this is not UTF-8", "1");
    let invocation = &log["runs"][0]["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], false);
    assert_eq!(invocation["toolExecutionNotifications"][0]["message"]["text"], "a.toml:1:2: this is not UTF-8");
    assert_eq!(log["runs"][0]["results"].as_array().map(Vec::len), Some(0));
}
