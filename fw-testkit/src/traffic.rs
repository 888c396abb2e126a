//! A stream of numbered datagrams to an echo server: it tells exactly which packets were lost on the way there or back.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::LabError;
use crate::client;
use crate::error::While;
use crate::netns::NetNs;

/// How long the last answers may take after the last datagram was sent.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How often the receiver looks whether the stream has ended.
const PATIENCE: Duration = Duration::from_millis(50);

/// A running stream. Dropping it ends it.
#[derive(Debug)]
pub struct NumberedStream {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    sender: Option<JoinHandle<u64>>,
    receiver: Option<JoinHandle<Vec<u64>>>,
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Number of datagrams sent.
    pub sent: u64,
    /// The numbers that were never answered, in ascending order.
    pub missing: Vec<u64>,
    /// How many answers came more than once.
    pub repeated: u64,
}

impl NumberedStream {
    /// Starts to send one datagram per interval.
    pub fn start(from: &NetNs, to: SocketAddr, interval: Duration) -> Result<Self, LabError> {
        let what = || format!("send numbered datagrams from {} to {to}", from.name());
        let socket = client::udp(from, to, PATIENCE)?.during(what)?;
        let listener = socket.try_clone().during(what)?;
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let answered = Arc::new(AtomicU64::new(0));
        let sender = {
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            thread::spawn(move || send(&socket, interval, &stop, &sent))
        };
        let receiver = {
            let (stop, sent, answered) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&answered));
            thread::spawn(move || receive(&listener, &stop, &sent, &answered))
        };
        Ok(Self { stop, sent, answered, sender: Some(sender), receiver: Some(receiver) })
    }

    /// Number of datagrams sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Number of answers received so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Stops sending, waits for the last answers and reports.
    #[must_use]
    pub fn finish(mut self) -> StreamReport {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.take().and_then(|thread| thread.join().ok()).unwrap_or(0);
        let mut answers = self.receiver.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let received = answers.len() as u64;
        answers.sort_unstable();
        answers.dedup();
        let repeated = received - answers.len() as u64;
        let missing = (0..sent).filter(|number| answers.binary_search(number).is_err()).collect();
        StreamReport { sent, missing, repeated }
    }
}

impl Drop for NumberedStream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn send(socket: &UdpSocket, interval: Duration, stop: &AtomicBool, sent: &AtomicU64) -> u64 {
    let start = Instant::now();
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        // An ICMP error for an earlier datagram is reported here; that datagram will be missing, this one is sent again.
        if socket.send(&number.to_be_bytes()).is_ok() {
            number += 1;
            sent.store(number, Ordering::Relaxed);
        }
        let next = start + interval * u32::try_from(number).unwrap_or(u32::MAX);
        // The pace of the stream.
        thread::sleep(next.saturating_duration_since(Instant::now()).max(Duration::from_micros(50)));
    }
    number
}

fn receive(socket: &UdpSocket, stop: &AtomicBool, sent: &AtomicU64, answered: &AtomicU64) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut stopped_at = None;
    loop {
        let mut datagram = [0; 8];
        match socket.recv(&mut datagram) {
            Ok(8) => {
                numbers.push(u64::from_be_bytes(datagram));
                answered.store(numbers.len() as u64, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            // An error that lasts must not take the processor from who is tested; it shows in the missing numbers.
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
        if stop.load(Ordering::Relaxed) {
            let stopped_at = *stopped_at.get_or_insert_with(Instant::now);
            let complete = numbers.len() as u64 >= sent.load(Ordering::Relaxed);
            if stopped_at.elapsed() > LAST_ANSWERS || (complete && stopped_at.elapsed() > 2 * PATIENCE) {
                return numbers;
            }
        }
    }
}
