//! The honest clients: Modbus sessions that exist and read registers all the time, and new ones that read once.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::PORT;
use crate::LabError;
use crate::error::While as _;
use crate::lab::SERVER_ADDRESS;
use crate::netns::NetNs;

/// How long a client waits for an answer: several retransmissions.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a new client waits for its connection and its answer: one retransmission of a SYN, but not two.
const PATIENCE_OF_NEWCOMERS: Duration = Duration::from_millis(2_500);
/// Registers that are read at once.
const REGISTERS: u8 = 16;

/// What became of the connections that existed.
#[derive(Clone, Debug, Default)]
pub struct Transfers {
    /// Connections.
    pub connections: usize,
    /// Those that broke, or whose answers stayed away.
    pub lost: usize,
    /// Requests that were answered, of all connections.
    pub answered: u64,
    /// The longest time that an answer took.
    pub slowest: Duration,
}

/// What became of the connections that were made.
#[derive(Clone, Debug, Default)]
pub struct Newcomers {
    /// Attempts.
    pub tried: usize,
    /// Those that were connected and answered.
    pub succeeded: usize,
    /// The time that all but one in a hundred of these took, at most.
    pub percentile_99: Duration,
}

/// Makes connections, each of which reads once.
pub(super) fn connect(client: &NetNs, connections: usize) -> Result<Vec<TcpStream>, LabError> {
    let connect_all = || (0..connections).map(|_| open(PATIENCE)).collect::<io::Result<Vec<_>>>();
    client.within(connect_all)?.during(|| "make the connections that exist before the flood".to_owned())
}

/// Reads by each connection in turn until it is over, and then by each once more.
pub(super) fn transfer(mut streams: Vec<TcpStream>, over: &AtomicBool) -> Transfers {
    let mut outcome = Transfers { connections: streams.len(), ..Transfers::default() };
    loop {
        let is_last = over.load(Ordering::Relaxed);
        streams.retain_mut(|stream| {
            let start = Instant::now();
            let answered = read_registers(stream).is_ok();
            outcome.slowest = outcome.slowest.max(start.elapsed());
            outcome.answered += u64::from(answered);
            outcome.lost += usize::from(!answered);
            answered
        });
        if is_last {
            return outcome;
        }
    }
}

/// Makes so many connections a second until it is over.
pub(super) fn make_new(per_second: u32, over: &AtomicBool) -> Newcomers {
    let pace = Duration::from_secs(1) / per_second;
    let outcomes: Vec<Option<Duration>> = thread::scope(|scope| {
        let (start, mut clients) = (Instant::now(), Vec::new());
        while !over.load(Ordering::Relaxed) {
            clients.push(scope.spawn(|| {
                let start = Instant::now();
                open(PATIENCE_OF_NEWCOMERS).ok().map(|_stream| start.elapsed())
            }));
            let due = pace * u32::try_from(clients.len()).unwrap_or(u32::MAX);
            // The pace of the newcomers.
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        clients.into_iter().map(|client| client.join().unwrap_or(None)).collect()
    });
    let mut times: Vec<Duration> = outcomes.iter().copied().flatten().collect();
    times.sort_unstable();
    let percentile_99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    Newcomers { tried: outcomes.len(), succeeded: times.len(), percentile_99 }
}

/// Connects and reads once.
fn open(patience: Duration) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((SERVER_ADDRESS, PORT)), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    read_registers(&mut stream)?;
    Ok(stream)
}

/// Reads registers 0 to 15 (MODBUS Application Protocol 1.1b3, section 6.3), each of which holds its own number.
fn read_registers(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&[0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, REGISTERS])?;
    let mut answer = [0; 9 + 2 * REGISTERS as usize];
    stream.read_exact(&mut answer)?;
    let values = answer[9..].chunks_exact(2).map(|value| u16::from_be_bytes([value[0], value[1]]));
    if values.eq(0..u16::from(REGISTERS)) { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
