//! Keeps our routing table as the configuration asks, and the next hops resolved.

use std::collections::BTreeSet;

use super::interfaces::{Placed, place};
use super::supervisor::Supervisor;
use crate::facts::RouteFacts;
use crate::netlink::neighbours::{NeighbourEvent, NeighbourPlan, View};
use crate::netlink::plan::{self, BoundInterface, RoutePlan};
use crate::netlink::{neighbours, solicit};

impl Supervisor {
    /// Compares our table with what it should hold and changes what differs.
    pub(super) async fn refresh_routes(&mut self) {
        let plan = plan::plan(&self.config.routes, &self.bound(), &self.observed);
        let problems = self.apply_routes(&plan).await;
        self.report_unresolved(&plan);
        solicit_routers(&plan);
        let failed = problems.len();
        self.facts.routes = RouteFacts {
            installed: (self.observed.routes.len() + plan.set.len()).saturating_sub(plan.remove.len() + failed),
            unresolved: plan.unresolved,
            problems,
        };
        self.next_hops = plan.next_hops;
    }

    /// The forwarding interfaces by slot.
    fn bound(&self) -> Vec<BoundInterface> {
        let placed =
            place(&self.config, &self.observed, self.kept.as_ref()).into_iter().filter(|placed| !placed.management);
        // Routes lead by the device, whichever entry has it.
        let link = |placed: Placed| placed.link.or(placed.taken.map(|taken| taken.link));
        placed.map(|placed| BoundInterface { key: placed.key.to_string(), link: link(placed) }).collect()
    }

    /// What the kernel refused.
    async fn apply_routes(&self, plan: &RoutePlan) -> Vec<String> {
        let mut problems = Vec::new();
        for family in &plan.rules {
            match self.kernel.add_rule(*family).await {
                Ok(()) => tracing::info!(%family, "added the rule that leads to our routing table"),
                Err(error) => problems.push(error.to_string()),
            }
        }
        for route in &plan.set {
            let device = self.device_name(route.ifindex);
            match self.kernel.set_route(route).await {
                Ok(()) => tracing::info!(%route, device, "set a route that the configuration asks for"),
                Err(error) => problems.push(error.to_string()),
            }
        }
        for route in &plan.remove {
            let device = self.device_name(route.ifindex);
            match self.kernel.remove_route(route).await {
                Ok(()) => tracing::info!(%route, device, "removed a route that nothing asks for any more"),
                Err(error) => problems.push(error.to_string()),
            }
        }
        for problem in &problems {
            tracing::error!(%problem, "the kernel refused a change of our routes");
        }
        problems
    }

    fn device_name(&self, ifindex: u32) -> &str {
        self.observed.links.get(&ifindex).map_or("", |link| &link.name)
    }

    /// Says once of each route why it cannot be had.
    fn report_unresolved(&mut self, plan: &RoutePlan) {
        let describe = |route: &plan::Unresolved| format!("{}: {}", route.destination, route.reason);
        let now: BTreeSet<String> = plan.unresolved.iter().map(describe).collect();
        for problem in now.difference(&self.reported) {
            tracing::warn!(%problem, "a route cannot be had");
        }
        self.reported = now;
    }

    /// Asks the kernel to keep next hops and on-link hosts fresh.
    pub(super) async fn refresh_neighbours(&mut self, release_failed: bool) {
        let known = match self.kernel.neighbours().await {
            Ok(known) => known,
            Err(error) => return tracing::error!(%error, "the neighbours could not be read"),
        };
        if self.macs.replace(&known) {
            self.invalidate_next_hops("a neighbour has another hardware address");
        }
        self.managed = known.iter().filter(|neighbour| neighbour.managed).count();
        let room = neighbours::MAX_MANAGED.saturating_sub(self.managed);
        let view = View { next_hops: &self.next_hops, interfaces: &self.forwarding(), observed: &self.observed, room };
        self.apply_neighbours(neighbours::plan(&known, &view, release_failed)).await;
    }

    /// As [`Self::refresh_neighbours`], for those that the kernel has reported.
    pub(super) async fn follow_neighbours(&mut self, events: &[NeighbourEvent]) {
        let lost_next_hop = |event: &NeighbourEvent| match event {
            NeighbourEvent::Gone { ifindex, addr } => self.next_hops.contains(&(*ifindex, *addr)),
            NeighbourEvent::Changed(_) => false,
        };
        if events.iter().any(lost_next_hop) {
            return self.refresh_neighbours(false).await;
        }
        let room = neighbours::MAX_MANAGED.saturating_sub(self.managed);
        // Next hops are managed already, and a report about one says nothing of the others.
        let view = View { next_hops: &BTreeSet::new(), interfaces: &self.forwarding(), observed: &self.observed, room };
        let plan = neighbours::plan(&neighbours::latest(events), &view, false);
        self.managed += plan.manage.len();
        self.apply_neighbours(plan).await;
    }

    /// Indices of the forwarding interfaces that carry the program.
    fn forwarding(&self) -> BTreeSet<u32> {
        let forwarding = self.attached.values().filter(|interface| !interface.management);
        forwarding.map(|interface| interface.ifindex).collect()
    }

    async fn apply_neighbours(&self, plan: NeighbourPlan) {
        for (ifindex, addr) in plan.manage.into_iter().chain(plan.probe) {
            if let Err(error) = self.kernel.manage_neighbour(ifindex, addr).await {
                tracing::warn!(ifindex, %addr, %error, "a neighbour is not kept fresh by the kernel");
            }
        }
        for (ifindex, addr) in plan.release {
            tracing::info!(ifindex, %addr, "a neighbour no longer answers");
            if let Err(error) = self.kernel.release_neighbour(ifindex, addr).await {
                tracing::warn!(ifindex, %addr, %error, "a neighbour could not be released");
            }
        }
    }
}

/// Asks for the routers whose advertisement is missing.
fn solicit_routers(plan: &RoutePlan) {
    let interfaces: BTreeSet<u32> = plan.unresolved.iter().filter_map(|route| route.awaits_router).collect();
    for ifindex in interfaces {
        if let Err(error) = solicit::routers(ifindex) {
            tracing::debug!(ifindex, %error, "routers could not be asked for");
        }
    }
}
