//! The slots of a policy that was found running and goes on, because the one on disk is refused.
//!
//! Its zones, and which interface is the management interface, are named by slot, and slots are positions in the `agent.toml` that
//! it was loaded with. Where that file has other interfaces now, the positions say something else: an interface that the
//! data plane knows keeps its slot and its role, one that it does not know gets none, and so crosses nothing.

use std::collections::BTreeMap;

use super::interfaces::place;
use crate::config::{AgentConfig, DeviceKey};
use crate::dataplane::KnownInterface;
use crate::netlink::state::{Link, Observed};

/// What an interface is to the policy in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) slot: u32,
    pub(super) management: bool,
}

/// The interfaces of the configuration that the policy in force knows; the others wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seats(BTreeMap<DeviceKey, Seat>);

impl Seats {
    /// Compares the configuration with what the data plane has; `None` if they agree on every interface.
    pub(super) fn kept(config: &AgentConfig, observed: &Observed, known: &[KnownInterface]) -> Option<Self> {
        let placed = place(config, observed, None);
        let mut seats = BTreeMap::new();
        let mut agree = placed.len() == known.len();
        for placed in placed {
            let seat = placed.link.as_ref().and_then(|link| seat(link, observed, known));
            agree &= seat == Some(Seat { slot: placed.slot, management: placed.management });
            if let Some(seat) = seat {
                seats.insert(placed.key, seat);
            }
        }
        (!agree).then_some(Self(seats))
    }

    pub(super) fn get(&self, key: &DeviceKey) -> Option<Seat> {
        self.0.get(key).copied()
    }
}

/// What a device is known as: under its kernel index, or, after it was plugged in again, under its hardware address.
fn seat(link: &Link, observed: &Observed, known: &[KnownInterface]) -> Option<Seat> {
    let is_gone = |known: &&KnownInterface| !observed.links.contains_key(&known.ifindex);
    let same = known.iter().find(|known| known.ifindex == link.index);
    let again = || known.iter().filter(is_gone).find(|known| known.mac == link.mac.0);
    let known = same.or_else(again)?;
    Some(Seat { slot: known.slot, management: known.management })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::interfaces::{NO_SLOT, Placed};
    use crate::netlink::state::Mac;

    const MANAGEMENT: &str = "[management]\ninterface = \"ens5\"\n";

    fn config(forwarding: &[&str]) -> AgentConfig {
        let forwarding = forwarding.iter().map(|name| format!("[[interface]]\nname = \"{name}\"\nzones = [\"ot\"]\n"));
        AgentConfig::parse("agent.toml", &(forwarding.collect::<String>() + MANAGEMENT)).unwrap()
    }

    fn mac(number: u8) -> [u8; 6] {
        [2, 0, 0, 0, 0, number]
    }

    /// Devices by kernel index; the number in a name is that of the hardware address.
    fn observed(devices: &[(u32, &str)]) -> Observed {
        let link = |(index, name): &(u32, &str)| {
            let number = name.trim_start_matches("ens").parse().unwrap();
            let link = Link {
                index: *index,
                name: (*name).to_owned(),
                mac: Mac(mac(number)),
                mtu: 1500,
                up: true,
                loopback: false,
            };
            (*index, link)
        };
        Observed { links: devices.iter().map(link).collect(), ..Observed::default() }
    }

    fn known(ifindex: u32, number: u8, slot: u32, management: bool) -> KnownInterface {
        KnownInterface { ifindex, slot, mac: mac(number), management }
    }

    fn seats(placed: &[Placed]) -> Vec<(u32, bool)> {
        placed.iter().map(|placed| (placed.slot, placed.management)).collect()
    }

    /// ens6 forwards in slot 0, and ens5 manages in slot 1.
    fn running() -> [KnownInterface; 2] {
        [known(16, 6, 0, false), known(15, 5, 1, true)]
    }

    #[test]
    fn a_new_interface_does_not_get_the_slot_of_the_management_interface() {
        let observed = observed(&[(15, "ens5"), (16, "ens6"), (17, "ens7")]);
        let config = config(&["ens6", "ens7"]);
        assert_eq!(seats(&place(&config, &observed, None)), [(0, false), (1, false), (2, true)], "once it is accepted");
        let kept = Seats::kept(&config, &observed, &running());
        assert_eq!(seats(&place(&config, &observed, kept.as_ref())), [(0, false), (NO_SLOT, false), (1, true)]);
    }

    #[test]
    fn interfaces_in_another_order_stay_what_they_are() {
        let observed = observed(&[(15, "ens5"), (16, "ens6"), (17, "ens7")]);
        let running = [known(16, 6, 0, false), known(17, 7, 1, false), known(15, 5, 2, true)];
        let config = config(&["ens7", "ens6"]);
        let kept = Seats::kept(&config, &observed, &running);
        assert_eq!(seats(&place(&config, &observed, kept.as_ref())), [(1, false), (0, false), (2, true)]);
    }

    #[test]
    fn the_role_is_the_one_that_the_policy_knows() {
        let observed = observed(&[(15, "ens5"), (16, "ens6")]);
        let text = "[[interface]]\nname = \"ens5\"\nzones = [\"ot\"]\n[management]\ninterface = \"ens6\"\n";
        let config = AgentConfig::parse("agent.toml", text).unwrap();
        let kept = Seats::kept(&config, &observed, &running());
        assert_eq!(seats(&place(&config, &observed, kept.as_ref())), [(1, true), (0, false)]);
    }

    #[test]
    fn nothing_is_kept_where_all_is_as_it_was() {
        let config = config(&["ens6"]);
        assert_eq!(Seats::kept(&config, &observed(&[(15, "ens5"), (16, "ens6")]), &running()), None);
        // Plugged in again while no agent ran.
        assert_eq!(Seats::kept(&config, &observed(&[(15, "ens5"), (26, "ens6")]), &running()), None);
        // Not there: what the policy took it for is not known when it comes.
        assert!(Seats::kept(&config, &observed(&[(15, "ens5")]), &running()).is_some());
        // An interface that is no longer configured is no reason to give its slot away.
        let removed = Seats::kept(
            &config,
            &observed(&[(15, "ens5"), (16, "ens6"), (17, "ens7")]),
            &[known(16, 6, 0, false), known(17, 7, 1, false), known(15, 5, 2, true)],
        );
        assert_eq!(
            removed.and_then(|seats| seats.get(&DeviceKey::Name("ens5".to_owned()))).map(|seat| seat.slot),
            Some(2)
        );
    }
}
