//! Route tables of local gateways (Outposts user guide, "Local gateway route tables").

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::World;
use super::error::ApiError;
use super::routes::Destination;

/// How a table translates addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalGatewayMode {
    /// It does not: instances are reached by their own addresses, and routes may lead to interfaces.
    DirectVpcRouting,
    /// It does, with customer-owned addresses, and no route leads to an interface.
    CustomerOwnedIp,
}

impl LocalGatewayMode {
    /// As `Mode` says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DirectVpcRouting => "direct-vpc-routing",
            Self::CustomerOwnedIp => "coip",
        }
    }
}

/// What a route leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalTarget {
    /// An interface.
    Interface(String),
    /// A group of virtual interfaces, towards the local network.
    VirtualInterfaceGroup(String),
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRoute {
    /// What it leads to.
    pub target: LocalTarget,
    /// Whether somebody made it; others follow from the VPCs and from BGP.
    pub is_static: bool,
}

/// A route table of a local gateway.
#[derive(Clone, Debug)]
pub struct LocalGatewayTable {
    /// `lgw-rtb-…`.
    pub id: String,
    /// `lgw-…`.
    pub gateway: String,
    /// The ARN of the Outpost.
    pub outpost: String,
    /// The account of the Outpost.
    pub owner: String,
    /// Accounts that may look at it, and change nothing.
    pub shared_with: BTreeSet<String>,
    /// How it translates addresses.
    pub mode: LocalGatewayMode,
    /// The VPCs that it serves, by the id of the association.
    pub vpcs: BTreeMap<String, String>,
    /// Routes that somebody made.
    pub routes: BTreeMap<Destination, LocalTarget>,
    /// Routes that follow from elsewhere; one that somebody made to the same destination beats them.
    pub propagated: BTreeMap<Destination, LocalTarget>,
}

impl LocalGatewayTable {
    /// The routes that count.
    #[must_use]
    pub fn effective(&self) -> BTreeMap<Destination, LocalRoute> {
        let route = |is_static: bool| {
            move |(to, target): (&Destination, &LocalTarget)| {
                (to.clone(), LocalRoute { target: target.clone(), is_static })
            }
        };
        self.propagated.iter().map(route(false)).chain(self.routes.iter().map(route(true))).collect()
    }

    /// What it is called in full.
    #[must_use]
    pub fn arn(&self, region: &str) -> String {
        format!("arn:aws:ec2:{region}:{}:local-gateway-route-table/{}", self.owner, self.id)
    }
}

impl World {
    /// A table of an Outpost's local gateway that serves some VPCs; its id.
    pub fn add_local_gateway_table(&mut self, outpost: &str, mode: LocalGatewayMode, vpcs: &[&str]) -> String {
        let (id, gateway) = (self.ids.next("lgw-rtb"), self.ids.next("lgw"));
        let known = self.outposts.get(outpost);
        let (outpost, owner) = known.map(|known| (known.arn.clone(), known.owner.clone())).unwrap_or_default();
        let vpcs = vpcs.iter().map(|vpc| (self.ids.next("lgw-vpc-assoc"), (*vpc).to_owned())).collect();
        let table = LocalGatewayTable {
            id: id.clone(),
            gateway,
            outpost,
            owner,
            shared_with: BTreeSet::new(),
            mode,
            vpcs,
            routes: BTreeMap::new(),
            propagated: BTreeMap::new(),
        };
        self.local_gateway_tables.insert(id.clone(), table);
        id
    }

    /// `active`, or `blackhole` while an interface cannot take packets.
    #[must_use]
    pub fn local_route_state(&self, target: &LocalTarget) -> &'static str {
        match target {
            LocalTarget::Interface(id) if !self.carries(id) => "blackhole",
            LocalTarget::Interface(_) | LocalTarget::VirtualInterfaceGroup(_) => "active",
        }
    }

    /// A table, as an account sees it.
    ///
    /// # Errors
    /// `InvalidLocalGatewayRouteTableID.NotFound`.
    pub fn local_gateway_table(&self, id: &str, caller: &str) -> Result<&LocalGatewayTable, ApiError> {
        let sees = |table: &&LocalGatewayTable| table.owner == caller || table.shared_with.contains(caller);
        let known = self.local_gateway_tables.get(id).filter(sees);
        known.ok_or_else(|| ApiError::not_found("InvalidLocalGatewayRouteTableID", "local gateway route table ID", id))
    }

    /// Makes a route, or gives one that there is another target.
    ///
    /// # Errors
    /// `UnauthorizedOperation` for who may only look, `RouteAlreadyExists`, `InvalidRoute.NotFound`, `RouteLimitExceeded`,
    /// and `InvalidParameterValue` for IPv6, for interfaces of other VPCs, and for interfaces in the mode `coip`.
    pub fn set_local_route(
        &mut self,
        table: &str,
        destination: &Destination,
        target: LocalTarget,
        exists: bool,
        caller: &str,
    ) -> Result<(), ApiError> {
        let known = self.changeable(table, caller)?;
        if matches!(destination, Destination::Network(IpNet::V6(_))) {
            let message = format!(
                "Value ({destination}) for parameter destinationCidrBlock is invalid. Local gateway route tables have no IPv6 routes."
            );
            return Err(ApiError::invalid_value(message));
        }
        match (known.routes.contains_key(destination), exists) {
            (true, false) => {
                let message = format!("The route identified by {destination} already exists.");
                return Err(ApiError::new("RouteAlreadyExists", message));
            }
            (false, true) => return Err(no_route(destination, table)),
            (true, true) | (false, false) => {}
        }
        if let LocalTarget::Interface(id) = &target {
            self.may_lead_locally(known, destination, id)?;
        }
        if let Some(table) = self.local_gateway_tables.get_mut(table) {
            table.routes.insert(destination.clone(), target);
        }
        Ok(())
    }

    fn may_lead_locally(&self, table: &LocalGatewayTable, destination: &Destination, id: &str) -> Result<(), ApiError> {
        let vpc = &self.interface(id)?.vpc;
        if table.mode != LocalGatewayMode::DirectVpcRouting {
            let message =
                format!("The local gateway route table '{}' is not in the mode direct-vpc-routing.", table.id);
            return Err(ApiError::invalid_value(message));
        }
        if !table.vpcs.values().any(|served| served == vpc) {
            let message =
                format!("The VPC '{vpc}' is not associated with the local gateway route table '{}'.", table.id);
            return Err(ApiError::invalid_value(message));
        }
        let others = table
            .routes
            .iter()
            .filter(|(to, target)| *to != destination && matches!(target, LocalTarget::Interface(_)));
        if others.count() >= self.settings.interface_routes_per_local_gateway {
            return Err(ApiError::new("RouteLimitExceeded", "The maximum number of routes has been reached."));
        }
        Ok(())
    }

    /// Takes a route away.
    ///
    /// # Errors
    /// `UnauthorizedOperation` for who may only look, `InvalidRoute.NotFound`.
    pub fn delete_local_route(&mut self, table: &str, destination: &Destination, caller: &str) -> Result<(), ApiError> {
        self.changeable(table, caller)?;
        let known = self.local_gateway_tables.get_mut(table);
        match known.and_then(|table| table.routes.remove(destination)) {
            None => Err(no_route(destination, table)),
            Some(_) => Ok(()),
        }
    }

    fn changeable(&self, table: &str, caller: &str) -> Result<&LocalGatewayTable, ApiError> {
        let known = self.local_gateway_table(table, caller)?;
        if known.owner == caller {
            return Ok(known);
        }
        let message = "You are not authorized to perform this operation.";
        Err(ApiError::new("UnauthorizedOperation", message).with_status(403))
    }
}

fn no_route(destination: &Destination, table: &str) -> ApiError {
    let message = format!("no route with destination-cidr-block {destination} in local gateway route table {table}");
    ApiError::new("InvalidRoute.NotFound", message)
}
