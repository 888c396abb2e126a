//! `fwctl policy rename`: everywhere or nowhere, and nothing else changes.

use fw_policy::{Binding, RenameError, Renamed, SourceFile, load, rename};
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-07-01 0:00 UTC);

const FILES: [&str; 2] = [
    "version = 1
[defaults]
action = \"drop\"
# The zone ot.
[zones.ot]   # ot
networks = ['10.1.0.0/16']
[zones.it]
[addresses]
plc = ['10.1.0.1', '10.1.0.2']
plc-2 = [\"@plc\", '!@plc', \"10.1.0.0/24\"]
\"other.plc\" = ['10.1.0.9']
[services]
plc = [\"tcp/502\"]
all = [\"@plc\", { proto = \"udp\", port = [\"1\"] }]
",
    "version = 1
[[rule]]
id = \"plc\"
description = \"@plc of ot\"
from = [ 'ot', \"it\" ]
to = [\"ot\"]
source = [\"@plc\",\t\"!@plc-2\"]
services = [\"@plc\"]
action = \"allow\"
[[zone_pair]]
from = \"it\"
to = \"ot\"
action = \"reject\"
[[test]]
name = \"ot\"
packet = { from = \"ot\", to = \"ot\", src = \"10.1.0.1\", dst = \"10.1.0.9\", service = \"tcp/502\" }
expect = \"allow\"
rule = \"plc\"
[[test]]
name = \"it\"
packet = { from = \"it\", to = \"ot\", src = \"10.2.0.1\", dst = \"10.1.0.9\", service = \"tcp/1\" }
expect = \"reject\"
rule = \"default:it>ot\"
[[invariant]]
deny_all = { from = [\"it\"], to = [\"ot\"], services = [\"!@all\"], except = { from = [\"ot\"], source = [\"@plc\"] } }
[[invariant]]
allow_all = { from = [\"ot\"], to = [\"ot\"], source = [\"@plc\"], services = [\"@plc\"], except = [{ to = [\"it\"], destination = [\"@plc-2\"] }] }
",
];

fn files(texts: &[&str]) -> Vec<SourceFile> {
    let file = |(number, text): (usize, &&str)| SourceFile { name: format!("{number}.toml"), text: (*text).to_owned() };
    texts.iter().enumerate().map(file).collect()
}

/// The lines that a renaming changes, as they are then.
fn changed(kind: Renamed, old: &str, new: &str) -> Result<Vec<String>, RenameError> {
    let before = files(&FILES);
    let mut lines = Vec::new();
    for file in rename(&before, kind, old, new, NOW)? {
        let old = &before.iter().find(|known| known.name == file.name).expect("a file of the policy").text;
        let (noted, text): (Vec<&str>, Vec<&str>) =
            file.text.lines().partition(|line| line.starts_with("renamed_from"));
        assert_eq!(old.lines().count(), text.len());
        lines.extend(text.iter().zip(old.lines()).filter(|(new, old)| *new != old).map(|(new, _)| (*new).to_owned()));
        lines.extend(noted.into_iter().map(str::to_owned));
    }
    Ok(lines)
}

#[test]
fn an_address_set_is_renamed_where_addresses_are_named() {
    let expected = [
        "plcs = ['10.1.0.1', '10.1.0.2']",
        "plc-2 = [\"@plcs\", '!@plcs', \"10.1.0.0/24\"]",
        "source = [\"@plcs\",\t\"!@plc-2\"]",
        "deny_all = { from = [\"it\"], to = [\"ot\"], services = [\"!@all\"], except = { from = [\"ot\"], source = [\"@plcs\"] } }",
        "allow_all = { from = [\"ot\"], to = [\"ot\"], source = [\"@plcs\"], services = [\"@plc\"], except = [{ to = [\"it\"], destination = [\"@plc-2\"] }] }",
    ];
    assert_eq!(changed(Renamed::Set, "plc", "plcs").unwrap(), expected);
    assert_eq!(changed(Renamed::Set, "other.plc", "others").unwrap(), ["\"others\" = ['10.1.0.9']"]);
    assert_eq!(changed(Renamed::Set, "plc-2", "a.b").unwrap()[0], "\"a.b\" = [\"@plc\", '!@plc', \"10.1.0.0/24\"]");
}

#[test]
fn a_service_set_is_renamed_where_services_are_named() {
    let expected = [
        "modbus = [\"tcp/502\"]",
        "all = [\"@modbus\", { proto = \"udp\", port = [\"1\"] }]",
        "services = [\"@modbus\"]",
        "allow_all = { from = [\"ot\"], to = [\"ot\"], source = [\"@plc\"], services = [\"@modbus\"], except = [{ to = [\"it\"], destination = [\"@plc-2\"] }] }",
    ];
    assert_eq!(changed(Renamed::Service, "plc", "modbus").unwrap(), expected);
}

#[test]
fn a_zone_is_renamed_with_the_ids_of_its_pairs() {
    let expected = [
        "[zones.plant]   # ot",
        "from = [ 'plant', \"it\" ]",
        "to = [\"plant\"]",
        "to = \"plant\"",
        "packet = { from = \"plant\", to = \"plant\", src = \"10.1.0.1\", dst = \"10.1.0.9\", service = \"tcp/502\" }",
        "packet = { from = \"it\", to = \"plant\", src = \"10.2.0.1\", dst = \"10.1.0.9\", service = \"tcp/1\" }",
        "rule = \"default:it>plant\"",
        "deny_all = { from = [\"it\"], to = [\"plant\"], services = [\"!@all\"], except = { from = [\"plant\"], source = [\"@plc\"] } }",
        "allow_all = { from = [\"plant\"], to = [\"plant\"], source = [\"@plc\"], services = [\"@plc\"], except = [{ to = [\"it\"], destination = [\"@plc-2\"] }] }",
    ];
    assert_eq!(changed(Renamed::Zone, "ot", "plant").unwrap(), expected);
}

#[test]
fn a_rule_is_renamed_with_the_tests_that_expect_it() {
    let expected = ["id = \"plc-001\"", "rule = \"plc-001\"", "renamed_from = \"plc\""];
    assert_eq!(changed(Renamed::Rule, "plc", "plc-001").unwrap(), expected);
}

#[test]
fn a_renamed_rule_says_which_id_it_had_so_that_its_hits_stay() {
    let head = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n";
    let rest = "from = [\"a\"]\nto = [\"a\"]\naction = \"drop\"\n";
    for (before, after) in [
        ("[[rule]]\nid = 'x' # first\nREST", "[[rule]]\nid = 'y' # first\nrenamed_from = \"x\"\nREST"),
        ("[[rule]]\r\n  id = \"x\"\r\nREST", "[[rule]]\r\n  id = \"y\"\r\n  renamed_from = \"x\"\r\nREST"),
        ("[[rule]]\nid = \"x\"\nrenamed_from = \"w\"\nREST", "[[rule]]\nid = \"y\"\nrenamed_from = \"x\"\nREST"),
        ("[[rule]]\nRESTid = \"x\"", "[[rule]]\nRESTid = \"y\"\nrenamed_from = \"x\""),
        // What another rule was is not renamed.
        (
            "[[rule]]\nid = \"x\"\nREST[[rule]]\nid = \"z\"\nrenamed_from = \"x\"\nREST",
            "[[rule]]\nid = \"y\"\nrenamed_from = \"x\"\nREST[[rule]]\nid = \"z\"\nrenamed_from = \"x\"\nREST",
        ),
    ] {
        let [before, after] = [before, after].map(|text| format!("{head}{}", text.replace("REST", rest)));
        let renamed = rename(&files(&[&before]), Renamed::Rule, "x", "y", NOW).unwrap();
        assert_eq!(renamed, files(&[&after]));
    }
    let inline = "version = 1\ndefaults = { action = \"drop\" }\nzones = { a = {} }\n\
                  rule = [{ id = \"x\", from = [\"a\"], to = [\"a\"], action = \"drop\" }]\n";
    let renamed = rename(&files(&[inline]), Renamed::Rule, "x", "y", NOW).unwrap();
    assert_eq!(renamed, files(&[&inline.replace("id = \"x\"", "id = \"y\", renamed_from = \"x\"")]));
}

#[test]
fn what_is_renamed_there_and_back_is_as_before_and_passes_its_tests() {
    for (kind, old) in [(Renamed::Set, "plc"), (Renamed::Service, "all"), (Renamed::Zone, "it"), (Renamed::Rule, "plc")]
    {
        let mut texts = files(&FILES);
        for (from, to) in [(old, "between"), ("between", old)] {
            for file in rename(&texts, kind, from, to, NOW).unwrap() {
                let known = texts.iter_mut().find(|known| known.name == file.name).unwrap();
                *known = file;
            }
            let policy = load(&texts).unwrap();
            let compiled = policy.compile(&Binding::offline(&policy), NOW).unwrap();
            assert!(policy.run_tests(&compiled, NOW).iter().all(|result| result.passed), "{kind:?} {to}");
        }
        if kind == Renamed::Rule {
            // It has had the name between, perhaps for long.
            texts.iter_mut().for_each(|file| file.text = file.text.replace("renamed_from = \"between\"\n", ""));
        }
        assert_eq!(texts, files(&FILES), "{kind:?}");
    }
}

#[test]
fn what_cannot_be_renamed_is_said() {
    let refused = |kind, old: &str, new: &str| changed(kind, old, new).unwrap_err().to_string();
    assert_eq!(refused(Renamed::Set, "plcs", "x"), "there is no address set `plcs`; did you mean `plc`?");
    assert_eq!(refused(Renamed::Zone, "plant", "x"), "there is no zone `plant`");
    assert_eq!(refused(Renamed::Set, "plc", "plc-2"), "the name `plc-2` is taken: an existing address set has it");
    assert!(refused(Renamed::Zone, "ot", "any").starts_with("`any` is reserved: "));
    assert!(refused(Renamed::Rule, "plc", "p l c").starts_with("`p l c` cannot be the name of a rule: "));
    assert!(refused(Renamed::Zone, "ot", &"x".repeat(40)).starts_with("the name of a zone has at most"));
    let dotted = files(&[
        "version = 1\ndefaults.action = 'drop'\nzones.a.description = 'x'\nzones.a.networks = ['10.0.0.0/8']\n",
    ]);
    let refused = rename(&dotted, Renamed::Zone, "a", "b", NOW).unwrap_err();
    assert!(matches!(refused, RenameError::NotFound(_)), "{refused}");
    let invalid = rename(&files(&["version = 1\n"]), Renamed::Zone, "a", "b", NOW).unwrap_err();
    assert!(matches!(invalid, RenameError::Invalid(_)), "{invalid}");
}

#[test]
fn a_feed_is_renamed_as_a_set_is() {
    let text = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[addresses]\nmore = [\"@bad\"]\n\
                [[feed]]\nname = \"bad\"\ndescription = \"bad\"\nurl = \"bad\"\n\
                [[rule]]\nid = \"bad\"\nfrom = [\"a\"]\nto = [\"a\"]\nsource = [\"@bad\", \"!@more\"]\naction = \"drop\"\n";
    let renamed = rename(&files(&[text]), Renamed::Set, "bad", "worse", NOW).unwrap();
    let expected = text.replace("\"@bad\"", "\"@worse\"").replace("name = \"bad\"", "name = \"worse\"");
    assert_eq!(renamed[0].text, expected);
}
