//! EC2: the ec2Query protocol of Smithy, version 2016-11-15 of the API.

mod instances;
mod interfaces;
mod local_gateway;
mod network;
mod routes;

use super::Xml;
use super::call::Call;
use crate::aws::model::{ApiError, Tags};

const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// The version of the API that callers name.
pub(crate) const VERSION: &str = "2016-11-15";

type Action = fn(&mut Call<'_>) -> Result<Xml, ApiError>;

const ACTIONS: [(&str, Action); 25] = [
    ("AttachNetworkInterface", interfaces::attach),
    ("CreateLocalGatewayRoute", local_gateway::create),
    ("CreateRoute", routes::create),
    ("DeleteLocalGatewayRoute", local_gateway::delete),
    ("DeleteRoute", routes::delete),
    ("DescribeInstanceTypes", network::types),
    ("DescribeInstances", instances::describe),
    ("DescribeLocalGatewayRouteTableVpcAssociations", local_gateway::associations),
    ("DescribeLocalGatewayRouteTables", local_gateway::tables),
    ("DescribeManagedPrefixLists", routes::prefix_lists),
    ("DescribeNetworkInterfaceAttribute", interfaces::attribute),
    ("DescribeNetworkInterfaces", interfaces::describe),
    ("DescribePlacementGroups", network::placement_groups),
    ("DescribeRouteTables", routes::describe),
    ("DescribeSecurityGroups", network::security_groups),
    ("DescribeSubnets", network::subnets),
    ("DescribeVpcs", network::vpcs),
    ("DetachNetworkInterface", interfaces::detach),
    ("GetManagedPrefixListEntries", routes::prefix_list_entries),
    ("ModifyLocalGatewayRoute", local_gateway::modify),
    ("ModifyNetworkInterfaceAttribute", interfaces::modify),
    ("RebootInstances", instances::reboot),
    ("ReplaceRoute", routes::replace),
    ("SearchLocalGatewayRoutes", local_gateway::search),
    ("TerminateInstances", instances::terminate),
];

/// Answers a call.
pub(crate) fn answer(call: &mut Call<'_>, request_id: &str) -> Result<String, ApiError> {
    let known = ACTIONS.iter().find(|(name, _)| *name == call.action);
    let (name, action) = known.ok_or_else(|| {
        ApiError::new("InvalidAction", format!("The action {} is not valid for this web service.", call.action))
    })?;
    let body = action(call)?.into_text();
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{name}Response xmlns=\"{NAMESPACE}\">\
         <requestId>{request_id}</requestId>{body}</{name}Response>"
    ))
}

/// The same for an error.
pub(crate) fn refusal(error: &ApiError, request_id: &str) -> String {
    let mut xml = Xml::ec2();
    xml.within("Response", |xml| {
        xml.within("Errors", |xml| {
            xml.within("Error", |xml| {
                xml.leaf("Code", &error.code);
                xml.leaf("Message", &error.message);
            });
        });
        xml.leaf("RequestID", request_id);
    });
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", xml.into_text())
}

fn tags(xml: &mut Xml, tags: &Tags) {
    xml.list("tagSet", tags, |xml, (key, value)| {
        xml.leaf("key", key);
        xml.leaf("value", value);
    });
}

fn yes() -> Xml {
    let mut xml = Xml::ec2();
    xml.leaf("return", true);
    xml
}

/// The things that ids name, all of them if there are no ids. An id that is of nothing is an error.
fn named<'w, T>(
    all: &'w std::collections::BTreeMap<String, T>,
    ids: &[String],
    unknown: impl Fn(&str) -> ApiError,
) -> Result<Vec<&'w T>, ApiError> {
    if ids.is_empty() {
        return Ok(all.values().collect());
    }
    ids.iter().map(|id| all.get(id).ok_or_else(|| unknown(id))).collect()
}
