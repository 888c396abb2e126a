//! The name space of a rig: interfaces, addresses, routes and neighbours.

use std::process::Command;

use fw_testkit::netns::NetNs;

/// The interfaces, routes and neighbours. Dropping it deletes the name space: kept only until the rig is whole.
pub(crate) struct Network {
    name: String,
}

impl Network {
    pub(crate) fn new(name: &str) -> Self {
        ip(&format!("netns add {name}"));
        let network = Self { name: name.to_owned() };
        let netns = NetNs::open(name).unwrap();
        network.run(LINKS);
        // The far ends would send multicast listener reports, which count as drops.
        for far in ["exposed", "ot", "it", "management", "other"] {
            netns.set_sysctl(&format!("ipv6/conf/{far}-far/disable_ipv6"), "1").unwrap();
        }
        network.run(ADDRESSES);
        for (key, value) in [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")] {
            netns.set_sysctl(key, value).unwrap();
        }
        network.run(ROUTES);
        network
    }

    /// Runs `ip` for each line.
    pub(crate) fn run(&self, commands: &str) {
        for command in commands.lines().filter(|line| !line.is_empty()) {
            ip(&format!("-n {} {command}", self.name));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&format!("netns delete {}", self.name));
    }
}

const LINKS: &str = "
link set lo up
link add exposed address 02:00:00:00:00:10 type veth peer name exposed-far
link add ot address 02:00:00:00:00:11 type veth peer name ot-far
link add it address 02:00:00:00:00:12 type veth peer name it-far
link add management address 02:00:00:00:00:13 type veth peer name management-far
link add other type veth peer name other-far
link add ofw-out type veth peer name ofw-in
";

const ADDRESSES: &str = "
link set exposed up
link set ot up
link set it mtu 1400 up
link set management up
link set other up
link set exposed-far up
link set ot-far up
link set it-far up
link set management-far up
link set other-far up
link set ofw-out up
link set ofw-in up
address add 10.0.1.10/24 dev exposed
address add 10.1.1.10/24 dev ot
address add 10.2.1.10/24 dev it
address add 10.3.1.10/24 dev management
address add 172.30.0.1/24 dev other
address add fd00:0:0:1::10/64 dev exposed nodad
address add fd00:0:0:101::10/64 dev ot nodad
address add fd00:0:0:201::10/64 dev it nodad
";

const ROUTES: &str = "
neighbour add 10.0.1.1 lladdr 02:00:00:00:01:01 dev exposed
neighbour add 10.1.1.50 lladdr 02:00:00:00:01:01 dev ot
neighbour add 10.2.1.20 lladdr 02:00:00:00:01:01 dev it
neighbour add 10.3.1.50 lladdr 02:00:00:00:01:01 dev management
neighbour add 172.30.0.9 lladdr 02:00:00:00:01:01 dev other
neighbour add fd00:0:0:1::1 lladdr 02:00:00:00:01:01 dev exposed
neighbour add fd00:0:0:101::50 lladdr 02:00:00:00:01:01 dev ot
neighbour add fd00:0:0:201::20 lladdr 02:00:00:00:01:01 dev it
route add 192.168.0.0/16 via 10.0.1.1
route add fd00:0:0:a00::/56 via fd00:0:0:1::1
route add blackhole 10.2.99.0/24
route add blackhole fd00:0:0:299::/64
route add 172.21.0.0/16 via 10.2.1.20
route add 10.2.3.0/24 via 172.30.0.9
";

pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// The kernel's index of an interface of this thread's name space.
pub(crate) fn index_of(name: &str) -> u32 {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).unwrap();
    rustix::net::netdevice::name_to_index(&socket, name).unwrap()
}
