//! The pair of devices through which the data plane hands packets to the kernel whose next hop is not resolved.
//!
//! The program redirects them to [`OUTER`]; they arrive at [`INNER`], the only input that the forward chain accepts, and the
//! kernel resolves the next hop and sends them on.

use rtnetlink::LinkVeth;

use super::ethtool::set_gro;
use super::sysctl::{self, Setting};
use crate::netlink::NetlinkError;
use crate::netlink::kernel::Kernel;
use crate::netlink::state::Link;

/// The end that the program redirects to.
pub const OUTER: &str = "ofw-out";
/// The end that the kernel receives from.
pub const INNER: &str = "ofw-in";

/// Above every MTU of an ENI: the egress interface's MTU is for the kernel to check, not the pair's.
const MTU: u32 = 9_216;

/// The pair, ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Interface index of the outer end.
    pub outer_ifindex: u32,
    /// Hardware address of the inner end.
    pub inner_mac: [u8; 6],
}

/// Why there is no pair.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The kernel refused to make or change the devices.
    #[error("hand-over devices {OUTER} and {INNER}: {0}")]
    Netlink(#[from] NetlinkError),
    /// A setting of the devices could not be changed.
    #[error("hand-over device {INNER}: {0}")]
    Io(#[from] std::io::Error),
    /// The devices were made, but are not there.
    #[error("the hand-over device {0} has vanished")]
    Vanished(&'static str),
}

/// Makes the pair unless it exists, and sets it up. Idempotent.
pub async fn ensure(kernel: &Kernel) -> Result<Pair, HandoverError> {
    if find(kernel, OUTER).await.is_err() || find(kernel, INNER).await.is_err() {
        kernel.add_link(LinkVeth::new(OUTER, INNER).build(), OUTER).await?;
        tracing::info!(outer = OUTER, inner = INNER, "made the hand-over devices");
    }
    let (outer, inner) = (find(kernel, OUTER).await?, find(kernel, INNER).await?);
    sysctl::apply_all(&settings(), "hand-over devices")?;
    set_gro(INNER, true)?;
    for link in [&outer, &inner] {
        if link.mtu < MTU {
            kernel.set_mtu(link, MTU).await?;
        }
        if !link.up {
            kernel.set_up(link).await?;
        }
    }
    Ok(Pair { outer_ifindex: outer.index, inner_mac: inner.mac.0 })
}

async fn find(kernel: &Kernel, name: &'static str) -> Result<Link, HandoverError> {
    let links = kernel.links().await?;
    links.into_iter().find(|link| link.name == name).ok_or(HandoverError::Vanished(name))
}

/// The pair needs no addresses, must not learn any, and carries packets from everywhere.
fn settings() -> Vec<Setting> {
    let of = |device: &str| {
        [
            Setting::required(format!("net/ipv4/conf/{device}/rp_filter"), "0"),
            Setting::required(format!("net/ipv4/conf/{device}/send_redirects"), "0"),
            Setting::optional(format!("net/ipv6/conf/{device}/addr_gen_mode"), "1"),
            Setting::optional(format!("net/ipv6/conf/{device}/accept_ra"), "0"),
        ]
    };
    [of(OUTER), of(INNER)].concat()
}
