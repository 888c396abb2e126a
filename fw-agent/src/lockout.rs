//! Would a policy cut the access to the firewall itself: what `[management] allow` promises, or a connection that somebody
//! uses?
//!
//! In: the compiled policy and the flows. Out: a [`Lockout`], which names the rule. Policy files cannot name the management
//! interface, and its generated rules stand before theirs, so this is about `agent.toml`: entries of `allow` that are gone,
//! generated rules that are disabled, and another management interface or none.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use fw_common::abi::flow::flow_flags;
use fw_common::abi::policy::zone;
use fw_common::conntrack::State;
use fw_common::policy::Query;
use fw_common::wire::protocol;
use fw_policy::Compiled;

use crate::dataplane::{Dataplane, DataplaneError, FlowRecord};

/// The devices under the configuration that a policy belongs to, by kernel index.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    /// All that there are.
    pub present: BTreeSet<u32>,
    /// The management interface, if one is configured; 0 while it has no device.
    pub management: Option<u32>,
}

/// What a policy would cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lockout {
    /// `agent.toml` contradicts itself.
    #[error(
        "`[management] allow` has `{entry}`, but `{denied_by}` would deny a packet of it from {source_addr}: enable `{rule}`, remove the \
         entry, or set `[management] keep_access = false`"
    )]
    Promise {
        /// The entry.
        entry: String,
        /// The generated rule that would keep it.
        rule: String,
        /// The source of such a packet.
        source_addr: IpAddr,
        /// The rule or default that denies it.
        denied_by: String,
    },
    /// Somebody is connected by a device that would be another interface, or none.
    #[error(
        "the connection of {client} to {server} comes by a device that would no longer be the management interface: close it, set \
         `[management] keep_access = false`, or take the firewall off by `fw-agent detach` before it starts with this `agent.toml`"
    )]
    Moved {
        /// Who is connected.
        client: SocketAddr,
        /// To which address and port of the firewall.
        server: SocketAddr,
    },
    /// Somebody is connected.
    #[error(
        "the connection of {client} to {server} by the management interface would be cut by `{denied_by}`: let it in by `[management] allow`, \
         close it, or set `[management] keep_access = false`"
    )]
    Session {
        /// Who is connected.
        client: SocketAddr,
        /// To which address and port of the firewall.
        server: SocketAddr,
        /// The rule or default that would deny it.
        denied_by: String,
    },
}

/// Asks a policy about what must stay reachable.
///
/// # Errors
/// The inner one if the policy would cut it, the outer one if the data plane does not tell its flows. `running`: the policy in
/// force; connections are asked about only if it lets in something else.
pub fn check(
    dataplane: &dyn Dataplane,
    compiled: &Compiled,
    running: Option<&Compiled>,
    devices: &Devices,
) -> Result<Result<(), Lockout>, DataplaneError> {
    if let Some(broken) = compiled.broken_promise() {
        return Ok(Err(Lockout::Promise {
            entry: broken.entry.to_owned(),
            rule: broken.rule,
            source_addr: ip(broken.query.src_addr.octets(), broken.query.src_addr.is_ipv4()),
            denied_by: broken.denied_by.into_owned(),
        }));
    }
    if running.is_some_and(|running| running.has_same_access(compiled)) {
        return Ok(Ok(()));
    }
    let mut cut = None;
    dataplane.visit_flows(&mut |record| {
        cut = cut_session(&record, compiled, devices);
        cut.is_none()
    })?;
    Ok(cut.map_or(Ok(()), Err))
}

/// The connection of a flow, if it is one from the management interface to the host that the policy denies, or that comes by a
/// device that is another interface under it.
fn cut_session(record: &FlowRecord, compiled: &Compiled, devices: &Devices) -> Option<Lockout> {
    let flow = &record.flow;
    let is_session = record.key.protocol == protocol::TCP
        && State::from_number(flow.state) == State::Established
        && (flow.from_zone, flow.to_zone) == (zone::MANAGEMENT, zone::LOCAL)
        && flow.directions.iter().all(|direction| direction.packets != 0);
    if !is_session {
        return None;
    }
    let is_ipv4 = record.family == 4;
    let end = |addr, port| SocketAddr::new(ip(addr, is_ipv4), u16::from_be_bytes(port));
    let low = end(record.key.low_addr, record.key.low_port);
    let high = end(record.key.high_addr, record.key.high_port);
    let (client, server) = if flow.flags & flow_flags::ORIGIN_IS_HIGH == 0 { (low, high) } else { (high, low) };
    let device = flow.directions[0].checked;
    if devices.management != Some(device) {
        if devices.present.contains(&device) {
            return Some(Lockout::Moved { client, server });
        }
        // By a device that is gone, it goes on only if that comes back as the management interface.
        devices.management?;
    }
    let query = Query {
        src_addr: client.ip().into(),
        dst_addr: server.ip().into(),
        from_zone: flow.from_zone,
        to_zone: flow.to_zone,
        protocol: record.key.protocol,
        src_port: client.port(),
        dst_port: server.port(),
    };
    let denied_by = compiled.denied_by(&query)?.into_owned();
    Some(Lockout::Session { client, server, denied_by })
}

/// An address of a flow: one of IPv4 stands in the first four bytes.
fn ip(octets: [u8; 16], is_ipv4: bool) -> IpAddr {
    let [a, b, c, d, ..] = octets;
    if is_ipv4 { [a, b, c, d].into() } else { octets.into() }
}

#[cfg(test)]
mod tests {
    use fw_common::abi::flow::{Direction, Flow, FlowKey6};
    use fw_policy::SourceFile;
    use time::OffsetDateTime;

    use super::*;
    use crate::config::AgentConfig;
    use crate::dataplane::fake::FakeDataplane;
    use crate::policy_set::Checker;

    const POLICY: &str = "version = 1\n[defaults]\naction = \"drop\"\n[zones.ot]\nnetworks = [\"10.1.0.0/16\"]\n";

    fn compile(management: &str, disabled: &str) -> Compiled {
        let config = format!(
            "[[interface]]\nname = \"ens6\"\nzones = [\"ot\"]\n[management]\ninterface = \"ens5\"\n{management}\n[policy]\ndisabled_system_rules = [{disabled}]\n"
        );
        let binding = AgentConfig::parse("agent.toml", &config).unwrap().binding();
        let files = [SourceFile { name: "a.toml".to_owned(), text: POLICY.to_owned() }];
        let checked = Checker::default().check(&files, &binding, OffsetDateTime::UNIX_EPOCH, None).unwrap();
        Compiled::clone(&checked.compiled)
    }

    /// The kernel index of the management interface.
    const ENS5: u32 = 15;

    fn devices() -> Devices {
        Devices { present: [ENS5, 16].into(), management: Some(ENS5) }
    }

    /// A connection of 10.3.1.50 to port 22 of 10.3.1.10.
    fn session() -> FlowRecord {
        let heard = Direction { packets: 3, checked: ENS5, ..Direction::default() };
        let flow = Flow {
            state: State::Established as u8,
            flags: flow_flags::ORIGIN_IS_HIGH,
            from_zone: zone::MANAGEMENT,
            to_zone: zone::LOCAL,
            directions: [heard; 2],
            ..Flow::default()
        };
        let wide = |last| [10, 3, 1, last, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let key = FlowKey6 {
            low_addr: wide(10),
            high_addr: wide(50),
            low_port: 22u16.to_be_bytes(),
            high_port: 51_000u16.to_be_bytes(),
            protocol: protocol::TCP,
            ..FlowKey6::default()
        };
        FlowRecord { key, family: 4, flow, timeout: 86_400 }
    }

    #[test]
    fn a_connection_that_would_be_cut_is_named_with_its_rule() {
        let dataplane = FakeDataplane::default();
        dataplane.state().flows = vec![session()];
        let with = compile("allow = [\"tcp/22 from 10.3.0.0/16\"]", "");
        let without = compile("allow = [\"tcp/9477 from 10.3.0.0/16\"]", "");
        assert_eq!(check(&dataplane, &with, None, &devices()).unwrap(), Ok(()));
        for running in [None, Some(&with)] {
            let cut = check(&dataplane, &without, running, &devices()).unwrap().unwrap_err();
            assert_eq!(
                cut.to_string(),
                "the connection of 10.3.1.50:51000 to 10.3.1.10:22 by the management interface would be cut by `default`: let it \
                 in by `[management] allow`, close it, or set `[management] keep_access = false`"
            );
        }
        // Policies that let in the same are not asked about connections, however many there are.
        assert_eq!(check(&dataplane, &without, Some(&without), &devices()).unwrap(), Ok(()));
    }

    #[test]
    fn only_connections_that_are_used_count() {
        let without = compile("allow = []", "");
        let other = |change: fn(&mut FlowRecord)| {
            let mut record = session();
            change(&mut record);
            record
        };
        let dataplane = FakeDataplane::default();
        dataplane.state().flows = vec![
            other(|record| record.flow.state = State::SynReceived as u8),
            other(|record| record.flow.state = State::Ended as u8),
            other(|record| record.flow.directions[1].packets = 0),
            other(|record| record.flow.from_zone = 1),
            other(|record| record.flow.to_zone = zone::MANAGEMENT),
            other(|record| record.key.protocol = protocol::UDP),
        ];
        assert_eq!(check(&dataplane, &without, None, &devices()).unwrap(), Ok(()));
        dataplane.state().flows.push(session());
        assert!(check(&dataplane, &without, None, &devices()).unwrap().is_err());
    }

    #[test]
    fn a_connection_by_a_device_that_is_another_interface_would_be_cut() {
        let dataplane = FakeDataplane::default();
        dataplane.state().flows = vec![session()];
        let with = compile("allow = [\"tcp/22 from 10.3.0.0/16\"]", "");
        let cut = |devices: &Devices| check(&dataplane, &with, None, devices).unwrap().err();
        let moved = Some(Lockout::Moved {
            client: "10.3.1.50:51000".parse().unwrap(),
            server: "10.3.1.10:22".parse().unwrap(),
        });
        assert_eq!(cut(&devices()), None);
        assert_eq!(cut(&Devices { management: Some(16), ..devices() }), moved);
        assert_eq!(cut(&Devices { management: Some(0), ..devices() }), moved);
        assert_eq!(cut(&Devices { management: None, ..devices() }), moved);
        // The device was plugged in again, or is gone for good.
        assert_eq!(cut(&Devices { present: [25].into(), management: Some(25) }), None);
        assert_eq!(cut(&Devices { present: [16].into(), management: None }), None);
    }

    #[test]
    fn a_promise_that_the_file_itself_breaks_is_refused() {
        let allow = "allow = [\"tcp/9477 from 10.3.0.0/16\", \"tcp/22 from fd00::/8\"]";
        let broken =
            check(&FakeDataplane::default(), &compile(allow, "\"system-management-2\""), None, &devices()).unwrap();
        assert_eq!(
            broken.unwrap_err(),
            Lockout::Promise {
                entry: "tcp/22 from fd00::/8".to_owned(),
                rule: "system-management-2".to_owned(),
                source_addr: "fd00::".parse().unwrap(),
                denied_by: "default".to_owned(),
            }
        );
        assert_eq!(check(&FakeDataplane::default(), &compile(allow, ""), None, &devices()).unwrap(), Ok(()));
    }
}
