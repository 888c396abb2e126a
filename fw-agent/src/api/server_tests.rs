use std::path::PathBuf;

use arc_swap::ArcSwap;
use fw_common::abi::flow::{Direction, Flow, FlowKey6};
use fw_common::conntrack::State;
use serde_json::Value;
use time::OffsetDateTime;

use super::*;
use crate::api::answers::{Drops, Flows, Status};
use crate::api::client::{self, ClientError};
use crate::api::request::FlowFilter;
use crate::dataplane::FlowRecord;
use crate::dataplane::fake::FakeDataplane;
use crate::facts::Facts;

struct Fixture {
    socket: PathBuf,
    _dir: tempfile::TempDir,
    reloads: mpsc::Receiver<ReloadRequest>,
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
    let dataplane = FakeDataplane::default();
    dataplane.state().flows =
        vec![flow(1, 100, State::Established), flow(2, 300, State::SynSent), flow(3, 200, State::Established)];
    let shared = Arc::new(Shared {
        dataplane: Arc::new(dataplane),
        facts: ArcSwap::from_pointee(Facts::default()),
        flow_log: Arc::default(),
        fragments: Arc::default(),
        flow_log_file: PathBuf::from("flows.jsonl"),
        started_at: OffsetDateTime::UNIX_EPOCH,
    });
    let (ask, reloads) = mpsc::channel(1);
    tokio::spawn(Server::bind(&socket).unwrap().serve(shared, ask));
    Fixture { socket, _dir: dir, reloads }
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
    let established = get(FlowFilter { state: Some("established".to_owned()), ..FlowFilter::default() }).await;
    assert_eq!((established.total, established.matching), (3, 2));
    let local = get(FlowFilter { zone: Some("local".to_owned()), port: Some(502), ..FlowFilter::default() }).await;
    assert_eq!(local.matching, 3);
    let one = get(FlowFilter { addr: Some("10.1.1.3".parse().unwrap()), ..FlowFilter::default() }).await;
    assert_eq!(one.flows[0].out.bytes, 200);
    let none = get(FlowFilter { protocol: Some("udp".to_owned()), ..FlowFilter::default() }).await;
    assert_eq!(none.matching, 0);
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
async fn the_socket_is_for_its_owner_and_group() {
    let fixture = fixture();
    let mode = std::fs::metadata(&fixture.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}
