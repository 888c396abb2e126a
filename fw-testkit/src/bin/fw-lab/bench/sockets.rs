//! Short TCP connections between real sockets, with client and server on one core: what a whole connection costs, hosts
//! included, and how soon its data arrive. The hosts cost most, so candidates are compared by what they cost above the bare
//! redirect.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use fw_testkit::lab::{PairNode, SERVER_ADDRESS};
use socket2::SockRef;

use super::chain::core::Core;
use super::chain::traffic::ALLOWED_PORT;
use super::iperf3;
use super::outcome::Outcome;
use super::policy::Policy;
use super::row::Row;
use super::sample::Measured;
use super::session::Session;

/// A benchmark: connections with a request and an answer.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// How the names of its ratios start.
    ratios: &'static str,
    /// Bytes of an answer.
    answer_len: usize,
    /// Connections of a candidate in one round. All rounds together stay within the ports of the client.
    connections: u32,
}

/// The benchmarks.
pub(super) const CASES: [Case; 2] = [
    Case { name: "connections_sockets", ratios: "sockets", answer_len: REQUEST_LEN, connections: 1_000 },
    Case { name: "transactions_64k", ratios: "transactions_64k", answer_len: 65_536, connections: 300 },
];

const POLICY: Policy = Policy::new(10).with_max_flows(1 << 18);
const REQUEST_LEN: usize = 10;
/// How long a host waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);
/// Percentiles that are shown.
const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// What one candidate did, of all rounds.
struct Found {
    /// Nanoseconds of a connection, round by round.
    whole: Measured,
    /// From the start of a connection until its first byte of data came, and until its last one.
    first_byte: Vec<Duration>,
    last_byte: Vec<Duration>,
}

/// The names of all benchmarks between sockets.
pub(super) fn names() -> Vec<&'static str> {
    CASES.iter().map(|case| case.name).chain([iperf3::NAME]).collect()
}

pub(super) fn run(session: &Session, selected: &[&str]) -> Result<Vec<Outcome>> {
    let rows = Row::raise_all(session, &POLICY)?;
    let chosen = CASES.iter().filter(|case| selected.contains(&case.name));
    let mut outcomes: Vec<Outcome> = chosen.map(|case| case.measure(session, &rows)).collect::<Result<_>>()?;
    if selected.contains(&iperf3::NAME) {
        outcomes.push(iperf3::measure(session, &rows)?);
    }
    Ok(outcomes)
}

impl Case {
    fn measure(&self, session: &Session, rows: &[Row]) -> Result<Outcome> {
        eprintln!("{}", self.name);
        let found =
            |row: &Row| Found { whole: Measured::new(row.kind.name()), first_byte: Vec::new(), last_byte: Vec::new() };
        let mut results: Vec<Found> = rows.iter().map(found).collect();
        for _ in 0..session.effort().rounds {
            for (row, result) in rows.iter().zip(&mut results) {
                self.connections(row, session.core, result)
                    .with_context(|| format!("connect by {}", row.kind.name()))?;
            }
        }
        for result in &mut results {
            result.first_byte.sort_unstable();
            result.last_byte.sort_unstable();
        }
        Ok(self.outcome(&results))
    }

    fn outcome(&self, results: &[Found]) -> Outcome {
        let name = self.name;
        let columns = ["candidate", "µs", "above redirect", "thousand/s", "of redirect", "TTFB p50", "TTLB p50"];
        let mut outcome = Outcome {
            title: format!("{name}: TCP connections with an answer of {} bytes, one at a time", self.answer_len),
            columns: columns.into_iter().chain(["p99", "p99.9"]).collect(),
            ..Outcome::default()
        };
        let [redirect, firewall, nftables, _] = results else { return outcome };
        for Found { whole, first_byte, last_byte } in results {
            let (cost, above) = (whole.cost() / 1e3, whole.above(&redirect.whole) / 1e3);
            let mut row = vec![
                whole.label.clone(),
                format!("{cost:.2}"),
                format!("{above:.2}"),
                format!("{:.2}", 1e3 / cost),
                format!("{:.3}", whole.rate_to(&redirect.whole)),
                format!("{:.1}", percentile(first_byte, 0.5)),
            ];
            row.extend(PERCENTILES.map(|(_, part)| format!("{:.1}", percentile(last_byte, part))));
            outcome.rows.push(row);
            outcome.figure(format!("{name}/{}", whole.label), cost, "µs");
            for (percent, part) in PERCENTILES {
                outcome.figure(format!("{name}/{}/ttfb_{percent}", whole.label), percentile(first_byte, part), "µs");
                outcome.figure(format!("{name}/{}/ttlb_{percent}", whole.label), percentile(last_byte, part), "µs");
            }
        }
        let ratios = self.ratios;
        outcome.ratio(format!("{ratios}_cost_vs_nftables"), firewall.whole.cost_to(&nftables.whole, &redirect.whole));
        outcome.ratio(format!("{ratios}_vs_nftables"), firewall.whole.rate_to(&nftables.whole));
        for (percent, part) in &PERCENTILES[..2] {
            let [own, theirs] = [firewall, nftables].map(|found| percentile(&found.last_byte, *part));
            outcome.ratio(format!("{ratios}_ttlb_{percent}_vs_nftables"), own / theirs);
        }
        outcome
    }

    /// Makes connections one after the other.
    fn connections(&self, row: &Row, core: Core, found: &mut Found) -> Result<()> {
        let address = SocketAddr::from((SERVER_ADDRESS, ALLOWED_PORT));
        let listener = row.lab.ns(PairNode::Server)?.within(|| listen(address))??;
        let client = row.lab.ns(PairNode::Client)?;
        thread::scope(|scope| {
            let server = scope.spawn(|| core.alone_on(|| self.serve(&listener)));
            client.within(|| core.alone_on(|| self.connect(address, found)))???;
            server.join().map_err(|_| anyhow!("the server panicked"))??
        })
    }

    fn serve(&self, listener: &TcpListener) -> Result<()> {
        let answer = vec![7; self.answer_len];
        for _ in 0..self.connections {
            let (mut stream, _) = listener.accept().context("accept a connection")?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut request = [0; REQUEST_LEN];
            stream.read_exact(&mut request).context("read a request")?;
            stream.write_all(&answer)?;
            // The server closes first, so that what waits for late packets does not use up the client's ports.
            stream.shutdown(Shutdown::Write)?;
            stream.read(&mut request).context("wait for the client's end")?;
        }
        Ok(())
    }

    fn connect(&self, address: SocketAddr, found: &mut Found) -> Result<()> {
        let mut answer = vec![0; self.answer_len];
        let start = Instant::now();
        for _ in 0..self.connections {
            let start = Instant::now();
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE).context("connect")?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&[7; REQUEST_LEN])?;
            let first = stream.read(&mut answer).context("read an answer")?;
            ensure!(first > 0, "the server closed without an answer");
            found.first_byte.push(start.elapsed());
            stream.read_exact(&mut answer[first..]).context("read the rest of an answer")?;
            found.last_byte.push(start.elapsed());
            ensure!(stream.read(&mut answer).context("wait for the server's end")? == 0, "the answer was too long");
        }
        found.whole.add(start.elapsed().as_secs_f64() * 1e9 / f64::from(self.connections), 1.0);
        Ok(())
    }
}

/// The time that this part of all did not exceed, in microseconds.
fn percentile(sorted: &[Duration], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
    // Also bounds `accept`.
    SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
    Ok(listener)
}
