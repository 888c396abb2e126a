//! Findings in SARIF 2.1.0 (OASIS, Static Analysis Results Interchange Format), which code hosts show beside the changed lines.
//! Section numbers are those of the standard.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Code, Diagnostic, Explanation, Fix, Part, Place};

/// A log of one run. `base` is what stands in front of the names of policy files, such as `policies/`, so that they are found
/// from the root of the repository; `version` is that of the program. Findings about no policy file name none.
#[must_use]
pub fn sarif(findings: &[Diagnostic], base: &str, version: &str) -> Value {
    let used: BTreeSet<Code> = findings.iter().map(|finding| finding.code).collect();
    let rules: Vec<Code> = used.into_iter().collect();
    let results: Vec<Value> = findings.iter().map(|finding| result(finding, &rules, base)).collect();
    log(
        version,
        json!({
            "results": results,
            "invocations": [{ "executionSuccessful": true }],
        }),
        &rules,
    )
}

/// A log of a run that could not look at the policy (section 3.20.21).
#[must_use]
pub fn sarif_of_problem(problem: &str, version: &str) -> Value {
    let notification = json!({ "level": "error", "message": { "text": problem } });
    log(
        version,
        json!({
            "results": [],
            "invocations": [{ "executionSuccessful": false, "toolExecutionNotifications": [notification] }],
        }),
        &[],
    )
}

fn log(version: &str, mut run: Value, rules: &[Code]) -> Value {
    run["tool"] = json!({
        "driver": {
            "name": "fwctl",
            "version": version,
            "informationUri": "https://github.com/outpost-fw/outpost-fw",
            "rules": rules.iter().map(|code| descriptor(*code)).collect::<Vec<_>>(),
        }
    });
    // Columns of places count characters, not UTF-16 code units (section 3.14.17).
    run["columnKind"] = json!("unicodeCodePoints");
    json!({ "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run] })
}

/// What a code is (section 3.49).
fn descriptor(code: Code) -> Value {
    json!({
        "id": code.to_string(),
        "name": format!("{code:?}"),
        "shortDescription": { "text": code.summary() },
        "help": { "text": help(&code.explain()) },
        "defaultConfiguration": { "level": code.severity().label() },
    })
}

fn help(explanation: &Explanation) -> String {
    let paragraphs = explanation.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        Part::Example(_) => None,
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// A finding (section 3.27).
fn result(finding: &Diagnostic, rules: &[Code], base: &str) -> Value {
    let Diagnostic { code, severity, message, place, related, help, fix } = finding;
    let text = help.as_ref().map_or_else(|| message.clone(), |help| format!("{message}\n{help}"));
    let mut result = json!({
        "ruleId": code.to_string(),
        "ruleIndex": rules.binary_search(code).unwrap_or_default(),
        "level": severity.label(),
        "message": { "text": text },
    });
    if let Some(place) = place {
        result["locations"] = json!([location(place, base)]);
    }
    if !related.is_empty() {
        let numbered = related.iter().zip(1..).map(|(place, id)| {
            let mut location = location(place, base);
            location["id"] = json!(id);
            location
        });
        result["relatedLocations"] = numbered.collect();
    }
    if let Some(fix) = fix {
        result["fixes"] = json!([change(fix, help.as_deref(), base)]);
    }
    result
}

/// A place (section 3.28).
fn location(place: &Place, base: &str) -> Value {
    let mut location = json!({
        "physicalLocation": { "artifactLocation": { "uri": uri(place, base) }, "region": region(place) },
    });
    if let Some(label) = &place.label {
        location["message"] = json!({ "text": label });
    }
    location
}

/// A run of characters (section 3.30).
fn region(place: &Place) -> Value {
    json!({
        "startLine": place.line,
        "startColumn": place.column,
        "endLine": place.end_line,
        "endColumn": place.end_column,
        "byteOffset": place.byte_start,
        "byteLength": place.byte_end - place.byte_start,
        "snippet": { "text": place.text },
    })
}

/// A fix (section 3.55).
fn change(fix: &Fix, help: Option<&str>, base: &str) -> Value {
    let mut deleted = region(&fix.place);
    // What is there is in the file; a region to delete has no snippet of its own.
    deleted.as_object_mut().map(|region| region.remove("snippet"));
    let replacement = json!({ "deletedRegion": deleted, "insertedContent": { "text": fix.replacement } });
    json!({
        "description": { "text": help.unwrap_or("replace it") },
        "artifactChanges": [{ "artifactLocation": { "uri": uri(&fix.place, base) }, "replacements": [replacement] }],
    })
}

/// A relative reference (RFC 3986, section 4.2), in which other characters than those of names are escaped.
fn uri(place: &Place, base: &str) -> String {
    let mut uri = String::new();
    for byte in base.bytes().chain(place.file.bytes()) {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}
