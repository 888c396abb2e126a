//! The second oracle, which nobody here has written: the kernel's own connection tracking and nftables, with the same policy and
//! the same packets. Which differences are wanted stands in `docs/oracle.md`; here each has a name and a narrow condition.

mod kernel;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fw_agent::dataplane::Dataplane as _;
use fw_common::DropReason;
use fw_testkit::classbench::Random;
use fw_testkit::packet::tcp_flags::{ACK, RST, SYN};
use fw_testkit::reference::{Body, Datagram, SctpChunk, Verdict};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use self::kernel::Kernel;
use super::policies;
use super::run::Rival;
use super::surroundings::{HOSTS, ODD, OWN, addr};
use super::traffic::Traffic;
use super::{PACKETS_VARIABLE, SEED_VARIABLE, clock, number};
use crate::rig::compile;

/// Packets of a run in CI.
const PACKETS: u64 = 4_000;
/// The longest that a run goes on, whatever has been sent.
const LONGEST: Duration = Duration::from_secs(25);
/// Packets of a case.
const STEPS: usize = 300;

/// The two ends of a conversation, in order.
type Conversation = (u8, (IpAddr, u16), (IpAddr, u16));

#[test]
fn the_kernel_s_own_firewall_decides_alike() {
    let Some(mut rival) = Rival::new() else { return };
    let seed = number(SEED_VARIABLE).unwrap_or_else(|| u64::from(std::process::id()) << 32 | clock());
    let packets = number(PACKETS_VARIABLE).unwrap_or(PACKETS);
    println!("{SEED_VARIABLE}={seed} {PACKETS_VARIABLE}={packets}");
    let mut kernel = Kernel::new();
    let mut tally = Tally::default();
    let start = Instant::now();
    let netns = Arc::clone(&rival.netns);
    let differences = netns.within(|| {
        stay_on_this_processor();
        let mut differences = Vec::new();
        for case in 1.. {
            let limit = if packets > PACKETS { LONGEST * 100 } else { LONGEST };
            if tally.compared >= packets || start.elapsed() > limit || !differences.is_empty() {
                break;
            }
            let mut random = Random::new(seed.wrapping_add(case));
            differences.extend(
                run(&mut rival, &mut kernel, &mut random, &mut tally).map(|told| format!("case {case}: {told}")),
            );
        }
        differences
    });
    println!("{:?}: {tally:?}", start.elapsed());
    assert!(differences.as_ref().unwrap().is_empty(), "seed {seed}: {differences:?}");
    assert!(tally.forwarded > packets / 20 && tally.dropped > packets / 20, "the traffic is too uniform: {tally:?}");
    let wanted: u64 = tally.wanted.values().sum();
    assert!(wanted * 10 < tally.compared, "what is excepted has become the rule: {tally:?}");
}

/// What was compared.
#[derive(Debug, Default)]
struct Tally {
    compared: u64,
    forwarded: u64,
    dropped: u64,
    /// Packets that are not sent, by what they are.
    excepted: BTreeMap<&'static str, u64>,
    /// Wanted differences, by name.
    wanted: BTreeMap<&'static str, u64>,
}

/// Runs one case; where the two differ, if they do.
fn run(rival: &mut Rival, kernel: &mut Kernel, random: &mut Random, tally: &mut Tally) -> Option<String> {
    let policy = policies::random(random).swap_remove(0);
    rival.clear();
    rival.rig.dataplane.apply_policy(&compile(&policy)).unwrap();
    kernel.apply(&policy);
    let mut traffic = Traffic::default();
    let mut parted: BTreeSet<Conversation> = BTreeSet::new();
    let mut reset: BTreeSet<Conversation> = BTreeSet::new();
    let mut history = Vec::new();
    for _ in 0..STEPS {
        let (slot, datagram) = traffic.next(random);
        if let Some(why) = not_sent(slot, &datagram).or_else(|| {
            parted.contains(&conversation(&datagram)).then_some("a conversation in which the two have parted")
        }) {
            *tally.excepted.entry(why).or_default() += 1;
            continue;
        }
        if matches!(datagram.body, Body::Tcp(segment) if segment.flags & RST != 0) {
            reset.insert(conversation(&datagram));
        }
        let program = rival.receive(slot, &datagram, Verdict::Pass);
        let kernel = kernel.receive(slot, &datagram);
        history.push(format!("{slot} {datagram}: {program:?}, {kernel:?}"));
        let alike = match program {
            Some(Verdict::Forward(egress)) => kernel == Some(egress),
            Some(Verdict::HandOver) => kernel.is_some(),
            Some(Verdict::Drop(_) | Verdict::Pass) => kernel.is_none(),
            None => false,
        };
        tally.compared += 1;
        *(if kernel.is_some() { &mut tally.forwarded } else { &mut tally.dropped }) += 1;
        if alike {
            continue;
        }
        let Some(name) = program
            .and_then(|program| wanted(program, kernel.is_some(), &datagram, reset.contains(&conversation(&datagram))))
        else {
            let of_it =
                |line: &&String| line.contains(&datagram.src.to_string()) && line.contains(&datagram.dst.to_string());
            let before: Vec<_> = history.iter().filter(of_it).cloned().collect();
            return Some(format!("program {program:?}, kernel {kernel:?}\n{policy}\n{}", before.join("\n")));
        };
        *tally.wanted.entry(name).or_default() += 1;
        // An error changes nothing of the flow that it is about.
        if !matches!(datagram.body, Body::Icmp { quote: Some(_), .. }) {
            parted.insert(conversation(&datagram));
        }
    }
    None
}

/// Packets are followed through the queue of one processor.
fn stay_on_this_processor() {
    let mut only = CpuSet::new();
    only.set(sched_getcpu());
    sched_setaffinity(None, &only).unwrap();
}

/// The conversation of a packet, or of the one that an error quotes.
fn conversation(datagram: &Datagram) -> Conversation {
    if let Body::Icmp { quote: Some(quote), .. } = &datagram.body {
        return conversation(quote);
    }
    let (source, destination) = match datagram.body {
        Body::Tcp(segment) => (segment.src_port, segment.dst_port),
        Body::Udp(source, destination) => (source, destination),
        Body::Sctp(ref packet) => (packet.src_port, packet.dst_port),
        Body::Icmp { id, .. } => (id, id),
        Body::Other(_) => (0, 0),
    };
    let ends = ((datagram.src, source), (datagram.dst, destination));
    let (low, high) = if ends.0 <= ends.1 { ends } else { (ends.1, ends.0) };
    (datagram.protocol(), low, high)
}

/// What is not sent, because the two are meant to differ.
fn not_sent(slot: usize, datagram: &Datagram) -> Option<&'static str> {
    let home = HOSTS.iter().chain(ODD).chain(OWN).find(|(_, host)| addr(host) == datagram.src);
    match &datagram.body {
        _ if slot > 2 || home.is_some_and(|(home, _)| *home != slot) => Some("by a wrong interface"),
        _ if datagram.ttl < 2 => Some("at the end of its hops"),
        _ if datagram.len > 1300 => Some("longer than an interface takes"),
        Body::Icmp { kind, quote: None, .. } if !matches!(kind, 0 | 8 | 13 | 14 | 128 | 129) => {
            Some("ICMP that neither asks nor answers")
        }
        Body::Tcp(_) | Body::Udp(..) | Body::Sctp(_) | Body::Icmp { .. } | Body::Other(_) => None,
    }
}

/// The name of a difference that is wanted; `reset`: a reset was sent in the conversation.
fn wanted(program: Verdict, kernel_forwards: bool, datagram: &Datagram, reset: bool) -> Option<&'static str> {
    use DropReason::{
        IcmpForbidden, IcmpHeader, IcmpUnrelated, Land, Multicast, Policy, PortZero, Rejected, SctpChunks, SctpNotInit,
        SctpState, SctpTag, SourceDirectedBroadcast, SourceMartian, SourceOwn, TcpState, TcpWindow,
    };
    match (program, &datagram.body, kernel_forwards) {
        (
            Verdict::Drop(
                PortZero | Land | SourceOwn | SourceMartian | SourceDirectedBroadcast | Multicast | IcmpHeader,
            ),
            _,
            true,
        ) => Some("an anomaly that connection tracking does not look for"),
        (Verdict::Drop(IcmpUnrelated), Body::Icmp { quote: Some(_), .. }, true) => {
            Some("an error that the flow cannot have met, or not there")
        }
        (Verdict::Drop(IcmpForbidden), Body::Icmp { kind: 4 | 5, .. }, true) => Some("a redirect or source quench"),
        (Verdict::Drop(TcpState | TcpWindow), Body::Tcp(_), true) => {
            Some("a segment that only the program finds wrong")
        }
        (Verdict::Forward(_) | Verdict::HandOver, Body::Tcp(segment), false) => {
            Some(match segment.flags & (SYN | ACK | RST) {
                SYN => "a SYN that only connection tracking finds wrong",
                flags if flags & SYN != 0 => "an answer to a SYN that only connection tracking finds wrong",
                flags if flags & RST != 0 => "a reset that only connection tracking finds wrong",
                _ => "numbers that only connection tracking finds wrong",
            })
        }
        // Connection tracking opens associations also in their middle, looks at no tag of heartbeats, and not at order.
        (Verdict::Drop(SctpNotInit), Body::Sctp(_), true) => Some("the middle of an association without a flow"),
        (Verdict::Drop(Policy | Rejected), Body::Sctp(packet), true)
            if matches!(packet.chunks[..], [SctpChunk::Init(_)]) =>
        {
            Some("an INIT behind the end of an association, which the policy forbids")
        }
        (Verdict::Drop(SctpTag | SctpState | SctpChunks), Body::Sctp(_), true) => {
            Some("a packet of an association that only the program finds wrong")
        }
        (Verdict::Forward(_) | Verdict::HandOver, Body::Sctp(packet), false) => Some(match packet.chunks.first() {
            Some(SctpChunk::Init(_) | SctpChunk::InitAck(_)) => {
                "an INIT or INIT ACK that only connection tracking finds wrong"
            }
            _ => "another packet of an association that only connection tracking finds wrong",
        }),
        // A reset of a connection that nobody has answered is the end of its record (nf_conntrack_tcp_packet).
        (Verdict::Forward(_) | Verdict::HandOver, Body::Icmp { quote: Some(_), .. }, false) if reset => {
            Some("an error about a connection that was reset")
        }
        (Verdict::Drop(_) | Verdict::Pass | Verdict::Forward(_) | Verdict::HandOver, _, _) => None,
    }
}
