//! Route tables of VPCs and managed prefix lists: DescribeRouteTables, CreateRoute, ReplaceRoute, DeleteRoute,
//! DescribeManagedPrefixLists, GetManagedPrefixListEntries.

use ipnet::IpNet;

use super::super::Xml;
use super::super::call::Call;
use super::super::params::Params;
use super::super::select::{Field, page, select};
use super::{named, tags, yes};
use crate::aws::REGION;
use crate::aws::model::{ApiError, Destination, PrefixList, Route, RouteTable, Target, World};

const FIELDS: [Field<RouteTable>; 10] = [
    ("association.main", |_, it| vec![it.main.to_string()]),
    ("association.route-table-association-id", |_, it| it.subnets.keys().cloned().collect()),
    ("association.route-table-id", |_, it| vec![it.id.clone()]),
    ("association.subnet-id", |_, it| it.subnets.values().cloned().collect()),
    ("owner-id", |_, it| vec![it.owner.clone()]),
    ("route-table-id", |_, it| vec![it.id.clone()]),
    ("route.destination-cidr-block", |_, it| networks(it, |network| matches!(network, IpNet::V4(_)))),
    ("route.destination-ipv6-cidr-block", |_, it| networks(it, |network| matches!(network, IpNet::V6(_)))),
    ("route.state", |world, it| it.routes.values().map(|route| world.route_state(route).to_owned()).collect()),
    ("vpc-id", |_, it| vec![it.vpc.clone()]),
];

fn networks(table: &RouteTable, wanted: impl Fn(&IpNet) -> bool) -> Vec<String> {
    let network = |destination: &Destination| match destination {
        Destination::Network(network) if wanted(network) => Some(network.to_string()),
        Destination::Network(_) | Destination::PrefixList(_) => None,
    };
    table.routes.keys().filter_map(network).collect()
}

pub(super) fn describe(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let ids = call.params.list("RouteTableId");
    let filters = call.params.filters()?;
    let asked = call.params.page(5, 100, !ids.is_empty())?;
    let mut world = call.described()?;
    let account = &call.caller.account;
    world.route_tables.retain(|_, table| table.owner == *account);
    let listed =
        named(&world.route_tables, &ids, |id| ApiError::not_found("InvalidRouteTableID", "routeTable ID", id))?;
    let chosen = select(&world, listed, &FIELDS, Some(|it| &it.tags), &filters)?;
    let (chosen, token) = page(call.action, chosen, &asked, world.settings.page)?;
    let mut xml = Xml::ec2();
    xml.list("routeTableSet", chosen, |xml, table| {
        xml.leaf("routeTableId", &table.id);
        xml.leaf("vpcId", &table.vpc);
        xml.leaf("ownerId", &table.owner);
        xml.list("routeSet", &table.routes, |xml, (destination, route)| write(xml, &world, destination, route));
        xml.list("associationSet", &table.subnets, |xml, (id, subnet)| {
            xml.leaf("routeTableAssociationId", id);
            xml.leaf("routeTableId", &table.id);
            xml.leaf("subnetId", subnet);
            xml.leaf("main", false);
            xml.within("associationState", |xml| xml.leaf("state", "associated"));
        });
        xml.list("propagatingVgwSet", None::<()>, |_, ()| {});
        tags(xml, &table.tags);
    });
    xml.optional("nextToken", token);
    Ok(xml)
}

fn write(xml: &mut Xml, world: &World, destination: &Destination, route: &Route) {
    match destination {
        Destination::Network(IpNet::V4(network)) => xml.leaf("destinationCidrBlock", network),
        Destination::Network(IpNet::V6(network)) => xml.leaf("destinationIpv6CidrBlock", network),
        Destination::PrefixList(id) => xml.leaf("destinationPrefixListId", id),
    }
    match &route.target {
        Target::Local => xml.leaf("gatewayId", "local"),
        Target::Gateway(id) => xml.leaf("gatewayId", id),
        Target::LocalGateway(id) => xml.leaf("localGatewayId", id),
        Target::Interface(id) => {
            xml.leaf("networkInterfaceId", id);
            let attachment =
                world.interfaces.get(id).and_then(|interface| Some((interface, interface.attachment.as_ref()?)));
            if let Some((interface, attachment)) = attachment {
                xml.leaf("instanceId", &attachment.instance);
                xml.leaf("instanceOwnerId", &interface.owner);
            }
        }
    }
    xml.leaf("state", world.route_state(route));
    xml.leaf("origin", if route.of_table { "CreateRouteTable" } else { "CreateRoute" });
}

pub(super) fn create(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let (table, to, target) = asked(&mut call.params)?;
    let caller = call.caller.account.clone();
    call.live()?.create_route(&table, to, target, &caller)?;
    Ok(yes())
}

pub(super) fn replace(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let (table, to, target) = asked(&mut call.params)?;
    let caller = call.caller.account.clone();
    call.live()?.replace_route(&table, &to, target, &caller)?;
    Ok(yes())
}

pub(super) fn delete(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let table = call.params.required("RouteTableId")?;
    let to = destination(&mut call.params)?;
    let caller = call.caller.account.clone();
    call.live()?.delete_route(&table, &to, &caller)?;
    Ok(yes())
}

fn asked(params: &mut Params) -> Result<(String, Destination, Target), ApiError> {
    let table = params.required("RouteTableId")?;
    let to = destination(params)?;
    let local = params.parsed::<bool>("LocalTarget")?.unwrap_or(false).then_some(Target::Local);
    let targets = [
        params.optional("NetworkInterfaceId").map(Target::Interface),
        params.optional("GatewayId").map(|id| if id == "local" { Target::Local } else { Target::Gateway(id) }),
        params.optional("LocalGatewayId").map(Target::LocalGateway),
        local,
    ];
    Ok((table, to, only(targets, "target")?))
}

/// The destination, in the parameter that is meant for its kind.
pub(super) fn destination(params: &mut Params) -> Result<Destination, ApiError> {
    let mut network = |name: &str, wanted: fn(&IpNet) -> bool| {
        let Some(text) = params.optional(name) else { return Ok(None) };
        match text.parse() {
            Ok(Destination::Network(network)) if wanted(&network) => Ok(Some(Destination::Network(network))),
            Ok(Destination::Network(_) | Destination::PrefixList(_)) | Err(_) => Err(ApiError::invalid_value(format!(
                "Value ({text}) for parameter {name} is invalid. This is not a valid CIDR block."
            ))),
        }
    };
    let v4 = network("DestinationCidrBlock", |network| matches!(network, IpNet::V4(_)))?;
    let v6 = network("DestinationIpv6CidrBlock", |network| matches!(network, IpNet::V6(_)))?;
    let list = params.optional("DestinationPrefixListId").map(Destination::PrefixList);
    only([v4, v6, list], "destination")
}

/// Exactly one of several parameters.
pub(super) fn only<T, const N: usize>(given: [Option<T>; N], what: &str) -> Result<T, ApiError> {
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(ApiError::new("MissingParameter", format!("The request must contain a {what}"))),
        (Some(_), Some(_)) => {
            Err(ApiError::new("InvalidParameterCombination", format!("The request must contain exactly one {what}")))
        }
    }
}

const LISTS: [Field<PrefixList>; 3] = [
    ("owner-id", |_, it| vec![it.owner.clone()]),
    ("prefix-list-id", |_, it| vec![it.id.clone()]),
    ("prefix-list-name", |_, it| vec![it.name.clone()]),
];

fn unknown_list(id: &str) -> ApiError {
    ApiError::not_found("InvalidPrefixListID", "prefix list ID", id)
}

pub(super) fn prefix_lists(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let ids = call.params.list("PrefixListId");
    let filters = call.params.filters()?;
    let asked = call.params.page(1, 100, !ids.is_empty())?;
    let world = call.described()?;
    let listed = named(&world.prefix_lists, &ids, unknown_list)?;
    let chosen = select(&world, listed, &LISTS, None, &filters)?;
    let (chosen, token) = page(call.action, chosen, &asked, world.settings.page)?;
    let mut xml = Xml::ec2();
    xml.list("prefixListSet", chosen, |xml, list| {
        xml.leaf("prefixListId", &list.id);
        xml.leaf("prefixListName", &list.name);
        xml.leaf("prefixListArn", format!("arn:aws:ec2:{REGION}:{}:prefix-list/{}", list.owner, list.id));
        xml.leaf("ownerId", &list.owner);
        xml.leaf("addressFamily", "IPv4");
        xml.leaf("maxEntries", list.max_entries);
        xml.leaf("version", list.version);
        xml.leaf("state", "create-complete");
    });
    xml.optional("nextToken", token);
    Ok(xml)
}

pub(super) fn prefix_list_entries(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let id = call.params.required("PrefixListId")?;
    let asked = call.params.page(1, 100, false)?;
    let world = call.described()?;
    let list = world.prefix_lists.get(&id).ok_or_else(|| unknown_list(&id))?;
    let (entries, token) = page(call.action, list.entries.iter().collect(), &asked, world.settings.page)?;
    let mut xml = Xml::ec2();
    xml.list("entrySet", entries, |xml, (network, description)| {
        xml.leaf("cidr", network);
        xml.leaf("description", description);
    });
    xml.optional("nextToken", token);
    Ok(xml)
}
