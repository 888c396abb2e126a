use std::path::PathBuf;

use arc_swap::ArcSwap;
use fw_common::DropReason;
use fw_common::abi::capture::CapturedHead;
use fw_common::abi::event::{DeniedKey, FirstDenied};
use fw_common::abi::explained::{Explained, outcome};
use fw_common::abi::flow::{Direction, Flow, FlowKey6};
use fw_common::conntrack::State;
use serde_json::Value;
use time::OffsetDateTime;

use super::*;
use crate::api::answers::{Drops, Flows, Status};
use crate::api::client::{self, ClientError};
use crate::api::request::FlowFilter;
use crate::dataplane::fake::FakeDataplane;
use crate::dataplane::{AttachedInterface, Dataplane as _, FlowRecord, Observed};
use crate::explain::frame::Description;
use crate::explain::live::LiveQuestion;
use crate::facts::{DeviceFacts, Facts, InterfaceFacts};
use crate::live::capture::CaptureRequest;
use crate::live::filter::ObserveFilter;
use crate::live::pcapng::Tally;

struct Fixture {
    socket: PathBuf,
    _dir: tempfile::TempDir,
    dataplane: Arc<FakeDataplane>,
    shared: Arc<Shared>,
    reloads: mpsc::Receiver<ReloadRequest>,
    changes: mpsc::Receiver<ChangeRequest>,
}

fn flow(host: u8, bytes: u64, state: State) -> FlowRecord {
    let mut key = FlowKey6 { protocol: 6, high_port: 502u16.to_be_bytes(), ..FlowKey6::default() };
    key.low_addr[..4].copy_from_slice(&[10, 1, 1, host]);
    key.high_addr[..4].copy_from_slice(&[192, 168, 10, 4]);
    let mut flow = Flow { state: state as u8, from_zone: 1, to_zone: 63, ..Flow::default() };
    flow.directions[0] = Direction { bytes, packets: 1, ..Direction::default() };
    FlowRecord { key, family: 4, flow, timeout: 60 }
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let dataplane = Arc::new(FakeDataplane::default());
    dataplane.state().flows =
        vec![flow(1, 100, State::Established), flow(2, 300, State::SynSent), flow(3, 200, State::Established)];
    let shared = Arc::new(Shared {
        dataplane: Arc::clone(&dataplane) as Arc<dyn crate::dataplane::Dataplane>,
        facts: ArcSwap::from_pointee(Facts::default()),
        flow_log: Arc::default(),
        fragments: Arc::default(),
        flow_log_file: PathBuf::from("flows.jsonl"),
        probes: Arc::default(),
        started_at: OffsetDateTime::UNIX_EPOCH,
        hits: crate::hits::Hits::default(),
        live: crate::live::Live::default(),
    });
    let ((ask, reloads), (change, changes)) = (mpsc::channel(1), mpsc::channel(1));
    let supervision = Supervision { reloads: ask, changes: change };
    tokio::spawn(Server::bind(&socket).unwrap().serve(Arc::clone(&shared), supervision));
    Fixture { socket, _dir: dir, dataplane, shared, reloads, changes }
}

async fn ask(socket: &Path, request: Request) -> Result<Value, ClientError> {
    let socket = socket.to_owned();
    tokio::task::spawn_blocking(move || client::ask(&socket, &request)).await.unwrap()
}

/// Sends bytes as they are, and returns what comes back.
async fn send(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // The server may have refused and closed before everything is sent.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_name_their_schema() {
    let fixture = fixture();
    let status = ask(&fixture.socket, Request::Status {}).await.unwrap();
    assert_eq!(status["schema"], "fwctl.status/1");
    let status: Status = client::typed(status).unwrap().body;
    assert!(!status.ready);
    assert_eq!(status.flows.ipv4, 3);
    let drops: Drops = client::typed(ask(&fixture.socket, Request::Drops {}).await.unwrap()).unwrap().body;
    assert_eq!(drops.drops.len(), fw_common::DropReason::COUNT);
    for (request, schema) in [(Request::Rules {}, "fwctl.rules/1"), (Request::Zones {}, "fwctl.zones/1")] {
        assert_eq!(ask(&fixture.socket, request).await.unwrap()["schema"], schema);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_filtered_and_the_largest_come_first() {
    let fixture = fixture();
    let get = async |filter: FlowFilter| -> Flows {
        client::typed(ask(&fixture.socket, Request::Flows(filter)).await.unwrap()).unwrap().body
    };
    let all = get(FlowFilter { limit: Some(2), ..FlowFilter::default() }).await;
    assert_eq!((all.total, all.matching), (3, 3));
    assert_eq!(all.flows.iter().map(|flow| flow.out.bytes).collect::<Vec<_>>(), [300, 200]);
    let established = get(FlowFilter { state: "established".parse().ok(), ..FlowFilter::default() }).await;
    assert_eq!((established.total, established.matching), (3, 2));
    let local = get(FlowFilter { zone: Some("local".to_owned()), port: Some(502), ..FlowFilter::default() }).await;
    assert_eq!(local.matching, 3);
    let one = get(FlowFilter { addr: Some("10.1.1.3".parse().unwrap()), ..FlowFilter::default() }).await;
    assert_eq!(one.flows[0].out.bytes, 200);
    let none = get(FlowFilter { protocol: "udp".parse().ok(), ..FlowFilter::default() }).await;
    assert_eq!(none.matching, 0);
}

/// Asks for an answer that lasts, and reads its first line.
async fn begin(socket: &Path, request: Request) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let mut line = serde_json::to_vec(&request).unwrap();
    line.push(b'\n');
    stream.write_all(&line).await.unwrap();
    let mut answer = BufReader::new(stream);
    assert_eq!(next(&mut answer).await["event"], "begin");
    answer
}

async fn next(answer: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    timeout(ANSWER_TIME, answer.read_line(&mut line)).await.unwrap().unwrap();
    serde_json::from_str(&line).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_is_told_what_it_wants_until_it_closes() {
    let fixture = fixture();
    let filter = ObserveFilter { reason: "policy".parse().ok(), ..ObserveFilter::default() };
    let mut observer = begin(&fixture.socket, Request::Observe(filter)).await;
    assert!(fixture.dataplane.state().is_observed);
    for reason in [DropReason::NoRoute, DropReason::Policy] {
        let key = DeniedKey { family: 4, reason: reason as u8, ..DeniedKey::default() };
        fixture.dataplane.state().observed.push(Observed::Denied(FirstDenied { key, bytes: 60, at: 1 }));
    }
    let event = next(&mut observer).await;
    assert_eq!((&event["schema"], &event["reason"]), (&Value::from("fwctl.observe/1"), &Value::from("policy")));
    fixture.dataplane.state().happenings.observed_lost = 12;
    let lost = next(&mut observer).await;
    assert_eq!((&lost["event"], &lost["lost"]), (&Value::from("lost"), &Value::from(12)));
    drop(observer);
    let ended = async {
        while fixture.dataplane.state().is_observed {
            tokio::task::yield_now().await;
        }
    };
    timeout(ANSWER_TIME, ended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_events_that_panics_leaves_nothing_switched_on() {
    let fixture = fixture();
    let mut observer = begin(&fixture.socket, Request::Observe(ObserveFilter::default())).await;
    fixture.dataplane.state().panicking = true;
    let mut rest = Vec::new();
    timeout(ANSWER_TIME, observer.read_to_end(&mut rest)).await.unwrap().unwrap();
    // The observers are let go before the data plane is told, under the lock that the next observer waits for.
    fixture.dataplane.state().panicking = false;
    let other = begin(&fixture.socket, Request::Observe(ObserveFilter::default())).await;
    assert!(fixture.dataplane.state().is_observed);
    fixture.dataplane.state().panicking = true;
    let ended = async {
        while fixture.dataplane.state().is_observed {
            tokio::task::yield_now().await;
        }
    };
    timeout(ANSWER_TIME, ended).await.expect("it is switched off");
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_measured_for_one_client_at_a_time() {
    let fixture = fixture();
    let by_rate = || Request::Flows(FlowFilter { by: Some(FlowOrder::Rate), ..FlowFilter::default() });
    let measuring = fixture.shared.live.rates.lock().await;
    let refused = ask(&fixture.socket, by_rate()).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(why) if why.starts_with("busy")), "{refused}");
    assert!(ask(&fixture.socket, Request::Flows(FlowFilter::default())).await.is_ok(), "others need no measurement");
    drop(measuring);
    let flows: Flows = client::typed(ask(&fixture.socket, by_rate()).await.unwrap()).unwrap().body;
    assert_eq!(flows.flows.iter().map(|flow| flow.bytes_per_second).collect::<Vec<_>>(), [Some(0); 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_capture_and_it_ends_with_its_client() {
    let fixture = fixture();
    let request = || Request::Capture(CaptureRequest::default());
    let capture = begin(&fixture.socket, request()).await;
    assert!(fixture.dataplane.state().capture.is_some());
    let refused = ask(&fixture.socket, request()).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(why) if why.contains("another capture")), "{refused}");
    drop(capture);
    let ended = async {
        while fixture.dataplane.state().capture.is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(ANSWER_TIME, ended).await.unwrap();
    let wrong = CaptureRequest { interface: Some("eth9".to_owned()), ..CaptureRequest::default() };
    let refused = ask(&fixture.socket, Request::Capture(wrong)).await;
    assert!(matches!(refused, Err(ClientError::Usage(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_ends_when_it_has_enough_and_says_so() {
    let fixture = fixture();
    let request = CaptureRequest { count: Some(2), ..CaptureRequest::default() };
    let mut capture = begin(&fixture.socket, Request::Capture(request)).await;
    let head = CapturedHead { ifindex: 3, captured: 60, len: 90, direction: 1, ..CapturedHead::default() };
    fixture.dataplane.state().captured = vec![(head, vec![1; 60]); 3];
    let mut file = Vec::new();
    timeout(ANSWER_TIME, capture.read_to_end(&mut file)).await.unwrap().unwrap();
    let mut tally = Tally::default();
    tally.take(&file);
    assert_eq!((tally.packets, tally.lost), (2, 0));
    assert!(fixture.dataplane.state().capture.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_captured_before_the_end_is_in_the_file() {
    let fixture = fixture();
    let request = CaptureRequest { seconds: Some(2), ..CaptureRequest::default() };
    let mut capture = begin(&fixture.socket, Request::Capture(request)).await;
    let head = CapturedHead { ifindex: 3, captured: 60, len: 90, direction: 1, ..CapturedHead::default() };
    fixture.dataplane.state().captured_last = vec![(head, vec![1; 60]); 3];
    let mut file = Vec::new();
    timeout(ANSWER_TIME, capture.read_to_end(&mut file)).await.unwrap().unwrap();
    let mut tally = Tally::default();
    tally.take(&file);
    assert_eq!((tally.packets, tally.lost), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_that_were_ended_are_counted_even_if_others_could_not_be() {
    let fixture = fixture();
    fixture.dataplane.state().failing = true;
    fixture.dataplane.state().ends_before_failing = 2;
    let request = EndFlows { flows: FlowFilter::default(), all: true };
    let ended = ask(&fixture.socket, Request::EndFlows(request)).await.unwrap();
    assert_eq!((&ended["ended"], ended["problem"].is_string()), (&Value::from(2), true), "{ended}");
    assert_eq!(fixture.dataplane.state().flows.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_ended_only_with_a_condition() {
    let fixture = fixture();
    let everything = Request::EndFlows(EndFlows::default());
    assert!(matches!(ask(&fixture.socket, everything).await, Err(ClientError::Usage(_))));
    let flows = FlowFilter { addr: Some("10.1.1.2/31".parse().unwrap()), ..FlowFilter::default() };
    let ended = ask(&fixture.socket, Request::EndFlows(EndFlows { flows, all: false })).await.unwrap();
    assert_eq!((&ended["schema"], &ended["ended"]), (&Value::from("fwctl.end_flows/1"), &Value::from(2)));
    assert_eq!(fixture.dataplane.state().flows.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_answered_with_an_error_and_harms_nobody() {
    let fixture = fixture();
    for garbage in
        [&b"\n"[..], b"{}\n", b"\xff\xfe\x00\n", b"GET / HTTP/1.1\r\n\r\n", b"{\"command\":\"status\",\"x\":1}\n", b""]
    {
        let answer = send(&fixture.socket, garbage).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["schema"], "fwctl.error/1", "{answer}");
    }
    let answer = send(&fixture.socket, &vec![b'x'; MAX_REQUEST + 1]).await;
    assert!(answer.contains("longer than") || answer.is_empty(), "{answer}");
    assert!(ask(&fixture.socket, Request::Status {}).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stays_silent_does_not_hold_up_another() {
    let fixture = fixture();
    let _silent = UnixStream::connect(&fixture.socket).await.unwrap();
    assert!(ask(&fixture.socket, Request::Drops {}).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_ask_nothing_do_not_delay_one_that_does() {
    let fixture = fixture();
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(UnixStream::connect(&fixture.socket).await.unwrap());
    }
    let asked = timeout(REQUEST_TIME / 2, ask(&fixture.socket, Request::Drops {})).await;
    assert!(asked.expect("it is answered at once").is_ok());
    let mut refused = String::new();
    timeout(REQUEST_TIME / 2, silent[0].read_to_string(&mut refused)).await.unwrap().unwrap();
    assert!(refused.contains("too many connections wait"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_may_begin_as_soon_as_the_client_of_another_is_gone() {
    let fixture = fixture();
    for _ in 0..20 {
        let capture = begin(&fixture.socket, Request::Capture(CaptureRequest::default())).await;
        drop(capture);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_answered_by_the_one_who_does_it() {
    let mut fixture = fixture();
    let socket = fixture.socket.clone();
    let client = tokio::spawn(async move { ask(&socket, Request::Reload {}).await });
    let reply = fixture.reloads.recv().await.unwrap();
    let result = Reload { result: "applied".to_owned(), epoch: 4, problem: None, waiting_for_restart: vec![] };
    reply.send(result.clone()).unwrap();
    let answer = client.await.unwrap().unwrap();
    assert_eq!(client::typed::<Reload>(answer).unwrap().body, result);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_answered_by_the_one_who_does_it_and_names_who_has_asked() {
    let mut fixture = fixture();
    let socket = fixture.socket.clone();
    let wish = change::RollbackWish { revision: Some(7), told: Some("anna (1000)".to_owned()) };
    let client = tokio::spawn(async move { ask(&socket, Request::Rollback(wish)).await });
    let ChangeRequest { wish, who, reply } = fixture.changes.recv().await.unwrap();
    assert!(matches!(wish, Wish::Rollback(wish) if wish.revision == Some(7)));
    assert_eq!((who.uid, who.told.as_deref()), (Some(rustix::process::geteuid().as_raw()), Some("anna (1000)")));
    let facts = crate::facts::ChangeFacts::default();
    let result = Changed::new(change::Outcome::Refused, 3, &facts, Some("no".to_owned()));
    reply.send(result.clone()).unwrap();
    let answer = client.await.unwrap().unwrap();
    assert_eq!(answer["schema"], "fwctl.rollback/1");
    assert_eq!(client::typed::<Changed>(answer).unwrap().body, result);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_is_not_kept_is_a_mistake_of_who_asks() {
    let fixture = fixture();
    let shown = ask(&fixture.socket, Request::Show { revision: Some(7) }).await;
    assert!(matches!(shown, Err(ClientError::Usage(error)) if error.starts_with("revision 7 is not kept")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_for_its_owner_and_group() {
    let fixture = fixture();
    let mode = std::fs::metadata(&fixture.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_is_asked_about_where_it_comes_in() {
    let fixture = fixture();
    let device = DeviceFacts { name: "ens6".to_owned(), ifindex: 7, ..DeviceFacts::default() };
    let interface = InterfaceFacts {
        key: "eni-1".to_owned(),
        zones: vec!["ot".to_owned()],
        device: Some(device),
        ..InterfaceFacts::default()
    };
    fixture.shared.facts.store(Arc::new(Facts { interfaces: vec![interface], ..Facts::default() }));
    let packet = Description {
        src: "10.1.1.1".parse().unwrap(),
        dst: "10.2.1.1".parse().unwrap(),
        service: "tcp/502".to_owned(),
        src_port: None,
    };
    let question = |zone: &str| LiveQuestion { packet: packet.clone(), zone: Some(zone.to_owned()), interface: None };
    let asked = async |question| ask(&fixture.socket, Request::Explain(question)).await;
    let absent = asked(question("ot")).await.unwrap_err();
    assert_eq!(absent.to_string(), "the program is not on eni-1");
    let attached = AttachedInterface {
        slot: 0,
        ifindex: 7,
        name: "ens6".to_owned(),
        mac: [2; 6],
        mtu: 1500,
        ipv4: None,
        ipv6: None,
        hairpin: false,
        management: false,
        mode: crate::nic::Mode::Native,
    };
    fixture.dataplane.attach(&attached).unwrap();
    let (outcome, reason) = (outcome::DROP, DropReason::Spoofed as u32);
    fixture.dataplane.state().explained = Explained { outcome, reason, ..Explained::default() };
    let by_zone = asked(question("ot")).await.unwrap();
    assert_eq!((&by_zone["schema"], &by_zone["interface"]), (&"fwctl.explain/1".into(), &"eni-1".into()));
    assert_eq!((&by_zone["outcome"], &by_zone["reason"]), (&"drop".into(), &"spoofed".into()));
    let by_name = LiveQuestion { zone: None, interface: Some("ens6".to_owned()), ..question("") };
    assert_eq!(asked(by_name).await.unwrap()["interface"], "eni-1");
    for wrong in ["it", "local"] {
        assert!(matches!(asked(question(wrong)).await, Err(ClientError::Usage(_))), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_packet_is_told_by_the_names_of_its_time() {
    let fixture = fixture();
    let request = CaptureRequest { count: Some(1), ..CaptureRequest::default() };
    let mut capture = begin(&fixture.socket, Request::Capture(request)).await;
    let waited_for = async {
        while !fixture.dataplane.state().is_waited_for {
            tokio::task::yield_now().await;
        }
    };
    timeout(ANSWER_TIME, waited_for).await.unwrap();
    let names = Arc::new(crate::names::Names::new(vec![(7, "new-rule".to_owned())], None));
    fixture.shared.facts.store(Arc::new(Facts { names, ..Facts::default() }));
    let head = CapturedHead { ifindex: 3, captured: 60, len: 60, rule: 7, ..CapturedHead::default() };
    fixture.dataplane.state().captured = vec![(head, vec![1; 60])];
    let mut file = Vec::new();
    timeout(ANSWER_TIME, capture.read_to_end(&mut file)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&file).contains("rule new-rule"), "{}", String::from_utf8_lossy(&file));
}

#[path = "crowd_tests.rs"]
mod crowd;
#[path = "plan_tests.rs"]
mod plan;
