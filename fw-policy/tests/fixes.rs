//! A fix is true: where it is made, its finding is gone, and nothing new is found.

use fw_policy::{Applicability, Diagnostic, Fix, SourceFile, load};

const HEAD: &str = "version = 1\n[defaults]\naction = \"drop\"\n[zones.ot]\nnetworks = [\"10.1.0.0/16\"]\n[zones.it]\n";

fn rule(keys: &str) -> String {
    format!("{HEAD}[[rule]]\nid = \"r\"\nfrom = [\"ot\"]\nto = [\"it\"]\naction = \"allow\"\n{keys}\n")
}

fn found(text: &str) -> Vec<Diagnostic> {
    let files = [SourceFile { name: "p.toml".into(), text: text.to_owned() }];
    load(&files).map_or_else(|diagnostics| diagnostics.items, |policy| policy.warnings().to_vec())
}

/// Makes the fixes of all findings one after the other; the text then, and how sure they were.
#[track_caller]
fn fixed(text: &str) -> (String, Vec<Applicability>) {
    let (mut text, mut sure) = (text.to_owned(), Vec::new());
    while let Some(fix) = found(&text).into_iter().find_map(|finding| finding.fix) {
        let before = found(&text).len();
        text = fix.apply(&text);
        assert!(found(&text).len() < before, "{fix:?} leaves {:?}", found(&text));
        sure.push(fix.applicability);
    }
    assert_eq!(found(&text), [], "{text}");
    (text, sure)
}

#[track_caller]
fn check(wrong: &str, right: &str, sure: Applicability) {
    assert_eq!(fixed(wrong), (right.to_owned(), vec![sure]));
}

#[test]
fn what_has_one_reading_is_replaced_by_it() {
    let sure = Applicability::MachineApplicable;
    check(&HEAD.replace("version = 1\n", ""), HEAD, sure);
    check(&rule("source = \"10.1.0.1\""), &rule("source = [\"10.1.0.1\"]"), sure);
    check(
        &rule("source = ['!10.1.0.9-10.1.0.1', '10.1.0.0/16']"),
        &rule("source = ['!10.1.0.1-10.1.0.9', '10.1.0.0/16']"),
        sure,
    );
    check(&rule("services = [\"tcp/90-80\"]"), &rule("services = [\"tcp/80-90\"]"), sure);
    check(&rule("services = [\"!gre\", \"udp\"]"), &rule("services = [\"!proto/47\", \"udp\"]"), sure);
    check(&rule("services = [\"udp\", \"tcp\",\n  \"udp\"]"), &rule("services = [\"udp\", \"tcp\"]"), sure);
    let tables = rule("services = [{ proto = \"tcp\", port = [\"135\", \"7-5\"] }]");
    check(&tables, &tables.replace("7-5", "5-7"), sure);
}

#[test]
fn what_is_misspelt_is_replaced_by_what_is_nearest() {
    let perhaps = Applicability::MaybeIncorrect;
    check(&rule("sorce = [\"10.1.0.1\"]"), &rule("source = [\"10.1.0.1\"]"), perhaps);
    check(&rule("").replace("\"allow\"", "\"alow\""), &rule(""), perhaps);
    check(&rule("").replace("[\"it\"]", "['itt']"), &rule("").replace("[\"it\"]", "['it']"), perhaps);
    let sets = rule("source = [\"!@plcs\", \"10.1.0.0/16\"]\n[addresses]\nplc = [\"10.1.0.1\"]");
    check(&sets, &sets.replace("plcs", "plc"), perhaps);
    let test = "[[test]]\nname = \"t\"\nexpect = \"allow\"\nrule = \"defualt\"\n\
                packet = { from = \"ot\", to = \"it\", src = \"10.1.0.1\", dst = \"10.2.0.1\", service = \"tcp/1\" }\n";
    check(&rule(test), &rule(&test.replace("defualt", "default")), perhaps);
}

#[test]
fn where_there_is_a_choice_there_is_no_fix() {
    for keys in [
        "source = [\"10.1.2.3/16\"]",
        "source = []",
        "services = [\"icmp/echo-reply\"]",
        "zone = 1",
        "log = \"false\"",
        "services = [\"tcp/1\", # first\n  \"udp\", # second\n  \"tcp/1\"]",
    ] {
        let fixes: Vec<Fix> = found(&rule(keys)).into_iter().filter_map(|finding| finding.fix).collect();
        assert_eq!(fixes, [], "{keys}");
    }
}
