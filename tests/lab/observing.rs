//! A rule on its way into a policy: it observes while traffic passes, and is enforced by one word.

use std::fs;
use std::time::Duration;

use fw_testkit::lab::{IT, Node, OT};
use fw_testkit::traffic::NumberedStream;
use fw_testkit::{client, wait};
use serde_json::Value;

use crate::firewall::{Firewall, NEVER, SOON, both};
use crate::observe::Observer;
use crate::policy_change::change;
use crate::rule_hits::hits;

const INTERVAL: Duration = Duration::from_millis(2);
/// The flow log's own rhythm, on a busy machine.
const RECORDED: Duration = Duration::from_secs(30);

/// A rule that would take an echo from `it`, in front of the one that gives it.
const WATCH: &str = r#"
[[rule]]
id = "no-echo"
from = ["it"]
to = ["ot"]
services = ["@echo"]
action = "drop"
log = "warning"
mode = "observe"
"#;

/// Lines of the flow log about what the rule would have done.
fn records(firewall: &Firewall) -> Vec<Value> {
    let text = fs::read_to_string(firewall.agent.flow_log()).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|record| record["rule"] == "no-echo" && record["verdict"] == "observe").collect()
}

#[test]
fn a_rule_observes_while_traffic_passes_and_drops_it_once_one_word_is_changed() {
    let Some(firewall) = Firewall::up() else { return };
    let stream = NumberedStream::start(firewall.lab.ns(Node::It), both(OT, 5000)[0], INTERVAL).unwrap();
    wait::until_true("the stream runs", SOON, || stream.answered() >= 50).unwrap();

    let mut observer = Observer::of(&firewall, &serde_json::json!({"event": "observed"}));
    let rules = Firewall::first_rules();
    let observing = rules.replacen("\n[[rule]]\n", &format!("{WATCH}\n[[rule]]\n"), 1);
    change(&firewall, &observing);

    // The live flow is judged anew, and a new one for the first time; both pass. The first may be told before the agent knows the level.
    let event = observer.next();
    assert_eq!((&event["verdict"], &event["would"]), (&Value::from("observe"), &Value::from("drop")), "{event}");
    assert_eq!((&event["from_zone"], &event["to_zone"]), (&Value::from("it"), &Value::from("ot")), "{event}");
    client::udp_exchange(firewall.lab.ns(Node::It), both(OT, 5000)[1], SOON).unwrap().unwrap();
    let event = observer.next();
    assert_eq!(event["dst_addr"], OT.ipv6.to_string(), "{event}");
    assert_eq!((&event["rule"], &event["level"]), (&Value::from("no-echo"), &Value::from("warning")), "{event}");
    let mut warnings = Observer::of(&firewall, &serde_json::json!({"level": "warning"}));
    client::udp_exchange(firewall.lab.ns(Node::Ws), both(IT, 5000)[0], SOON).unwrap().unwrap();
    client::udp_exchange(firewall.lab.ns(Node::It), both(OT, 5000)[1], SOON).unwrap().unwrap();
    let event = warnings.next();
    assert_eq!(event["event"], "observed", "the flow that is opened for the workstation is less severe: {event}");
    let answered = stream.answered();
    wait::until_true("the stream goes on", SOON, || stream.answered() >= answered + 50).unwrap();
    let observed = hits(&firewall.agent, "no-echo");
    assert_eq!((&observed["mode"], &observed["packets"]), (&Value::from("observe"), &Value::from(3)), "{observed}");
    let table = firewall.agent.fwctl(&["rules", "hits"]).unwrap().success().unwrap();
    assert!(table.lines().any(|line| line.starts_with("no-echo") && line.contains("observe")), "{table}");
    wait::until_true("it is recorded", RECORDED, || !records(&firewall).is_empty()).unwrap();
    let as_told = |record: &Value| record["would"] == "drop" && record["level"] == "warning";
    assert!(records(&firewall).iter().all(as_told), "{:?}", records(&firewall));

    change(&firewall, &observing.replace("mode = \"observe\"", "mode = \"enforce\""));
    wait::until_true("the live flow is cut", SOON, || firewall.dropped("policy_changed") > 0).unwrap();
    let (mut answered, mut sent) = (stream.answered(), stream.sent());
    wait::until_true("no answer comes any more", SOON, || {
        if stream.answered() != answered {
            (answered, sent) = (stream.answered(), stream.sent());
        }
        stream.sent() >= sent + 50
    })
    .unwrap();
    assert!(client::udp_exchange(firewall.lab.ns(Node::It), both(OT, 5000)[1], NEVER).unwrap().is_err());
    let enforced = hits(&firewall.agent, "no-echo");
    assert_eq!(
        (&enforced["mode"], &enforced["first_counted_at"]),
        (&Value::from("enforce"), &observed["first_counted_at"])
    );
    assert!(enforced["packets"].as_u64().unwrap() > 3, "{enforced}");
}
