//! What a policy is made of, counted.

use fw_policy::{Binding, Expiring, Owner, RuleCounts, SetSize, SourceFile, Stats, load};
use time::macros::datetime;

const POLICY: &str = "version = 1
[defaults]
action = \"drop\"
[zones.a]
[zones.b]
networks = [\"10.2.0.0/16\"]
[addresses]
few = [\"10.2.0.0/31\"]
many = [\"@few\", \"10.2.1.1-10.2.1.3\", \"fd00::/64\"]
[services]
web = [\"tcp/80\", \"tcp/443\"]
[[rule]]
id = \"now\"
from = [\"any\"]
to = [\"b\", \"local\"]
services = [\"@web\"]
action = \"allow\"
owner = \"x\"
ticket = \"T-1\"
max_flows = { limit = 5 }
expires = 2026-07-11
[[rule]]
id = \"later\"
from = [\"a\"]
to = [\"b\"]
action = \"allow\"
starts = 2027-01-01
owner = \"x\"
ticket = \"T-1\"
[[rule]]
id = \"over\"
from = [\"a\"]
to = [\"b\"]
action = \"reject\"
expires = 2026-01-01
expires_opens = true
[[rule]]
id = \"far\"
from = [\"b\"]
to = [\"b\"]
services = [\"udp/53\"]
action = \"allow\"
expires = 2026-12-31
[[rule]]
id = \"perhaps\"
from = [\"b\"]
to = [\"a\"]
services = [\"udp/53\"]
action = \"allow\"
mode = \"observe\"
[[test]]
name = \"dns\"
expect = \"allow\"
packet = { from = \"b\", to = \"b\", src = \"10.2.0.1\", dst = \"10.2.0.2\", service = \"udp/53\" }
[[invariant]]
name = \"no telnet\"
deny_all = { from = [\"any\"], to = [\"any\"], services = [\"tcp/23\"] }
[[invariant]]
name = \"nor from b to a\"
deny_all = { from = [\"b\"], to = [\"a\"] }
";

fn stats() -> Stats {
    let now = datetime!(2026-07-01 0:00 UTC);
    let policy = load(&[SourceFile { name: "p.toml".into(), text: POLICY.into() }]).expect("it is valid");
    policy.stats(&policy.compile(&Binding::offline(&policy), now).expect("it compiles"), now)
}

#[test]
fn rules_are_counted_by_what_they_do_and_when() {
    let expected = RuleCounts {
        total: 5,
        allow: 4,
        drop: 0,
        reject: 1,
        active: 3,
        pending: 1,
        expired: 1,
        limited: 1,
        observing: 1,
    };
    assert_eq!(stats().rules, expected);
}

#[test]
fn tests_and_invariants_are_counted() {
    let stats = stats();
    assert_eq!((stats.tests, stats.invariants), (1, 2));
}

#[test]
fn sets_are_ordered_by_size() {
    let size = |name: &str, size| SetSize { name: name.to_owned(), size };
    let stats = stats();
    assert_eq!(stats.address_sets, [size("many", 4), size("few", 1)]);
    assert_eq!((stats.prefixes, stats.service_sets), (5, vec![size("web", 2)]));
}

#[test]
fn what_rules_allow_now_is_put_together_by_pair_of_zones() {
    let pairs: Vec<(String, String, usize, String)> =
        stats().services.into_iter().map(|pair| (pair.from, pair.to, pair.rules, pair.services.join(" "))).collect();
    let pair =
        |from: &str, to: &str, rules, services: &str| (from.to_owned(), to.to_owned(), rules, services.to_owned());
    let web = "tcp/80 tcp/443";
    let expected = [
        pair("a", "b", 1, web),
        pair("a", "local", 1, web),
        pair("b", "b", 2, "tcp/80 tcp/443 udp/53"),
        pair("b", "local", 1, web),
    ];
    assert_eq!(pairs, expected);
}

#[test]
fn who_answers_and_what_ends_soon_is_named() {
    let stats = stats();
    let owner = |name: &str, rules| Owner { name: name.to_owned(), rules };
    assert_eq!(stats.owners, [owner("", 3), owner("x", 2)]);
    assert_eq!((stats.tickets, stats.without_ticket), (1, 3));
    let expiring = |rule: &str, expires: &str, owner: &str| Expiring {
        rule: rule.to_owned(),
        expires: expires.to_owned(),
        owner: owner.to_owned(),
    };
    let expected = [expiring("over", "2026-01-01T00:00:00Z", ""), expiring("now", "2026-07-11T00:00:00Z", "x")];
    assert_eq!(stats.expiring, expected);
}

#[test]
fn the_memory_is_that_of_the_compiler() {
    let stats = stats();
    assert_eq!(stats.memory.iter().map(|table| table.bytes).sum::<u64>(), stats.memory_total);
    assert!(stats.memory_total > 0);
}
