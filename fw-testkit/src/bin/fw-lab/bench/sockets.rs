//! Short TCP connections between real sockets, with client and server on one core: what a whole connection costs, hosts
//! included. The hosts cost most, so candidates are compared by what they cost above the bare redirect.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use fw_testkit::lab::{PairNode, SERVER_ADDRESS};
use socket2::SockRef;

use super::chain::core::Core;
use super::chain::traffic::ALLOWED_PORT;
use super::outcome::Outcome;
use super::policy::Policy;
use super::row::{CANDIDATES, Row};
use super::sample::Measured;
use super::session::Session;

/// The benchmark.
pub(super) const NAME: &str = "connections_sockets";

const POLICY: Policy = Policy::new(10).with_max_flows(1 << 18);

/// Connections of a candidate in one round. All rounds together stay within the ports of the client.
const CONNECTIONS: u32 = 1000;
const REQUEST_LEN: usize = 10;
/// How long a host waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(session: &Session, _selected: &[&str]) -> Result<Vec<Outcome>> {
    eprintln!("{NAME}");
    let rows: Vec<Row> = CANDIDATES.iter().map(|kind| Row::raise(*kind, session, &POLICY)).collect::<Result<_>>()?;
    let mut results: Vec<Measured> = rows.iter().map(|row| Measured::new(row.kind.name())).collect();
    for _ in 0..session.effort().rounds {
        for (row, result) in rows.iter().zip(&mut results) {
            let time = connections(row, session.core).with_context(|| format!("connect by {}", row.kind.name()))?;
            result.add(time.as_secs_f64() * 1e9 / f64::from(CONNECTIONS), 1.0);
        }
    }
    let mut outcome = Outcome {
        title: format!("{NAME}: TCP connections with a request and an answer, one at a time"),
        columns: vec!["candidate", "µs", "above redirect", "thousand/s", "of redirect"],
        ..Outcome::default()
    };
    let [redirect, firewall, nftables, _] = &results[..] else { return Ok(Vec::new()) };
    for result in &results {
        let (cost, above) = (result.cost() / 1e3, result.above(redirect) / 1e3);
        outcome.rows.push(vec![
            result.label.clone(),
            format!("{cost:.2}"),
            format!("{above:.2}"),
            format!("{:.2}", 1e3 / cost),
            format!("{:.3}", result.rate_to(redirect)),
        ]);
        outcome.figure(format!("{NAME}/{}", result.label), cost, "µs");
    }
    outcome.ratio("sockets_cost_vs_nftables", firewall.cost_to(nftables, redirect));
    outcome.ratio("sockets_vs_nftables", firewall.rate_to(nftables));
    Ok(vec![outcome])
}

/// Makes connections one after the other; how long all of them took.
fn connections(row: &Row, core: Core) -> Result<Duration> {
    let address = SocketAddr::from((SERVER_ADDRESS, ALLOWED_PORT));
    let listener = row.lab.ns(PairNode::Server)?.within(|| listen(address))??;
    let client = row.lab.ns(PairNode::Client)?;
    thread::scope(|scope| {
        let server = scope.spawn(|| core.alone_on(|| serve(&listener)));
        let time = client.within(|| core.alone_on(|| connect(address)))???;
        server.join().map_err(|_| anyhow!("the server panicked"))???;
        Ok(time)
    })
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
    // Also bounds `accept`.
    SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
    Ok(listener)
}

fn serve(listener: &TcpListener) -> Result<()> {
    for _ in 0..CONNECTIONS {
        let (mut stream, _) = listener.accept().context("accept a connection")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut request = [0; REQUEST_LEN];
        stream.read_exact(&mut request).context("read a request")?;
        stream.write_all(&request)?;
        // The server closes first, so that what waits for late packets does not use up the client's ports.
        stream.shutdown(Shutdown::Write)?;
        stream.read(&mut request).context("wait for the client's end")?;
    }
    Ok(())
}

fn connect(address: SocketAddr) -> Result<Duration> {
    let start = Instant::now();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).context("connect")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[7; REQUEST_LEN])?;
        let mut answer = Vec::with_capacity(2 * REQUEST_LEN);
        stream.read_to_end(&mut answer).context("read an answer")?;
    }
    Ok(start.elapsed())
}
