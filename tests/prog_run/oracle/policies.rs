//! Random policies for the rig's zones: short, with rules that overlap, exclusions, nested sets and defaults of zone pairs.

use std::fmt::Write as _;

use fw_policy::SourceFile;
use fw_testkit::classbench::Random;

/// What the parts of a policy begin with, so that they can be removed one by one.
pub(super) const PARTS: [&str; 2] = ["[[rule]]\n", "[[zone_pair]]\n"];

/// What the ids of rules that observe begin with.
pub(super) const OBSERVING: &str = "observes-";

const OBSERVES: &str = "mode = \"observe\"\n";

const ZONES: [&str; 4] = ["onprem", "exposed", "ot", "it"];

const ADDRESSES: &[&str] = &[
    "192.168.0.0/16",
    "192.168.1.0/24",
    "192.168.1.1",
    "10.0.0.0/8",
    "10.0.1.0-10.0.1.49",
    "10.1.1.50",
    "10.1.1.48/30",
    "10.2.1.0/24",
    "10.2.1.20",
    "0.0.0.0/0",
    "::/0",
    "fd00:0:0:a00::/56",
    "fd00:0:0:101::50",
    "fd00:0:0:100::/56",
    "fd00:0:0:201::/64",
    "!10.1.1.51",
    "!192.168.2.0/24",
    "!10.2.1.20",
    "!fd00:0:0:101::51",
    "@some",
    "!@others",
];

const SERVICES: &[&str] = &[
    "\"tcp\"",
    "\"tcp\"",
    "\"tcp/80\"",
    "\"tcp/1-99\"",
    "\"tcp/81\"",
    "\"udp\"",
    "\"udp/53\"",
    "\"udp/50-2001\"",
    "\"icmp\"",
    "\"icmp/echo-request\"",
    "\"icmpv6/echo-request\"",
    "\"icmpv6/128/0\"",
    "\"icmp/13\"",
    "\"proto/47\"",
    "\"proto/50\"",
    "\"sctp\"",
    "\"sctp/2905\"",
    "\"!tcp/81\"",
    "\"!udp/53\"",
    "\"@common\"",
    "\"!@rare\"",
    "{ proto = \"tcp\", port = [\"80\", \"443\"], source_port = [\"4000-4001\"] }",
    "{ proto = \"udp\", source_port = [\"4000\", \"4002-4100\"] }",
];

/// One to three policies, of which each is the one before with some changes, or another.
pub(super) fn random(random: &mut Random) -> Vec<String> {
    let count = 1 + index(random, 3);
    let mut rules = random_rules(random);
    let mut policies = Vec::new();
    while policies.len() < count {
        let text = write(random, &rules);
        if is_valid(&text) {
            policies.push(text);
        } else {
            rules = random_rules(random);
        }
        if random.below(3) == 0 {
            rules = random_rules(random);
        } else if !rules.is_empty() {
            let position = index(random, rules.len());
            if random.below(2) == 0 {
                rules.remove(position);
            } else {
                rules[position] = rule(random);
            }
        }
    }
    policies
}

/// Exclusions may leave nothing of a set, which is an error.
fn is_valid(text: &str) -> bool {
    fw_policy::load(&[SourceFile { name: "random.toml".to_owned(), text: text.to_owned() }]).is_ok()
}

fn random_rules(random: &mut Random) -> Vec<String> {
    let mut rules: Vec<String> = (0..2 + random.below(9)).map(|_| rule(random)).collect();
    // Rules that are as narrow as the others observe little.
    if random.below(2) == 0 {
        let place = index(random, rules.len() + 1);
        rules.insert(place, format!("from = [\"any\"]\nto = [\"any\", \"local\"]\naction = \"drop\"\n{OBSERVES}"));
    }
    // Of traffic that is dropped at its first packet nothing else is learnt.
    if random.below(4) != 0 {
        rules.push("from = [\"any\"]\nto = [\"any\", \"local\"]\naction = \"allow\"\n".to_owned());
    }
    rules
}

fn write(random: &mut Random, rules: &[String]) -> String {
    let action = if random.below(4) == 0 { "reject" } else { "drop" };
    let mut text = format!("version = 1\n[defaults]\naction = \"{action}\"\n");
    // At most one of the two zones of an interface is its rest, and the addresses of a zone may change.
    let onprem = match random.below(6) {
        0 => "",
        1 => "networks = [\"192.168.1.0/24\", \"fd00:0:0:a00::/56\"]\n",
        _ => "networks = [\"192.168.0.0/16\", \"fd00:0:0:a00::/56\"]\n",
    };
    let it = if random.below(8) == 0 {
        "networks = [\"10.2.1.0/26\", \"fd00:0:0:200::/56\"]\n"
    } else {
        "networks = [\"10.2.0.0/16\", \"fd00:0:0:200::/56\"]\n"
    };
    let _ = write!(
        text,
        "[zones.onprem]\n{onprem}[zones.exposed]\nnetworks = [\"10.0.0.0/16\", \"fd00::/56\"]\n[zones.ot]\nnetworks = \
         [\"10.1.0.0/16\", \"fd00:0:0:100::/56\"]\n[zones.it]\n{it}"
    );
    text.push_str("[addresses]\nsome = [\"10.1.1.0/24\", \"192.168.0.0/16\", \"fd00::/16\", \"!@others\"]\n");
    text.push_str("others = [\"10.1.1.51\", \"192.168.2.0/24\", \"fd00:0:0:1::/64\"]\n");
    text.push_str("[services]\ncommon = [\"tcp/80\", \"tcp/443\", \"udp/53\", \"icmp/echo-request\", \"!@rare\"]\n");
    text.push_str("rare = [\"tcp/443\", \"udp/2000-2010\", \"sctp\"]\n");
    for (number, rule) in rules.iter().enumerate() {
        // What a rule does while it observes is compared under an id of its own.
        let name = if rule.contains(OBSERVES) { OBSERVING } else { "r" };
        let _ = write!(text, "{}id = \"{name}{number}\"\n{rule}", PARTS[0]);
    }
    let (from, to) = (pick(random, &ZONES), pick(random, &ZONES));
    if random.below(2) == 0 {
        let _ = write!(
            text,
            "{}from = \"{from}\"\nto = \"{to}\"\naction = \"{}\"\n",
            PARTS[1],
            pick(random, &["drop", "reject"])
        );
    }
    text
}

fn rule(random: &mut Random) -> String {
    let mut text = String::new();
    let from = if random.below(4) == 0 { "any" } else { pick(random, &ZONES) };
    let to = match random.below(6) {
        0 | 1 => "any",
        2 => "local",
        _ => pick(random, &ZONES),
    };
    let more = pick(random, &ZONES);
    let list = if from == "any" || more == from { format!("\"{from}\"") } else { format!("\"{from}\", \"{more}\"") };
    let _ = write!(text, "from = [{list}]\nto = [\"{to}\"]\n");
    for key in ["source", "destination"] {
        if random.below(3) == 0 {
            let terms = distinct(random, ADDRESSES).map(|term| format!("\"{term}\"")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "{key} = [{terms}]");
        }
    }
    if random.below(4) != 0 {
        let _ = writeln!(text, "services = [{}]", distinct(random, SERVICES).collect::<Vec<_>>().join(", "));
    }
    let _ = writeln!(text, "action = \"{}\"", action_of(random));
    if random.below(5) == 0 {
        text.push_str(OBSERVES);
    }
    text
}

/// One to three different terms, of which the first excludes nothing: a set that has nothing left is refused.
fn distinct(random: &mut Random, terms: &[&'static str]) -> impl Iterator<Item = &'static str> {
    let listed: Vec<&&str> = terms.iter().filter(|term| !term.contains('!')).collect();
    let mut chosen = vec![*listed[index(random, listed.len())]];
    for _ in 0..random.below(3) {
        let term = terms[index(random, terms.len())];
        if !chosen.contains(&term) {
            chosen.push(term);
        }
    }
    chosen.into_iter()
}

fn action_of(random: &mut Random) -> &'static str {
    ["allow", "allow", "allow", "drop", "reject"][index(random, 5)]
}

pub(super) fn index(random: &mut Random, len: usize) -> usize {
    usize::try_from(random.below(len as u64)).unwrap()
}

pub(super) fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[index(random, from.len())]
}
