//! What would become of a packet, for who asks: the entry of `EXPLAINED`.

use fw_common::Verdict;
use fw_common::abi::explained::{Explained, explained_flags, outcome};

use crate::job::Job;
use crate::maps::EXPLAINED;

/// Words of an answer.
const WORDS: usize = size_of::<Explained>() / 4;

/// Forgets the last answer. The agent asks about one packet at a time.
#[inline(always)]
pub(crate) fn begin(job: &mut Job) {
    job.egress.ifindex = 0;
    job.egress.slot = 0;
    job.egress.mtu = 0;
    job.egress.dst_mac = [0; 6];
    job.active.epoch = 0;
    let Some(entry) = EXPLAINED.get_ptr_mut(0) else { return };
    for word in 0..WORDS {
        // SAFETY: a live map value, which is words without padding of the compiler's.
        unsafe { entry.cast::<u32>().add(word).write_volatile(0) };
    }
}

/// Notes something of the answer.
#[inline(always)]
pub(crate) fn note(note: impl FnOnce(&mut Explained)) {
    if let Some(entry) = EXPLAINED.get_ptr_mut(0) {
        // SAFETY: a live map value; one packet at a time is asked about.
        note(unsafe { &mut *entry });
    }
}

/// Writes what the answer has in common with that about any packet.
#[inline(always)]
pub(crate) fn write(job: &Job, verdict: Verdict) {
    note(|explained| {
        (explained.outcome, explained.reason) = match verdict {
            Verdict::Pass => (outcome::HOST, 0),
            Verdict::Forward => (outcome::FORWARD, 0),
            Verdict::HandOver => (outcome::HAND_OVER, 0),
            Verdict::Drop(reason) => (outcome::DROP, reason as u32),
        };
        explained.rule = job.decision.rule;
        explained.epoch = job.active.epoch;
        explained.egress_ifindex = job.egress.ifindex;
        explained.egress_slot = u32::from(job.egress.slot);
        explained.mtu = u32::from(job.egress.mtu);
        explained.from_zone = job.query.from_zone;
        explained.to_zone = job.query.to_zone;
        if job.parsed {
            explained.flags |= explained_flags::PARSED;
        }
        if matches!(verdict, Verdict::Forward) {
            explained.next_hop_mac = job.egress.dst_mac;
        }
    });
}
