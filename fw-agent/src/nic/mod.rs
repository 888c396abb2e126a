//! How the program goes onto a network device: decided from what the device is, before anything is touched.
//!
//! In: [`Facts`] and [`Wishes`]. Out: a [`Plan`], or why there is none. Nothing falls back in silence: a lowered MTU is logged,
//! and generic mode, in which every packet costs several times as much, is only for who asks for it.
//!
//! The rules for ENA are those of its drivers (ena_netdev.h and ena_xdp.c of the kernel; the release notes of Amazon's own).

mod probe;

use std::fmt;

use crate::host::ethtool::{Channels, Driver};
use crate::host::xdp_features::XdpFeatures;

pub use probe::probe;

/// What is known of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its driver, if it says so.
    pub driver: Option<Driver>,
    /// Its queues, if it has such a setting.
    pub channels: Option<Channels>,
    /// What its driver can do with XDP, if the kernel knows.
    pub xdp: Option<XdpFeatures>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The kernel's release.
    pub kernel: Release,
}

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The MTU in bytes; the device's own without.
    pub mtu: Option<u16>,
    /// How the program runs.
    pub mode: Mode,
}

/// How a program runs on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    #[default]
    Native,
    /// In the kernel behind the driver, on socket buffers.
    Generic,
}

/// What to do, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Set this MTU, in bytes.
    pub mtu: Option<u32>,
    /// Set this number of pairs of queues.
    pub channels: Option<u32>,
    /// Attach the program so.
    pub mode: Mode,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// A release of the kernel or of a driver: its first two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u16, pub u16);

impl Release {
    /// The first two numbers of a text such as `6.1.0-49-cloud-amd64` or `2.14.0g`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|character: char| !character.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The largest MTU of ENA with a program that takes frames of one buffer (`ENA_XDP_MAX_MTU`: a page without headroom, Ethernet
/// header, VLAN tag, checksum and the end of a socket buffer).
const ENA_LINEAR_MTU: u32 = 3498;
/// Amazon's driver from this release on uses all queues; others keep half of them for what programs send.
const ENA_ALL_QUEUES: Release = Release(2, 17);
/// Amazon's driver from this release on takes frames of several buffers.
const ENA_FRAGS: Release = Release(2, 14);
/// The longest packet of a frame of one buffer, in bytes, where no driver says better: that of ENA, whose buffers are pages as
/// most drivers' are.
const LINEAR_MTU: u32 = ENA_LINEAR_MTU;
/// The kernel from this release on redirects frames of several buffers.
const REDIRECTS_FRAGS: Release = Release(6, 3);

/// Decides how the program goes onto the device.
///
/// # Errors
/// Why it cannot, and what to change.
pub fn decide(facts: &Facts, wishes: &Wishes) -> Result<Plan, String> {
    let mut plan = Plan { mtu: wishes.mtu.map(u32::from).filter(|mtu| *mtu != facts.mtu), ..Plan::default() };
    if wishes.mode == Mode::Generic {
        plan.mode = Mode::Generic;
        plan.warnings.push(
            "the program runs in generic mode, as agent.toml asks: every packet costs several times as much".to_owned(),
        );
        return Ok(plan);
    }
    let name = facts.driver.as_ref().map_or("of the device", |driver| &driver.name);
    if facts.xdp.is_some_and(|xdp| !xdp.has(XdpFeatures::BASIC | XdpFeatures::REDIRECT)) {
        return Err(format!(
            "the driver {name} cannot run the program: it does not redirect packets from XDP; use another kind of device, or accept a slow firewall with `mode = \"generic\"`"
        ));
    }
    match &facts.driver {
        Some(driver) if driver.name == "ena" => ena(facts, driver, wishes, plan),
        Some(_) | None => other(facts, name, plan),
    }
}

/// Whether frames of several buffers can come in, and leave: each interface is where packets of others leave. Before kernel 6.3
/// they could not, and drivers did not say what they can; since then the kernel asks the driver for each such frame
/// (`__xdp_enqueue` of kernel/bpf/devmap.c).
fn takes_frags(facts: &Facts) -> bool {
    const BOTH_WAYS: u64 = XdpFeatures::RECEIVE_FRAGS | XdpFeatures::TRANSMIT_FRAGS;
    facts.kernel >= REDIRECTS_FRAGS && facts.xdp.is_none_or(|xdp| xdp.has(BOTH_WAYS))
}

/// Decides for a device of which nothing special is known. A driver may say that it sends anything only when the program is on it
/// (`xdp_features_set_redirect_target` of net/core/xdp.c); one that sends, and not in several buffers, would lose every long packet.
fn other(facts: &Facts, name: &str, plan: Plan) -> Result<Plan, String> {
    let mtu = plan.mtu.unwrap_or(facts.mtu);
    let loses = |xdp: XdpFeatures| xdp.has(XdpFeatures::TRANSMIT) && !xdp.has(XdpFeatures::TRANSMIT_FRAGS);
    if mtu > LINEAR_MTU && facts.xdp.is_some_and(loses) {
        return Err(format!(
            "packets of {mtu} bytes lie in several buffers, and the driver {name} sends none such from XDP; set `mtu = {LINEAR_MTU}` or less, and the same MTU on the hosts of the subnet"
        ));
    }
    Ok(plan)
}

/// Decides for Amazon's network card.
fn ena(facts: &Facts, driver: &Driver, wishes: &Wishes, mut plan: Plan) -> Result<Plan, String> {
    // The driver of the kernel's tree has the kernel's release for a version.
    let amazons = Release::parse(&driver.version).filter(|version| *version != facts.kernel);
    let mtu = plan.mtu.unwrap_or(facts.mtu);
    let takes_frags = amazons.is_some_and(|version| version >= ENA_FRAGS) && takes_frags(facts);
    if mtu > ENA_LINEAR_MTU && !takes_frags {
        if let Some(wish) = wishes.mtu {
            return Err(format!(
                "`mtu = {wish}` does not fit: with the program on it the card takes packets of at most {ENA_LINEAR_MTU} bytes; set `mtu` to that or less, or use Amazon's driver from {ENA_FRAGS} on and a kernel from {REDIRECTS_FRAGS} on"
            ));
        }
        plan.mtu = Some(ENA_LINEAR_MTU);
        plan.warnings.push(format!(
            "the MTU is lowered from {} to {ENA_LINEAR_MTU} bytes, the most that the card takes with the program on it; set `mtu` to say so yourself, and the same MTU on the hosts of the subnet",
            facts.mtu
        ));
    }
    let Some(Channels { combined, max }) = facts.channels else { return Ok(plan) };
    if amazons.is_some_and(|version| version >= ENA_ALL_QUEUES) || combined <= max / 2 {
        return Ok(plan);
    }
    if max < 2 {
        return Err("the card has a single pair of queues, and its driver needs one more to send what the program forwards: use an instance type with more, or Amazon's driver from 2.17 on".to_owned());
    }
    plan.channels = Some(max / 2);
    plan.warnings.push(format!(
        "{} of {max} pairs of queues are used, because the driver needs the others to send what the program forwards; Amazon's driver from {ENA_ALL_QUEUES} on does not",
        max / 2
    ));
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABLE: XdpFeatures = XdpFeatures(XdpFeatures::BASIC | XdpFeatures::REDIRECT);

    fn ena(version: &str, mtu: u32, combined: u32, max: u32) -> Facts {
        Facts {
            driver: Some(Driver { name: "ena".to_owned(), version: version.to_owned() }),
            channels: Some(Channels { combined, max }),
            xdp: Some(ABLE),
            mtu,
            kernel: Release(6, 8),
        }
    }

    fn numbers(facts: &Facts, wishes: Wishes) -> (Option<u32>, Option<u32>, usize) {
        let plan = decide(facts, &wishes).unwrap();
        assert_eq!(plan.mode, Mode::Native);
        (plan.mtu, plan.channels, plan.warnings.len())
    }

    #[test]
    fn each_row_of_the_rules_for_ena() {
        let mainline = "6.8.0-1021-aws";
        let own = Wishes::default();
        let mtu = |mtu| Wishes { mtu: Some(mtu), ..own };
        // What is right already is left alone.
        assert_eq!(numbers(&ena(mainline, 1500, 2, 4), own), (None, None, 0));
        assert_eq!(numbers(&ena(mainline, 3498, 4, 8), own), (None, None, 0));
        // Half of the queues, unless the driver shares them.
        assert_eq!(numbers(&ena(mainline, 1500, 4, 4), own), (None, Some(2), 1));
        assert_eq!(numbers(&ena(mainline, 1500, 3, 5), own), (None, Some(2), 1));
        assert_eq!(numbers(&ena("2.14.0g", 1500, 4, 4), own), (None, Some(2), 1));
        assert_eq!(numbers(&ena("2.17.0g", 1500, 4, 4), own), (None, None, 0));
        assert_eq!(numbers(&ena("3.0.1", 1500, 1, 1), own), (None, None, 0));
        assert!(decide(&ena(mainline, 1500, 1, 1), &own).unwrap_err().contains("single pair"));
        // Large packets: lowered where nobody asked for them, refused where somebody did.
        assert_eq!(numbers(&ena(mainline, 9001, 2, 4), own), (Some(3498), None, 1));
        assert_eq!(numbers(&ena("2.13.0g", 9001, 2, 4), own), (Some(3498), None, 1));
        let with = |bits, version| Facts { xdp: Some(XdpFeatures(ABLE.0 | bits)), ..ena(version, 9001, 2, 4) };
        let able = |version| with(XdpFeatures::RECEIVE_FRAGS | XdpFeatures::TRANSMIT_FRAGS, version);
        assert_eq!(numbers(&able("2.14.0g"), own), (None, None, 0));
        assert_eq!(numbers(&able("2.14.0g"), mtu(9001)), (None, None, 0));
        assert_eq!(numbers(&able("2.13.0g"), own), (Some(3498), None, 1));
        assert_eq!(numbers(&able(mainline), own), (Some(3498), None, 1));
        let one_way = with(XdpFeatures::RECEIVE_FRAGS | XdpFeatures::TRANSMIT, "2.17.0g");
        assert_eq!(numbers(&one_way, own), (Some(3498), None, 1), "what comes in could not leave");
        assert!(decide(&one_way, &mtu(9001)).unwrap_err().contains("`mtu = 9001` does not fit"));
        assert_eq!(numbers(&ena("2.17.0g", 9001, 4, 4), own), (Some(3498), None, 1), "it says that it cannot");
        assert_eq!(numbers(&Facts { kernel: Release(6, 2), ..able("2.17.0g") }, own), (Some(3498), None, 1));
        assert_eq!(numbers(&Facts { xdp: None, ..able("2.17.0g") }, own), (None, None, 0), "it does not say");
        assert_eq!(numbers(&ena(mainline, 9001, 4, 4), own), (Some(3498), Some(2), 2));
        assert_eq!(numbers(&ena(mainline, 9001, 2, 4), mtu(1500)), (Some(1500), None, 0));
        assert!(decide(&ena(mainline, 1500, 2, 4), &mtu(9001)).unwrap_err().contains("`mtu = 9001` does not fit"));
    }

    #[test]
    fn a_driver_that_cannot_redirect_is_refused_and_generic_mode_is_asked_for() {
        let mut facts = ena("6.8.0", 1500, 1, 2);
        facts.xdp = Some(XdpFeatures(XdpFeatures::BASIC));
        assert!(decide(&facts, &Wishes::default()).unwrap_err().contains("mode = \"generic\""));
        let plan = decide(&facts, &Wishes { mode: Mode::Generic, ..Wishes::default() }).unwrap();
        assert_eq!((plan.mode, plan.warnings.len()), (Mode::Generic, 1));
        facts.xdp = None;
        assert!(decide(&facts, &Wishes::default()).is_ok(), "an old kernel does not say; attaching will");
    }

    #[test]
    fn other_devices_are_taken_as_they_are() {
        let facts = Facts { driver: None, channels: None, xdp: None, mtu: 1500, kernel: Release(6, 1) };
        assert_eq!(decide(&facts, &Wishes::default()), Ok(Plan::default()));
        let wishes = Wishes { mtu: Some(1400), ..Wishes::default() };
        assert_eq!(decide(&facts, &wishes).unwrap().mtu, Some(1400));
    }

    #[test]
    fn a_driver_that_sends_only_whole_buffers_is_refused_for_long_packets() {
        let facts = |bits, mtu| Facts {
            driver: Some(Driver { name: "virtio_net".to_owned(), version: "1.0.0".to_owned() }),
            channels: None,
            xdp: Some(XdpFeatures(ABLE.0 | bits)),
            mtu,
            kernel: Release(6, 8),
        };
        let decided = |bits, mtu, wish| decide(&facts(bits, mtu), &Wishes { mtu: wish, ..Wishes::default() });
        const SENDS: u64 = XdpFeatures::RECEIVE_FRAGS | XdpFeatures::TRANSMIT;
        let refusal = decided(SENDS, 9000, None).unwrap_err();
        assert!(
            refusal.starts_with("packets of 9000 bytes lie in several buffers, and the driver virtio_net"),
            "{refusal}"
        );
        assert!(decided(SENDS, 1500, Some(9000)).is_err(), "as it will be");
        assert_eq!(decided(SENDS, 9000, Some(3000)).map(|plan| plan.mtu), Ok(Some(3000)));
        assert_eq!(decided(SENDS, 1500, None), Ok(Plan::default()));
        assert_eq!(decided(SENDS | XdpFeatures::TRANSMIT_FRAGS, 9000, None), Ok(Plan::default()));
        assert_eq!(decided(0, 9000, None), Ok(Plan::default()), "it says what it sends when the program is on it");
    }

    #[test]
    fn releases_are_read() {
        assert_eq!(Release::parse("6.1.0-49-cloud-amd64"), Some(Release(6, 1)));
        assert_eq!(Release::parse("2.14.0g"), Some(Release(2, 14)));
        assert_eq!(Release::parse("K1"), None);
        assert_eq!(Release::parse("7"), None);
    }
}
