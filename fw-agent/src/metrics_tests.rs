use std::path::PathBuf;

use arc_swap::ArcSwap;
use fw_common::abi::counters::{Counter, RuleCounter};
use fw_common::abi::flow::{Flow, FlowKey6};
use time::OffsetDateTime;

use super::*;
use crate::dataplane::fake::FakeDataplane;
use crate::dataplane::{FlowRecord, RedirectErrors};
use crate::facts::{DeviceFacts, Facts, InterfaceFacts};
use crate::feeds::facts::{Attempts, ListFacts};
use crate::names::Names;

fn shared() -> Arc<Shared> {
    let dataplane = FakeDataplane::default();
    {
        let mut state = dataplane.state();
        state.drops.insert(DropReason::Policy as u8, Counter { packets: 7, bytes: 420 });
        state.rule_names.insert(1, "ot-001 \"quoted\"".to_owned());
        state.rules.insert(1, RuleCounter { packets: 3, bytes: 180, flows: 1, last_hit: 5, limited: 2 });
        let flow = Flow { state: State::Established as u8, ..Flow::default() };
        state.flows.push(FlowRecord {
            key: FlowKey6 { protocol: 6, ..FlowKey6::default() },
            family: 4,
            flow,
            timeout: 60,
        });
        state.redirect_errors.push(RedirectErrors { slot: 0, error: 6, packets: 4 });
        state.happenings.opened = 9;
    }
    let names = Names::new(vec![(1, "ot-001 \"quoted\"".to_owned())], None);
    let device = Some(DeviceFacts { name: "ens6".to_owned(), up: true, ..DeviceFacts::default() });
    let interface = InterfaceFacts { slot: 0, key: "ens6".to_owned(), device, ..InterfaceFacts::default() };
    let mut facts = Facts { names: Arc::new(names), interfaces: vec![interface], ..Facts::default() };
    facts.policy.digest = Some([0xab; 32]);
    facts.policy.outcome = Outcome::Applied;
    let list = ListFacts { entries: 3, confirmed_at: OffsetDateTime::now_utc() - std::time::Duration::from_secs(90) };
    let failed = [(FailureKind::Forbidden, 2)].into();
    let attempts = Attempts { changed: 4, unchanged: 5, failed };
    facts.feeds = vec![FeedFacts { name: "bad".to_owned(), list: Some(list), attempts, ..FeedFacts::default() }];
    Arc::new(Shared {
        dataplane: Arc::new(dataplane),
        facts: ArcSwap::from_pointee(facts),
        flow_log: Arc::default(),
        fragments: Arc::default(),
        flow_log_file: PathBuf::from("flows.jsonl"),
        probes: Arc::default(),
        started_at: OffsetDateTime::UNIX_EPOCH,
        hits: crate::hits::Hits::default(),
        live: crate::live::Live::default(),
    })
}

#[test]
fn what_is_counted_is_in_the_metrics() {
    let text = render(&shared()).unwrap();
    for line in [
        "outpost_fw_dropped_packets_total{reason=\"policy\"} 7",
        "outpost_fw_dropped_bytes_total{reason=\"policy\"} 420",
        "outpost_fw_rule_packets_total{rule=\"ot-001 \\\"quoted\\\"\"} 3",
        "outpost_fw_flows{state=\"established\"} 1",
        "outpost_fw_protocol_flows{protocol=\"tcp\"} 1",
        "outpost_fw_flows_opened_total 9",
        "outpost_fw_feed_entries{feed=\"bad\"} 3",
        "outpost_fw_feed_ok{feed=\"bad\"} 1",
        "outpost_fw_feed_fetches_total{feed=\"bad\",result=\"changed\"} 4",
        "outpost_fw_feed_fetches_total{feed=\"bad\",result=\"forbidden\"} 2",
        "outpost_fw_redirect_errors_total{interface=\"ens6\",error=\"enxio\"} 4",
        "outpost_fw_interface_attached{interface=\"ens6\"} 1",
        "outpost_fw_policy_last_apply{result=\"applied\"} 1",
        "outpost_fw_policy_last_apply{result=\"refused\"} 0",
        "outpost_fw_ready 0",
    ] {
        assert!(text.lines().any(|actual| actual == line), "{line} is missing in\n{text}");
    }
    let age = text.lines().find_map(|line| line.strip_prefix("outpost_fw_feed_age_seconds{feed=\"bad\"} "));
    let age: u64 = age.unwrap().parse().unwrap();
    assert!((90..3_600).contains(&age), "{age}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn every_drop_reason_has_a_sample() {
    let text = render(&shared()).unwrap();
    for reason in DropReason::ALL {
        assert!(text.contains(&format!("outpost_fw_dropped_packets_total{{reason=\"{}\"}}", reason.name())));
    }
}
