//! The thread that writes the flow log, so that a slow or full disk never holds the agent up.
//!
//! What cannot be written waits in memory, up to [`MAX_WAITING_BYTES`], and is tried again each second; what does not fit
//! there is lost, and counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::file::RotatingFile;

/// How much may wait for a disk that does not take it.
pub const MAX_WAITING_BYTES: usize = 16 << 20;

/// Batches between the agent and the thread.
const QUEUE: usize = 64;

/// How often a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Records of the flow log so far.
#[derive(Debug, Default)]
pub struct Counts {
    written: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
}

impl Counts {
    /// Records that are in the file.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Records that were given up.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Attempts to write that failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn lose(&self, records: usize) {
        self.lost.fetch_add(records as u64, Ordering::Relaxed);
    }
}

/// The agent's end of the thread; dropping it writes what waits and ends the thread.
#[derive(Debug)]
pub struct Writer {
    queue: Option<SyncSender<Vec<Vec<u8>>>>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub fn start(file: RotatingFile) -> std::io::Result<Self> {
        let (queue, batches) = sync_channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let mut spool =
            Spool { file, counts: Arc::clone(&counts), waiting: VecDeque::new(), waiting_bytes: 0, failing: false };
        let thread = std::thread::Builder::new().name("flow-log".to_owned()).spawn(move || spool.serve(&batches))?;
        Ok(Self { queue: Some(queue), counts, thread: Some(thread) })
    }

    /// Hands lines over without waiting.
    pub fn send(&self, lines: Vec<Vec<u8>>) {
        let Some(queue) = self.queue.as_ref().filter(|_| !lines.is_empty()) else { return };
        if let Err(TrySendError::Full(lines) | TrySendError::Disconnected(lines)) = queue.try_send(lines) {
            self.counts.lose(lines.len());
        }
    }

    /// What has become of the records.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// The thread's side: lines that are not written yet.
struct Spool {
    file: RotatingFile,
    counts: Arc<Counts>,
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    failing: bool,
}

impl Spool {
    fn serve(&mut self, batches: &Receiver<Vec<Vec<u8>>>) {
        loop {
            match batches.recv_timeout(RETRY) {
                Ok(lines) => lines.into_iter().for_each(|line| self.push(line)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.file.follow_renames();
            self.flush();
        }
        self.flush();
        self.counts.lose(self.waiting.len());
    }

    fn push(&mut self, line: Vec<u8>) {
        if self.waiting_bytes + line.len() > MAX_WAITING_BYTES {
            return self.counts.lose(1);
        }
        self.waiting_bytes += line.len();
        self.waiting.push_back(line);
    }

    fn flush(&mut self) {
        while let Some(line) = self.waiting.front() {
            if let Err(error) = self.file.append(line) {
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
                if !self.failing {
                    tracing::error!(file = %self.file.path().display(), %error, "the flow log cannot be written; trying again each second");
                }
                self.failing = true;
                return;
            }
            self.waiting_bytes -= line.len();
            self.waiting.pop_front();
            self.counts.written.fetch_add(1, Ordering::Relaxed);
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!(file = %self.file.path().display(), lost = self.counts.lost(), "the flow log is written again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn spool(path: PathBuf) -> Spool {
        let file = RotatingFile::new(path, 1 << 20, 1);
        Spool { file, counts: Arc::default(), waiting: VecDeque::new(), waiting_bytes: 0, failing: false }
    }

    #[test]
    fn what_was_handed_over_is_in_the_file_when_the_writer_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flows.jsonl");
        let writer = Writer::start(RotatingFile::new(path.clone(), 1 << 20, 1)).unwrap();
        let counts = writer.counts();
        writer.send(vec![b"one\n".to_vec(), b"two\n".to_vec()]);
        drop(writer);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
        assert_eq!((counts.written(), counts.lost()), (2, 0));
    }

    #[test]
    fn a_fifo_that_nobody_reads_holds_up_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flows.jsonl");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let writer = Writer::start(RotatingFile::new(path, 1 << 20, 1)).unwrap();
        let counts = writer.counts();
        writer.send(vec![b"one\n".to_vec()]);
        let (ended, end) = sync_channel(1);
        std::thread::spawn(move || {
            drop(writer);
            ended.send(())
        });
        assert!(end.recv_timeout(Duration::from_secs(20)).is_ok(), "the end waits for a reader");
        assert_eq!((counts.written(), counts.lost()), (0, 1));
    }

    #[test]
    fn what_cannot_be_written_waits_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = spool(dir.path().to_owned());
        spool.push(b"one\n".to_vec());
        spool.flush();
        assert_eq!((spool.counts.failures(), spool.waiting.len()), (1, 1));
        let path = dir.path().join("flows.jsonl");
        spool.file = RotatingFile::new(path.clone(), 1 << 20, 1);
        spool.flush();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\n");
        assert_eq!((spool.counts.written(), spool.waiting_bytes), (1, 0));
    }

    #[test]
    fn what_does_not_fit_in_memory_is_lost_and_counted() {
        let mut spool = spool(PathBuf::from("/dev/full"));
        spool.push(vec![b'x'; MAX_WAITING_BYTES]);
        spool.push(b"one\n".to_vec());
        assert_eq!((spool.counts.lost(), spool.waiting.len()), (1, 1));
    }
}
