//! What a plan rests on, told line by line: the policy in force with the lists of its feeds, the flows that are open, those that were
//! denied lately.

use std::io;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc::{Sender, channel};

use super::change::{self, Shown};
use super::places::Place;
use super::server::{encode, refusal};
use super::stream::write;
use crate::facts::{Facts, Shared};
use crate::live::denied;
use crate::plan::basis::{Begin, Line, Seen, Slots};
use crate::plan::lists;

/// Bytes that go to the client at once.
const BLOCK: usize = 64 << 10;

/// Flows that are taken from the table at once.
const AT_ONCE: usize = 4_096;

/// Blocks that wait for the client; then the walk through the table waits, too.
const WAITING: usize = 4;

/// Tells everything, and keeps the place until the client has it.
pub(super) async fn basis(
    (mut stream, place): (UnixStream, Place),
    shared: Arc<Shared>,
    flows: bool,
) -> io::Result<()> {
    let (blocks, mut waiting) = channel(WAITING);
    let telling = tokio::task::spawn_blocking(move || tell(&shared, flows, Blocks { blocks, block: Vec::new() }));
    while let Some(block) = waiting.recv().await {
        write(&mut stream, &block).await?;
    }
    drop(place);
    match telling.await {
        Ok(Ok(())) => {}
        // Behind lines that have been sent, or in their place.
        Ok(Err(problem)) => write(&mut stream, &refusal(problem)).await?,
        Err(error) => write(&mut stream, &refusal(format!("the answer could not be collected: {error}"))).await?,
    }
    stream.shutdown().await
}

/// Lines on their way to the client.
struct Blocks {
    blocks: Sender<Vec<u8>>,
    block: Vec<u8>,
}

impl Blocks {
    /// Adds a line; whether the client is still there.
    fn add(&mut self, line: &Line) -> bool {
        self.block.extend(encode("basis", line));
        self.block.len() < BLOCK || self.send()
    }

    fn send(&mut self) -> bool {
        self.blocks.blocking_send(std::mem::take(&mut self.block)).is_ok()
    }
}

/// Tells everything; the error is for the client.
fn tell(shared: &Shared, flows: bool, mut lines: Blocks) -> Result<(), String> {
    let facts = shared.facts.load();
    lines.add(&Line::Begin(begin(&facts)?));
    for piece in lists::pieces(&facts.policy.feeds, &facts.policy.contents) {
        if !lines.add(&Line::List(piece)) {
            return Ok(());
        }
    }
    let (mut open, mut denied) = (0, 0);
    if flows {
        let slots = Slots::new(&facts);
        let mut place = Some(0);
        while let Some(from) = place {
            // Not while the table is visited: a client that reads slowly would keep others from it.
            let (records, next) = shared.dataplane.flows_behind(from, AT_ONCE).map_err(|error| error.to_string())?;
            let seen = records.iter().filter_map(|record| Seen::flow(record, &slots, &facts.names));
            for flow in seen {
                open += 1;
                if !lines.add(&Line::Flow(flow)) {
                    return Ok(());
                }
            }
            place = next;
        }
        for (key, record) in shared.live.denied.list() {
            denied += 1;
            lines.add(&Line::Denied(Seen::denied(&key, &record, &facts.names)));
        }
    }
    lines.add(&Line::End { flows: open, denied });
    // If the client is gone, nobody misses the rest.
    let _gone = lines.send();
    Ok(())
}

fn begin(facts: &Facts) -> Result<Begin, String> {
    let compiled = facts.policy.compiled.as_ref();
    let compiled = compiled.ok_or("what judges packets was found running, and its files are not known")?;
    let Shown { row, texts } = change::show(&facts.changes, None).map_err(|error| error.to_string())?;
    Ok(Begin {
        revision: row.revision,
        epoch: facts.policy.epoch,
        binding: compiled.binding().clone(),
        texts,
        denied_seconds: denied::KEPT_FOR.as_secs(),
    })
}
