//! Random cases, judged by several firewalls at once: nearly all that a case takes is waiting for the kernel's grace periods when
//! policies change, and waits of different firewalls go by together.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fw_testkit::classbench::Random;

use super::case::Case;
use super::run::Rival;
use super::{corpus, shrink};

/// What to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Case `n` of a seed is always the same, whoever judges it.
    pub(super) seed: u64,
    /// Packets to send, at least.
    pub(super) packets: u64,
    /// Firewalls at once.
    pub(super) rigs: usize,
}

/// What has come of it until now.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) packets: u64,
    pub(super) cases: u64,
    /// How often each verdict was seen.
    pub(super) seen: BTreeMap<String, u64>,
    /// Cases that told the two apart, made small.
    pub(super) differences: Vec<String>,
}

/// A run that has found so many differences ends.
const MOST_DIFFERENCES: usize = 8;
/// How often a run says how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// A run under way.
struct Run {
    plan: Plan,
    tally: Mutex<Tally>,
    told: Mutex<Instant>,
    start: Instant,
}

/// Runs until the packets are sent; nothing if this process may not load programs.
pub(super) fn run(plan: Plan) -> Option<Tally> {
    let rivals: Vec<Rival> = (0..plan.rigs).map(|_| Rival::new()).collect::<Option<_>>()?;
    let now = Instant::now();
    let run = Run { plan, tally: Mutex::default(), told: Mutex::new(now), start: now };
    std::thread::scope(|scope| {
        for mut rival in rivals {
            let run = &run;
            scope.spawn(move || run.judge(&mut rival));
        }
    });
    let tally = run.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{} packets in {} cases, {:?}: {:?}", tally.packets, tally.cases, now.elapsed(), tally.seen);
    Some(tally)
}

impl Run {
    /// Takes one case after the other.
    fn judge(&self, rival: &mut Rival) {
        while let Some(number) = self.next() {
            let case = Case::random(&mut Random::new(self.plan.seed.wrapping_add(number)));
            if rival.difference(&case).is_some() {
                let kept = self.keep(rival, &case, number);
                self.tally().differences.push(kept);
            }
            let mut tally = self.tally();
            tally.packets += case.packets();
            for (verdict, count) in rival.take_seen() {
                *tally.seen.entry(verdict).or_default() += count;
            }
            self.tell(&tally);
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next case, if there is to be one.
    fn next(&self) -> Option<u64> {
        let mut tally = self.tally();
        let more = tally.packets < self.plan.packets && tally.differences.len() < MOST_DIFFERENCES;
        more.then(|| {
            tally.cases += 1;
            tally.cases
        })
    }

    /// Makes a case smaller while it fails, and keeps it as a file.
    fn keep(&self, rival: &mut Rival, case: &Case, number: u64) -> String {
        let small = shrink::shrink(case, |candidate| rival.difference(candidate).is_some());
        let difference = rival.difference(&small).or_else(|| rival.difference(case));
        let difference = difference.map_or("not again".to_owned(), |difference| difference.to_string());
        let path = corpus().join(format!("failed-{}-{number}.txt", self.plan.seed));
        std::fs::write(&path, small.with_comment(&difference).to_string()).unwrap();
        let told = format!("case {number}: {difference}\nkept as {}:\n{small}", path.display());
        println!("{told}");
        told
    }

    fn tell(&self, tally: &Tally) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= TOLD_EVERY {
            *told = Instant::now();
            let Tally { packets, cases, differences, .. } = tally;
            println!(
                "{packets} packets in {cases} cases, {:?}, {} differences",
                self.start.elapsed(),
                differences.len()
            );
        }
    }
}
