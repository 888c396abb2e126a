//! The far end of a chain: who counts the packets and drops them.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::{SchedClassifier, TcAttachType, XdpMode};
use fw_testkit::lab::{PairLab, PairNode};
use fw_testkit::netns::NetNs;
use fw_testkit::process;

use super::ends::xdp;
use super::interface;

/// Where packets end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) enum SinkKind {
    /// An XDP program at the hosts.
    Hosts,
    /// The same program on the middle's interfaces: the chain without a forwarder.
    Middle,
    /// At the hosts, where socket buffers arrive: an XDP program would make the kernel copy each packet that it forwards.
    Buffers,
}

/// What the far end wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) enum Watch {
    /// How many packets arrive.
    Number,
    /// How long each was on its way, too.
    Delay,
}

/// What has been attached.
pub(super) struct Sink {
    /// The hosts' name spaces, if rules count there.
    rules: Option<[String; 2]>,
}

impl Sink {
    pub(super) fn attach(ebpf: &mut Ebpf, lab: &PairLab, kind: SinkKind, watch: Watch) -> Result<Self> {
        let program = if watch == Watch::Delay { "sink_frame" } else { "sink" };
        let (client, middle, server) =
            (lab.ns(PairNode::Client)?, lab.ns(PairNode::Middle)?, lab.ns(PairNode::Server)?);
        match (kind, watch) {
            (SinkKind::Hosts, _) => {
                xdp(ebpf, program)?.load().context("load the sink")?;
                [client, server].into_iter().try_for_each(|host| host.within(|| attach(ebpf, program, "eth0"))?)?;
            }
            (SinkKind::Middle, _) => {
                xdp(ebpf, program)?.load().context("load the sink")?;
                let mut sides = [interface::LEFT, interface::RIGHT].into_iter();
                sides.try_for_each(|side| middle.within(|| attach(ebpf, program, side))?)?;
            }
            (SinkKind::Buffers, Watch::Delay) => {
                classifier(ebpf)?.load().context("load the sink")?;
                [client, server].into_iter().try_for_each(|host| {
                    join_nothing(host)?;
                    host.within(|| attach_classifier(ebpf))?
                })?;
            }
            (SinkKind::Buffers, Watch::Number) => {
                [client, server].into_iter().try_for_each(count_by_rule)?;
                return Ok(Self { rules: Some([client, server].map(|host| host.name().to_owned())) });
            }
        }
        Ok(Self { rules: None })
    }

    /// Packets that rules have counted, if rules count.
    pub(super) fn counted_by_rules(&self) -> Option<Result<u64>> {
        self.rules.as_ref().map(|hosts| hosts.iter().map(|host| counted_by_rule(host)).sum())
    }
}

fn attach(ebpf: &mut Ebpf, program: &str, interface: &str) -> Result<()> {
    let attached = xdp(ebpf, program)?.attach(interface, XdpMode::Driver);
    attached.with_context(|| format!("attach the sink to {interface}"))?;
    Ok(())
}

fn classifier(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier> {
    Ok(ebpf.program_mut("sink_buffer").context("the object has no program sink_buffer")?.try_into()?)
}

fn attach_classifier(ebpf: &mut Ebpf) -> Result<()> {
    // Kernels before 6.6 attach it to a queueing discipline; on later ones it may exist without harm.
    let _exists = aya::programs::tc::qdisc_add_clsact("eth0");
    classifier(ebpf)?.attach("eth0", TcAttachType::Ingress).context("attach the sink")?;
    Ok(())
}

/// What the kernel forwards needs no NAPI to arrive, and joining packets would only be charged to who sent them.
fn join_nothing(host: &NetNs) -> Result<()> {
    process::run(host.command("ethtool")?.args(["-K", "eth0", "gro", "off"]))?.success()?;
    Ok(())
}

const RULE: &str = r#"table netdev bench {
    counter sunk { }
    chain ingress {
        type filter hook ingress device "eth0" priority 0;
        counter name "sunk" drop
    }
}
"#;

fn count_by_rule(host: &NetNs) -> Result<()> {
    join_nothing(host)?;
    process::feed(host.command("nft")?.args(["-f", "-"]), RULE)?.success()?;
    Ok(())
}

fn counted_by_rule(host: &str) -> Result<u64> {
    let host = NetNs::open(host)?;
    let listed = process::run(host.command("nft")?.args(["-j", "list", "counters", "table", "netdev", "bench"]))?;
    let listed: serde_json::Value = serde_json::from_str(&listed.success()?).context("nft printed no JSON")?;
    let mut objects = listed["nftables"].as_array().into_iter().flatten();
    objects.find_map(|object| object["counter"]["packets"].as_u64()).context("nft listed no counter")
}
