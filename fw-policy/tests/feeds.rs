//! Sets whose contents come from elsewhere: what a policy with them decides before, while and after they are filled.

use std::net::IpAddr;

use fw_common::policy::Query;
use fw_policy::{
    AddressList, Binding, Code, Compiled, Compiler, FeedContents, FeedUrl, Integrity, LiveSets, Options, Policy,
    Reader, SourceFile, load,
};
use time::OffsetDateTime;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

const HEAD: &str = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n";
const FEED: &str = "[[feed]]\nname = \"blocked\"\nurl = \"https://lists.example/blocked.txt\"\n";

fn rule(id: &str, keys: &str) -> String {
    format!("[[rule]]\nid = \"{id}\"\nfrom = [\"a\"]\nto = [\"a\"]\n{keys}\n")
}

/// A blocklist in front of a rule that allows everything; the list alone, within a set, and as an exclusion.
fn text() -> String {
    let sets = "[addresses]\nsuspects = [\"@blocked\", \"203.0.113.0/24\", \"!203.0.113.7\"]\n";
    let rules = [
        rule("block", "source = [\"@blocked\"]\naction = \"drop\""),
        rule("suspects", "source = [\"@suspects\"]\nservices = [\"tcp/80\"]\naction = \"drop\""),
        rule("others", "source = [\"10.0.0.0/8\", \"!@suspects\"]\nservices = [\"tcp/81\"]\naction = \"reject\""),
        rule("all", "action = \"allow\""),
    ];
    format!("{HEAD}{sets}{FEED}{}", rules.concat())
}

fn files(text: &str) -> [SourceFile; 1] {
    [SourceFile { name: "a.toml".to_owned(), text: text.to_owned() }]
}

fn list(text: &str) -> AddressList {
    AddressList::parse(text.as_bytes(), 500_000).unwrap_or_else(|error| panic!("{error}"))
}

fn contents(policy: &Policy, text: &str) -> FeedContents {
    policy.feeds().iter().map(|feed| (feed.key(), list(text))).collect()
}

fn compile(policy: &Policy) -> Compiled {
    policy.compile(&Binding::offline(policy), NOW).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn decided(compiled: &Compiled, src: &str, dst_port: u16) -> String {
    let src: IpAddr = src.parse().expect("an address");
    let dst: IpAddr = if src.is_ipv4() { "10.9.9.9" } else { "fd00::9" }.parse().expect("an address");
    let query = Query {
        src_addr: src.into(),
        dst_addr: dst.into(),
        from_zone: 1,
        to_zone: 1,
        protocol: 6,
        src_port: 7,
        dst_port,
    };
    compiled.rules[compiled.tables.classify(&query).rule as usize].id.clone()
}

#[test]
fn a_feed_without_contents_matches_nothing_and_never_any() {
    let policy = load(&files(&text())).unwrap();
    assert!(policy.warnings().is_empty(), "{}", policy.warning_report());
    let compiled = compile(&policy);
    assert_eq!(decided(&compiled, "192.0.2.1", 80), "all");
    assert_eq!(decided(&compiled, "2001:db8::1", 80), "all");
    assert_eq!(decided(&compiled, "203.0.113.1", 80), "suspects", "what else is in the set holds");
    assert_eq!(decided(&compiled, "10.0.0.1", 81), "others", "nothing is excluded");
}

#[test]
fn a_feed_counts_alone_in_sets_and_in_exclusions() {
    let mut policy = load(&files(&text())).unwrap();
    let held = contents(&policy, "192.0.2.0/24\n2001:db8::/32\n10.0.0.1\n203.0.113.7");
    assert!(policy.fill(&held) && !policy.fill(&held), "the second time nothing changes");
    let compiled = compile(&policy);
    for source in ["192.0.2.1", "2001:db8::1", "10.0.0.1", "203.0.113.7"] {
        assert_eq!(decided(&compiled, source, 90), "block", "{source}");
    }
    assert_eq!(decided(&compiled, "203.0.113.1", 80), "suspects");
    assert_eq!(decided(&compiled, "10.0.0.2", 81), "others");
    // The feed's exclusion in the set, and the exclusion of the set: both without what blocks them in front.
    let text = text().replace("source = [\"@blocked\"]", "source = [\"192.0.2.255\"]");
    let mut policy = load(&files(&text)).unwrap();
    policy.fill(&held);
    let compiled = compile(&policy);
    assert_eq!(decided(&compiled, "203.0.113.7", 80), "all", "the set's own exclusion is stronger than the feed");
    assert_eq!(decided(&compiled, "10.0.0.1", 81), "all", "excluded by the feed within the set");
    assert!(policy.fill(&FeedContents::default()), "what is not known any more is nothing");
    assert_eq!(decided(&compile(&policy), "10.0.0.1", 81), "others");
}

#[test]
fn another_list_decides_as_if_the_policy_had_been_read_with_it() {
    let policy = load(&files(&text())).unwrap();
    let binding = Binding::offline(&policy);
    let mut live = LiveSets::new(policy.clone(), &binding, NOW, &Options::default()).unwrap();
    for written in
        ["192.0.2.0/24\n::1", "192.0.2.0/25\n192.0.2.200\n10.0.0.0/9", "", "2001:db8::/32\n10.1.2.3-10.1.2.9"]
    {
        live.replace_feed("blocked", &list(written)).unwrap();
        let mut read = policy.clone();
        read.fill(&contents(&policy, written));
        let (live, read) = (live.compiled(), compile(&read));
        for source in
            ["192.0.2.1", "192.0.2.129", "192.0.2.200", "10.0.0.1", "10.1.2.9", "10.200.0.1", "::1", "2001:db8::5"]
        {
            for port in [80, 81, 90] {
                assert_eq!(
                    decided(live, source, port),
                    decided(&read, source, port),
                    "{written:?}: {source} to {port}"
                );
            }
        }
    }
}

#[test]
fn a_feed_keeps_its_contents_while_rules_are_edited() {
    let (mut reader, mut compiler) = (Reader::default(), Compiler::default());
    let first = load(&files(&text())).unwrap();
    let held = contents(&first, "192.0.2.1");
    let mut decide = |text: &str, source: &str, port: u16| {
        let policy = reader.load_with(&files(text), &held).unwrap();
        let compiled = compiler.compile(policy, &Binding::offline(policy), NOW, &Options::default()).unwrap();
        decided(&compiled, source, port)
    };
    assert_eq!(decide(&text(), "192.0.2.1", 90), "block");
    // The rule is read by itself, and has to find the list in the policy before.
    let edited =
        text().replace("source = [\"@blocked\"]\naction = \"drop\"", "source = [\"@blocked\"]\naction = \"reject\"");
    assert_eq!(decide(&edited, "192.0.2.1", 90), "block");
    assert_eq!(decide(&edited, "192.0.2.2", 90), "all");
    let elsewhere = text().replace("lists.example", "other.example");
    assert_eq!(decide(&elsewhere, "192.0.2.1", 90), "all", "the list of another place is another list");
    assert_eq!(decide(&text(), "192.0.2.1", 90), "block");
}

/// As many as a feed may have.
#[test]
fn a_list_of_half_a_million_prefixes_changes_in_place() {
    let lines = |from: u32| -> String {
        (from..from + 500_000)
            .map(|number| format!("{}\n", std::net::Ipv4Addr::from_bits(11 << 24 | number << 1)))
            .collect()
    };
    let policy = load(&files(&text())).unwrap();
    let binding = Binding::offline(&policy);
    let mut live = LiveSets::new(policy, &binding, NOW, &Options::default()).unwrap();
    live.replace_feed("blocked", &list(&lines(0))).unwrap();
    assert_eq!(decided(live.compiled(), "11.0.0.0", 90), "block");
    assert_eq!(decided(live.compiled(), "11.0.0.1", 90), "all");
    let began = std::time::Instant::now();
    live.replace_feed("blocked", &list(&lines(1))).unwrap();
    println!("500,000 addresses read and replaced in {:?}", began.elapsed());
    assert_eq!(decided(live.compiled(), "11.0.0.0", 90), "all");
    assert_eq!(decided(live.compiled(), "11.15.66.64", 90), "block", "the last one");
    let memory = live.compiled().memory.total();
    assert!(memory < Options::default().memory_budget, "{memory} bytes");
}

#[test]
fn what_a_feed_says_of_itself_is_read() {
    let key = format!("RW{}", "Q".repeat(54));
    let text = format!(
        "{HEAD}[[feed]]\nname = \"a\"\nurl = \"https://lists.example/a\"\nrefresh = \"10s\"\nmax_entries = 7\nmax_age = \"1h\"\n\
         max_bytes = 100\non_failure = \"keep-last\"\nsignature = \"a.minisig\"\npublic_key = \"{key}\"\n\
         [[feed]]\nname = \"b\"\nurl = \"b\"\nrefresh = \"2d\"\nsha256 = \"{}\"\n",
        "0f".repeat(32)
    );
    let policy = load(&files(&text)).unwrap();
    let [a, b] = policy.feeds().as_ref() else { panic!("{:?}", policy.feeds()) };
    assert_eq!((a.name(), a.url().to_string().as_str()), ("a", "https://lists.example/a"));
    assert_eq!((a.refresh(), a.max_entries(), a.max_age(), a.max_bytes()), (10, 7, 3_600, 100));
    let signature = FeedUrl::File("a.minisig".to_owned());
    assert_eq!(a.integrity(), &Integrity::Minisign { signature, public_key: key });
    assert_eq!(b.integrity(), &Integrity::Sha256([15; 32]));
    assert_eq!((b.max_entries(), b.max_age(), b.max_bytes()), (500_000, 6 * 24 * 3_600, 64 << 20));
}

#[test]
fn nothing_is_said_of_rules_whose_lists_nobody_knows() {
    let found = |text: &str| -> Vec<(Code, String)> {
        let policy = load(&files(text)).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        let analysed = policy.analyse(&Binding::offline(&policy), NOW).items;
        let told = analysed.into_iter().map(|item| (item.code, item.message));
        told.filter(|(code, _)| !matches!(code, Code::AllowsEverything | Code::PairsWithoutRules)).collect()
    };
    assert_eq!(found(&text()), [], "the block rule is not one that never matches");
    // A rule behind a list is not hidden by it, and one that allows what a list may deny is not redundant.
    let text = |keys: &[&str]| {
        let rules: String = keys.iter().enumerate().map(|(number, keys)| rule(&format!("r-{number}"), keys)).collect();
        format!("{HEAD}{FEED}{rules}")
    };
    let (blocked, one) = ("source = [\"@blocked\"]\naction = \"drop\"", "source = [\"192.0.2.1\"]\naction = \"allow\"");
    let all = "services = [\"tcp\", \"udp\"]\naction = \"allow\"";
    assert_eq!(found(&text(&[blocked, one])), []);
    assert_eq!(found(&text(&["source = [\"192.0.2.1\"]\nservices = [\"tcp\"]\naction = \"allow\"", blocked, all])), []);
    // Without the list in between it is.
    let redundant = found(&text(&["source = [\"192.0.2.1\"]\nservices = [\"tcp\"]\naction = \"allow\"", all, blocked]));
    assert!(matches!(redundant.as_slice(), [(Code::Redundant, _)]), "{redundant:?}");
    let hidden = found(&text(&[all, "services = [\"tcp/80\"]\naction = \"drop\"", blocked]));
    assert!(matches!(hidden.as_slice(), [(Code::DenyHidden, _)]), "{hidden:?}");
    let unused = found(&format!("{HEAD}{FEED}"));
    let unused: Vec<&(Code, String)> = unused.iter().filter(|(code, _)| *code == Code::Unused).collect();
    assert!(
        matches!(unused.as_slice(), [(_, message)] if message.contains("feed `blocked` is not used")),
        "{unused:?}"
    );
}
