//! What the agent asks of the data plane, answered by the kernel's maps and programs.
//!
//! Each answer takes the lock of the object for as long as it needs it; rings are waited for without it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;
use std::sync::PoisonError;
use std::time::Duration;

use fw_common::abi::capture::{CaptureFilter, CapturedHead};
use fw_common::abi::config::config_flags;
use fw_common::abi::counters::{Counter, Happenings, InterfaceCounter, RuleCounter};
use fw_common::abi::event::{Denied, DeniedKey, FlowEnd};
use fw_common::abi::explained::Explained;
use fw_common::abi::interface::{HANDOVER_SLOT, Interface, LocalAddress, interface_flags, local_kind};
use fw_common::generation;
use fw_policy::Compiled;
use ipnet::IpNet;

use super::pins::{make_dir, maps_dir};
use super::{
    KernelDataplane, attach, capture, counters, denied, detach_all, flows, handles, interfaces, monotonic_seconds,
    policy, redirects, ring, segment_limits,
};
use crate::dataplane::{
    Adopted, AttachedInterface, Dataplane, DataplaneError, Ended, FlowRecord, KnownInterface, Observed, Occupancy,
    PickUp, RedirectErrors, Settings,
};
use crate::nic::Mode;

impl Dataplane for KernelDataplane {
    fn adopted(&self) -> Option<Adopted> {
        self.adopted.clone()
    }

    fn known_interfaces(&self) -> Result<Vec<KnownInterface>, DataplaneError> {
        let known = |(ifindex, entry): (u32, Interface)| KnownInterface {
            ifindex,
            slot: entry.slot,
            mac: entry.mac,
            management: entry.flags & interface_flags::MANAGEMENT != 0,
        };
        Ok(interfaces::all(&self.object())?.into_iter().map(known).collect())
    }

    fn keep_slots(&self, slots: &[(u32, u32)]) -> Result<(), DataplaneError> {
        attach::keep_slots(&mut self.object(), slots)
    }

    fn attach(&self, interface: &AttachedInterface) -> Result<(), DataplaneError> {
        attach::attach(&mut self.object(), &self.pin_dir, interface)
    }

    fn carried(&self, ifindex: u32) -> Option<Mode> {
        attach::carried(&self.pin_dir, ifindex)
    }

    fn forget(&self, slot: u32) -> Result<(), DataplaneError> {
        attach::forget(&mut self.object(), &self.pin_dir, slot)
    }

    fn vacate(&self, slot: u32) -> Result<(), DataplaneError> {
        attach::vacate(&mut self.object(), slot)
    }

    fn set_local_addresses(&self, own: &[IpAddr], broadcasts: &[Ipv4Addr]) -> Result<(), DataplaneError> {
        let mut wanted4: Vec<([u8; 4], LocalAddress)> = Vec::new();
        let mut wanted6: Vec<([u8; 16], LocalAddress)> = Vec::new();
        for addr in broadcasts {
            wanted4.push((addr.octets(), LocalAddress { kind: local_kind::BROADCAST }));
        }
        for addr in own {
            match addr {
                IpAddr::V4(addr) => wanted4.push((addr.octets(), LocalAddress { kind: local_kind::OWN })),
                IpAddr::V6(addr) => wanted6.push((addr.octets(), LocalAddress { kind: local_kind::OWN })),
            }
        }
        let mut object = self.object();
        // All three in any case: what was remembered before must not outlive a set that has changed in part.
        let results = [
            object.replace_hash("LOCAL4", &wanted4),
            object.replace_hash("LOCAL6", &wanted6),
            object.invalidate_next_hops(),
        ];
        results.into_iter().collect()
    }

    fn set_handover(&self, outer_ifindex: u32, inner_mac: [u8; 6]) -> Result<(), DataplaneError> {
        let mut object = self.object();
        attach::allow_egress(&mut object, HANDOVER_SLOT, outer_ifindex)?;
        object.update_config(|config| {
            config.handover_ifindex = outer_ifindex;
            config.handover_mac = inner_mac;
        })
    }

    fn set_settings(&self, settings: &Settings) -> Result<(), DataplaneError> {
        self.object().update_config(|config| {
            config.timeouts = settings.timeouts;
            config.answers_per_second = settings.answers_per_second;
            config.pick_up_forwarded_until = match settings.pick_up {
                PickUp::Never => 0,
                PickUp::AfterStart => config.pick_up_until,
                PickUp::Always => u32::MAX,
            };
            config.flags &=
                !(config_flags::VERIFY_CHECKSUMS | config_flags::REFUSE_HALF_OPEN | config_flags::RESET_UNKNOWN_TCP);
            if settings.reset_unknown_tcp {
                config.flags |= config_flags::RESET_UNKNOWN_TCP;
            }
            if settings.refuse_half_open {
                config.flags |= config_flags::REFUSE_HALF_OPEN;
            }
            if settings.verify_checksums {
                config.flags |= config_flags::VERIFY_CHECKSUMS;
            }
        })
    }

    fn set_segment_limits(&self, limits: &BTreeMap<IpNet, u16>) -> Result<(), DataplaneError> {
        let mut object = self.object();
        segment_limits::replace(&mut object, limits)?;
        object.update_config(|config| {
            config.flags &= !config_flags::LIMIT_SEGMENTS;
            if !limits.is_empty() {
                config.flags |= config_flags::LIMIT_SEGMENTS;
            }
        })
    }

    fn follow_routes_for(&self, seconds: u32) -> Result<(), DataplaneError> {
        let until = monotonic_seconds().saturating_add(seconds);
        self.object().update_config(|config| {
            // Who has been silent may have missed a change: what was looked up until now is not trusted.
            config.fib_generation =
                generation::resumed(config.fib_generation, config.routes_followed_until, monotonic_seconds());
            config.routes_followed_until = until;
        })
    }

    fn invalidate_next_hops(&self) -> Result<(), DataplaneError> {
        self.object().invalidate_next_hops()
    }

    fn apply_policy(&self, policy: &Compiled) -> Result<u32, DataplaneError> {
        policy::apply(&mut self.object(), policy)
    }

    fn rule_names(&self) -> Result<Vec<(u32, String)>, DataplaneError> {
        handles::names(&self.object())
    }

    fn drops(&self) -> Result<Vec<Counter>, DataplaneError> {
        counters::drops(&self.object())
    }

    fn rules(&self) -> Result<Vec<(u32, RuleCounter)>, DataplaneError> {
        counters::rules(&self.object())
    }

    fn interfaces(&self) -> Result<Vec<InterfaceCounter>, DataplaneError> {
        counters::interfaces(&self.object())
    }

    fn redirect_errors(&self) -> Result<Vec<RedirectErrors>, DataplaneError> {
        redirects::counted(&self.object())
    }

    fn happenings(&self) -> Result<Happenings, DataplaneError> {
        counters::happenings(&self.object())
    }

    fn visit_flows(&self, visit: &mut dyn FnMut(FlowRecord) -> bool) -> Result<(), DataplaneError> {
        flows::visit(&self.object(), visit)
    }

    fn flows_behind(&self, place: u64, most: usize) -> Result<(Vec<FlowRecord>, Option<u64>), DataplaneError> {
        flows::behind(&self.object(), place, most)
    }

    fn occupancy(&self) -> Result<[Occupancy; 2], DataplaneError> {
        flows::occupancy(&self.object())
    }

    fn max_flows(&self) -> u32 {
        self.max_flows
    }

    fn take_denied(&self) -> Result<Vec<(DeniedKey, Denied)>, DataplaneError> {
        denied::take(&self.object())
    }

    fn sweep(&self) -> Result<u32, DataplaneError> {
        let before = counters::happenings(&self.object())?.swept;
        let batches = flows::sweep_batches(&self.object())?;
        // The lock is given free in between: attaching and reading go before sweeping. One run at a time: for several, the
        // kernel waits for two grace periods (bpf_dispatcher_change_prog), which is longer than the runs take.
        for _ in 0..batches {
            self.object().run_sweep()?;
        }
        let after = counters::happenings(&self.object())?.swept;
        Ok(u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX))
    }

    fn poll_ended(&self, visit: &mut dyn FnMut(&FlowEnd)) -> Result<(), DataplaneError> {
        self.object().poll_events(visit);
        Ok(())
    }

    fn end_flows(&self, choose: &mut dyn FnMut(&FlowRecord) -> bool) -> Ended {
        let mut ended = Ended::default();
        let orders = match flows::orders(&self.object(), choose) {
            Ok(orders) => orders,
            Err(problem) => return Ended { problem: Some(problem), ..ended },
        };
        for chunk in orders.chunks(flows::END_CHUNK) {
            let mut object = self.object();
            for order in chunk {
                match object.run_end_flow(order) {
                    Ok(was_there) => ended.flows += u64::from(was_there),
                    Err(problem) => return Ended { problem: Some(problem), ..ended },
                }
            }
        }
        ended
    }

    fn set_observed(&self, observed: bool) -> Result<(), DataplaneError> {
        // What lies there is of nobody's time: emptied before it is switched on, and after it is switched off.
        let clear = || self.observed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if observed {
            clear();
        }
        self.object().update_config(|config| {
            config.flags &= !config_flags::OBSERVED;
            if observed {
                config.flags |= config_flags::OBSERVED;
            }
        })?;
        if !observed {
            clear();
        }
        Ok(())
    }

    fn wait_observed(&self, patience: Duration, visit: &mut dyn FnMut(Observed)) -> Result<(), DataplaneError> {
        let mut ring = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        ring.wait(patience, None, &mut |record| {
            if let Some(observed) = ring::observed(record) {
                visit(observed);
            }
        })
    }

    fn set_capture(&self, capture: Option<(CaptureFilter, u32)>) -> Result<(), DataplaneError> {
        if capture.is_some() {
            self.captured.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        capture::set(&mut self.object(), capture)
    }

    fn wait_captured(
        &self,
        patience: Duration,
        gone: Option<BorrowedFd<'_>>,
        visit: &mut dyn FnMut(&CapturedHead, &[u8]),
    ) -> Result<(), DataplaneError> {
        let mut ring = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        ring.wait(patience, gone, &mut |record| {
            if let Some((head, bytes)) = ring::captured(record) {
                visit(&head, bytes);
            }
        })
    }

    fn explain(&self, frame: &[u8], ifindex: u32) -> Result<Explained, DataplaneError> {
        self.explainer.lock().unwrap_or_else(PoisonError::into_inner).ask(frame, ifindex)
    }

    fn repair(&self) -> Result<bool, DataplaneError> {
        let object = self.object();
        let maps_dir = maps_dir(&self.pin_dir);
        if object.has_lost_pins(&maps_dir) {
            make_dir(&maps_dir)?;
            make_dir(&attach::links_dir(&self.pin_dir))?;
            object.pin_again(&maps_dir)?;
        }
        attach::has_lost_links(&object, &self.pin_dir)
    }

    fn detach(&self) -> Result<(), DataplaneError> {
        detach_all(&self.pin_dir)
    }
}
