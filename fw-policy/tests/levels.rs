//! `log` takes a level, and whether something is logged at all.

use fw_policy::{Binding, Code, Level, SourceFile, load};
use time::OffsetDateTime;

fn text(defaults: &str, rule: &str) -> String {
    format!(
        "version = 1\n[defaults]\naction = \"drop\"\n{defaults}\n[zones.a]\n[[rule]]\nid = \"r\"\nfrom = [\"a\"]\nto = [\"a\"]\n\
         {rule}\n[[zone_pair]]\nfrom = \"a\"\nto = \"a\"\naction = \"reject\"\n"
    )
}

fn file(text: String) -> [SourceFile; 1] {
    [SourceFile { name: "a.toml".to_owned(), text }]
}

/// The levels of the rule, the default of the pair and that of everything.
fn levels(defaults: &str, rule: &str) -> [Option<Level>; 3] {
    let policy = load(&file(text(defaults, rule))).expect("it is valid");
    let compiled = policy.compile(&Binding::offline(&policy), OffsetDateTime::UNIX_EPOCH).expect("it compiles");
    ["r", "default:a>a", "default"].map(|id| compiled.rules.iter().find(|rule| rule.id == id).expect("it is there").log)
}

#[test]
fn a_level_is_a_name_of_syslog_or_the_usual_one() {
    let (allow, drop) = ("action = \"allow\"", "action = \"drop\"");
    let usual = Some(Level::Info);
    assert_eq!(levels("", allow), [None, usual, usual]);
    assert_eq!(levels("log = true", drop), [usual, usual, usual]);
    assert_eq!(levels("log = false", drop), [usual, None, None]);
    let warning = Some(Level::Warning);
    assert_eq!(levels("log = \"warning\"", &format!("{allow}\nlog = true")), [usual, warning, warning]);
    for name in Level::NAMES {
        let rule = format!("{allow}\nlog = \"{name}\"");
        assert_eq!(levels("log = false", &rule), [Level::from_name(name), None, None]);
    }
}

#[test]
fn another_level_is_another_policy_with_the_same_tables() {
    let compiled = |rule: &str| {
        let policy = load(&file(text("", rule))).expect("it is valid");
        policy.compile(&Binding::offline(&policy), OffsetDateTime::UNIX_EPOCH).expect("it compiles")
    };
    let rule = "action = \"drop\"\nlog = \"warning\"";
    let (one, other) = (compiled(rule), compiled(&rule.replace("warning", "error")));
    assert_eq!(one.tables, other.tables);
    assert_ne!(one.digest, other.digest);
}

#[test]
fn what_is_no_level_is_refused_where_it_stands() {
    let refused = |log: &str| {
        let diagnostics = load(&file(text("", &format!("action = \"drop\"\nlog = {log}")))).expect_err("it is refused");
        assert_eq!(diagnostics.items.len(), 1, "{diagnostics}");
        (diagnostics.items[0].code, diagnostics.to_string())
    };
    let (code, told) = refused("\"warn\"");
    assert!(code == Code::InvalidValue && told.contains("`warning`"), "{told}");
    let (code, told) = refused("4");
    assert!(code == Code::WrongType && told.contains("true, false or a level"), "{told}");
}
