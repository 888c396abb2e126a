//! Interfaces that come and go, and the deliberate way to take the firewall off: nothing crosses without inspection.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData};
use fw_common::abi::interface::{Interface, NEAR_INTERFACES};
use fw_testkit::capture::Capture;
use fw_testkit::client;
use fw_testkit::lab::{ENI_EXPOSED, ENI_IT, ENI_OT, IT, Lab, Node, OT, mac_of, mac_text};
use fw_testkit::traffic::NumberedStream;
use fw_testkit::wait;

use crate::firewall::{Firewall, SOON, addresses, both};

const INTERVAL: Duration = Duration::from_millis(1);

/// How long an agent may take that is not waited for.
const START: Duration = Duration::from_secs(30);

/// How long an answer may take.
const SHORT: Duration = Duration::from_millis(300);

/// How long a new interface may take until the agent has put it to use.
const ADOPTION: Duration = Duration::from_secs(15);

/// Sends both ways between IT and OT and counts what arrives on either side.
fn crossings(lab: &Lab) -> usize {
    let captures = [Node::It, Node::Ot].map(|node| Capture::on(lab.ns(node), "eth0").unwrap());
    let there = both(OT, 5000).map(|to| NumberedStream::start(lab.ns(Node::It), to, INTERVAL).unwrap());
    let back = both(IT, 5000).map(|to| NumberedStream::start(lab.ns(Node::Ot), to, INTERVAL).unwrap());
    wait::until_true("every stream has sent", SOON, || there.iter().chain(&back).all(|stream| stream.sent() > 300))
        .unwrap();
    drop((there, back));
    let [at_it, at_ot] = captures.map(|capture| capture.drain().unwrap());
    let from = |frames: Vec<fw_testkit::capture::Frame>, sources: [std::net::IpAddr; 2]| {
        let crossed = |frame: &fw_testkit::capture::Frame| {
            !frame.outgoing && frame.decode().is_some_and(|packet| sources.contains(&packet.src_addr))
        };
        frames.iter().filter(|frame| crossed(frame)).count()
    };
    from(at_it, addresses(OT)) + from(at_ot, addresses(IT))
}

pub(crate) fn echo_works(lab: &Lab) -> bool {
    both(OT, 5000)
        .iter()
        .all(|to| client::udp_exchange(lab.ns(Node::It), *to, Duration::from_millis(300)).unwrap().is_ok())
}

#[test]
fn an_interface_that_is_plugged_in_while_the_agent_is_dead_crosses_nothing() {
    let Some(mut firewall) = Firewall::up() else { return };
    assert!(echo_works(&firewall.lab));
    firewall.agent.kill().unwrap();
    assert!(crossings(&firewall.lab) > 0, "the data plane goes on without the agent");
    firewall.lab.unplug(ENI_OT).unwrap();
    firewall.lab.plug(ENI_OT).unwrap();
    assert_eq!(crossings(&firewall.lab), 0);

    firewall.agent.start().unwrap();
    wait::until_true("the new interface is in use", ADOPTION, || echo_works(&firewall.lab)).unwrap();
}

#[test]
fn a_running_agent_takes_a_new_interface_into_use() {
    let Some(firewall) = Firewall::up() else { return };
    assert!(echo_works(&firewall.lab));
    firewall.lab.unplug(ENI_IT).unwrap();
    assert!(!echo_works(&firewall.lab));
    firewall.lab.plug(ENI_IT).unwrap();
    wait::until_true("the new interface is in use", ADOPTION, || echo_works(&firewall.lab)).unwrap();
}

#[test]
fn open_flows_are_answered_again_when_their_interface_is_back() {
    let Some(firewall) = Firewall::up() else { return };
    let sockets = both(OT, 5000).map(|to| client::udp(firewall.lab.ns(Node::It), to, SHORT).unwrap().unwrap());
    let answered = || {
        sockets.iter().all(|socket| {
            let mut answer = [0; 16];
            // An error of ICMP is one of the datagrams' before.
            socket.send(b"again").or_else(|_| socket.send(b"again")).is_ok() && socket.recv(&mut answer).is_ok()
        })
    };
    assert!(answered());
    for eni in [ENI_OT, ENI_IT] {
        firewall.lab.unplug(eni).unwrap();
        assert!(!answered());
        firewall.lab.plug(eni).unwrap();
        wait::until_true("the same flows are answered", ADOPTION, answered).unwrap();
    }
    // They were the same ones: no other socket has sent anything.
    assert_eq!(firewall.agent.matching_flows(&["--port", "5000"]).unwrap(), 2);
}

#[test]
fn detach_takes_everything_off_and_nothing_crosses_after_it() {
    let Some(mut firewall) = Firewall::up() else { return };
    let attached = |firewall: &Firewall| {
        let links = firewall.lab.run(Node::Fw, &["ip", "-details", "link", "show"]).unwrap().success().unwrap();
        links.matches("prog/xdp").count()
    };
    assert!(echo_works(&firewall.lab));
    assert!(attached(&firewall) >= [ENI_EXPOSED, ENI_OT, ENI_IT].len());
    assert!(!firewall.agent.detach().unwrap().status.success(), "a running agent would attach again");

    firewall.agent.terminate().unwrap();
    assert!(crossings(&firewall.lab) > 0, "SIGTERM leaves the data plane forwarding");
    // Whatever has become of the forward chain, it stands before the programs go.
    firewall.lab.run(Node::Fw, &["nft", "flush", "ruleset"]).unwrap().success().unwrap();
    firewall.agent.detach().unwrap().success().unwrap();
    let ruleset = firewall.lab.run(Node::Fw, &["nft", "list", "ruleset"]).unwrap().success().unwrap();
    assert!(ruleset.contains("policy drop"), "{ruleset}");
    // The kernel lets go of an unpinned link a moment later, from a work queue.
    wait::until_true("the programs are off", SOON, || attached(&firewall) == 0).unwrap();
    assert!(!firewall.agent.pins().exists() || std::fs::read_dir(firewall.agent.pins()).unwrap().next().is_none());
    assert_eq!(crossings(&firewall.lab), 0);
}

/// How the program is on the device of the OT subnet: `xdp`, in its driver, or `xdpgeneric`.
fn mode_of_ot(firewall: &Firewall) -> Vec<String> {
    let link = firewall.lab.run(Node::Fw, &["ip", "-details", "link", "show", "ens7"]).unwrap().success().unwrap();
    link.split_whitespace()
        .filter(|word| word.starts_with("xdp") || word.starts_with("prog/xdp"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn generic_mode_is_for_who_asks_for_it() {
    let Some(mut firewall) = Firewall::before_the_agent("max_flows = 65_536") else { return };
    let native = std::fs::read_to_string(firewall.agent.configuration()).unwrap();
    let generic = native.replace("name = \"ens7\"", "name = \"ens7\"\nmode = \"generic\"");
    firewall.agent.write_configuration(&generic).unwrap();
    firewall.agent.start().unwrap();
    assert!(mode_of_ot(&firewall).contains(&"xdpgeneric".to_owned()), "{:?}", mode_of_ot(&firewall));
    assert!(firewall.agent.log().contains("runs in generic mode"), "it is said");
    wait::until_true("packets cross", SOON, || echo_works(&firewall.lab)).unwrap();

    // The mode is chosen anew at a restart; what has been attached is replaced, not added to.
    firewall.agent.terminate().unwrap();
    firewall.agent.write_configuration(&native).unwrap();
    firewall.agent.start().unwrap();
    assert!(!mode_of_ot(&firewall).contains(&"xdpgeneric".to_owned()), "{:?}", mode_of_ot(&firewall));
    assert!(mode_of_ot(&firewall).contains(&"xdp".to_owned()), "{:?}", mode_of_ot(&firewall));
    wait::until_true("packets cross", SOON, || echo_works(&firewall.lab)).unwrap();
}

/// A datagram each millisecond from OT to a port of the firewall that its policy keeps closed, and who listens there.
pub(crate) fn knocking(firewall: &Firewall) -> ([NumberedStream; 2], [UdpSocket; 2]) {
    let doors: [IpAddr; 2] = [ENI_OT.ipv4.into(), ENI_OT.ipv6.unwrap().into()];
    let doors = doors.map(|addr| SocketAddr::new(addr, 4444));
    let listening = doors.map(|door| {
        let socket = firewall.lab.ns(Node::Fw).within(|| UdpSocket::bind(door)).unwrap().unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    });
    (doors.map(|door| NumberedStream::start(firewall.lab.ns(Node::Ot), door, INTERVAL / 10).unwrap()), listening)
}

#[test]
fn nothing_gets_to_the_host_while_the_mode_changes() {
    let Some(mut firewall) = Firewall::up() else { return };
    let native = std::fs::read_to_string(firewall.agent.configuration()).unwrap();
    let generic = native.replace("name = \"ens7\"", "name = \"ens7\"\nmode = \"generic\"");
    let (streams, listening) = knocking(&firewall);
    for configuration in [&generic, &native, &generic, &native] {
        firewall.agent.terminate().unwrap();
        firewall.agent.write_configuration(configuration).unwrap();
        firewall.agent.start().unwrap();
    }
    let sent: u64 = streams.iter().map(NumberedStream::sent).sum();
    drop(streams);
    for socket in listening {
        assert!(socket.recv(&mut [0; 64]).is_err(), "one of {sent} came through");
    }
    wait::until_true("packets cross", SOON, || echo_works(&firewall.lab)).unwrap();
}

#[test]
fn an_agent_that_is_killed_while_the_mode_changes_leaves_the_host_closed() {
    let Some(mut firewall) = Firewall::up() else { return };
    let native = std::fs::read_to_string(firewall.agent.configuration()).unwrap();
    let generic = native.replace("name = \"ens7\"", "name = \"ens7\"\nmode = \"generic\"");
    let link = firewall.lab.run(Node::Fw, &["ip", "-oneline", "link", "show", "ens7"]).unwrap().success().unwrap();
    let closed = firewall.agent.pins().join(format!("links/closed-{}", link.split_once(':').unwrap().0));
    let (streams, listening) = knocking(&firewall);
    firewall.agent.terminate().unwrap();
    // Each start changes the mode, and is killed when it has closed the device, if that is seen in time.
    let caught = [&generic, &native].into_iter().cycle().take(10).find(|configuration| {
        firewall.agent.write_configuration(configuration).unwrap();
        firewall.agent.start_unready().unwrap();
        let end = std::time::Instant::now() + START;
        let is_ready = || firewall.agent.fwctl_json(&["status"]).is_ok();
        let mut looks = 0_u32;
        while !closed.exists() && std::time::Instant::now() < end {
            looks += 1;
            if looks.is_multiple_of(65_536) && is_ready() {
                break;
            }
        }
        firewall.agent.kill().unwrap();
        closed.exists()
    });
    assert!(caught.is_some(), "no start was killed in time");
    let before: Vec<u64> = streams.iter().map(NumberedStream::sent).collect();
    wait::until_true("more is sent", SOON, || {
        streams.iter().zip(&before).all(|(stream, sent)| stream.sent() > sent + 100)
    })
    .unwrap();
    firewall.agent.start().unwrap();
    assert!(!closed.exists(), "the program is on the device again");
    drop(streams);
    for socket in listening {
        assert!(socket.recv(&mut [0; 64]).is_err(), "something came through");
    }
    wait::until_true("packets cross", SOON, || echo_works(&firewall.lab)).unwrap();
}

#[test]
fn an_interface_that_is_refused_at_a_restart_goes_on_as_it_is_and_is_kept_up_to_date() {
    let Some(mut firewall) = Firewall::before_the_agent("max_flows = 65_536") else { return };
    firewall.lab.run(Node::Fw, &["ip", "link", "add", "slow", "type", "bridge"]).unwrap().success().unwrap();
    let native = std::fs::read_to_string(firewall.agent.configuration()).unwrap();
    let native = native.replace("[management]", "[[interface]]\nname = \"slow\"\nzones = [\"spare\"]\n\n[management]");
    let policies = firewall.lab.directory().join("policies/30-spare.toml");
    std::fs::write(policies, "version = 1\n[zones.spare]\nnetworks = [\"10.77.0.0/16\"]\n").unwrap();
    let generic = native.replace("name = \"slow\"", "name = \"slow\"\nmode = \"generic\"");
    firewall.agent.write_configuration(&generic).unwrap();
    // A bridge without ports is never up, so that the agent is not ready.
    firewall.agent.start_unready().unwrap();
    let of_slow =
        || firewall.lab.run(Node::Fw, &["ip", "-details", "link", "show", "slow"]).unwrap().success().unwrap();
    wait::until_true("the program is on the device", START, || of_slow().contains("xdpgeneric")).unwrap();

    // Nobody sees what changes while the agent is away, and in its driver the device runs no program.
    firewall.agent.terminate().unwrap();
    firewall.lab.run(Node::Fw, &["ip", "link", "set", "slow", "mtu", "1400"]).unwrap().success().unwrap();
    firewall.agent.write_configuration(&native).unwrap();
    firewall.agent.start_unready().unwrap();
    let known_mtu = || {
        let status = firewall.agent.fwctl_json(&["status"]).ok()?;
        let slow = status["interfaces"].as_array()?.iter().find(|interface| interface["device"] == "slow")?.clone();
        assert!(slow["problem"].as_str().is_some_and(|problem| problem.contains("cannot run the program")), "{slow}");
        assert_eq!(status["ready"], false);
        let index = u32::try_from(slow["ifindex"].as_u64()?).ok()?;
        stored_interface(&firewall, index).map(|interface| interface.mtu)
    };
    wait::until_true("the program is told the new MTU", START, || known_mtu() == Some(1400)).unwrap();
    assert!(of_slow().contains("xdpgeneric"), "{}", of_slow());
}

/// What the program knows of an interface.
pub(crate) fn stored_interface(firewall: &Firewall, index: u32) -> Option<Interface> {
    let maps = firewall.agent.pins().join(format!("abi-{}", fw_common::ABI_VERSION));
    let map = |name: &str| MapData::from_pin(maps.join(name)).unwrap();
    if index < NEAR_INTERFACES {
        let near: Array<MapData, Interface> = Map::Array(map("INTERFACES")).try_into().unwrap();
        return near.get(&index, 0).ok();
    }
    let far: HashMap<MapData, u32, Interface> = Map::HashMap(map("FAR_INTERFACES")).try_into().unwrap();
    far.get(&index, 0).ok()
}

#[test]
fn a_device_whose_driver_cannot_redirect_is_refused_with_a_reason() {
    let Some(mut firewall) = Firewall::before_the_agent("max_flows = 65_536") else { return };
    firewall.lab.run(Node::Fw, &["ip", "link", "add", "slow", "type", "bridge"]).unwrap().success().unwrap();
    let config = std::fs::read_to_string(firewall.agent.configuration()).unwrap();
    let config = config.replace("[management]", "[[interface]]\nname = \"slow\"\nzones = [\"spare\"]\n\n[management]");
    firewall.agent.write_configuration(&config).unwrap();
    let policies = firewall.lab.directory().join("policies/30-spare.toml");
    std::fs::write(policies, "version = 1\n[zones.spare]\nnetworks = [\"10.77.0.0/16\"]\n").unwrap();
    assert!(
        firewall.agent.start().is_err(),
        "a first start without inspection everywhere would forward what nobody sees"
    );
    let reason = "cannot start: slow: the driver bridge cannot run the program: it does not redirect packets from XDP";
    assert!(firewall.agent.log().contains(reason), "{}", firewall.agent.log());
    assert!(!echo_works(&firewall.lab));
}

#[test]
fn a_device_that_two_entries_name_is_refused_with_both_places() {
    let Some(mut firewall) = Firewall::before_the_agent("max_flows = 65_536") else { return };
    let good = std::fs::read_to_string(firewall.agent.configuration()).unwrap();
    let mac = mac_text(mac_of(ENI_OT.ipv4));
    let entry = format!("[[interface]]\nname = \"{}\"", ENI_OT.name);
    let again = format!("[[interface]]\nmac = \"{mac}\"\nzones = [\"exposed\"]\n\n{entry}");
    let twice = good.replace("[\"onprem\", \"exposed\"]", "[\"onprem\"]").replace(&entry, &again);
    let told = format!(
        "`[[interface]]` ens7 in line 10 of agent.toml is the device ens7, and so is `[[interface]]` {mac} in line 6 of agent.toml"
    );
    firewall.agent.write_configuration(&twice).unwrap();
    firewall.agent.start_unready().unwrap();
    let status = wait::until("the agent ends", START, || firewall.agent.ended()).unwrap();
    assert!(!status.success());
    let log = firewall.agent.log();
    assert!(log.contains(&told), "{log}");

    // A restarted agent has more to lose: it says so, and the policy in force goes on with the interfaces that it knows.
    firewall.agent.write_configuration(&good).unwrap();
    firewall.agent.start().unwrap();
    firewall.agent.terminate().unwrap();
    firewall.agent.write_configuration(&twice).unwrap();
    firewall.agent.start_unready().unwrap();
    wait::until_true("it says why it is not ready", START, || {
        firewall
            .agent
            .fwctl(&["status"])
            .is_ok_and(|status| status.stdout.starts_with("NOT READY") && status.stdout.contains(&told))
    })
    .unwrap();
    for to in both(OT, 5000) {
        client::udp_exchange(firewall.lab.ns(Node::It), to, SOON).unwrap().unwrap();
    }
}
