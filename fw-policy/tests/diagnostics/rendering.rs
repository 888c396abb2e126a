//! The forms of diagnostics: text, with colours, within the width of a terminal, and JSON; and several at once.

use fw_policy::Code;

use super::{HEAD, ZONES, headed, loaded, rule};

#[test]
fn as_json_a_finding_has_its_place_and_its_help() {
    let diagnostics = loaded(&[&rule("sorce = [\"10.1.0.1\"]")]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&diagnostics).unwrap());
}

#[test]
fn color_adds_escape_sequences_and_nothing_else() {
    let diagnostics = loaded(&[&rule("sorce = [\"10.1.0.1\"]")]);
    let (plain, colored) = (diagnostics.render(false), diagnostics.render(true));
    assert!(!plain.contains('\u{1b}') && colored.contains('\u{1b}'));
    assert_eq!(without_escapes(&colored), plain);
}

/// The text without the escape sequences of colours.
fn without_escapes(colored: &str) -> String {
    let mut text = String::new();
    let mut rest = colored;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        text.push_str(before);
        rest = after.split_once('m').expect("an escape sequence ends").1;
    }
    text + rest
}

#[test]
fn several_mistakes_of_syntax_are_found_in_several_files_at_once() {
    let first = headed(
        "[zones.ot]\nnetworks = [\"10.1.0.0/16\"\n[zones.it\nnetworks = [\"10.2.0.0/16\"]\n[addresses]\na = [\"10.0.0.1\", 10.0.0.2]\nb = [\"10.0.0.1]\nc = [\"10.0.0.300\"]",
    );
    let second = rule("log =\nowner = 'x\nservices = { proto = \"tcp\"\nticket = \"\"\"\nsorce = [\"10.0.0.1\"]")
        .replace(HEAD, "version = 1\n")
        .replace(ZONES, "");
    let diagnostics = loaded(&[&first, &second]);
    let found: Vec<_> = diagnostics
        .items
        .iter()
        .map(|item| (item.code, item.place.as_ref().map(|place| (place.file.as_str(), place.line))))
        .collect();
    let syntax = |file, line| (Code::Syntax, Some((file, line)));
    let expected = [
        syntax("0.toml", 5),
        syntax("0.toml", 6),
        syntax("0.toml", 9),
        syntax("0.toml", 10),
        (Code::InvalidAddress, Some(("0.toml", 11))),
        syntax("1.toml", 7),
        syntax("1.toml", 8),
        syntax("1.toml", 9),
        syntax("1.toml", 10),
        (Code::UnknownKey, Some(("1.toml", 11))),
    ];
    assert_eq!(found, expected, "{diagnostics}");
    insta::assert_snapshot!(diagnostics.render(false));
}

#[test]
fn on_a_terminal_of_80_columns_lines_are_cut_and_texts_broken() {
    let long = (0..20).map(|number| format!("\"10.1.{number}.0/24\"")).collect::<Vec<_>>().join(", ");
    let text = rule(&format!(
        "source = [{long}, \"10.1.2.3/16\", {long}]\nsorce = 1\nservices = [\"icmp/ping\"]\nzone = \"Übersicht — 漢字\""
    ));
    let diagnostics = loaded(&[&text]);
    for color in [false, true] {
        let rendered = diagnostics.render_within(color, 80);
        let plain: Vec<String> = rendered.lines().map(without_escapes).collect();
        let wide: Vec<&String> = plain.iter().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{wide:#?}");
    }
    insta::assert_snapshot!(diagnostics.render_within(false, 80));
}
