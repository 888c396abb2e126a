//! Local gateways: DescribeLocalGatewayRouteTables, DescribeLocalGatewayRouteTableVpcAssociations,
//! SearchLocalGatewayRoutes, CreateLocalGatewayRoute, ModifyLocalGatewayRoute, DeleteLocalGatewayRoute.

use ipnet::IpNet;

use super::super::Xml;
use super::super::call::Call;
use super::super::params::Params;
use super::super::select::{Field, page, select};
use super::named;
use super::routes::only;
use crate::aws::REGION;
use crate::aws::model::{ApiError, Destination, LocalGatewayTable, LocalRoute, LocalTarget, World};

const TABLES: [Field<LocalGatewayTable>; 6] = [
    ("local-gateway-id", |_, it| vec![it.gateway.clone()]),
    ("local-gateway-route-table-id", |_, it| vec![it.id.clone()]),
    ("mode", |_, it| vec![it.mode.name().to_owned()]),
    ("outpost-arn", |_, it| vec![it.outpost.clone()]),
    ("owner-id", |_, it| vec![it.owner.clone()]),
    ("state", |_, _| vec!["available".to_owned()]),
];

/// The world with the tables that the caller sees.
fn seen(call: &mut Call<'_>) -> Result<World, ApiError> {
    let mut world = call.described()?;
    let account = &call.caller.account;
    world.local_gateway_tables.retain(|_, table| table.owner == *account || table.shared_with.contains(account));
    Ok(world)
}

pub(super) fn tables(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let ids = call.params.list("LocalGatewayRouteTableId");
    let filters = call.params.filters()?;
    let asked = call.params.page(5, 1000, !ids.is_empty())?;
    let world = seen(call)?;
    let unknown = |id: &str| ApiError::not_found("InvalidLocalGatewayRouteTableID", "local gateway route table ID", id);
    let listed = named(&world.local_gateway_tables, &ids, unknown)?;
    let chosen = select(&world, listed, &TABLES, None, &filters)?;
    let (chosen, token) = page(call.action, chosen, &asked, world.settings.page)?;
    let mut xml = Xml::ec2();
    xml.list("localGatewayRouteTableSet", chosen, |xml, table| {
        xml.leaf("localGatewayRouteTableId", &table.id);
        xml.leaf("localGatewayRouteTableArn", table.arn(REGION));
        xml.leaf("localGatewayId", &table.gateway);
        xml.leaf("outpostArn", &table.outpost);
        xml.leaf("ownerId", &table.owner);
        xml.leaf("state", "available");
        xml.leaf("mode", table.mode.name());
    });
    xml.optional("nextToken", token);
    Ok(xml)
}

/// A VPC of a table.
struct Association {
    id: String,
    table: LocalGatewayTable,
    vpc: String,
}

const ASSOCIATIONS: [Field<Association>; 5] = [
    ("local-gateway-id", |_, it| vec![it.table.gateway.clone()]),
    ("local-gateway-route-table-id", |_, it| vec![it.table.id.clone()]),
    ("local-gateway-route-table-vpc-association-id", |_, it| vec![it.id.clone()]),
    ("state", |_, _| vec!["associated".to_owned()]),
    ("vpc-id", |_, it| vec![it.vpc.clone()]),
];

pub(super) fn associations(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let filters = call.params.filters()?;
    let asked = call.params.page(5, 1000, false)?;
    let world = seen(call)?;
    let of_table = |table: &LocalGatewayTable| {
        let table = table.clone();
        let vpcs = table.vpcs.clone();
        vpcs.into_iter().map(move |(id, vpc)| Association { id, table: table.clone(), vpc })
    };
    let all: Vec<Association> = world.local_gateway_tables.values().flat_map(of_table).collect();
    let chosen = select(&world, &all, &ASSOCIATIONS, None, &filters)?;
    let (chosen, token) = page(call.action, chosen, &asked, world.settings.page)?;
    let mut xml = Xml::ec2();
    xml.list("localGatewayRouteTableVpcAssociationSet", chosen, |xml, one| {
        xml.leaf("localGatewayRouteTableVpcAssociationId", &one.id);
        xml.leaf("localGatewayRouteTableId", &one.table.id);
        xml.leaf("localGatewayRouteTableArn", one.table.arn(REGION));
        xml.leaf("localGatewayId", &one.table.gateway);
        xml.leaf("vpcId", &one.vpc);
        xml.leaf("ownerId", &one.table.owner);
        xml.leaf("state", "associated");
    });
    xml.optional("nextToken", token);
    Ok(xml)
}

type Found = (Destination, LocalRoute);

const ROUTES: [Field<Found>; 5] = [
    ("prefix-list-id", |_, (to, _)| match to {
        Destination::PrefixList(id) => vec![id.clone()],
        Destination::Network(_) => Vec::new(),
    }),
    ("route-search.exact-match", |_, (to, _)| vec![to.to_string()]),
    ("state", |world, (_, route)| vec![world.local_route_state(&route.target).to_owned()]),
    ("type", |_, (_, route)| vec![kind(route).to_owned()]),
    ("network-interface-id", |_, (_, route)| match &route.target {
        LocalTarget::Interface(id) => vec![id.clone()],
        LocalTarget::VirtualInterfaceGroup(_) => Vec::new(),
    }),
];

const fn kind(route: &LocalRoute) -> &'static str {
    if route.is_static { "static" } else { "propagated" }
}

pub(super) fn search(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let id = call.params.required("LocalGatewayRouteTableId")?;
    let filters = call.params.filters()?;
    let asked = call.params.page(5, 1000, false)?;
    let caller = call.caller.account.clone();
    let world = call.described()?;
    let table = world.local_gateway_table(&id, &caller)?;
    let all: Vec<Found> = table.effective().into_iter().collect();
    let chosen = select(&world, &all, &ROUTES, None, &filters)?;
    let (chosen, token) = page(call.action, chosen, &asked, world.settings.page)?;
    let mut xml = Xml::ec2();
    xml.list("routeSet", chosen, |xml, (to, route)| write(xml, &world, table, to, route));
    xml.optional("nextToken", token);
    Ok(xml)
}

fn write(xml: &mut Xml, world: &World, table: &LocalGatewayTable, to: &Destination, route: &LocalRoute) {
    match to {
        Destination::Network(network) => xml.leaf("destinationCidrBlock", network),
        Destination::PrefixList(id) => xml.leaf("destinationPrefixListId", id),
    }
    match &route.target {
        LocalTarget::Interface(id) => {
            xml.leaf("networkInterfaceId", id);
            xml.optional("subnetId", world.interfaces.get(id).map(|interface| &interface.subnet));
        }
        LocalTarget::VirtualInterfaceGroup(id) => xml.leaf("localGatewayVirtualInterfaceGroupId", id),
    }
    xml.leaf("type", kind(route));
    xml.leaf("state", world.local_route_state(&route.target));
    xml.leaf("localGatewayRouteTableId", &table.id);
    xml.leaf("localGatewayRouteTableArn", table.arn(REGION));
    xml.leaf("ownerId", &table.owner);
}

pub(super) fn create(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    set(call, false)
}

pub(super) fn modify(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    set(call, true)
}

fn set(call: &mut Call<'_>, exists: bool) -> Result<Xml, ApiError> {
    let table = call.params.required("LocalGatewayRouteTableId")?;
    let to = destination(&mut call.params)?;
    let targets = [
        call.params.optional("NetworkInterfaceId").map(LocalTarget::Interface),
        call.params.optional("LocalGatewayVirtualInterfaceGroupId").map(LocalTarget::VirtualInterfaceGroup),
    ];
    let target = only(targets, "target")?;
    let caller = call.caller.account.clone();
    let world = call.live()?;
    world.set_local_route(&table, &to, target.clone(), exists, &caller)?;
    let known = world.local_gateway_table(&table, &caller)?;
    let mut xml = Xml::ec2();
    xml.within("route", |xml| write(xml, world, known, &to, &LocalRoute { target, is_static: true }));
    Ok(xml)
}

pub(super) fn delete(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let table = call.params.required("LocalGatewayRouteTableId")?;
    let to = destination(&mut call.params)?;
    let caller = call.caller.account.clone();
    let world = call.live()?;
    let known = world.local_gateway_table(&table, &caller)?.clone();
    world.delete_local_route(&table, &to, &caller)?;
    let mut xml = Xml::ec2();
    if let Some(target) = known.routes.get(&to) {
        let route = LocalRoute { target: target.clone(), is_static: true };
        xml.within("route", |xml| write(xml, world, &known, &to, &route));
    }
    Ok(xml)
}

/// A network of either family, of which the world refuses IPv6, or a prefix list.
fn destination(params: &mut Params) -> Result<Destination, ApiError> {
    let network = match params.optional("DestinationCidrBlock") {
        None => None,
        Some(text) => Some(text.parse::<IpNet>().map_err(|_| {
            let message = format!(
                "Value ({text}) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block."
            );
            ApiError::invalid_value(message)
        })?),
    };
    let network = network.map(|network| Destination::Network(network.trunc()));
    only([network, params.optional("DestinationPrefixListId").map(Destination::PrefixList)], "destination")
}
