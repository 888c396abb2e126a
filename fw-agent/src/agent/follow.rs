//! Follows the kernel: what it reports, and what a look at its tables shows.

use super::enis::{macs, needs_enis};
use super::supervisor::Supervisor;
use crate::host::{forward_chain, handover, sysctl};
use crate::netlink::NetlinkError;
use crate::netlink::events::Batch;
use crate::netlink::state::Observed;

impl Supervisor {
    /// Follows a batch of the kernel's notifications.
    pub(super) async fn follow(&mut self, batch: Batch) {
        let mut moved = false;
        for event in &batch.neighbours {
            moved |= self.macs.note(event);
        }
        if moved {
            self.invalidate_next_hops("a neighbour has another hardware address");
        }
        if batch.lost {
            tracing::warn!("the kernel dropped notifications; looking at everything anew");
        }
        if batch.topology || batch.lost {
            // Before anything that may fail, and whatever has changed: the kernel looks routes up in tables that are not ours, too.
            self.invalidate_next_hops("links, addresses or routes have changed");
            self.keep_handover().await;
            self.reconcile(batch.lost).await;
        } else {
            self.follow_neighbours(&batch.neighbours).await;
        }
    }

    /// Looks at the kernel's tables and repairs what differs. `whole` also lets go of neighbours that do not answer.
    pub(super) async fn reconcile(&mut self, whole: bool) {
        if let Err(error) = self.try_reconcile(whole).await {
            tracing::error!(%error, "could not compare the kernel's tables; trying again");
        }
        self.publish();
    }

    /// Puts the program on all interfaces, and nothing else yet.
    pub(super) async fn attach_all(&mut self) -> Result<(), NetlinkError> {
        self.observed = self.look().await?;
        self.refresh_interfaces().await;
        Ok(())
    }

    /// Looks at the kernel's tables, with what is known of their devices besides.
    async fn look(&mut self) -> Result<Observed, NetlinkError> {
        let observed = self.kernel.observe().await?;
        if needs_enis(&self.config) {
            self.enis.want(macs(&observed));
        }
        Ok(Observed { enis: self.enis.known().clone(), ..observed })
    }

    async fn try_reconcile(&mut self, whole: bool) -> Result<(), NetlinkError> {
        let observed = self.look().await?;
        let before = std::mem::replace(&mut self.observed, observed);
        self.refresh_interfaces().await;
        self.refresh_settings();
        self.refresh_routes().await;
        self.refresh_neighbours(whole).await;
        if before != self.observed {
            self.invalidate_next_hops("links, addresses or routes have changed");
        }
        Ok(())
    }

    /// Keeps the kernel settings of the forwarding interfaces, and last of all forwarding itself.
    fn refresh_settings(&mut self) {
        let forwarding = self.facts.forwarding;
        self.facts.forwarding = match self.apply_settings() {
            Ok(()) => sysctl::is_forwarding(),
            Err(error) => {
                tracing::error!(%error, "a kernel setting could not be made");
                false
            }
        };
        if self.facts.forwarding && !forwarding {
            tracing::info!("the kernel forwards: what the data plane has judged, and nothing else");
        }
    }

    fn apply_settings(&self) -> std::io::Result<()> {
        for interface in self.attached.values().filter(|interface| !interface.management) {
            sysctl::apply_all(&sysctl::interface(&interface.name), "forwarding interface")?;
        }
        if !sysctl::is_forwarding() {
            let inherited = sysctl::read_number("net/ipv4/conf/all/rp_filter").unwrap_or(0);
            for link in self.bystanders() {
                let number = |path: String| sysctl::read_number(&path).unwrap_or(0);
                let rp_filter = inherited.max(number(format!("net/ipv4/conf/{}/rp_filter", link.name)));
                let accept_ra = number(format!("net/ipv6/conf/{}/accept_ra", link.name));
                sysctl::apply_all(
                    &sysctl::bystander(&link.name, rp_filter, accept_ra),
                    "as it was, when forwarding is on",
                )?;
            }
        }
        sysctl::apply_all(&sysctl::host(), "forwarding host")?;
        sysctl::apply_all(&sysctl::forwarding(), "the data plane stands")
    }

    /// Puts the forward chain back if somebody has removed or changed it.
    pub(super) async fn keep_forward_chain(&mut self) {
        self.facts.forward_chain_problem = match forward_chain::stands().await {
            Ok(true) => None,
            Ok(false) => {
                tracing::error!("the forward chain was removed or changed; putting it back");
                forward_chain::load().await.err().map(|error| error.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = &self.facts.forward_chain_problem {
            tracing::error!(%problem, "the forward chain does not stand");
        }
    }

    /// Makes the hand-over devices anew if somebody has removed them.
    pub(super) async fn keep_handover(&mut self) {
        let pair = match handover::ensure(&self.kernel).await {
            Ok(pair) if pair == self.pair => return,
            Ok(pair) => pair,
            Err(error) => return tracing::error!(%error, "the hand-over devices are not as they should be"),
        };
        tracing::warn!(ifindex = pair.outer_ifindex, "the hand-over devices are other ones than before");
        match self.dataplane.set_handover(pair.outer_ifindex, pair.inner_mac) {
            Ok(()) => self.pair = pair,
            Err(error) => tracing::error!(%error, "the data plane was not told of the hand-over devices"),
        }
    }

    /// Pins what is not pinned any more; whether the programs must be attached again.
    pub(super) fn keep_attachments(&mut self) -> bool {
        match self.dataplane.repair() {
            Ok(false) => false,
            Ok(true) => {
                tracing::error!("pinned links were removed, and with them the programs; putting them back");
                self.attached.clear();
                true
            }
            Err(error) => {
                tracing::error!(%error, "the pins of the data plane could not be put back");
                false
            }
        }
    }

    pub(super) fn invalidate_next_hops(&mut self, reason: &str) {
        self.vouching.invalidate(&*self.dataplane, reason);
    }
}
