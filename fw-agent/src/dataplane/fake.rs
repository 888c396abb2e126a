//! The data plane in memory, for tests of what is built on the trait: it keeps what it was told, counts nothing by itself,
//! and fails when a test says so.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fw_common::DropReason;
use fw_common::abi::capture::{CaptureFilter, CapturedHead};
use fw_common::abi::counters::{Counter, Happenings, InterfaceCounter, RuleCounter};
use fw_common::abi::event::{Denied, DeniedKey, FlowEnd};
use fw_common::abi::explained::Explained;
use fw_common::abi::interface::MAX_INTERFACES;
use fw_policy::Compiled;
use ipnet::IpNet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::nic::Mode;

use super::{
    Adopted, AttachedInterface, Dataplane, DataplaneError, Ended, FlowRecord, KnownInterface, Observed, Occupancy,
    RedirectErrors, Settings,
};

/// What the fake was told, and what it answers; a test may change all of it.
#[derive(Debug, Default)]
pub struct FakeState {
    /// The policy that is found running.
    pub adopted: Option<Adopted>,
    /// Attached interfaces by slot.
    pub attached: BTreeMap<u32, AttachedInterface>,
    /// Own addresses.
    pub own: Vec<IpAddr>,
    /// Directed broadcasts.
    pub broadcasts: Vec<Ipv4Addr>,
    /// The hand-over pair.
    pub handover: Option<(u32, [u8; 6])>,
    /// What the configuration says of packets and flows.
    pub settings: Option<Settings>,
    /// TCP segment sizes by prefix.
    pub segment_limits: BTreeMap<IpNet, u16>,
    /// How often next hops were invalidated.
    pub invalidations: u32,
    /// That fails, and nothing else.
    pub invalidations_fail: bool,
    /// How often it was said that routes are followed.
    pub followed: u32,
    /// Rules by handle.
    pub rule_names: BTreeMap<u32, String>,
    /// Epoch of the running policy.
    pub epoch: u32,
    /// Digest of the running policy.
    pub digest: Option<[u8; 32]>,
    /// Dropped packets by reason.
    pub drops: BTreeMap<u8, Counter>,
    /// Counters of rules by handle.
    pub rules: BTreeMap<u32, RuleCounter>,
    /// Packets whose redirect failed.
    pub redirect_errors: Vec<RedirectErrors>,
    /// Rare happenings.
    pub happenings: Happenings,
    /// The flow table.
    pub flows: Vec<FlowRecord>,
    /// How full the flow tables are.
    pub occupancy: [Occupancy; 2],
    /// Denied flows that wait to be taken.
    pub denied: Vec<(DeniedKey, Denied)>,
    /// Ended flows that wait to be taken.
    pub ended: Vec<FlowEnd>,
    /// What observers will be told.
    pub observed: Vec<Observed>,
    /// Somebody observes.
    pub is_observed: bool,
    /// The capture that runs, and for how many seconds.
    pub capture: Option<(CaptureFilter, u32)>,
    /// Packets that wait for the capture.
    pub captured: Vec<(CapturedHead, Vec<u8>)>,
    /// Somebody waits for such packets.
    pub is_waited_for: bool,
    /// Packets that come just before the capture ends.
    pub captured_last: Vec<(CapturedHead, Vec<u8>)>,
    /// What would become of any packet.
    pub explained: Explained,
    /// How many flows are ended before that fails, while everything does.
    pub ends_before_failing: u64,
    /// Whoever reads what is observed panics.
    pub panicking: bool,
    /// Every call that changes something fails while this is set.
    pub failing: bool,
}

/// A data plane in memory.
#[derive(Debug, Default)]
pub struct FakeDataplane {
    state: Mutex<FakeState>,
}

impl FakeDataplane {
    /// The state, for a test to look at and to change.
    pub fn state(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> Result<MutexGuard<'_, FakeState>, DataplaneError> {
        let state = self.state();
        if state.failing {
            return Err(told_to_fail());
        }
        Ok(state)
    }
}

fn told_to_fail() -> DataplaneError {
    DataplaneError::Map { map: "FAKE", reason: "told to fail".to_owned() }
}

/// Nothing happens here by itself, but whoever waits must not spin.
fn wait(patience: Duration) {
    std::thread::sleep(patience.min(Duration::from_millis(5)));
}

/// Waits a little for a descriptor; whether it can be read.
fn is_readable(gone: Option<BorrowedFd<'_>>, patience: Duration) -> bool {
    let Some(gone) = gone else {
        wait(patience);
        return false;
    };
    let little = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    poll(&mut [PollFd::from_borrowed_fd(gone, PollFlags::IN)], Some(&little)).is_ok_and(|ready| ready > 0)
}

impl Dataplane for FakeDataplane {
    fn adopted(&self) -> Option<Adopted> {
        self.state().adopted.clone()
    }

    fn known_interfaces(&self) -> Result<Vec<KnownInterface>, DataplaneError> {
        let known = |interface: &AttachedInterface| KnownInterface {
            ifindex: interface.ifindex,
            slot: interface.slot,
            mac: interface.mac,
            management: interface.management,
        };
        Ok(self.state().attached.values().map(known).collect())
    }

    fn attach(&self, interface: &AttachedInterface) -> Result<(), DataplaneError> {
        self.change()?.attached.insert(interface.slot, interface.clone());
        Ok(())
    }

    fn carried(&self, ifindex: u32) -> Option<Mode> {
        self.state().attached.values().find(|interface| interface.ifindex == ifindex).map(|interface| interface.mode)
    }

    fn forget(&self, slot: u32) -> Result<(), DataplaneError> {
        self.change()?.attached.remove(&slot);
        Ok(())
    }

    fn vacate(&self, slot: u32) -> Result<(), DataplaneError> {
        self.forget(slot)
    }

    fn set_local_addresses(&self, own: &[IpAddr], broadcasts: &[Ipv4Addr]) -> Result<(), DataplaneError> {
        let mut state = self.change()?;
        state.own = own.to_vec();
        state.broadcasts = broadcasts.to_vec();
        Ok(())
    }

    fn set_handover(&self, outer_ifindex: u32, inner_mac: [u8; 6]) -> Result<(), DataplaneError> {
        self.change()?.handover = Some((outer_ifindex, inner_mac));
        Ok(())
    }

    fn set_settings(&self, settings: &Settings) -> Result<(), DataplaneError> {
        self.change()?.settings = Some(*settings);
        Ok(())
    }

    fn set_segment_limits(&self, limits: &BTreeMap<IpNet, u16>) -> Result<(), DataplaneError> {
        self.change()?.segment_limits.clone_from(limits);
        Ok(())
    }

    fn follow_routes_for(&self, _seconds: u32) -> Result<(), DataplaneError> {
        self.change()?.followed += 1;
        Ok(())
    }

    fn invalidate_next_hops(&self) -> Result<(), DataplaneError> {
        let mut state = self.change()?;
        if state.invalidations_fail {
            return Err(told_to_fail());
        }
        state.invalidations += 1;
        Ok(())
    }

    fn apply_policy(&self, policy: &Compiled) -> Result<u32, DataplaneError> {
        let mut state = self.change()?;
        state.epoch += 1;
        state.digest = Some(policy.digest);
        state.rule_names = (1u32..).zip(policy.rules.iter().map(|rule| rule.id.clone())).collect();
        Ok(state.epoch)
    }

    fn rule_names(&self) -> Result<Vec<(u32, String)>, DataplaneError> {
        Ok(self.state().rule_names.iter().map(|(handle, id)| (*handle, id.clone())).collect())
    }

    fn drops(&self) -> Result<Vec<Counter>, DataplaneError> {
        let state = self.state();
        Ok(DropReason::ALL
            .iter()
            .map(|reason| state.drops.get(&(*reason as u8)).copied().unwrap_or_default())
            .collect())
    }

    fn rules(&self) -> Result<Vec<(u32, RuleCounter)>, DataplaneError> {
        let state = self.state();
        Ok(state
            .rule_names
            .keys()
            .map(|handle| (*handle, state.rules.get(handle).copied().unwrap_or_default()))
            .collect())
    }

    fn interfaces(&self) -> Result<Vec<InterfaceCounter>, DataplaneError> {
        Ok(vec![InterfaceCounter::default(); MAX_INTERFACES])
    }

    fn redirect_errors(&self) -> Result<Vec<RedirectErrors>, DataplaneError> {
        Ok(self.state().redirect_errors.clone())
    }

    fn happenings(&self) -> Result<Happenings, DataplaneError> {
        Ok(self.state().happenings)
    }

    fn visit_flows(&self, visit: &mut dyn FnMut(FlowRecord) -> bool) -> Result<(), DataplaneError> {
        let flows = self.state().flows.clone();
        let _stopped_at = flows.into_iter().find(|flow| !visit(*flow));
        Ok(())
    }

    fn flows_behind(&self, place: u64, most: usize) -> Result<(Vec<FlowRecord>, Option<u64>), DataplaneError> {
        let flows = self.state().flows.clone();
        let first = usize::try_from(place).unwrap_or(usize::MAX).min(flows.len());
        let end = first.saturating_add(most).min(flows.len());
        Ok((flows[first..end].to_vec(), (end < flows.len()).then_some(end as u64)))
    }

    fn occupancy(&self) -> Result<[Occupancy; 2], DataplaneError> {
        Ok(self.state().occupancy)
    }

    fn max_flows(&self) -> u32 {
        1 << 20
    }

    fn take_denied(&self) -> Result<Vec<(DeniedKey, Denied)>, DataplaneError> {
        Ok(std::mem::take(&mut self.change()?.denied))
    }

    fn sweep(&self) -> Result<u32, DataplaneError> {
        Ok(0)
    }

    fn poll_ended(&self, visit: &mut dyn FnMut(&FlowEnd)) -> Result<(), DataplaneError> {
        let ended = std::mem::take(&mut self.change()?.ended);
        ended.iter().for_each(visit);
        Ok(())
    }

    fn explain(&self, _frame: &[u8], ifindex: u32) -> Result<Explained, DataplaneError> {
        let state = self.change()?;
        let is_known = state.attached.values().any(|interface| interface.ifindex == ifindex);
        is_known.then_some(state.explained).ok_or_else(told_to_fail)
    }

    fn end_flows(&self, choose: &mut dyn FnMut(&FlowRecord) -> bool) -> Ended {
        let mut state = self.state();
        let most = if state.failing { state.ends_before_failing } else { u64::MAX };
        let mut ended = Ended::default();
        let mut failed = false;
        state.flows.retain(|flow| {
            let chosen = choose(flow);
            failed |= chosen && ended.flows == most;
            ended.flows += u64::from(chosen && !failed);
            !chosen || failed
        });
        ended.problem = failed.then(told_to_fail);
        ended
    }

    fn set_observed(&self, observed: bool) -> Result<(), DataplaneError> {
        self.change()?.is_observed = observed;
        Ok(())
    }

    fn wait_observed(&self, patience: Duration, visit: &mut dyn FnMut(Observed)) -> Result<(), DataplaneError> {
        assert!(!self.state().panicking, "told to panic");
        let observed = std::mem::take(&mut self.change()?.observed);
        if observed.is_empty() {
            wait(patience);
        }
        observed.into_iter().for_each(visit);
        Ok(())
    }

    fn set_capture(&self, capture: Option<(CaptureFilter, u32)>) -> Result<(), DataplaneError> {
        let mut state = self.change()?;
        if capture.is_some() {
            state.captured.clear();
        } else {
            let last = std::mem::take(&mut state.captured_last);
            state.captured.extend(last);
        }
        state.capture = capture;
        Ok(())
    }

    fn wait_captured(
        &self,
        patience: Duration,
        gone: Option<BorrowedFd<'_>>,
        visit: &mut dyn FnMut(&CapturedHead, &[u8]),
    ) -> Result<(), DataplaneError> {
        let end = Instant::now() + patience;
        let captured = loop {
            let mut state = self.change()?;
            let captured = std::mem::take(&mut state.captured);
            state.is_waited_for = captured.is_empty();
            drop(state);
            if !captured.is_empty() || Instant::now() >= end || is_readable(gone, patience) {
                break captured;
            }
        };
        captured.iter().for_each(|(head, bytes)| visit(head, bytes));
        Ok(())
    }

    fn keep_slots(&self, _slots: &[(u32, u32)]) -> Result<(), DataplaneError> {
        Ok(())
    }

    fn repair(&self) -> Result<bool, DataplaneError> {
        Ok(false)
    }

    fn detach(&self) -> Result<(), DataplaneError> {
        self.change()?.attached.clear();
        Ok(())
    }
}
