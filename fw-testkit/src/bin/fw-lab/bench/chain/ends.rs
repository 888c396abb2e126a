//! The two ends of a chain: the generator, and what counts and drops at the far end.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::maps::{Array, DevMap, PerCpuArray};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use fw_bench_ebpf::{CLIENT_PORT, Plan, SERVER_PORT};
use fw_testkit::lab::{PairLab, PairNode};

use super::core::Core;
use super::delays::Delays;
use super::interface;
use super::sink::{Sink, SinkKind, Watch};

/// Packets that the kernel makes before it hands any over.
const BATCH: u32 = 64;

/// The map's value.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct PlanValue(Plan);

// SAFETY: `Plan` is `repr(C)`, has no padding, and every field is made of integers.
unsafe impl Pod for PlanValue {}

/// How much to send.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Load {
    /// Packets at least, if the time allows.
    pub(in crate::bench) packets: u64,
    /// No further call is made after this time.
    pub(in crate::bench) time: Duration,
    /// Packets of one call of the kernel: fewer where a packet takes long.
    pub(in crate::bench) call: u32,
    /// Packets that are made, one after the other, before the first of them is forwarded.
    pub(in crate::bench) batch: u32,
    /// Time from the start of one call to that of the next; zero: none is waited for.
    pub(in crate::bench) pace: Duration,
}

impl Load {
    /// Packets of one call where none are lost to waiting for the next: each call waits for other processors.
    const LARGE_CALL: u32 = 65_536;
    /// Packets of one call where the time is looked at: it is looked at between calls.
    const SHORT_CALL: u32 = 16_384;

    /// Exactly this many packets.
    pub(in crate::bench) const fn exactly(packets: u64) -> Self {
        Self { packets, call: Self::LARGE_CALL, ..Self::during(Duration::from_secs(60)) }
    }

    /// As many packets as the time allows.
    pub(in crate::bench) const fn during(time: Duration) -> Self {
        Self { packets: u64::MAX, time, call: Self::SHORT_CALL, batch: BATCH, pace: Duration::ZERO }
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
    sink: Sink,
}

impl Ends {
    pub(in crate::bench) fn new(lab: &PairLab, object: &Path, sink: SinkKind, watch: Watch) -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load_file(object).with_context(|| format!("load {}", object.display()))?;
        for (port, node) in [(CLIENT_PORT, PairNode::Client), (SERVER_PORT, PairNode::Server)] {
            lab.ns(node)?.within(|| set_port(&mut ebpf, port))??;
        }
        xdp(&mut ebpf, "generate")?.load().context("load the generator")?;
        let sink = Sink::attach(&mut ebpf, lab, sink, watch)?;
        Ok(Self { ebpf, frame: Vec::new(), sink })
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
        for due in (0..).map(|call| load.pace * call) {
            if sent.packets >= load.packets || start.elapsed() >= load.time {
                break;
            }
            // The pace of the load.
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let call = load.call.min(u32::try_from(load.packets - sent.packets).unwrap_or(u32::MAX));
            let mut options = TestRunOptions::new();
            options.data_in = Some(&frame);
            options.repeat = call;
            options.attrs = TestRunAttrs::new().xdp_live_frames(load.batch);
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
    fn arrived(&self) -> Result<u64> {
        if let Some(counted) = self.sink.counted_by_rules() {
            return counted;
        }
        let map = self.ebpf.map("SUNK").context("the object has no map SUNK")?;
        let counters = PerCpuArray::<_, u64>::try_from(map)?;
        Ok(counters.get(&0, 0)?.iter().sum())
    }

    /// How long packets took that have arrived since the chain was raised, if the sink asks them.
    pub(in crate::bench) fn delays(&self) -> Result<Delays> {
        Delays::read(self.ebpf.map("DELAYS").context("the object has no map DELAYS")?)
    }
}

pub(super) fn xdp<'ebpf>(ebpf: &'ebpf mut Ebpf, name: &str) -> Result<&'ebpf mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// A device map finds an interface by its index in the name space of whoever writes the entry.
fn set_port(ebpf: &mut Ebpf, port: u32) -> Result<()> {
    let map = ebpf.map_mut("PORTS").context("the object has no map PORTS")?;
    DevMap::try_from(map)?.set(port, interface::index("eth0")?, None, 0)?;
    Ok(())
}
