use fw_policy::plan::Judge;
use fw_policy::{SourceFile, WorkLimits};
use time::macros::datetime;

use super::super::{Answer, Checked, compile_policy};
use super::*;
use crate::plan::basis::Seen;
use crate::plan::live::Tally;

const OLD: &str = r#"
version = 1
[defaults]
action = "drop"
[zones.onprem]
networks = ["192.168.0.0/16"]
[zones.it]
networks = ["10.2.0.0/16"]
[addresses]
plc = ["192.168.10.0/24"]
[[rule]]
id = "history"
from = ["onprem"]
to = ["it"]
source = ["@plc"]
services = ["tcp/502"]
action = "allow"
[[rule]]
id = "web"
from = ["onprem"]
to = ["it"]
services = ["tcp/80", "tcp/443"]
action = "allow"
[[rule]]
id = "no-telnet"
from = ["onprem"]
to = ["it"]
services = ["tcp/23"]
action = "drop"
"#;

fn checked(text: &str) -> Checked {
    let files = [SourceFile { name: "a.toml".to_owned(), text: text.to_owned() }];
    let compiled =
        fw_policy::load(&files).and_then(|policy| compile_policy(policy, None, datetime!(2026-07-01 0:00 UTC)));
    compiled.unwrap_or_else(|errors| panic!("{errors}"))
}

fn seen(dst_port: u16, bytes: u64) -> Seen {
    Seen {
        src_addr: [192, 168, 10, 4].into(),
        src_port: 50_123,
        dst_addr: [10, 2, 1, 20].into(),
        dst_port,
        protocol: 6,
        from_zone: Some("onprem".to_owned()),
        to_zone: Some("it".to_owned()),
        from_slot: Some(0),
        to_slot: Some(1),
        rule: None,
        packets: 4,
        bytes,
    }
}

fn answer(new: &str, flows: &[(u16, u64)], denied: &[(u16, u64)]) -> Answer {
    let (old, new) = (checked(OLD), checked(new));
    let mut tally = Tally::new(Judge::new(&old.compiled, &new.compiled));
    flows.iter().for_each(|(port, bytes)| tally.flow(seen(*port, *bytes)));
    denied.iter().for_each(|(port, bytes)| tally.denied(seen(*port, *bytes)));
    Answer::new(Against::Revision(7), [&old, &new], Vec::new(), Some(tally.finish()))
}

fn much() -> Answer {
    let telnet = &OLD[OLD.find("[[rule]]\nid = \"no-telnet\"").unwrap()..];
    let new = OLD
        .replace(telnet, "")
        .replacen("[[rule]]", &format!("{telnet}[[rule]]"), 1)
        .replace("[\"tcp/80\", \"tcp/443\"]", "[\"tcp/443\", \"tcp/8443\"]")
        .replace("id = \"history\"", "id = \"plc-history\"\nrenamed_from = \"history\"\nexpires = 2026-07-21")
        .replace("[\"192.168.10.0/24\"]", "[\"192.168.10.0/25\"]")
        + "[[rule]]\nid = \"ssh\"\nfrom = [\"it\"]\nto = [\"onprem\"]\nservices = [\"tcp/22\"]\naction = \"allow\"\n\
           [[zone_pair]]\nfrom = \"it\"\nto = \"onprem\"\naction = \"reject\"\n\
           [[test]]\nname = \"web\"\nexpect = \"allow\"\npacket = { from = \"onprem\", to = \"it\", src = \"192.168.20.1\", \
           dst = \"10.2.0.1\", service = \"tcp/80\" }\n";
    answer(&new, &[(80, 1_200), (80, 90), (443, 77), (502, 5)], &[(8443, 60), (8080, 60)])
}

#[test]
fn a_plan_is_told_for_people() {
    let lines = lines(&much(), Path::new("policies"), false);
    insta::assert_snapshot!(lines.join("\n"));
    assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
}

#[test]
fn marks_and_headings_have_colours_where_these_are_wanted() {
    let [plain, colored] = [false, true].map(|color| lines(&much(), Path::new("policies"), color));
    insta::assert_snapshot!(colored[..6].join("\n").replace('\u{1b}', "ESC"));
    let bare = |line: &String| {
        let codes = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[36m"];
        codes.iter().fold(line.clone(), |line, code| line.replace(code, ""))
    };
    assert_eq!(colored.iter().map(bare).collect::<Vec<_>>(), plain);
}

#[test]
fn nothing_is_said_in_two_lines() {
    let answer = answer(&format!("# A comment.\n{OLD}"), &[(80, 1)], &[]);
    assert!(answer.plan.is_empty());
    insta::assert_snapshot!(lines(&answer, Path::new("policies"), false).join("\n"));
}

#[test]
fn of_many_flips_the_first_are_shown_and_the_rest_is_counted() {
    let rule = |port: u16| {
        format!(
            "[[rule]]\nid = \"p-{port}\"\nfrom = [\"it\"]\nto = [\"onprem\"]\nservices = [\"udp/{port}\"]\naction = \"allow\"\n"
        )
    };
    let rules: String = (1_000..1_120).map(rule).collect();
    let answer = answer(&format!("{OLD}{rules}"), &[], &[]);
    assert_eq!(answer.plan.flips.len(), 120);
    let lines = lines(&answer, Path::new("policies"), false);
    assert!(lines.contains(&"  + and 110 more".to_owned()) && lines.contains(&"    and 20 more".to_owned()));
    assert!(lines.last().is_some_and(|line| line.starts_with("Tables: ")), "{lines:?}");
    assert!(lines.len() < 150, "{}", lines.len());
}

#[test]
fn what_is_not_decided_is_said() {
    let mut answer = answer(&OLD.replace("tcp/502", "tcp/503"), &[], &[]);
    let (old, new) = (checked(OLD), checked(&OLD.replace("tcp/502", "tcp/503")));
    let limits = WorkLimits { rule: 1, all: 10 };
    answer.plan = new.policy.plan(&new.binding, (&old.policy, &old.binding), new.now, limits);
    let text = lines(&answer, Path::new("policies"), false).join("\n");
    assert!(text.contains("~ onprem > it: not decided, it would take too long; there may be more"), "{text}");
}

#[test]
fn lists_that_are_not_known_are_said() {
    let feed = |feed: &str, policy: Side, entries: Option<usize>| FeedList {
        feed: feed.to_owned(),
        url: format!("https://a.example/{feed}"),
        policy,
        entries,
    };
    let mut answer = answer(OLD, &[], &[]);
    answer.feeds =
        vec![feed("known", Side::Both, Some(0)), feed("gone", Side::Old, None), feed("new", Side::New, None)];
    let text = lines(&answer, Path::new("policies"), false).join("\n");
    let expected = "Feeds whose lists are not known, counted as empty\n  - `gone`, https://a.example/gone\n  \
                    + `new`, https://a.example/new\n";
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains("known`"), "{text}");
}
