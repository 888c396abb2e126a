//! What a plan rests on, as a client of the socket gets it.

use fw_common::abi::event::Denied;
use fw_policy::{AddressList, Binding, FeedContents, SourceFile};

use super::*;
use crate::change::Digest;
use crate::change::ledger::Record;
use crate::change::store::Store;
use crate::change::who::Who;
use crate::facts::{ChangeFacts, PolicyFacts};
use crate::names::Names;
use crate::plan::basis::Line;

const POLICY: &str = "version = 1\n[defaults]\naction = \"drop\"\n[zones.ot]\nnetworks = [\"10.1.0.0/16\"]\n\
                      [[feed]]\nname = \"blocked\"\nurl = \"a\"\n[[feed]]\nname = \"unknown\"\nurl = \"b\"\n";

/// All lines of an answer.
async fn lines(socket: &Path, flows: bool) -> Result<Vec<Line>, ClientError> {
    let socket = socket.to_owned();
    tokio::task::spawn_blocking(move || client::lines(&socket, &Request::Basis { flows })?.collect()).await.unwrap()
}

/// Puts a policy in force, as far as the facts and the store know.
fn put_in_force(fixture: &Fixture) {
    let files = [SourceFile { name: "a.toml".to_owned(), text: POLICY.to_owned() }];
    let policy = fw_policy::load(&files).unwrap();
    let compiled = policy.compile(&Binding::offline(&policy), OffsetDateTime::UNIX_EPOCH).unwrap();
    let list = AddressList::parse(b"192.0.2.1\n192.0.2.2\n", 2).unwrap();
    let store = Store::at(fixture.socket.parent().unwrap());
    let mut ledger = store.open().unwrap();
    store.keep(1, &files).unwrap();
    let record = Record {
        digest: Digest::of(&files),
        files: vec!["a.toml".to_owned()],
        applied_at: "2026-12-01T00:00:00.000Z".to_owned(),
        who: Who::agent("test"),
        tests_passed: 0,
    };
    ledger.begin(1, record, None);
    let device = DeviceFacts { name: "ens6".to_owned(), ifindex: 7, ..DeviceFacts::default() };
    let interface = InterfaceFacts { slot: 0, device: Some(device), ..InterfaceFacts::default() };
    let facts = Facts {
        names: Arc::new(Names::new(vec![(3, "ot-001".to_owned())], Some(&compiled))),
        policy: PolicyFacts {
            epoch: 5,
            compiled: Some(Arc::new(compiled)),
            feeds: Arc::clone(policy.feeds()),
            contents: Arc::new(FeedContents::from_iter([(policy.feeds()[0].key(), list)])),
            ..PolicyFacts::default()
        },
        changes: ChangeFacts { ledger: Arc::new(ledger), store, held: None },
        interfaces: vec![interface],
        ..Facts::default()
    };
    fixture.shared.facts.store(Arc::new(facts));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_in_force_and_all_flows_are_told_with_where_they_come_in() {
    let fixture = fixture();
    put_in_force(&fixture);
    // More than are taken from the table at once, and one that is over.
    let mut first = flow(1, 100, State::Established);
    first.flow.rule = 3;
    first.flow.directions[0].checked = 7;
    first.flow.directions[1] = Direction { bytes: 11, packets: 2, checked: u32::MAX, ..Direction::default() };
    let mut flows = vec![flow(9, 1, State::Established); 10_000];
    flows[0] = first;
    flows[5_000] = flow(9, 1, State::Ended);
    fixture.dataplane.state().flows = flows;
    let key = DeniedKey { family: 4, protocol: 6, reason: DropReason::Policy as u8, ..DeniedKey::default() };
    fixture.shared.live.denied.add(&[(key, Denied { packets: 4, last_at: 9, ..Denied::default() })], 10);

    let told = lines(&fixture.socket, true).await.unwrap();
    let [
        Line::Begin(begin),
        Line::List(list),
        Line::Flow(flow),
        ..,
        Line::Denied(denied),
        Line::End { flows, denied: count },
    ] = told.as_slice()
    else {
        panic!("{:?}", told.first())
    };
    assert_eq!((begin.revision, begin.epoch, begin.texts[0].text.as_str()), (1, 5, POLICY));
    assert_eq!(begin.binding.interfaces[0].zones, ["ot"]);
    assert_eq!((list.entries, list.ranges.as_str()), (2, "192.0.2.1-192.0.2.2\n"));
    assert!(list.feed.starts_with("blocked."), "{list:?}");
    assert_eq!((told.len(), *flows, *count), (3 + 9_999 + 1, 9_999, 1));
    assert_eq!((flow.from_zone.as_deref(), flow.to_zone.as_deref()), (Some("ot"), Some("local")));
    assert_eq!((flow.from_slot, flow.to_slot, flow.rule.as_deref()), (Some(0), None, Some("ot-001")));
    assert_eq!((flow.packets, flow.bytes, flow.dst_port), (3, 111, 502));
    assert_eq!((denied.packets, denied.protocol), (4, 6));

    let short = lines(&fixture.socket, false).await.unwrap();
    assert!(
        matches!(short.as_slice(), [Line::Begin(_), Line::List(_), Line::End { flows: 0, denied: 0 }]),
        "{short:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_whose_files_are_not_known_is_refused() {
    let fixture = fixture();
    let refused = lines(&fixture.socket, true).await;
    assert!(
        matches!(&refused, Err(ClientError::Refused(why)) if why.contains("its files are not known")),
        "{refused:?}"
    );
}
