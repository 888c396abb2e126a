//! What the stages know about the packet in hand: one value per processor, handed from stage to stage.

use aya_ebpf::bindings::bpf_fib_lookup;
use fw_common::Verdict;
use fw_common::abi::config::Active;
use fw_common::abi::flow::{Egress, Flow, FlowKey4, FlowKey6};
use fw_common::abi::fragment::DatagramKey;
use fw_common::abi::interface::Interface;
use fw_common::abi::limit::SubjectKey;
use fw_common::flow_index::Place;
use fw_common::fragment::Fragment;
use fw_common::icmp_error::Answer;
use fw_common::policy::{Decision, Lookup, Query};
use fw_common::tcp::Side;
use fw_common::wire::Packet;
use fw_common::wire::parse::Part;

use crate::maps::JOBS;

/// Scratch space of one packet's way through the pipeline.
#[repr(C)]
pub(crate) struct Job {
    /// The packet, once it is parsed.
    pub packet: Packet,
    /// The packet that an ICMP error quotes.
    pub quoted: Packet,
    /// What the policy is asked.
    pub query: Query,
    /// Where the look-up of the policy stands.
    pub lookup: Lookup,
    /// The lists of the policy in `lookup` are those of the packet's addresses.
    pub lists_known: bool,
    /// What is found out about the packet's hosts is to be noted for the next one.
    pub notes_passage: bool,
    /// What the policy said.
    pub decision: Decision,
    /// The policy that judges this packet.
    pub active: Active,
    /// Nanoseconds of the coarse monotonic clock.
    pub now_ns: u64,
    /// The same in seconds.
    pub now: u32,
    /// The tick of the timer at which both were read.
    pub tick: u64,
    /// The generation of routes and neighbours whose next hops this packet may use.
    pub fib_generation: u32,
    /// Kernel index of the ingress interface; 0 for packets of the host.
    pub ingress_ifindex: u32,
    /// The ingress interface; for packets of the host the egress interface.
    pub interface: Interface,
    /// Where the packet leaves.
    pub egress: Egress,
    /// Of a packet that opens a flow: the reference to its next hop, as in [`Flow::next_hops`].
    pub next_hop: u16,
    /// The next hop's hardware address is not known.
    pub unresolved: bool,
    /// The packet, or the answer to it, is for the host.
    pub for_host: bool,
    /// The packet was parsed, so that its addresses can be logged.
    pub parsed: bool,
    /// The packet was picked up in the middle of a connection that its receiver has opened.
    pub reversed: bool,
    /// The packet keeps its flow alive.
    pub heeded: bool,
    /// The sender of the packet is the higher end of the key.
    pub sender_is_high: bool,
    /// The key of an IPv4 flow.
    pub key4: FlowKey4,
    /// The key of an IPv6 flow.
    pub key6: FlowKey6,
    /// Where the key belongs in the index.
    pub place: Place,
    /// [`Flow::last_seen`] of the flow that was found, as it was when it was judged alive or over.
    pub judged: u32,
    /// The slot of the flow that was found or stored.
    pub slot: u32,
    /// The place that a half-open flow takes in the ring, counted from 1.
    pub half_open: u32,
    /// What a limit counts for.
    pub subject_key: SubjectKey,
    /// The entry of `LIMITS` that counts the flow, from 1; 0: none.
    pub subject: u32,
    /// A flow that is being made.
    pub flow: Flow,
    /// Who sent the packet, once its flow is found.
    pub side: Side,
    /// What the sender is told.
    pub answer: Answer,
    /// What has been decided so far.
    pub verdict: Verdict,
    /// Arguments of the route look-up.
    pub fib: bpf_fib_lookup,
    /// What the packet is known to be when the program is entered by a tail call.
    pub next_part: Part,
    /// Of a later fragment: what only its datagram's first one says.
    pub later: Later,
    /// The place of a fragment.
    pub fragment: Fragment,
    /// The datagram of a fragment.
    pub datagram: DatagramKey,
    /// Where it is, or will be.
    pub place_of_datagram: DatagramPlace,
    /// See [`Job::forget_number`].
    pub number: u64,
}

/// A place in a bucket of datagrams.
#[derive(Clone, Copy)]
pub(crate) struct DatagramPlace {
    /// Its index.
    pub index: u64,
    /// Its [`fw_common::fragment::worth`].
    pub worth: u64,
}

/// What the transport header of a datagram says to its flow.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Later {
    /// Transport protocol.
    pub protocol: u8,
    /// ICMP type and code.
    pub icmp: [u8; 2],
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

/// Which entry of the scratch map a program uses.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Program {
    /// `fw_ingress`.
    Ingress = 0,
    /// `fw_egress`, which the host's stack may enter on the same processor between two packets from the wire.
    Egress = 1,
}

impl Job {
    /// This processor's scratch space, cleared of what would outlive its packet.
    #[inline(always)]
    pub(crate) fn begin(program: Program) -> Option<&'static mut Self> {
        let job = JOBS.get_ptr_mut(program as u32)?;
        // SAFETY: the entry is this processor's own; a program neither migrates nor is interrupted by itself, and each of
        // the two programs, with what it calls, has an entry of its own. Every bit pattern that a stage leaves is one that it
        // wrote.
        let job = unsafe { &mut *job };
        job.interface.slot = u32::MAX;
        job.packet.part = job.next_part;
        job.next_part = Part::Whole;
        job.packet.ip_len = 0;
        job.parsed = false;
        job.for_host = false;
        job.unresolved = false;
        job.decision.rule = 0;
        job.decision.log = true;
        job.query.from_zone = 0;
        job.query.to_zone = 0;
        Some(job)
    }

    /// Forgets what was found out for a flow that is over, so that the packet is judged as one that opens another.
    #[inline(always)]
    pub(crate) fn leave_flow(&mut self) {
        self.for_host = false;
        self.unresolved = false;
    }

    /// The same number, of which the verifier knows nothing: see [`Job::forget`].
    #[inline(always)]
    pub(crate) fn forget_number(&mut self, number: u64) -> u64 {
        self.number = number;
        // SAFETY: reads what was just written; volatile, so that it is read.
        unsafe { core::ptr::read_volatile(&raw const self.number) }
    }

    /// The same verdict, of which the verifier knows nothing.
    ///
    /// VERIFIER: what follows is verified once for each value that it can tell apart, and with more than forty reasons to
    /// drop a packet that exceeds a million instructions. Test: `prog_run::the_programs_load`.
    #[inline(always)]
    pub(crate) fn forget(&mut self, verdict: Verdict) -> Verdict {
        self.verdict = verdict;
        // SAFETY: reads what was just written; volatile, so that it is read.
        unsafe { core::ptr::read_volatile(&raw const self.verdict) }
    }
}
