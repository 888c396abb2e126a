//! The floor: the program `redirect_only` of the eBPF object on both interfaces of the middle.

use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{DevMapHash, HashMap};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use fw_testkit::lab::{CLIENT_ADDRESS, LEFT, PairLab, PairNode, RIGHT, SERVER_ADDRESS, mac_of};
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};

/// The attached program; dropping it takes the program off.
pub(super) struct RedirectOnly {
    _ebpf: Ebpf,
}

impl RedirectOnly {
    pub(super) fn attach(lab: &PairLab, object: &Path) -> Result<Self> {
        let middle = lab.ns(PairNode::Middle)?;
        middle.within(|| attach_here(object))?
    }
}

fn attach_here(object: &Path) -> Result<RedirectOnly> {
    let mut ebpf = EbpfLoader::new().load_file(object).with_context(|| format!("load {}", object.display()))?;
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let (left, right) = (name_to_index(&any, LEFT)?, name_to_index(&any, RIGHT)?);
    let mut egress = DevMapHash::try_from(ebpf.map_mut("EGRESS").context("the object has no map EGRESS")?)?;
    for ifindex in [left, right] {
        egress.insert(ifindex, ifindex, None, 0)?;
    }
    let targets = ebpf.map_mut("REDIRECT_ONLY").context("the object has no map REDIRECT_ONLY")?;
    let mut targets = HashMap::<_, u32, [u8; 16]>::try_from(targets)?;
    let (left_mac, right_mac) = (mac_of([10, 201, 0, 1].into()), mac_of([10, 202, 0, 1].into()));
    targets.insert(left, target(right, mac_of(SERVER_ADDRESS), right_mac), 0)?;
    targets.insert(right, target(left, mac_of(CLIENT_ADDRESS), left_mac), 0)?;
    let program: &mut Xdp = ebpf.program_mut("redirect_only").context("the object has no redirect_only")?.try_into()?;
    program.load().context("load redirect_only")?;
    for interface in [LEFT, RIGHT] {
        program.attach(interface, XdpMode::Driver).with_context(|| format!("attach redirect_only to {interface}"))?;
    }
    Ok(RedirectOnly { _ebpf: ebpf })
}

/// The layout of the map's value: the interface index, then the destination's and the source's hardware address.
fn target(ifindex: u32, dst_mac: [u8; 6], src_mac: [u8; 6]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&ifindex.to_ne_bytes());
    bytes[4..10].copy_from_slice(&dst_mac);
    bytes[10..].copy_from_slice(&src_mac);
    bytes
}
