//! Follows the kernel: what it reports, and what a look at its tables shows.

use super::supervisor::Supervisor;
use crate::host::sysctl;
use crate::netlink::NetlinkError;
use crate::netlink::events::Batch;

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
            self.reconcile(batch.lost).await;
        } else if !batch.neighbours.is_empty() {
            self.refresh_neighbours(false).await;
        }
    }

    /// Looks at the kernel's tables and repairs what differs. `whole` also lets go of neighbours that do not answer.
    pub(super) async fn reconcile(&mut self, whole: bool) {
        if let Err(error) = self.try_reconcile(whole).await {
            tracing::error!(%error, "could not compare the kernel's tables; trying again");
        }
        self.publish();
    }

    async fn try_reconcile(&mut self, whole: bool) -> Result<(), NetlinkError> {
        let before = std::mem::take(&mut self.observed);
        self.observed = self.kernel.observe().await?;
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
            sysctl::apply_all(&sysctl::interface(&interface.name))?;
        }
        if !sysctl::is_forwarding() {
            let inherited = sysctl::read_number("net/ipv4/conf/all/rp_filter").unwrap_or(0);
            for link in self.bystanders() {
                let number = |path: String| sysctl::read_number(&path).unwrap_or(0);
                let rp_filter = inherited.max(number(format!("net/ipv4/conf/{}/rp_filter", link.name)));
                let accept_ra = number(format!("net/ipv6/conf/{}/accept_ra", link.name));
                sysctl::apply_all(&sysctl::bystander(&link.name, rp_filter, accept_ra))?;
            }
        }
        sysctl::apply_all(&sysctl::host())?;
        sysctl::apply_all(&sysctl::forwarding())
    }

    pub(super) fn invalidate_next_hops(&self, reason: &str) {
        tracing::debug!(reason, "next hops are looked up anew");
        if let Err(error) = self.dataplane.invalidate_next_hops() {
            tracing::error!(%error, reason, "next hops could not be invalidated");
        }
    }
}
