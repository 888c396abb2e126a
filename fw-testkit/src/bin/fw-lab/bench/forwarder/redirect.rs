//! The floor: the program `redirect_only` on both interfaces of the middle.

use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{DevMap, HashMap};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, Pod};
use fw_bench_ebpf::{CLIENT_PORT, SERVER_PORT, Target};
use fw_testkit::lab::{CLIENT_ADDRESS, PairLab, PairNode, SERVER_ADDRESS, mac_of, middle_address};

use crate::bench::chain::interface::{self, LEFT, RIGHT};

/// The attached program; dropping it takes the program off.
pub(in crate::bench) struct RedirectOnly {
    _ebpf: Ebpf,
}

/// The map's value.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct TargetValue(Target);

// SAFETY: `Target` is `repr(C)`, has no padding, and every field is made of integers.
unsafe impl Pod for TargetValue {}

impl RedirectOnly {
    pub(super) fn attach(lab: &PairLab, object: &Path) -> Result<Self> {
        lab.ns(PairNode::Middle)?.within(|| attach_here(object))?
    }
}

fn attach_here(object: &Path) -> Result<RedirectOnly> {
    let mut ebpf = EbpfLoader::new().load_file(object).with_context(|| format!("load {}", object.display()))?;
    let (left, right) = (interface::index(LEFT)?, interface::index(RIGHT)?);
    let mut ports = DevMap::try_from(ebpf.map_mut("PORTS").context("the object has no map PORTS")?)?;
    for (port, ifindex) in [(CLIENT_PORT, left), (SERVER_PORT, right)] {
        ports.set(port, ifindex, None, 0)?;
    }
    let targets = ebpf.map_mut("TARGETS").context("the object has no map TARGETS")?;
    let mut targets = HashMap::<_, u32, TargetValue>::try_from(targets)?;
    for (ingress, port, host) in [(left, SERVER_PORT, SERVER_ADDRESS), (right, CLIENT_PORT, CLIENT_ADDRESS)] {
        let target = Target { port, dst_mac: mac_of(host), src_mac: mac_of(middle_address(host)) };
        targets.insert(ingress, TargetValue(target), 0)?;
    }
    let program: &mut Xdp = ebpf.program_mut("redirect_only").context("the object has no redirect_only")?.try_into()?;
    program.load().context("load redirect_only")?;
    for interface in [LEFT, RIGHT] {
        program.attach(interface, XdpMode::Driver).with_context(|| format!("attach redirect_only to {interface}"))?;
    }
    Ok(RedirectOnly { _ebpf: ebpf })
}
