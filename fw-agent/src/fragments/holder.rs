//! What waits: bounded in bytes, in number and in time.
//!
//! Without a clock and without I/O: the caller says what time it is, and gives back what it is handed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fw_common::abi::fragment::DatagramKey;
use fw_common::fragment::{is_ipv4, lifetime};

/// The most bytes of frames that wait: twice what the ring holds, whose records are as long as the longest frame.
const MAX_BYTES: usize = 16 << 20;
/// The most frames that wait. All of them may have to be given back at once, which takes some 20 microseconds each.
const MAX_FRAMES: usize = 8_192;

/// A frame that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The interface that it came in by.
    pub ingress_ifindex: u32,
    /// The frame.
    pub frame: Vec<u8>,
}

/// What became of fragments so far.
#[derive(Debug, Default)]
pub struct Counts {
    waited: AtomicU64,
    released: AtomicU64,
    expired: AtomicU64,
    evicted: AtomicU64,
}

impl Counts {
    /// Fragments that came to wait.
    pub fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// Fragments that were given back because the first one had been judged.
    pub fn released(&self) -> u64 {
        self.released.load(Ordering::Relaxed)
    }

    /// Fragments whose time was over; the data plane counts them as `fragment_without_first`.
    pub fn expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }

    /// Fragments that were lost because others needed their room.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }
}

/// The fragments of one datagram.
#[derive(Debug)]
struct Datagram {
    /// When they are given up, and a number that tells datagrams of the same moment apart.
    deadline: (Instant, u64),
    fragments: Vec<Waiting>,
}

/// The fragments that wait.
#[derive(Debug, Default)]
pub struct Holder {
    datagrams: HashMap<DatagramKey, Datagram>,
    /// In the order in which they are given up.
    deadlines: BTreeMap<(Instant, u64), DatagramKey>,
    /// In the order in which they came, for who has to make room.
    arrivals: BTreeMap<u64, DatagramKey>,
    begun: u64,
    bytes: usize,
    frames: usize,
    counts: Arc<Counts>,
}

impl Holder {
    /// What became of fragments so far.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Keeps a fragment. The datagrams that have waited longest make room for it.
    pub fn keep(&mut self, key: DatagramKey, waiting: Waiting, now: Instant) {
        self.counts.waited.fetch_add(1, Ordering::Relaxed);
        while self.frames >= MAX_FRAMES || self.bytes + waiting.frame.len() > MAX_BYTES {
            let Some(oldest) = self.arrivals.values().next().copied() else { break };
            let evicted = self.take(&oldest).len() as u64;
            self.counts.evicted.fetch_add(evicted, Ordering::Relaxed);
        }
        self.bytes += waiting.frame.len();
        self.frames += 1;
        let begun = &mut self.begun;
        let datagram = self.datagrams.entry(key).or_insert_with(|| {
            *begun += 1;
            let deadline = (now + Duration::from_secs(u64::from(lifetime(is_ipv4(&key)))), *begun);
            Datagram { deadline, fragments: Vec::new() }
        });
        self.deadlines.insert(datagram.deadline, key);
        self.arrivals.insert(datagram.deadline.1, key);
        datagram.fragments.push(waiting);
    }

    /// The first fragment of a datagram has been judged: those that wait for it, in the order in which they came.
    #[must_use]
    pub fn release(&mut self, key: &DatagramKey) -> Vec<Waiting> {
        let released = self.take(key);
        self.counts.released.fetch_add(released.len() as u64, Ordering::Relaxed);
        released
    }

    /// The fragments whose time is over.
    #[must_use]
    pub fn expire(&mut self, now: Instant) -> Vec<Waiting> {
        let mut expired = Vec::new();
        while let Some((_, key)) = self.deadlines.first_key_value().filter(|((deadline, _), _)| *deadline <= now) {
            let key = *key;
            expired.append(&mut self.take(&key));
        }
        self.counts.expired.fetch_add(expired.len() as u64, Ordering::Relaxed);
        expired
    }

    /// When the next time will be over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.keys().next().map(|(deadline, _)| *deadline)
    }

    fn take(&mut self, key: &DatagramKey) -> Vec<Waiting> {
        let Some(datagram) = self.datagrams.remove(key) else { return Vec::new() };
        self.deadlines.remove(&datagram.deadline);
        self.arrivals.remove(&datagram.deadline.1);
        self.frames -= datagram.fragments.len();
        self.bytes -= datagram.fragments.iter().map(|waiting| waiting.frame.len()).sum::<usize>();
        datagram.fragments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of a datagram with this identification.
    fn key(id: u64, ipv4: bool) -> DatagramKey {
        DatagramKey { words: [1, 2, 3, 4, id | if ipv4 { 4 } else { 6 } << 40] }
    }

    fn frame(len: usize) -> Waiting {
        Waiting { ingress_ifindex: 7, frame: vec![0; len] }
    }

    fn numbered(number: u8) -> Waiting {
        Waiting { ingress_ifindex: 7, frame: vec![number] }
    }

    #[test]
    fn what_waits_for_a_datagram_comes_back_once_and_in_order() {
        let mut holder = Holder::default();
        let now = Instant::now();
        for number in 0..3 {
            holder.keep(key(1, true), numbered(number), now);
        }
        holder.keep(key(2, true), numbered(9), now);
        assert_eq!(holder.release(&key(1, true)), [numbered(0), numbered(1), numbered(2)]);
        assert_eq!(holder.release(&key(1, true)), []);
        assert_eq!((holder.frames, holder.bytes), (1, 1));
        assert_eq!((holder.counts.waited(), holder.counts.released()), (4, 3));
    }

    #[test]
    fn the_time_of_a_datagram_runs_from_its_first_fragment() {
        let mut holder = Holder::default();
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        holder.keep(key(1, true), numbered(0), now);
        holder.keep(key(2, false), numbered(1), now);
        holder.keep(key(1, true), numbered(2), after(29));
        assert_eq!(holder.next_deadline(), Some(after(30)));
        assert_eq!(holder.expire(after(29)), []);
        assert_eq!(holder.expire(after(30)), [numbered(0), numbered(2)]);
        assert_eq!(holder.expire(after(59)), []);
        assert_eq!(holder.expire(after(60)), [numbered(1)]);
        assert_eq!((holder.next_deadline(), holder.counts.expired()), (None, 3));
    }

    #[test]
    fn bytes_and_frames_are_bounded_and_the_oldest_make_room() {
        let mut holder = Holder::default();
        let now = Instant::now();
        for id in 0..MAX_FRAMES as u64 + 10 {
            holder.keep(key(id, true), frame(1), now);
        }
        assert_eq!((holder.frames, holder.counts.evicted()), (MAX_FRAMES, 10));
        assert_eq!(holder.release(&key(9, true)), []);
        assert_eq!(holder.release(&key(10, true)), [frame(1)]);
        for id in 0..20 {
            holder.keep(key(100_000 + id, false), frame(1 << 20), now);
        }
        assert!(holder.bytes <= MAX_BYTES, "{}", holder.bytes);
        assert_eq!(holder.release(&key(100_019, false)), [frame(1 << 20)]);
        let rest: usize = holder.expire(now + Duration::from_secs(60)).iter().map(|waiting| waiting.frame.len()).sum();
        assert_eq!((holder.frames, holder.bytes, holder.deadlines.len(), holder.arrivals.len()), (0, 0, 0, 0));
        assert!(rest <= MAX_BYTES);
    }
}
