//! The language as a JSON Schema, for editors that complete and check policy files while they are written.
//!
//! It is made of the key tables that the parser reads by ([`crate::parse`]), so it has exactly their keys. Draft 7 is what the
//! language servers of TOML take. It says less than the parser: whether names are defined, say, only the whole policy tells.

use serde_json::{Map, Value, json};

use crate::level::Level;
use crate::parse::schema::{Key, Schema, Takes};
use crate::parse::{FILE, SERVICE_TABLE};

/// A name that an author chooses, without the signs at both ends of the pattern.
const NAME: &str = "[A-Za-z0-9][A-Za-z0-9._-]*";
const ADDRESS: &str = "[0-9A-Fa-f:.]+";
/// Neither a point nor a slash at the start of a part.
const DIRECTORY: &str = "[^./][^/]*(/[^./][^/]*)*";
const PORTS: &str = "[0-9]+(-[0-9]+)?";

/// The schema of a policy file.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = table(&FILE);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("outpost-fw policy");
    schema["description"] = json!("A policy file of outpost-fw; all files of a directory are one policy.");
    schema["required"] = json!(["version"]);
    schema
}

fn table(schema: &Schema) -> Value {
    let properties = schema.keys.iter().map(|key| (key.name.to_owned(), property(key)));
    let mut object = json!({
        "type": "object",
        "properties": properties.collect::<Map<String, Value>>(),
        "additionalProperties": false,
    });
    let required: Vec<&str> = schema.keys.iter().filter(|key| key.example.is_some()).map(|key| key.name).collect();
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn property(key: &Key) -> Value {
    let mut value = value(key.takes);
    value["description"] = json!(key.about);
    value
}

fn value(takes: Takes) -> Value {
    match takes {
        Takes::Version => json!({ "const": 1 }),
        Takes::Text | Takes::RuleId => json!({ "type": "string" }),
        Takes::Name | Takes::SetName => pattern(NAME),
        Takes::Boolean => json!({ "type": "boolean" }),
        Takes::Logging => json!({ "anyOf": [{ "type": "boolean" }, { "enum": Level::NAMES }] }),
        Takes::Words(words) => json!({ "enum": words }),
        Takes::Number { lowest, highest } => json!({ "type": "integer", "minimum": lowest, "maximum": highest }),
        Takes::Rate => pattern("[0-9]+/[smhd]"),
        Takes::Duration => pattern("[0-9]+[smhd]"),
        // Language servers show dates and times of TOML as strings.
        Takes::Moment => json!({
            "anyOf": [{ "type": "string", "format": "date" }, { "type": "string", "format": "date-time" }],
        }),
        Takes::Zone => pattern(NAME),
        Takes::Zones => array(&pattern(NAME)),
        Takes::Networks => array(&pattern(&format!("{ADDRESS}(/[0-9]+)?"))),
        Takes::Directories => array(&pattern(DIRECTORY)),
        Takes::Address => pattern(ADDRESS),
        Takes::Addresses => array(&address_term()),
        Takes::Service => pattern(&service()),
        Takes::Services => array(&service_term()),
        Takes::Protocol => json!({ "enum": ["tcp", "udp", "sctp"] }),
        Takes::Ports => array(&pattern(PORTS)),
        Takes::Table(schema) => table(schema),
        Takes::Tables(schema) => json!({ "type": "array", "items": table(schema) }),
        Takes::TableOrTables(schema) => {
            let table = table(schema);
            json!({ "anyOf": [table, array(&table)] })
        }
        Takes::Named(schema) => named(&table(schema)),
        Takes::AddressSets => named(&array(&address_term())),
        Takes::ServiceSets => named(&array(&service_term())),
    }
}

fn pattern(inner: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^{inner}$") })
}

/// An empty array is refused: it could be read as nothing or as everything.
fn array(items: &Value) -> Value {
    json!({ "type": "array", "items": items, "minItems": 1 })
}

/// A table whose keys are names.
fn named(values: &Value) -> Value {
    json!({ "type": "object", "additionalProperties": values, "propertyNames": { "pattern": format!("^{NAME}$") } })
}

fn address_term() -> Value {
    pattern(&format!("!?(@{NAME}|{ADDRESS}(/[0-9]+|-{ADDRESS})?)"))
}

fn service_term() -> Value {
    json!({ "anyOf": [pattern(&format!("!?(@{NAME}|{})", service())), table(&SERVICE_TABLE)] })
}

fn service() -> String {
    format!("((tcp|udp|sctp)(/{PORTS})?|icmp(v6)?(/[a-z0-9-]+(/[0-9]+)?)?|proto/[0-9]+)")
}
