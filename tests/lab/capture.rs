//! `fwctl capture`: a pcapng file that another reader than ours understands, with the packets that were on the wire.

use std::path::Path;

use fw_testkit::capture::Capture;
use fw_testkit::client;
use fw_testkit::lab::{ENI_IT, ENI_MANAGEMENT, ENI_OT, IT, Node, OT};
use fw_testkit::packet::Decoded;
use fw_testkit::wait;
use pcap_parser::pcapng::{Block, EnhancedPacketBlock, PcapNGOption};
use pcap_parser::{PcapBlock, PcapNGCapture};

use crate::firewall::{Firewall, NEVER, SOON, both};

/// Codes of options, as draft-ietf-opsawg-pcapng has them.
const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const EPB_FLAGS: u16 = 2;
const EPB_VERDICT: u16 = 7;

/// A packet of the file.
#[derive(Debug)]
struct Packet {
    interface: String,
    bytes: Vec<u8>,
    outbound: bool,
    /// Kind and value of the verdict.
    verdict: (u8, u64),
    comment: String,
    /// Nanoseconds since 1970.
    at: u64,
}

fn option<'o>(options: &'o [PcapNGOption<'_>], code: u16) -> &'o [u8] {
    let option = options.iter().find(|option| option.code.0 == code).unwrap();
    &option.value[..usize::from(option.len)]
}

fn packet(block: &EnhancedPacketBlock<'_>, interfaces: &[String]) -> Packet {
    let verdict = option(&block.options, EPB_VERDICT);
    Packet {
        interface: interfaces[block.if_id as usize].clone(),
        bytes: block.data[..block.caplen as usize].to_vec(),
        outbound: u32::from_ne_bytes(option(&block.options, EPB_FLAGS).try_into().unwrap()) & 3 == 2,
        verdict: (verdict[0], u64::from_ne_bytes(verdict[1..].try_into().unwrap())),
        comment: String::from_utf8(option(&block.options, COMMENT).to_vec()).unwrap(),
        at: u64::from(block.ts_high) << 32 | u64::from(block.ts_low),
    }
}

/// The packets of a file, and how many it says were lost.
fn read(file: &Path) -> (Vec<Packet>, usize) {
    let bytes = std::fs::read(file).unwrap();
    let capture = PcapNGCapture::from_file(&bytes).unwrap();
    let (mut interfaces, mut packets, mut statistics) = (Vec::new(), Vec::new(), 0);
    for block in capture.iter() {
        let PcapBlock::NG(block) = block else { panic!("not pcapng") };
        match block {
            Block::InterfaceDescription(block) => {
                interfaces.push(String::from_utf8(option(&block.options, IF_NAME).to_vec()).unwrap());
            }
            Block::EnhancedPacket(block) => packets.push(packet(block, &interfaces)),
            Block::InterfaceStatistics(_) => statistics += 1,
            Block::SectionHeader(_)
            | Block::SimplePacket(_)
            | Block::NameResolution(_)
            | Block::SystemdJournalExport(_)
            | Block::DecryptionSecrets(_)
            | Block::ProcessInformation(_)
            | Block::Custom(_)
            | Block::Unknown(_) => {}
        }
    }
    (packets, statistics)
}

/// What `fwctl capture` has written when it had this many packets, while `traffic` ran until then.
fn capture(firewall: &Firewall, filter: &[&str], count: &str, traffic: impl Fn()) -> Vec<Packet> {
    let file = firewall.lab.directory().join("capture.pcapng");
    let path = file.to_string_lossy().into_owned();
    let finished = std::thread::scope(|scope| {
        let arguments = [&["capture", "-w", &path, "--seconds", "20", "--count", count], filter].concat();
        let capturing = scope.spawn(move || firewall.agent.fwctl(&arguments).unwrap());
        wait::until_true("the capture has begun", SOON, || std::fs::metadata(&file).is_ok_and(|file| file.len() > 0))
            .unwrap();
        traffic();
        capturing.join().unwrap()
    });
    finished.success().unwrap();
    let (packets, statistics) = read(&file);
    assert!(statistics > 0);
    std::fs::remove_file(&file).unwrap();
    packets
}

#[test]
fn forwarded_packets_are_those_on_the_wire_on_both_sides() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    for to in both(OT, 5000) {
        // A first packet goes by way of the kernel, which has to resolve the next hop.
        client::udp_exchange(lab.ns(Node::It), to, SOON).unwrap().unwrap();
        let (at_it, at_ot) =
            (Capture::on(lab.ns(Node::ItRouter), "fw").unwrap(), Capture::on(lab.ns(Node::OtRouter), "fw").unwrap());
        let addr = to.ip().to_string();
        let packets = capture(&firewall, &["--addr", &addr, "--port", "5000", "--protocol", "udp"], "4", || {
            client::udp_exchange(lab.ns(Node::It), to, SOON).unwrap().unwrap();
        });
        let [request, sent_on, answer, sent_back] = packets.as_slice() else { panic!("{packets:?}") };
        for (packet, interface, outbound) in [
            (request, ENI_IT.name, false),
            (sent_on, ENI_OT.name, true),
            (answer, ENI_OT.name, false),
            (sent_back, ENI_IT.name, true),
        ] {
            assert_eq!((packet.interface.as_str(), packet.outbound), (interface, outbound), "{packet:?}");
            assert_eq!(packet.comment, "forward; rule lab-ot; it>ot");
            // XDP_REDIRECT of a program in the driver.
            assert_eq!(packet.verdict, (2, 4));
            let wire = if interface == ENI_IT.name { &at_it } else { &at_ot };
            // What leaves the firewall comes in at the router.
            let frame = wire.wait_for("the frame on the wire", SOON, |frame| {
                frame.outgoing != outbound
                    && frame.decode().is_some_and(|decoded| decoded.dst_port == decode(packet).dst_port)
            });
            assert_eq!(frame.unwrap().bytes, packet.bytes);
        }
        assert!(packets.is_sorted_by_key(|packet| packet.at));
        let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
            - u128::from(request.at);
        assert!(age < 60_000_000_000, "{age} ns");
    }
}

fn decode(packet: &Packet) -> Decoded {
    Decoded::from_ethernet(&packet.bytes).unwrap()
}

#[test]
fn denied_packets_have_their_reason_and_nothing_else_is_captured() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let packets = capture(&firewall, &["--reason", "policy", "--port", "5000"], "1", || {
        client::udp_exchange(lab.ns(Node::It), both(OT, 5000)[0], SOON).unwrap().unwrap();
        assert!(client::udp_exchange(lab.ns(Node::Ot), both(IT, 5000)[0], NEVER).unwrap().is_err());
    });
    assert_eq!(packets.len(), 1, "{packets:?}");
    assert_eq!(packets[0].comment, "drop policy; rule default; ot>it");
    // XDP_DROP.
    assert_eq!((packets[0].verdict, packets[0].outbound), ((2, 1), false));
}

#[test]
fn packets_of_the_host_and_for_it_are_captured_in_both_directions() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let probe = (ENI_MANAGEMENT.ipv4, 9477).into();
    let packets = capture(&firewall, &["--port", "9477", "-i", ENI_MANAGEMENT.name], "2", || {
        let _answer = client::http_get(lab.ns(Node::Management), probe, "/livez", SOON).unwrap();
    });
    let [came, left] = packets.as_slice() else { panic!("{packets:?}") };
    assert_eq!((came.outbound, left.outbound), (false, true));
    assert!(came.comment.starts_with("pass; "), "{came:?}");
    // XDP_PASS of the program in the driver, TC_ACT_OK of the one behind the stack.
    assert_eq!((came.verdict, left.verdict), ((2, 2), (1, 0)));
}

#[test]
fn a_capture_without_room_for_its_file_says_so_and_ends() {
    let Some(firewall) = Firewall::up() else { return };
    let full = firewall.agent.fwctl(&["capture", "-w", "/dev/full", "--seconds", "20"]).unwrap();
    assert_eq!(full.status.code(), Some(1), "{full:?}");
    assert!(full.stderr.contains("/dev/full: the capture ends after 0 packets"), "{full:?}");
    assert!(full.stderr.contains("No space left on device"), "{full:?}");
    let closed = ["sh", "-c", "exec \"$@\" | exec true", "sh"];
    let fwctl = [
        firewall.agent.fwctl_path().to_string_lossy().into_owned(),
        "--socket".to_owned(),
        firewall.agent.socket().to_string_lossy().into_owned(),
    ];
    let line = closed.into_iter().chain(fwctl.iter().map(String::as_str));
    let line: Vec<&str> = line.chain(["capture", "-w", "-", "--seconds", "20"]).collect();
    firewall.lab.run(Node::Fw, &line).unwrap().success().unwrap();
    // Whoever has gone is in nobody's way.
    for _ in 0..5 {
        firewall.agent.fwctl(&["capture", "-w", "-", "--seconds", "0"]).unwrap().success().unwrap();
        let full = firewall.agent.fwctl(&["capture", "-w", "/dev/full", "--seconds", "20"]).unwrap();
        assert!(full.stderr.contains("No space left on device"), "{full:?}");
    }
}

#[test]
fn a_second_capture_is_refused_and_mistakes_are_told() {
    let Some(firewall) = Firewall::up() else { return };
    let to_stdout = |arguments: &[&str]| firewall.agent.fwctl(&[&["capture", "-w", "-"], arguments].concat()).unwrap();
    for (wrong, told) in [
        (["--reason", "bad_luck"], "no drop reason"),
        (["--protocol", "tpc"], "no protocol"),
        (["--interface", "eth9"], "no interface"),
    ] {
        let refused = to_stdout(&wrong);
        assert!(!refused.status.success() && refused.stderr.contains(told), "{refused:?}");
    }
    let mut first = firewall.agent.capture_in_background(&["--seconds", "20"]).unwrap();
    // Otherwise the second might be the first.
    wait::until_true("the first captures", SOON, || firewall.agent.log().contains("capturing packets")).unwrap();
    let second = to_stdout(&["--seconds", "0"]);
    assert!(!second.status.success() && second.stderr.contains("another capture"), "{second:?}");
    first.kill().unwrap();
    // The agent notices that nobody reads any more.
    wait::until_true("another may capture", SOON, || to_stdout(&["--seconds", "0"]).status.success()).unwrap();
}
