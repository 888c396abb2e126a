//! A firewall with two interfaces for rule sets: what the data plane decides about a header, and what that costs.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fw_agent::dataplane::kernel::{KernelDataplane, KernelOptions, detach_all};
use fw_agent::dataplane::{AttachedInterface, Dataplane as _, PickUp, Settings};
use fw_agent::nic::Mode;
use fw_common::conntrack::Timeouts;
use fw_policy::Compiled;

use super::{Header, RuleSet};
use crate::netns::NetNs;
use crate::packet::{Packet, Transport, tcp_flags};

/// Kernel action of `include/uapi/linux/bpf.h`.
const XDP_REDIRECT: u32 = 4;
/// Hardware addresses of the outer interface, and of its neighbour.
const OUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x20];
const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 1, 1];

/// The firewall. Dropping it removes its name space and its pins.
pub struct Bed {
    dataplane: KernelDataplane,
    outer: u32,
    pin_dir: PathBuf,
    netns: NetNs,
}

impl Bed {
    /// Makes it, with flow tables of this size. Needs root.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(max_flows: u32) -> Result<Self> {
        Self::with_timeouts(max_flows, Timeouts::default())
    }

    /// The same, with time-outs for flows.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn with_timeouts(max_flows: u32, timeouts: Timeouts) -> Result<Self> {
        Self::with_options(max_flows, false, timeouts)
    }

    /// The same, in which every flow may be half-open, and none is ended for others.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn with_any_half_open(max_flows: u32, timeouts: Timeouts) -> Result<Self> {
        Self::with_options(max_flows, true, timeouts)
    }

    fn with_options(max_flows: u32, any_half_open: bool, timeouts: Timeouts) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ofwcb{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let guard = Names { name: name.clone(), pin_dir: PathBuf::from("/sys/fs/bpf").join(&name) };
        ip(&format!("netns add {name}"))?;
        let netns = NetNs::open(&name)?;
        for line in NETWORK.lines().filter(|line| !line.is_empty()) {
            ip(&format!("-n {name} {line}"))?;
        }
        for (key, value) in [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")] {
            netns.set_sysctl(key, value)?;
        }
        let (dataplane, outer) = netns.within(|| open(&guard.pin_dir, (max_flows, any_half_open), timeouts))??;
        let pin_dir = guard.pin_dir.clone();
        std::mem::forget(guard);
        Ok(Self { dataplane, outer, pin_dir, netns })
    }

    /// The data plane.
    #[must_use]
    pub fn dataplane(&self) -> &KernelDataplane {
        &self.dataplane
    }

    /// Bytes that the kernel says the tables of IPv4 flows take.
    ///
    /// # Errors
    /// If they are not pinned.
    pub fn flow_memory(&self) -> Result<u64> {
        let maps = self.pin_dir.join(format!("abi-{}", fw_common::ABI_VERSION));
        let bytes = ["FLOWS4", "TAGS4"].map(|name| -> Result<u64> {
            let map = aya::maps::MapData::from_pin(maps.join(name))?;
            let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
            let info = std::fs::read_to_string(path)?;
            let memlock = info.lines().find_map(|line| line.strip_prefix("memlock:")).context("no memlock")?;
            Ok(memlock.trim().parse()?)
        });
        bytes.into_iter().sum()
    }

    /// Loads a policy that was compiled with [`RuleSet::binding`]; how long that took.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn apply(&self, policy: &Compiled) -> Result<Duration> {
        let start = Instant::now();
        self.dataplane.apply_policy(policy)?;
        Ok(start.elapsed())
    }

    /// Whether the first packet of a flow is let through. Each header may be asked about once: then its flow is open.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn allows(&self, set: &RuleSet, header: &Header) -> Result<bool> {
        Ok(self.run(&[frame(set, header)])?[0].0)
    }

    /// Lets packets in that open a flow each; the time of every one in the program, and how many were let through.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open_flows(&self, set: &RuleSet, headers: &[Header]) -> Result<(Vec<Duration>, usize)> {
        let frames: Vec<Vec<u8>> = headers.iter().map(|header| frame(set, header)).collect();
        let runs = self.run(&frames)?;
        let allowed = runs.iter().filter(|(allowed, _)| *allowed).count();
        Ok((runs.into_iter().map(|(_, duration)| duration).collect(), allowed))
    }

    fn run(&self, frames: &[Vec<u8>]) -> Result<Vec<(bool, Duration)>> {
        let run = |frame: &Vec<u8>| {
            let run = self.dataplane.run_timed(frame, self.outer)?;
            Ok((run.action == XDP_REDIRECT, run.duration))
        };
        self.netns.within(|| frames.iter().map(run).collect())?
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        drop(Names { name: self.netns.name().to_owned(), pin_dir: self.pin_dir.clone() });
    }
}

/// What must be removed.
struct Names {
    name: String,
    pin_dir: PathBuf,
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = detach_all(&self.pin_dir);
        let _ = ip(&format!("netns delete {}", self.name));
    }
}

/// Everything is behind the inner interface, and everything may come from behind the outer one.
const NETWORK: &str = "
link set lo up
link add outer address 02:00:00:00:00:20 type veth peer name outer-far
link add inner address 02:00:00:00:00:21 type veth peer name inner-far
link set outer up
link set inner up
link set outer-far up
link set inner-far up
address add 203.0.113.1/30 dev outer
address add 203.0.113.5/30 dev inner
address add 2001:db8::1/126 dev outer nodad
address add 2001:db8::5/126 dev inner nodad
neighbour add 203.0.113.6 lladdr 02:00:00:00:01:01 dev inner
neighbour add 2001:db8::6 lladdr 02:00:00:00:01:01 dev inner
route add default via 203.0.113.6
-6 route add default via 2001:db8::6
";

fn open(
    pin_dir: &std::path::Path,
    (max_flows, any_half_open): (u32, bool),
    timeouts: Timeouts,
) -> Result<(KernelDataplane, u32)> {
    let max_half_open = any_half_open.then_some(max_flows);
    let options = KernelOptions { pin_dir: pin_dir.to_owned(), max_flows: Some(max_flows), max_half_open };
    let dataplane = KernelDataplane::open(options)?;
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    let mut outer = 0;
    for (slot, name) in [(0u8, "outer"), (1, "inner")] {
        let ifindex = rustix::net::netdevice::name_to_index(&socket, name)?;
        if slot == 0 {
            outer = ifindex;
        }
        dataplane.attach(&AttachedInterface {
            slot: slot.into(),
            ifindex,
            name: name.to_owned(),
            mac: [2, 0, 0, 0, 0, 0x20 + slot],
            mtu: 1500,
            ipv4: Some(Ipv4Addr::new(203, 0, 113, 1 + 4 * slot)),
            ipv6: None,
            hairpin: false,
            management: false,
            mode: Mode::Native,
        })?;
    }
    let own: Vec<IpAddr> = ["203.0.113.1", "203.0.113.5"].map(str::parse).into_iter().collect::<Result<_, _>>()?;
    dataplane.set_local_addresses(&own, &[])?;
    dataplane.set_settings(&Settings {
        timeouts,
        answers_per_second: 1_000,
        pick_up: PickUp::Never,
        verify_checksums: false,
        refuse_half_open: any_half_open,
        reset_unknown_tcp: false,
    })?;
    Ok((dataplane, outer))
}

/// The first packet of a flow.
fn frame(set: &RuleSet, header: &Header) -> Vec<u8> {
    let Header { protocol, src_port, dst_port, .. } = *header;
    let [kind, code] = dst_port.to_be_bytes();
    let transport = match protocol {
        6 => Transport::Tcp { src_port, dst_port, flags: tcp_flags::SYN, sequence: 1, acknowledgement: 0 },
        17 => Transport::Udp { src_port, dst_port },
        1 | 58 => Transport::Icmp { kind, code, rest: [0, 1, 0, 1] },
        protocol => Transport::Other(protocol),
    };
    let packet = Packet::new(set.address(header.source), set.address(header.destination), transport);
    packet.macs(NEIGHBOUR, OUTER_MAC).build()
}

fn ip(arguments: &str) -> Result<()> {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().context("run ip")?;
    ensure!(status.success(), "ip {arguments} failed");
    Ok(())
}
