//! Outposts: REST with JSON (Smithy, restJson1). ListOutposts, GetOutpost, GetOutpostInstanceTypes.

use serde_json::{Value, json};

use super::call::Call;
use super::select::page;
use crate::aws::model::{ApiError, Outpost, World};

/// The action that a method and a path stand for, and the Outpost that the path names. An ARN has slashes, which come escaped.
pub(crate) fn action(method: &str, path: &str) -> Option<(&'static str, Option<String>)> {
    let unescaped = |part: &str| {
        let mut pairs = form_urlencoded::parse(part.as_bytes());
        pairs.next().map(|(name, _)| name.into_owned()).unwrap_or_default()
    };
    let parts: Vec<String> = path.trim_start_matches('/').split('/').map(unescaped).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match (method, &parts[..]) {
        ("GET", ["outposts"]) => Some(("ListOutposts", None)),
        ("GET", ["outposts", id]) => Some(("GetOutpost", Some((*id).to_owned()))),
        ("GET", ["outposts", id, "instanceTypes"]) => Some(("GetOutpostInstanceTypes", Some((*id).to_owned()))),
        _ => None,
    }
}

/// Answers a call.
pub(crate) fn answer(call: &mut Call<'_>) -> Result<Value, ApiError> {
    match call.action {
        "ListOutposts" => list(call),
        "GetOutpost" => {
            let id = call.params.required("OutpostId")?;
            let world = call.described()?;
            Ok(json!({ "Outpost": write(find(&world, &id, &call.caller.account)?) }))
        }
        _ => instance_types(call),
    }
}

fn list(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let asked = call.params.page(1, 1000, false)?;
    let zones = call.params.list("AvailabilityZoneFilter");
    let states = call.params.list("LifeCycleStatusFilter");
    let world = call.described()?;
    let fits = |outpost: &&Outpost| {
        outpost.owner == call.caller.account
            && (zones.is_empty() || zones.contains(&outpost.zone))
            && (states.is_empty() || states.iter().any(|state| state == "ACTIVE"))
    };
    let all: Vec<Value> = world.outposts.values().filter(fits).map(write).collect();
    let (all, token) = page(call.action, all, &asked, world.settings.page)?;
    Ok(with_token(json!({ "Outposts": all }), token))
}

fn instance_types(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let id = call.params.required("OutpostId")?;
    let asked = call.params.page(1, 1000, false)?;
    let world = call.described()?;
    let outpost = find(&world, &id, &call.caller.account)?;
    let kind = |name: &String| {
        let vcpus = world.types.get(name).map(|kind| kind.vcpus);
        json!({ "InstanceType": name, "VCPUs": vcpus })
    };
    let (all, token) = page(call.action, outpost.capacity.keys().map(kind).collect(), &asked, world.settings.page)?;
    let listed = json!({ "InstanceTypes": all, "OutpostId": outpost.id, "OutpostArn": outpost.arn });
    Ok(with_token(listed, token))
}

fn with_token(mut answer: Value, token: Option<String>) -> Value {
    if let (Some(token), Some(fields)) = (token, answer.as_object_mut()) {
        fields.insert("NextToken".to_owned(), Value::String(token));
    }
    answer
}

/// By its id or its ARN.
fn find<'w>(world: &'w World, id: &str, account: &str) -> Result<&'w Outpost, ApiError> {
    let is_it = |outpost: &&Outpost| outpost.owner == account && (outpost.id == id || outpost.arn == id);
    let found = world.outposts.values().find(is_it);
    found.ok_or_else(|| ApiError::new("NotFoundException", format!("Outpost {id} was not found")).with_status(404))
}

fn write(outpost: &Outpost) -> Value {
    json!({
        "OutpostId": outpost.id,
        "OutpostArn": outpost.arn,
        "OwnerId": outpost.owner,
        "Name": outpost.name,
        "LifeCycleStatus": "ACTIVE",
        "AvailabilityZone": outpost.zone,
        "SupportedHardwareType": "RACK",
        "Tags": {},
    })
}
