//! Results of a policy's tests and invariants as JUnit XML, which continuous integration shows.
//!
//! The elements are those that the common readers agree on: `testsuites`, `testsuite`, `testcase` and `failure`
//! (<https://github.com/testmoapp/junitxml>). Of a suite there are as many as kinds of tests.

use std::io;

use fw_policy::{TestKind, TestResult};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

/// The document.
pub(super) fn document(results: &[TestResult]) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let [tests, failures] = counts(results.iter());
    writer
        .create_element("testsuites")
        .with_attributes([("name", "policy"), ("tests", &tests), ("failures", &failures)])
        .write_inner_content(|writer| {
            for (kind, name) in [(TestKind::Test, "tests"), (TestKind::Invariant, "invariants")] {
                let suite: Vec<&TestResult> = results.iter().filter(|result| result.kind == kind).collect();
                if !suite.is_empty() {
                    write_suite(writer, name, &suite)?;
                }
            }
            Ok(())
        })?;
    let mut document = writer.into_inner();
    document.push(b'\n');
    Ok(document)
}

/// How many results there are, and how many of them are failures.
fn counts<'r>(results: impl Iterator<Item = &'r TestResult> + Clone) -> [String; 2] {
    [results.clone().count(), results.filter(|result| !result.passed).count()].map(|count| count.to_string())
}

fn write_suite(writer: &mut Writer<Vec<u8>>, name: &str, results: &[&TestResult]) -> io::Result<()> {
    let [tests, failures] = counts(results.iter().copied());
    writer
        .create_element("testsuite")
        .with_attributes([("name", name), ("tests", &tests), ("failures", &failures)])
        .write_inner_content(|writer| results.iter().try_for_each(|result| write_case(writer, result)))?;
    Ok(())
}

fn write_case(writer: &mut Writer<Vec<u8>>, result: &TestResult) -> io::Result<()> {
    let (name, message) = (legal(&result.name), legal(&result.message));
    let line = result.line.to_string();
    let case = writer.create_element("testcase").with_attributes([
        ("name", name.as_str()),
        ("classname", &result.file),
        ("file", &result.file),
        ("line", &line),
    ]);
    if result.passed {
        case.write_empty()?;
        return Ok(());
    }
    case.write_inner_content(|writer| {
        let failure = writer.create_element("failure").with_attribute(("message", message.as_str()));
        let place = format!("{}:{}: {message}", result.file, result.line);
        failure.write_text_content(BytesText::new(&place))?;
        Ok(())
    })?;
    Ok(())
}

/// A text without the characters that XML cannot have, not even escaped (XML 1.0, section 2.2).
fn legal(text: &str) -> String {
    let is_legal = |character: char| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|character| if is_legal(character) { character } else { char::REPLACEMENT_CHARACTER }).collect()
}

#[cfg(test)]
mod tests {
    use fw_policy::{Binding, SourceFile};
    use time::macros::datetime;

    use super::*;

    #[test]
    fn tests_and_invariants_are_two_suites_and_names_are_escaped() {
        let text = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[zones.b]\n\
                    [[rule]]\nid = \"web\"\nfrom = [\"a\"]\nto = [\"b\"]\nservices = [\"tcp/80\"]\naction = \"allow\"\n\
                    [[test]]\nname = \"a > b & \\\"more\\\"\"\nexpect = \"allow\"\n\
                    packet = { from = \"a\", to = \"b\", src = \"10.0.0.1\", dst = \"10.0.0.2\", service = \"tcp/80\" }\n\
                    [[test]]\nname = \"s\\u0001sh\"\nexpect = \"allow\"\n\
                    packet = { from = \"a\", to = \"b\", src = \"10.0.0.1\", dst = \"10.0.0.2\", service = \"tcp/22\" }\n\
                    [[invariant]]\ndeny_all = { from = [\"a\"], to = [\"b\"] }\n";
        let policy = fw_policy::load(&[SourceFile { name: "a.toml".to_owned(), text: text.to_owned() }]).unwrap();
        let now = datetime!(2026-07-01 0:00 UTC);
        let compiled = policy.compile(&Binding::offline(&policy), now).unwrap();
        let document = document(&policy.run_tests(&compiled, now)).unwrap();
        insta::assert_snapshot!(String::from_utf8(document).unwrap());
    }
}
