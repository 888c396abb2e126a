//! A firewall for single packets: three forwarding interfaces, one for management, and a policy.

mod network;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use fw_agent::dataplane::kernel::{KernelDataplane, KernelOptions, detach_all};
use fw_agent::dataplane::{AttachedInterface, Dataplane, PickUp, Settings};
use fw_agent::nic::Mode;
use fw_common::DropReason;
use fw_common::conntrack::Timeouts;
use fw_policy::{Binding, Compiled, InterfaceBinding, ManagementBinding, SourceFile};
use fw_testkit::netns::NetNs;
use fw_testkit::packet::{Decoded, Packet};

pub(crate) use network::{Network, index_of, ip};

/// Hardware addresses of the firewall's interfaces, by slot.
pub(crate) const MACS: [[u8; 6]; 4] =
    [[2, 0, 0, 0, 0, 0x10], [2, 0, 0, 0, 0, 0x11], [2, 0, 0, 0, 0, 0x12], [2, 0, 0, 0, 0, 0x13]];
/// Hardware address of every neighbour.
pub(crate) const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 1, 1];

/// Hardware address of the inner end of the pair of devices that hands packets to the kernel.
pub(crate) const HANDOVER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];

/// Slots of the interfaces.
pub(crate) const EXPOSED: usize = 0;
pub(crate) const OT: usize = 1;
pub(crate) const IT: usize = 2;
pub(crate) const MANAGEMENT: usize = 3;

/// The policy of most tests.
pub(crate) const POLICY: &str = r#"
version = 1
[defaults]
action = "drop"
[zones.onprem]
networks = ["192.168.0.0/16", "fd00:0:0:a00::/56"]
[zones.exposed]
networks = ["10.0.0.0/16", "fd00::/56"]
[zones.ot]
networks = ["10.1.0.0/16", "fd00:0:0:100::/56"]
[zones.it]
networks = ["10.2.0.0/16", "fd00:0:0:200::/56"]
[[rule]]
id = "web"
from = ["ot"]
to = ["it", "onprem", "exposed", "ot"]
services = ["tcp/80", "udp/53", "icmp/echo-request", "icmpv6/echo-request", "proto/47", "sctp/2905"]
action = "allow"
log = true
[[rule]]
id = "no-81"
from = ["ot"]
to = ["it"]
services = ["tcp/81", "udp/81"]
action = "reject"
[[rule]]
id = "ping-me"
from = ["ot"]
to = ["local"]
services = ["icmp/echo-request", "icmpv6/echo-request"]
action = "allow"
[[zone_pair]]
from = "it"
to = "ot"
action = "drop"
"#;

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The host gets it.
    Passed,
    /// It was redirected to an interface or to the kernel.
    Redirected(Vec<u8>),
    /// It was turned into an answer.
    Answered(DropReason, Vec<u8>),
    /// It was dropped.
    Dropped(DropReason),
    /// The agent was given it.
    Held,
}

impl Outcome {
    /// The frame as it left.
    #[track_caller]
    pub(crate) fn frame(&self) -> Decoded {
        match self {
            Self::Redirected(frame) | Self::Answered(_, frame) => Decoded::from_ethernet(frame).unwrap(),
            Self::Passed | Self::Dropped(_) | Self::Held => panic!("no frame left: {self:?}"),
        }
    }

    /// The reason, if it was dropped in silence or with an answer.
    pub(crate) const fn reason(&self) -> Option<DropReason> {
        match self {
            Self::Dropped(reason) | Self::Answered(reason, _) => Some(*reason),
            Self::Passed | Self::Redirected(_) | Self::Held => None,
        }
    }
}

/// Kernel actions of `include/uapi/linux/bpf.h`.
pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_REDIRECT: u32 = 4;

/// The firewall. Dropping it removes its name space and its pins.
pub(crate) struct Rig {
    pub(crate) dataplane: KernelDataplane,
    pub(crate) ifindexes: [u32; 4],
    pub(crate) pin_dir: PathBuf,
    pub(crate) netns: NetNs,
}

/// How a rig differs from the usual one.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// The policy; none at all if `None`.
    pub(crate) policy: Option<&'a str>,
    /// Size of each flow table.
    pub(crate) max_flows: u32,
    /// The most half-open flows of each table, if not as many as usual.
    pub(crate) max_half_open: Option<u32>,
    /// Whether there is a pair of devices for packets without a next hop.
    pub(crate) handover: bool,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { policy: Some(POLICY), max_flows: 4096, max_half_open: None, handover: true }
    }
}

impl Rig {
    /// The usual rig, or `None`, with a line that says so, if this process may not make one.
    pub(crate) fn new() -> Option<Self> {
        Self::with(Setup::default())
    }

    pub(crate) fn with(setup: Setup<'_>) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: program runs need root");
            return None;
        }
        let name = new_name();
        let network = Network::new(&name);
        let netns = NetNs::open(&name).unwrap();
        let pin_dir = PathBuf::from("/sys/fs/bpf").join(&name);
        let (dataplane, ifindexes) = netns.within(|| open(&pin_dir, setup)).unwrap();
        std::mem::forget(network);
        let rig = Self { dataplane, ifindexes, pin_dir, netns };
        if let Some(policy) = setup.policy {
            rig.apply(policy);
        }
        Some(rig)
    }

    /// Loads a policy.
    pub(crate) fn apply(&self, policy: &str) -> u32 {
        self.dataplane.apply_policy(&compile(policy)).unwrap()
    }

    /// Lets a frame come in by an interface, and reads from the counters why it was dropped.
    #[track_caller]
    pub(crate) fn receive(&self, slot: usize, frame: &[u8]) -> Outcome {
        self.receive_at(self.ifindexes[slot], frame)
    }

    #[track_caller]
    pub(crate) fn receive_at(&self, ifindex: u32, frame: &[u8]) -> Outcome {
        self.outcome(|| self.dataplane.run(frame, ifindex).unwrap())
    }

    /// What a run comes to.
    #[track_caller]
    pub(crate) fn outcome(&self, run: impl FnOnce() -> (u32, Vec<u8>) + Send) -> Outcome {
        let before = self.drops();
        let (action, after) = self.netns.within(run).unwrap();
        let counted = self.drops();
        let dropped: Vec<DropReason> = (0..DropReason::COUNT)
            .filter(|number| counted[*number] != before[*number])
            .filter_map(|number| DropReason::from_number(u8::try_from(number).unwrap()))
            .collect();
        match (action, dropped.as_slice()) {
            (XDP_PASS, []) => Outcome::Passed,
            (XDP_REDIRECT, []) => Outcome::Redirected(after),
            (XDP_REDIRECT, [reason]) => Outcome::Answered(*reason, after),
            (XDP_DROP, [reason]) => Outcome::Dropped(*reason),
            (XDP_DROP, []) => Outcome::Held,
            (action, reasons) => panic!("action {action} with {reasons:?} counted"),
        }
    }

    /// Sends a packet to an interface of the firewall.
    #[track_caller]
    pub(crate) fn send(&self, slot: usize, packet: Packet) -> Outcome {
        self.receive(slot, &packet.macs(NEIGHBOUR, MACS[slot]).build())
    }

    fn drops(&self) -> Vec<u64> {
        self.dataplane.drops().unwrap().into_iter().map(|counter| counter.packets).collect()
    }

    /// Runs `ip` in the name space.
    pub(crate) fn ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.netns.name()));
    }
}

/// What the names of rigs start with; the process that made one, and a number, follow.
const PREFIX: &str = "ofwpr";

/// A name for a rig. The first one also removes what was left behind.
pub(crate) fn new_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    static SWEPT: Once = Once::new();
    SWEPT.call_once(remove_leftovers);
    format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Removes the rigs of test runs that were killed: those whose process is gone.
fn remove_leftovers() {
    let is_left = |name: &String| {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    for name in NetNs::names_with_prefix(PREFIX).iter().filter(|name| is_left(name)) {
        ip(&format!("netns delete {name}"));
    }
    let pins = std::fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten();
    for name in pins.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_left) {
        let _ = detach_all(&Path::new("/sys/fs/bpf").join(name));
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = detach_all(&self.pin_dir);
        ip(&format!("netns delete {}", self.netns.name()));
    }
}

/// Compiles a policy for the rig.
pub(crate) fn compile(policy: &str) -> Compiled {
    compile_for(policy, [EXPOSED, OT, IT])
}

/// Compiles a policy for forwarding interfaces whose slots are in this order.
pub(crate) fn compile_for(policy: &str, order: [usize; 3]) -> Compiled {
    let source = SourceFile { name: "test.toml".to_owned(), text: policy.to_owned() };
    let policy = fw_policy::load(&[source]).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let interface = |name: &str, zones: &[&str]| InterfaceBinding {
        name: name.to_owned(),
        zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
    };
    let forwarding = [interface("exposed", &["onprem", "exposed"]), interface("ot", &["ot"]), interface("it", &["it"])];
    let mut interfaces: Vec<InterfaceBinding> = order.map(|place| forwarding[place].clone()).into();
    interfaces.push(interface("management", &[]));
    let binding = Binding {
        interfaces,
        management: Some(ManagementBinding { slot: 3, allow: vec!["tcp/9477 from 10.3.0.0/16".to_owned()] }),
        ..Binding::default()
    };
    policy
        .compile(&binding, time::OffsetDateTime::now_utc())
        .unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

fn open(pin_dir: &Path, setup: Setup<'_>) -> (KernelDataplane, [u32; 4]) {
    let options = KernelOptions {
        pin_dir: pin_dir.to_owned(),
        max_flows: Some(setup.max_flows),
        max_half_open: setup.max_half_open,
    };
    let dataplane = KernelDataplane::open(options).unwrap();
    let names = ["exposed", "ot", "it", "management"];
    let ifindexes = names.map(index_of);
    for (place, ifindex) in ifindexes.into_iter().enumerate() {
        dataplane.attach(&attachment(place, ifindex, place)).unwrap();
    }
    let own: Vec<IpAddr> =
        ["10.0.1.10", "10.1.1.10", "10.2.1.10", "10.3.1.10", "fd00:0:0:1::10", "fd00:0:0:101::10", "fd00:0:0:201::10"]
            .map(|addr| addr.parse().unwrap())
            .to_vec();
    dataplane.set_local_addresses(&own, &[Ipv4Addr::new(10, 2, 1, 255)]).unwrap();
    dataplane.set_settings(&settings()).unwrap();
    if setup.handover {
        dataplane.set_handover(index_of("ofw-out"), HANDOVER_MAC).unwrap();
    }
    (dataplane, ifindexes)
}

/// What the rigs say of flows.
pub(crate) fn settings() -> Settings {
    Settings {
        timeouts: Timeouts::default(),
        answers_per_second: 1_000_000,
        pick_up: PickUp::Never,
        verify_checksums: false,
        refuse_half_open: false,
        reset_unknown_tcp: false,
    }
}

/// The interface at a place of the usual order, under any slot.
pub(crate) fn attachment(place: usize, ifindex: u32, slot: usize) -> AttachedInterface {
    let third = u8::try_from(place).unwrap();
    AttachedInterface {
        slot: u32::try_from(slot).unwrap(),
        ifindex,
        name: ["exposed", "ot", "it", "management"][place].to_owned(),
        mac: MACS[place],
        mtu: if place == IT { 1400 } else { 1500 },
        ipv4: Some(Ipv4Addr::new(10, third, 1, 10)),
        ipv6: (place != MANAGEMENT).then(|| format!("fd00:0:0:{third}01::10").parse().unwrap()),
        hairpin: false,
        management: place == MANAGEMENT,
        mode: Mode::Native,
    }
}
