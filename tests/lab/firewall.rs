//! The fixture of these tests: a lab, the agent with a small policy, and servers on the hosts.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fw_testkit::LabError;
use fw_testkit::lab::{Agent, AgentConfig, AgentOptions, Host, IT, Lab, LabOptions, OT, OT2, PLC, Programs, WS};
use fw_testkit::service::{Endpoint, Protocol, Service};

/// For what must work: long enough for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// For what must not work: long enough for two retransmissions of a SYN.
pub(crate) const NEVER: Duration = Duration::from_millis(1500);

/// The zones of the reference topology.
const ZONES: &str = r#"
version = 1

[defaults]
action = "drop"
log = true

[zones.onprem]
networks = ["192.168.0.0/16", "fd00:0:0:a00::/56"]
[zones.exposed]
networks = ["10.0.0.0/16", "fd00::/56"]
[zones.ot]
networks = ["10.1.0.0/16", "fd00:0:0:100::/56"]
[zones.it]
networks = ["10.2.0.0/16", "fd00:0:0:200::/56"]
"#;

/// What the tests rely on.
const RULES: &str = r#"
version = 1

[services]
ping = ["icmp/echo-request", "icmpv6/echo-request"]
web = ["tcp/80", "tcp/8080"]
modbus = ["tcp/502"]
echo = ["udp/5000"]
traceroute = ["udp/33434-33534"]

[[rule]]
id = "lab-web"
from = ["onprem"]
to = ["it"]
services = ["@web", "@echo"]
action = "allow"
log = true

[[rule]]
id = "lab-ot"
from = ["it"]
to = ["ot"]
services = ["@modbus", "@echo"]
action = "allow"
log = true

[[rule]]
id = "lab-ping"
from = ["onprem", "it", "ot"]
to = ["it", "ot"]
services = ["@ping", "@traceroute"]
action = "allow"

[[rule]]
id = "lab-traceroute-out"
from = ["it"]
to = ["onprem"]
services = ["@traceroute"]
action = "allow"

[[zone_pair]]
from = "it"
to = "onprem"
action = "reject"
"#;

/// A firewall under test. The fields are dropped in this order: the lab goes last.
pub(crate) struct Firewall {
    pub(crate) agent: Agent,
    /// The servers, which live as long as the fixture.
    _services: Vec<Service>,
    /// How long the agent took to start.
    pub(crate) start_took: Duration,
    pub(crate) lab: Lab,
}

impl Firewall {
    /// A lab with servers and a running agent; `None`, after saying why, where this cannot be tested.
    pub(crate) fn up() -> Option<Self> {
        Self::with_conntrack("max_flows = 65_536")
    }

    /// As [`Self::up`], with these lines in the section `[conntrack]`.
    pub(crate) fn with_conntrack(conntrack: &str) -> Option<Self> {
        let mut firewall = Self::before_the_agent(conntrack)?;
        let start = Instant::now();
        firewall.agent.start().unwrap();
        firewall.start_took = start.elapsed();
        Some(firewall)
    }

    /// A lab with servers and a configured agent that has not been started.
    pub(crate) fn before_the_agent(conntrack: &str) -> Option<Self> {
        let programs = available(Programs::find())?;
        let lab = raise(LabOptions::default())?;
        let policies = lab.directory().join("policies");
        fs::create_dir(&policies).unwrap();
        fs::write(policies.join("10-zones.toml"), ZONES).unwrap();
        fs::write(policies.join("20-rules.toml"), RULES).unwrap();
        let config = AgentConfig { conntrack: conntrack.to_owned(), ..AgentConfig::new(policies) };
        let services = serve(&lab);
        let agent = lab.prepare_agent(AgentOptions { programs, config }).unwrap();
        Some(Self { agent, _services: services, start_took: Duration::ZERO, lab })
    }

    /// The file with the rules.
    pub(crate) fn rules_file(&self) -> PathBuf {
        self.lab.directory().join("policies/20-rules.toml")
    }

    /// The rules that the tests start with.
    pub(crate) fn first_rules() -> &'static str {
        RULES
    }

    /// Packets dropped so far for a reason, in the program's own counters.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.agent.dropped(reason).unwrap()
    }
}

/// A lab; `None`, after saying why, where none can be raised.
pub(crate) fn raise(options: LabOptions) -> Option<Lab> {
    available(Lab::up(options))
}

pub(crate) fn available<T>(outcome: Result<T, LabError>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(LabError::Unavailable(why)) => {
            println!("skipped: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The servers that the tests talk to.
fn serve(lab: &Lab) -> Vec<Service> {
    let everything =
        [Endpoint::any(Protocol::Http, 80), Endpoint::any(Protocol::Modbus, 502), Endpoint::any(Protocol::Echo, 5000)];
    [PLC, WS, OT, OT2, IT].map(|host| lab.serve(host.node, &everything).unwrap()).into()
}

/// A host's addresses of both families with a port.
pub(crate) fn both(host: Host, port: u16) -> [SocketAddr; 2] {
    addresses(host).map(|address| (address, port).into())
}

/// A host's addresses of both families.
pub(crate) fn addresses(host: Host) -> [IpAddr; 2] {
    [host.ipv4.into(), host.ipv6.into()]
}
