//! The kernel as a firewall: a name space like the rig's, without programs, with nftables.

use std::cell::RefCell;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use fw_testkit::capture::{Capture, Frame, Sender};
use fw_testkit::netns::NetNs;
use fw_testkit::nftables::ruleset;
use fw_testkit::packet::Packet;
use fw_testkit::reference::Datagram;

use super::super::surroundings::{HOSTS, addr};
use crate::rig::{MACS, NEIGHBOUR, Network, OT, new_name};

/// The forwarding interfaces by slot, and the zones that they carry.
const INTERFACES: [(&str, &[&str]); 3] = [("exposed", &["onprem", "exposed"]), ("ot", &["ot"]), ("it", &["it"])];
/// The slot at which markers come out.
const MARKED: usize = 2;
/// What tells markers from all that the traffic sends.
const MARKER_PORT: u16 = 9;
/// How long a packet may take through an idle name space of a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// The kernel's firewall.
pub(super) struct Kernel {
    netns: NetNs,
    senders: [Sender; 3],
    captures: [Capture; 3],
    markers: u32,
    /// Deletes the name space.
    _network: Network,
}

impl Kernel {
    pub(super) fn new() -> Self {
        let name = new_name();
        let network = Network::new(&name);
        let netns = NetNs::open(&name).unwrap();
        for (interface, _) in INTERFACES {
            netns.set_sysctl(&format!("ipv4/conf/{interface}/rp_filter"), "0").unwrap();
        }
        for (key, value) in [
            ("ipv4/conf/all/rp_filter", "0"),
            // Nothing is picked up in mid-stream, and windows are checked strictly, as the program does.
            ("netfilter/nf_conntrack_tcp_loose", "0"),
            ("netfilter/nf_conntrack_tcp_be_liberal", "0"),
        ] {
            netns.set_sysctl(key, value).unwrap();
        }
        // Every host is known, so that what is accepted leaves.
        let on_link = ["10.0.", "10.1.", "10.2.", "fd00:0:0:1:", "fd00:0:0:101:", "fd00:0:0:201:"];
        for (slot, host) in HOSTS.iter().filter(|(_, host)| on_link.iter().any(|link| host.starts_with(link))) {
            let [a, b, c, d, e, f] = NEIGHBOUR;
            network.run(&format!(
                "neighbour replace {host} lladdr {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} dev {}",
                INTERFACES[*slot].0
            ));
        }
        let far = |slot: usize| format!("{}-far", INTERFACES[slot].0);
        let senders = [0, 1, 2].map(|slot| Sender::on(&netns, &far(slot)).unwrap());
        let captures = [0, 1, 2].map(|slot| Capture::on(&netns, &far(slot)).unwrap());
        Self { netns, senders, captures, markers: 0, _network: network }
    }

    /// Loads a policy, and forgets all connections.
    pub(super) fn apply(&self, policy: &str) {
        let marker = format!("ip saddr 10.1.1.50 ip daddr 10.2.1.20 udp sport {MARKER_PORT} udp dport {MARKER_PORT}");
        let rules = ruleset(policy, &INTERFACES, &format!("{marker} accept")).unwrap();
        let untracked = format!(
            "table inet markers {{\nchain untracked {{\ntype filter hook prerouting priority raw;\n{marker} notrack\n}}\n}}"
        );
        self.run("nft", &["-f", "-"], &format!("flush ruleset\n{untracked}\n{rules}"));
        self.run("conntrack", &["-F"], "");
    }

    fn run(&self, program: &str, arguments: &[&str], input: &str) {
        let mut command = self.netns.command(program).unwrap();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program}: {}\n{input}", String::from_utf8_lossy(&output.stderr));
    }

    /// Lets a packet come in by the interface in this slot; the slot by which it leaves, if it does.
    ///
    /// The kernel says of no packet that it is done with it. So a marker follows each: both wait in the queue of the one
    /// processor that the caller is bound to (`netif_rx` in net/core/dev.c), and when the marker has come out, the packet has, too.
    pub(super) fn receive(&mut self, slot: usize, datagram: &Datagram) -> Option<usize> {
        let frame = datagram.frame(NEIGHBOUR, MACS[slot]);
        self.senders[slot].send(&frame).unwrap();
        self.markers += 1;
        let number = self.markers.to_be_bytes();
        let marker = Packet::udp(addr("10.1.1.50"), MARKER_PORT, addr("10.2.1.20"), MARKER_PORT);
        self.senders[OT].send(&marker.payload(&number).macs(NEIGHBOUR, MACS[OT]).build()).unwrap();
        let seen: RefCell<Vec<(usize, Frame)>> = RefCell::default();
        let is_marker = |frame: &Frame| {
            let found = !frame.outgoing
                && frame.decode().is_some_and(|it| it.dst_port == Some(MARKER_PORT) && it.payload.starts_with(&number));
            if !found {
                seen.borrow_mut().push((MARKED, frame.clone()));
            }
            found
        };
        self.captures[MARKED].wait_for("the marker", SOON, is_marker).unwrap();
        let mut seen = seen.into_inner();
        for (slot, capture) in self.captures.iter().enumerate() {
            seen.extend(capture.drain().unwrap().into_iter().map(|frame| (slot, frame)));
        }
        let left = |(_, other): &&(usize, Frame)| !other.outgoing && same_packet(&frame, &other.bytes);
        seen.iter().find(left).map(|(slot, _)| *slot)
    }
}

/// Whether two frames carry the same packet, hop limits and header checksums apart.
fn same_packet(one: &[u8], other: &[u8]) -> bool {
    let parts = |frame: &'_ [u8]| -> Option<Vec<u8>> {
        let ip = frame.get(14..)?;
        let (addresses, behind) = if frame[12] == 0x08 { (12..20, 20) } else { (8..40, 40) };
        Some([ip.get(addresses)?, ip.get(behind..)?].concat())
    };
    one[12..14] == other[12..14] && parts(one) == parts(other)
}
