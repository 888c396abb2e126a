//! CloudWatch, as far as Outposts report their free capacity to it: GetMetricData and GetMetricStatistics of
//! `AvailableInstanceType_Count` in `AWS/Outposts` (Outposts user guide, "CloudWatch metrics for Outposts racks"), by the
//! RPC v2 CBOR protocol of Smithy, which is what SDKs speak to CloudWatch since 2025.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::call::Call;
use super::cbor;
use crate::aws::model::{ApiError, World};

/// What stands in front of the action in the path.
const PATH: &str = "/service/GraniteServiceVersion20100801/operation/";

/// The action of a path.
pub(crate) fn action(method: &str, path: &str) -> Option<String> {
    let action = path.strip_prefix(PATH)?;
    (method == "POST").then(|| action.to_owned())
}

/// The parameters of a body, each under the path that leads to it.
pub(crate) fn parameters(body: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut flat = BTreeMap::new();
    flatten(&mut flat, "", &cbor::read(body)?);
    Some(flat)
}

fn flatten(flat: &mut BTreeMap<String, String>, path: &str, value: &Value) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) if fields.contains_key(cbor::TIME) => {
            flat.insert(path.to_owned(), fields.values().map(ToString::to_string).collect());
        }
        Value::Object(fields) => fields.iter().for_each(|(name, value)| flatten(flat, &below(name), value)),
        Value::Array(all) => {
            let numbered = all.iter().enumerate();
            numbered.for_each(|(position, value)| flatten(flat, &below(&(position + 1).to_string()), value));
        }
        Value::String(text) => {
            flat.insert(path.to_owned(), text.clone());
        }
        Value::Null => {}
        other @ (Value::Bool(_) | Value::Number(_)) => {
            flat.insert(path.to_owned(), other.to_string());
        }
    }
}

/// Answers a call.
pub(crate) fn answer(call: &mut Call<'_>) -> Result<Value, ApiError> {
    match call.action {
        "GetMetricData" => data(call),
        "GetMetricStatistics" => statistics(call),
        other => Err(ApiError::new("UnknownOperationException", format!("{other} is not known")).with_status(404)),
    }
}

/// What a query asks for.
struct Query {
    namespace: String,
    metric: String,
    dimensions: BTreeMap<String, String>,
    statistic: String,
    period: f64,
}

impl Query {
    /// The namespace and so on lie below `metric`, the period and the statistic below `stat`.
    fn read(call: &mut Call<'_>, metric: &str, stat: &str, statistic: &str) -> Result<Self, ApiError> {
        let mut dimensions = BTreeMap::new();
        for number in 1..=30 {
            let name = call.params.optional(&format!("{metric}Dimensions.{number}.Name"));
            let Some(name) = name else { break };
            dimensions.insert(name, call.params.required(&format!("{metric}Dimensions.{number}.Value"))?);
        }
        let period = call.params.parsed(&format!("{stat}Period"))?.unwrap_or(0.0);
        if period < 1.0 {
            return Err(ApiError::new("InvalidParameterValueException", "The period must be greater than 0."));
        }
        Ok(Self {
            namespace: call.params.required(&format!("{metric}Namespace"))?,
            metric: call.params.required(&format!("{metric}MetricName"))?,
            dimensions,
            statistic: call.params.required(&format!("{stat}{statistic}"))?,
            period,
        })
    }

    /// The newest value; a metric that nobody reports has none. The dimensions must be exactly those of the metric.
    fn value(&self, world: &World) -> Option<f64> {
        let known = ["Average", "Maximum", "Minimum", "Sum"].contains(&self.statistic.as_str());
        if self.namespace != "AWS/Outposts" || self.metric != "AvailableInstanceType_Count" || !known {
            return None;
        }
        let outpost = world.outposts.get(self.dimensions.get("OutpostId")?)?;
        let count = outpost.capacity.get(self.dimensions.get("InstanceType")?)?;
        (self.dimensions.len() == 2).then(|| f64::from(*count))
    }
}

/// The bounds in seconds since 1970, and the beginning of the last period between them.
fn bounds(call: &mut Call<'_>) -> Result<(f64, f64), ApiError> {
    let mut time = |name: &str| {
        let value = call.params.parsed::<f64>(name)?;
        value.ok_or_else(|| {
            ApiError::new("MissingRequiredParameterException", format!("The parameter {name} is required."))
        })
    };
    let (start, end) = (time("StartTime")?, time("EndTime")?);
    if start >= end {
        let message = "The parameter StartTime must be less than the parameter EndTime.";
        return Err(ApiError::new("InvalidParameterCombinationException", message));
    }
    Ok((start, end))
}

/// When the newest data point before the end began, if it lies between the bounds.
fn newest((start, end): (f64, f64), period: f64) -> Option<f64> {
    let at = ((end / period).floor() - 1.0) * period;
    (at >= start).then_some(at)
}

fn data(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let bounds = bounds(call)?;
    let mut queries = Vec::new();
    for number in 1..=500 {
        let id = call.params.optional(&format!("MetricDataQueries.{number}.Id"));
        let Some(id) = id else { break };
        let stat = format!("MetricDataQueries.{number}.MetricStat.");
        let label = call.params.optional(&format!("MetricDataQueries.{number}.Label"));
        call.params.parsed::<bool>(&format!("MetricDataQueries.{number}.ReturnData"))?;
        queries.push((id, label, Query::read(call, &format!("{stat}Metric."), &stat, "Stat")?));
    }
    let order = call.params.optional("ScanBy");
    if order.is_some_and(|order| !["TimestampAscending", "TimestampDescending"].contains(&order.as_str())) {
        return Err(ApiError::new("InvalidParameterValueException", "ScanBy is no order of times."));
    }
    let world = call.described()?;
    let result = |(id, label, query): (String, Option<String>, Query)| {
        let point = newest(bounds, query.period).zip(query.value(&world));
        json!({
            "Id": id,
            "Label": label.unwrap_or(query.metric),
            "Timestamps": point.iter().map(|(at, _)| cbor::time(*at)).collect::<Vec<_>>(),
            "Values": point.iter().map(|(_, value)| *value).collect::<Vec<_>>(),
            "StatusCode": "Complete",
        })
    };
    let results: Vec<Value> = queries.into_iter().map(result).collect();
    Ok(json!({ "MetricDataResults": results, "Messages": [] }))
}

fn statistics(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let bounds = bounds(call)?;
    let query = Query::read(call, "", "", "Statistics.1")?;
    let world = call.described()?;
    let point = newest(bounds, query.period).zip(query.value(&world));
    let point = point
        .map(|(at, value)| json!({ "Timestamp": cbor::time(at), query.statistic.clone(): value, "Unit": "Count" }));
    Ok(json!({ "Label": query.metric, "Datapoints": point.into_iter().collect::<Vec<_>>() }))
}
