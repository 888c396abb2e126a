//! Answers that last: events as they happen, packets as they pass. They end when the client closes its end.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fw_common::abi::capture::CaptureFilter;
use rustix::event::{EventfdFlags, eventfd};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{interval, timeout};

use super::places::Place;
use super::server::{ANSWER_TIME, encode, misuse, refusal};
use crate::clock::Clock;
use crate::dataplane::DataplaneError;
use crate::facts::Shared;
use crate::live::capture::{CaptureRequest, Recording};
use crate::live::filter::ObserveFilter;
use crate::live::pcapng;

/// The first line of an answer that lasts, and the line that tells of events that this client has missed.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Notice {
    /// From here on, everything is told.
    Begin,
    /// So many events were lost, because the client does not keep up, or because they were more than the data plane tells.
    Lost { lost: u64 },
}

/// How often an observer is told how many events it has missed.
const LOOK: Duration = Duration::from_millis(500);
/// How long a capture may take to end when its client is gone.
const ENDING: Duration = Duration::from_secs(1);
/// Blocks that wait for the client; further packets wait in the data plane's buffer.
const WAITING: usize = 256;

/// Tells events until the client closes. The place is given free as soon as there is an observer more: how many there may be is limited
/// by itself, and they keep nobody's requests waiting.
pub(super) async fn observe(
    (mut stream, place): (UnixStream, Place),
    shared: Arc<Shared>,
    filter: ObserveFilter,
) -> io::Result<()> {
    let wrong = filter.check(&shared.facts.load().names).err();
    if let Some(wrong) = wrong {
        return write(&mut stream, &misuse(wrong)).await;
    }
    let observation = tokio::task::spawn_blocking(move || Arc::clone(&shared.live.hub).observe(&shared, filter)).await;
    let mut observation = match observation {
        Ok(Ok(observation)) => observation,
        Ok(Err(error)) => return write(&mut stream, &refusal(error.to_string())).await,
        Err(error) => return write(&mut stream, &refusal(error.to_string())).await,
    };
    drop(place);
    let (mut read, mut to_client) = stream.split();
    write(&mut to_client, &encode("observe", Notice::Begin)).await?;
    let mut looks = interval(LOOK);
    loop {
        tokio::select! {
            event = observation.next() => match event {
                Some(event) => write(&mut to_client, &encode("observe", &*event)).await?,
                None => return Ok(()),
            },
            _ = looks.tick() => {
                let lost = observation.take_lost();
                if lost > 0 {
                    write(&mut to_client, &encode("observe", Notice::Lost { lost })).await?;
                }
            }
            () = closed(&mut read) => return Ok(()),
        }
    }
}

/// Sends packets until the client closes, or one of the request's limits is reached.
pub(super) async fn capture(mut stream: UnixStream, shared: Arc<Shared>, request: CaptureRequest) -> io::Result<()> {
    let filter = request.filter(&shared.facts.load());
    let filter = match filter {
        Ok(filter) => filter,
        Err(wrong) => return write(&mut stream, &misuse(wrong)).await,
    };
    // The one before may be at its end, because its client is gone.
    let Ok(place) = timeout(ENDING, Arc::clone(&shared.live.capture).lock_owned()).await else {
        return write(&mut stream, &refusal("another capture is running")).await;
    };
    let (blocks, mut waiting) = channel(WAITING);
    let gone = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let waking = Waking(Arc::clone(&gone));
    let recording = tokio::task::spawn_blocking(move || {
        let recorded = record(&shared, &request, filter, &blocks, &gone);
        drop(place);
        recorded
    });
    let (mut read, mut to_client) = stream.split();
    loop {
        tokio::select! {
            block = waiting.recv() => match block {
                Some(block) => write(&mut to_client, &block).await?,
                None => break,
            },
            () = closed(&mut read) => break,
        }
    }
    drop(waiting);
    drop(waking);
    if let Ok(Err(refused)) = recording.await {
        write(&mut to_client, &refusal(refused)).await?;
    }
    to_client.shutdown().await
}

/// Wakes the thread that records when it is dropped, however the client has gone.
struct Waking(Arc<OwnedFd>);

impl Drop for Waking {
    fn drop(&mut self) {
        // It cannot fail: the counter is far from its end.
        let _written = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// Records packets; the error is for the client, and comes before anything else.
fn record(
    shared: &Shared,
    request: &CaptureRequest,
    filter: CaptureFilter,
    blocks: &Sender<Vec<u8>>,
    gone: &OwnedFd,
) -> Result<(), String> {
    let facts = shared.facts.load();
    let seconds = u32::try_from(request.duration().as_secs()).unwrap_or(u32::MAX);
    let lost_before = lost(shared).map_err(|error| error.to_string())?;
    shared.dataplane.set_capture(Some((filter, seconds))).map_err(|error| error.to_string())?;
    tracing::info!(?request, "capturing packets");
    let mut recording = Recording::new(filter, &facts);
    let mut begin = encode("capture", Notice::Begin);
    begin.extend(pcapng::section());
    // If the client is gone, the next look at it says so.
    let _gone = blocks.blocking_send(begin);
    let mut taking =
        Taking { shared, recording: &mut recording, blocks, gone, left: request.count.unwrap_or(u64::MAX), packets: 0 };
    let taken = taking.until(Instant::now() + request.duration());
    let ended = shared.dataplane.set_capture(None);
    // What has come until then is of the capture, too.
    let rest = taking.rest();
    let packets = taking.packets;
    let lost = lost(shared).map_or(0, |lost| lost.saturating_sub(lost_before));
    let _gone = blocks.blocking_send(recording.end(lost, &Clock::read()));
    match taken.and(ended).and(rest) {
        Ok(()) => tracing::info!(packets, lost, "captured packets"),
        Err(error) => tracing::error!(%error, packets, "the capture broke off"),
    }
    Ok(())
}

/// Packets on their way from the data plane to the client.
struct Taking<'t> {
    shared: &'t Shared,
    recording: &'t mut Recording,
    blocks: &'t Sender<Vec<u8>>,
    /// Readable when nobody wants packets any more.
    gone: &'t OwnedFd,
    /// The most that are still wanted.
    left: u64,
    packets: u64,
}

impl Taking<'_> {
    /// Hands packets on until then, or until there are enough, or the client is gone.
    fn until(&mut self, end: Instant) -> Result<(), DataplaneError> {
        while self.left > 0 && !self.blocks.is_closed() {
            let time = end.saturating_duration_since(Instant::now());
            if time.is_zero() {
                break;
            }
            self.hand_on(time)?;
        }
        Ok(())
    }

    /// Hands the packets on that are there, once no more are added.
    fn rest(&mut self) -> Result<(), DataplaneError> {
        while self.left > 0 && !self.blocks.is_closed() && self.hand_on(Duration::ZERO)? > 0 {}
        Ok(())
    }

    /// Waits for packets, and hands those on that are wanted; how many there were, wanted or not.
    fn hand_on(&mut self, patience: Duration) -> Result<u64, DataplaneError> {
        let Self { shared, recording, blocks, gone, left, packets } = self;
        // Of when there is something: the wait before may last as long as the capture, and rules and the clock change meanwhile.
        let mut now = None;
        let mut seen = 0;
        shared.dataplane.wait_captured(patience, Some(gone.as_fd()), &mut |head, bytes| {
            seen += 1;
            let (facts, clock) = now.get_or_insert_with(|| (shared.facts.load(), Clock::read()));
            if *left > 0
                && let Some(packet) = recording.blocks(head, bytes, &facts.names, clock)
            {
                (*left, *packets) = (*left - 1, *packets + 1);
                let _gone = blocks.blocking_send(packet);
            }
        })?;
        Ok(seen)
    }
}

fn lost(shared: &Shared) -> Result<u64, DataplaneError> {
    shared.dataplane.happenings().map(|seen| seen.captured_lost)
}

/// Waits until the client has closed its end; what it says until then does not matter.
async fn closed(read: &mut (impl AsyncRead + Unpin)) {
    let mut ignored = [0; 256];
    while read.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
}

pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    match timeout(ANSWER_TIME, stream.write_all(bytes)).await {
        Ok(written) => written,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}
