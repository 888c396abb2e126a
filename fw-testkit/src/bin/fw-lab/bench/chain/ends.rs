//! The two ends of a chain: the generator, and what counts and drops at the far end.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::maps::{Array, DevMap, PerCpuArray};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, Pod};
use fw_bench_ebpf::{CLIENT_PORT, Plan, SERVER_PORT};
use fw_testkit::lab::{PairLab, PairNode};
use fw_testkit::netns::NetNs;
use fw_testkit::process;

use super::core::Core;
use super::interface;

/// Packets that the kernel makes before it hands any over.
const BATCH: u32 = 64;

/// The map's value.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct PlanValue(Plan);

// SAFETY: `Plan` is `repr(C)`, has no padding, and every field is made of integers.
unsafe impl Pod for PlanValue {}

/// Where packets end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) enum SinkKind {
    /// An XDP program at the hosts.
    Hosts,
    /// The same program on the middle's interfaces: the chain without a forwarder.
    Middle,
    /// A rule of nftables at the hosts: an XDP program would make the kernel copy each packet that it forwards.
    Rule,
}

/// How much to send.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Load {
    /// Packets at least, if the time allows.
    pub(in crate::bench) packets: u64,
    /// No further call is made after this time.
    pub(in crate::bench) time: Duration,
    /// Packets of one call of the kernel: fewer where a packet takes long.
    pub(in crate::bench) call: u32,
}

impl Load {
    /// Packets of one call of the kernel, at most.
    pub(in crate::bench) const LARGEST_CALL: u32 = 65_536;

    /// Exactly this many packets.
    pub(in crate::bench) const fn exactly(packets: u64) -> Self {
        Self { packets, time: Duration::from_secs(60), call: Self::LARGEST_CALL }
    }

    /// As many packets as the time allows.
    pub(in crate::bench) const fn during(time: Duration) -> Self {
        Self { packets: u64::MAX, time, call: Self::LARGEST_CALL }
    }
}

/// What was sent, and what arrived.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Sent {
    pub(in crate::bench) packets: u64,
    pub(in crate::bench) arrived: u64,
    /// For how long the processor worked on the packets, by the kernel's own account. On the clock a call lasts longer:
    /// before and after it the kernel waits for other processors (`synchronize_rcu` in `bpf_dispatcher_change_prog`).
    pub(in crate::bench) busy: Duration,
}

/// Generator and sink of one chain.
pub(in crate::bench) struct Ends {
    ebpf: Ebpf,
    frame: Vec<u8>,
    /// The hosts' name spaces, if rules count there.
    rules: Option<[String; 2]>,
}

impl Ends {
    pub(in crate::bench) fn new(lab: &PairLab, object: &Path, sink: SinkKind) -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load_file(object).with_context(|| format!("load {}", object.display()))?;
        for (port, node) in [(CLIENT_PORT, PairNode::Client), (SERVER_PORT, PairNode::Server)] {
            lab.ns(node)?.within(|| set_port(&mut ebpf, port))??;
        }
        xdp(&mut ebpf, "generate")?.load().context("load the generator")?;
        xdp(&mut ebpf, "sink")?.load().context("load the sink")?;
        let (client, middle, server) =
            (lab.ns(PairNode::Client)?, lab.ns(PairNode::Middle)?, lab.ns(PairNode::Server)?);
        let mut attach = |namespace: &NetNs, interface: &str| namespace.within(|| attach_sink(&mut ebpf, interface))?;
        let rules = match sink {
            SinkKind::Hosts => [client, server].into_iter().try_for_each(|host| attach(host, "eth0")).map(|()| None),
            SinkKind::Middle => {
                [interface::LEFT, interface::RIGHT].into_iter().try_for_each(|side| attach(middle, side)).map(|()| None)
            }
            SinkKind::Rule => {
                [client, server].into_iter().try_for_each(count_by_rule)?;
                Ok(Some([client, server].map(|host| host.name().to_owned())))
            }
        }?;
        Ok(Self { ebpf, frame: Vec::new(), rules })
    }

    /// Changes what is sent.
    pub(in crate::bench) fn set_plan(&mut self, plan: Plan, frame_len: usize) -> Result<()> {
        self.frame = vec![0; frame_len];
        let map = self.ebpf.map_mut("PLAN").context("the object has no map PLAN")?;
        Array::try_from(map)?.set(0, PlanValue(plan), 0)?;
        Ok(())
    }

    /// Starts again with the plan's first packet, or with another.
    pub(in crate::bench) fn rewind(&mut self, number: u64) -> Result<()> {
        let map = self.ebpf.map_mut("NEXT").context("the object has no map NEXT")?;
        Array::try_from(map)?.set(0, number, 0)?;
        Ok(())
    }

    /// Sends, with everything that the packets cause on one core.
    pub(in crate::bench) fn send(&mut self, core: Core, load: Load) -> Result<Sent> {
        let before = self.arrived()?;
        let sent = core.alone_on(|| self.generate(load))??;
        Ok(Sent { arrived: self.arrived()? - before, ..sent })
    }

    fn generate(&mut self, load: Load) -> Result<Sent> {
        let frame = self.frame.clone();
        let program = xdp(&mut self.ebpf, "generate")?;
        let start = Instant::now();
        let mut sent = Sent { packets: 0, arrived: 0, busy: Duration::ZERO };
        while sent.packets < load.packets && start.elapsed() < load.time {
            let call = load.call.min(u32::try_from(load.packets - sent.packets).unwrap_or(u32::MAX));
            let mut options = TestRunOptions::new();
            options.data_in = Some(&frame);
            options.repeat = call;
            options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
            let per_packet = program.test_run(options).context("generate packets")?.duration;
            sent.packets += u64::from(call);
            sent.busy += per_packet * call;
        }
        // The kernel tells nobody when its queues are empty. What is still in them is a fraction of a thousandth of the packets,
        // and a sink that waits for all of them would wait for ever for one that was dropped.
        std::thread::sleep(Duration::from_millis(2));
        Ok(sent)
    }

    /// Packets that have arrived since the chain was raised.
    fn arrived(&mut self) -> Result<u64> {
        if let Some(hosts) = &self.rules {
            return hosts.iter().map(|host| counted_by_rule(host)).sum();
        }
        let map = self.ebpf.map("SUNK").context("the object has no map SUNK")?;
        let counters = PerCpuArray::<_, u64>::try_from(map)?;
        Ok(counters.get(&0, 0)?.iter().sum())
    }
}

fn xdp<'ebpf>(ebpf: &'ebpf mut Ebpf, name: &str) -> Result<&'ebpf mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// A device map finds an interface by its index in the name space of whoever writes the entry.
fn set_port(ebpf: &mut Ebpf, port: u32) -> Result<()> {
    let map = ebpf.map_mut("PORTS").context("the object has no map PORTS")?;
    DevMap::try_from(map)?.set(port, interface::index("eth0")?, None, 0)?;
    Ok(())
}

fn attach_sink(ebpf: &mut Ebpf, interface: &str) -> Result<()> {
    let program = xdp(ebpf, "sink")?;
    program.attach(interface, XdpMode::Driver).with_context(|| format!("attach the sink to {interface}"))?;
    Ok(())
}

const RULE: &str = r#"table netdev bench {
    counter sunk { }
    chain ingress {
        type filter hook ingress device "eth0" priority 0;
        counter name "sunk" drop
    }
}
"#;

fn count_by_rule(host: &NetNs) -> Result<()> {
    // What the kernel forwards needs no NAPI to arrive, and joining packets would only be charged to who sent them.
    process::run(host.command("ethtool")?.args(["-K", "eth0", "gro", "off"]))?.success()?;
    process::feed(host.command("nft")?.args(["-f", "-"]), RULE)?.success()?;
    Ok(())
}

fn counted_by_rule(host: &str) -> Result<u64> {
    let host = NetNs::open(host)?;
    let listed = process::run(host.command("nft")?.args(["-j", "list", "counters", "table", "netdev", "bench"]))?;
    let listed: serde_json::Value = serde_json::from_str(&listed.success()?).context("nft printed no JSON")?;
    let mut objects = listed["nftables"].as_array().into_iter().flatten();
    objects.find_map(|object| object["counter"]["packets"].as_u64()).context("nft listed no counter")
}
