//! Route tables of VPCs, and managed prefix lists.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use super::error::ApiError;
use super::instance::InstanceState;
use super::network::Tags;
use super::{Interface, World};

/// Where a route leads from: a network, or the networks of a prefix list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// A network, of which host bits are taken away as EC2 does.
    Network(IpNet),
    /// `pl-…`.
    PrefixList(String),
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(formatter),
            Self::PrefixList(id) => id.fmt(formatter),
        }
    }
}

impl FromStr for Destination {
    type Err = ipnet::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("pl-") {
            return Ok(Self::PrefixList(text.to_owned()));
        }
        text.parse::<IpNet>().map(|network| Self::Network(network.trunc()))
    }
}

/// What a route leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The VPC itself.
    Local,
    /// An interface.
    Interface(String),
    /// An internet or a virtual private gateway.
    Gateway(String),
    /// A local gateway.
    LocalGateway(String),
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What it leads to.
    pub target: Target,
    /// Whether it came with the table.
    pub of_table: bool,
}

/// A route table.
#[derive(Clone, Debug)]
pub struct RouteTable {
    /// `rtb-…`.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// The account of the VPC.
    pub owner: String,
    /// Whether it counts for subnets without a table of their own.
    pub main: bool,
    /// The subnets that it counts for, by the id of the association.
    pub subnets: BTreeMap<String, String>,
    /// Its routes.
    pub routes: BTreeMap<Destination, Route>,
    /// Its tags.
    pub tags: Tags,
}

/// A managed prefix list.
#[derive(Clone, Debug)]
pub struct PrefixList {
    /// `pl-…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its account.
    pub owner: String,
    /// How many networks it may have; a route to it counts as so many.
    pub max_entries: usize,
    /// Counts its changes.
    pub version: u64,
    /// Its networks and what they are.
    pub entries: BTreeMap<IpNet, String>,
}

impl World {
    /// A route table of a VPC for some of its subnets, with the routes of the VPC itself; its id.
    pub fn add_route_table(&mut self, vpc: &str, subnets: &[&str]) -> String {
        let id = self.ids.next("rtb");
        let known = self.vpcs.get(vpc).cloned();
        let own: Vec<IpNet> = known
            .iter()
            .flat_map(|vpc| {
                let v4 = vpc.networks.iter().copied().map(IpNet::V4);
                v4.chain(vpc.networks6.iter().copied().map(IpNet::V6)).collect::<Vec<_>>()
            })
            .collect();
        let local = Route { target: Target::Local, of_table: true };
        let subnets = subnets.iter().map(|subnet| (self.ids.next("rtbassoc"), (*subnet).to_owned())).collect();
        let table = RouteTable {
            id: id.clone(),
            vpc: vpc.to_owned(),
            owner: known.map(|vpc| vpc.owner).unwrap_or_default(),
            main: false,
            subnets,
            routes: own.into_iter().map(|network| (Destination::Network(network), local.clone())).collect(),
            tags: Tags::new(),
        };
        self.route_tables.insert(id.clone(), table);
        id
    }

    /// A prefix list; its id.
    pub fn add_prefix_list(&mut self, owner: &str, name: &str, max_entries: usize, networks: &[Ipv4Net]) -> String {
        let id = self.ids.next("pl");
        let list = PrefixList {
            id: id.clone(),
            name: name.to_owned(),
            owner: owner.to_owned(),
            max_entries,
            version: 1,
            entries: networks.iter().map(|network| (IpNet::V4(*network), String::new())).collect(),
        };
        self.prefix_lists.insert(id.clone(), list);
        id
    }

    /// `active`, or `blackhole` while what it leads to cannot take packets.
    #[must_use]
    pub fn route_state(&self, route: &Route) -> &'static str {
        match &route.target {
            Target::Interface(id) if !self.carries(id) => "blackhole",
            Target::Interface(_) | Target::Local | Target::Gateway(_) | Target::LocalGateway(_) => "active",
        }
    }

    /// Whether an interface is attached to an instance that runs.
    #[must_use]
    pub fn carries(&self, interface: &str) -> bool {
        let instance = self.interfaces.get(interface).and_then(Interface::carries_for);
        let instance = instance.and_then(|id| self.instances.get(id));
        instance.is_some_and(|instance| instance.state == InstanceState::Running)
    }

    /// A route that there was none of.
    ///
    /// # Errors
    /// `InvalidRouteTableID.NotFound`, `RouteAlreadyExists`, `RouteLimitExceeded`, `InvalidNetworkInterfaceID.NotFound`,
    /// `InvalidPrefixListId.NotFound`, and `InvalidParameterValue` for an interface of another VPC.
    pub fn create_route(
        &mut self,
        table: &str,
        destination: Destination,
        target: Target,
        caller: &str,
    ) -> Result<(), ApiError> {
        self.may_lead(table, &destination, &target, caller)?;
        let known = self.route_table(table, caller)?;
        if known.routes.contains_key(&destination) {
            let message = format!("The route identified by {destination} already exists.");
            return Err(ApiError::new("RouteAlreadyExists", message));
        }
        let used: usize = known.routes.iter().filter(|(_, route)| !route.of_table).map(|(to, _)| self.weight(to)).sum();
        if used + self.weight(&destination) > self.settings.routes_per_table {
            let message = "The maximum number of routes has been reached.";
            return Err(ApiError::new("RouteLimitExceeded", message));
        }
        if let Some(table) = self.route_tables.get_mut(table) {
            table.routes.insert(destination, Route { target, of_table: false });
        }
        Ok(())
    }

    /// Another target for a route that there is.
    ///
    /// # Errors
    /// As [`World::create_route`]; `InvalidParameterValue` when there is no such route.
    pub fn replace_route(
        &mut self,
        table: &str,
        destination: &Destination,
        target: Target,
        caller: &str,
    ) -> Result<(), ApiError> {
        self.may_lead(table, destination, &target, caller)?;
        let route = self.route_tables.get_mut(table).and_then(|table| table.routes.get_mut(destination));
        let route = route.ok_or_else(|| {
            let message =
                format!("There is no route defined for '{destination}' in the route table. Use CreateRoute instead.");
            ApiError::invalid_value(message)
        })?;
        if target == Target::Local && !route.of_table {
            let message = format!("The destination '{destination}' is not that of a local route.");
            return Err(ApiError::invalid_value(message));
        }
        route.target = target;
        Ok(())
    }

    /// Takes a route away.
    ///
    /// # Errors
    /// `InvalidRouteTableID.NotFound`, `InvalidRoute.NotFound`, `InvalidParameterValue` for a route of the VPC itself.
    pub fn delete_route(&mut self, table: &str, destination: &Destination, caller: &str) -> Result<(), ApiError> {
        let known = self.route_table(table, caller)?;
        match known.routes.get(destination) {
            None => {
                let message = format!("no route with destination-cidr-block {destination} in route table {table}");
                Err(ApiError::new("InvalidRoute.NotFound", message))
            }
            Some(route) if route.of_table => {
                Err(ApiError::invalid_value(format!("cannot remove local route {destination} in route table {table}")))
            }
            Some(_) => {
                if let Some(table) = self.route_tables.get_mut(table) {
                    table.routes.remove(destination);
                }
                Ok(())
            }
        }
    }

    /// Who does not own the VPC does not see its tables, even if its subnets are shared.
    fn route_table(&self, id: &str, caller: &str) -> Result<&RouteTable, ApiError> {
        let known = self.route_tables.get(id).filter(|table| table.owner == caller);
        known.ok_or_else(|| ApiError::not_found("InvalidRouteTableID", "routeTable ID", id))
    }

    fn may_lead(&self, table: &str, destination: &Destination, target: &Target, caller: &str) -> Result<(), ApiError> {
        let known = self.route_table(table, caller)?;
        if let Destination::PrefixList(id) = destination
            && !self.prefix_lists.contains_key(id)
        {
            return Err(ApiError::not_found("InvalidPrefixListId", "prefix list ID", id));
        }
        if let Target::Interface(id) = target
            && self.interface(id)?.vpc != known.vpc
        {
            let message = format!("route table {table} and interface {id} belong to different networks");
            return Err(ApiError::invalid_value(message));
        }
        Ok(())
    }

    /// As how many routes a destination counts (VPC user guide, "Prefix list rules").
    fn weight(&self, destination: &Destination) -> usize {
        match destination {
            Destination::Network(_) => 1,
            Destination::PrefixList(id) => self.prefix_lists.get(id).map_or(1, |list| list.max_entries),
        }
    }
}
