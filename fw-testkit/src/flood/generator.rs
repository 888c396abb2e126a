//! Sends the forged SYNs: the benchmark's generator, which the kernel runs on frames of its own.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Array, DevMap};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, Pod};
use fw_bench_ebpf::{CLIENT_PORT, MAX_STEPS, Plan, Step, TEMPLATE_LEN};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::{Flood, PORT};
use crate::LabError;
use crate::lab::{CLIENT_ADDRESS, PairLab, PairNode, mac_of, middle_address};
use crate::packet::{Packet, tcp_flags};

/// Packets that the kernel makes before it hands any over.
const BATCH: u32 = 64;
/// Bytes of a frame.
const FRAME_LEN: usize = 64;
/// Offsets in the frame.
const IPV4_CHECKSUM: usize = 24;
const TCP: usize = 34;
const TCP_CHECKSUM: usize = TCP + 16;

/// The map's value.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct PlanValue(Plan);

// SAFETY: `Plan` is `repr(C)`, has no padding, and every field is made of integers.
unsafe impl Pod for PlanValue {}

/// The generator, with its plan.
pub(super) struct Generator {
    ebpf: Ebpf,
}

impl Generator {
    pub(super) fn load(lab: &PairLab, object: &Path) -> Result<Self, LabError> {
        let mut ebpf = EbpfLoader::new().load_file(object).map_err(failed("load the generator's object"))?;
        lab.ns(PairNode::Client)?.within(|| set_port(&mut ebpf))??;
        lab.ns(PairNode::Server)?.within(|| attach_sink(&mut ebpf))??;
        let map = ebpf.map_mut("PLAN").ok_or_else(|| lacks("PLAN"))?;
        let mut plans = Array::try_from(map).map_err(failed("open the generator's plan"))?;
        plans.set(0, PlanValue(plan()), 0).map_err(failed("write the generator's plan"))?;
        program(&mut ebpf)?.load().map_err(failed("load the generator"))?;
        Ok(Self { ebpf })
    }

    /// Sends all packets, in whole calls; how many.
    pub(super) fn send(&mut self, flood: &Flood) -> Result<u64, LabError> {
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                if let Some(processor) = flood.processor {
                    take(processor);
                }
                self.send_here(flood)
            });
            sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn send_here(&mut self, flood: &Flood) -> Result<u64, LabError> {
        let program = program(&mut self.ebpf)?;
        let frame = vec![0; FRAME_LEN];
        let (start, mut sent) = (Instant::now(), 0);
        while sent < flood.packets || start.elapsed() < flood.at_least {
            let mut options = TestRunOptions::new();
            options.data_in = Some(&frame);
            options.repeat = flood.call;
            options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
            program.test_run(options).map_err(failed("generate packets"))?;
            sent += u64::from(flood.call);
            let due = Duration::from_secs_f64(sent as f64 / f64::from(flood.per_second));
            // The pace of the flood.
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        Ok(sent)
    }
}

/// Drops at the server what is forged, before it costs a socket buffer.
fn attach_sink(ebpf: &mut Ebpf) -> Result<(), LabError> {
    let sink = ebpf.program_mut("sink_generated").ok_or_else(|| lacks("sink_generated"))?;
    let sink: &mut Xdp = sink.try_into().map_err(failed("find the sink"))?;
    sink.load().map_err(failed("load the sink"))?;
    sink.attach("eth0", XdpMode::Driver).map_err(failed("attach the sink"))?;
    Ok(())
}

/// Moves this thread to a processor, where it runs before every ordinary one. Elsewhere, and behind others, it is the same flood, but
/// slower.
fn take(processor: usize) {
    let mut only = CpuSet::new();
    only.set(processor);
    let _refused = sched_setaffinity(None, &only);
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is the calling thread, and the parameters outlive the call.
    let _refused = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) };
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp, LabError> {
    let program = ebpf.program_mut("generate").ok_or_else(|| lacks("generate"))?;
    program.try_into().map_err(failed("find the generator"))
}

/// A device map finds an interface by its index in the name space of whoever writes the entry.
fn set_port(ebpf: &mut Ebpf) -> Result<(), LabError> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
        .map_err(failed("open a socket"))?;
    let index = rustix::net::netdevice::name_to_index(&socket, "eth0").map_err(failed("find eth0"))?;
    let map = ebpf.map_mut("PORTS").ok_or_else(|| lacks("PORTS"))?;
    let mut ports = DevMap::try_from(map).map_err(failed("open the generator's ports"))?;
    ports.set(CLIENT_PORT, index, None, 0).map_err(failed("set the generator's port"))
}

/// One SYN of each flow.
fn plan() -> Plan {
    let mut script = [Step::EMPTY; MAX_STEPS];
    script[0] = syn();
    Plan {
        script,
        step_bits: 0,
        window_bits: 0,
        random_flows: 0,
        // The first addresses of `CLIENT_NETWORKS` and `SERVER_NETWORKS`.
        client_base: u32::from_be_bytes([10, 64, 0, 1]),
        server_base: u32::from_be_bytes([10, 128, 0, 1]),
        ipv6: 0,
        tcp: 1,
        stamped: 0,
    }
}

/// The template: addresses, the client's port and both checksums are the generator's.
fn syn() -> Step {
    let nobody = std::net::Ipv4Addr::UNSPECIFIED;
    let packet = Packet::tcp(nobody, 0, nobody, PORT, tcp_flags::SYN);
    let mut frame = packet.macs(mac_of(CLIENT_ADDRESS), mac_of(middle_address(CLIENT_ADDRESS))).build();
    for checksum in [IPV4_CHECKSUM, TCP_CHECKSUM] {
        frame[checksum..checksum + 2].fill(0);
    }
    let (header, segment) = (&frame[14..TCP], &frame[TCP..]);
    // Of the pseudo header, what is not an address: the protocol and the length (RFC 9293, section 3.1).
    let pseudo_header = 6 + segment.len() as u32;
    let (header_sum, transport_sum) = (sum(header), pseudo_header + sum(segment));
    let mut bytes = [0; TEMPLATE_LEN];
    bytes[..frame.len()].copy_from_slice(&frame);
    Step { bytes, header_sum, transport_sum, reply: 0, _pad: 0 }
}

/// The sum of the words of a header, whose length is even.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

fn lacks(what: &str) -> LabError {
    LabError::Unavailable(format!("the benchmark's object has no {what}"))
}

/// Names what was tried.
fn failed<E: std::error::Error>(what: &'static str) -> impl Fn(E) -> LabError {
    move |error| LabError::Answer { what: what.to_owned(), answer: error.to_string() }
}
