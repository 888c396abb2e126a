//! What the files of a policy say, table by table, whatever their formatting, comments and order.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::parse::FILE;
use crate::parse::schema::Takes;
use crate::policy::{Policy, zone_pair_id};

/// The tables of all files.
pub(super) struct Written {
    /// The rules by id.
    pub(super) rules: BTreeMap<String, Table>,
    /// Everything else, by kind and name.
    pub(super) definitions: BTreeMap<(String, String), Value>,
}

impl Written {
    /// Reads the files anew; the policy that was made of them has the values, and not how they were written.
    pub(super) fn of(policy: &Policy) -> Self {
        let mut written = Self { rules: BTreeMap::new(), definitions: BTreeMap::new() };
        for (_, file) in policy.sources.files() {
            // It has been read before.
            let Ok(root) = file.text.parse::<Table>() else { continue };
            root.into_iter().for_each(|(key, value)| written.add(&key, value));
        }
        written
    }

    fn add(&mut self, key: &str, value: Value) {
        match (key, value) {
            ("version" | "include", _) => {}
            ("rule", Value::Array(rules)) => {
                for rule in rules {
                    if let Value::Table(table) = rule {
                        self.rules.insert(text(&table, "id"), table);
                    }
                }
            }
            ("zones", Value::Table(zones)) => self.named("zone", zones),
            ("addresses", Value::Table(sets)) => self.named("address set", sets),
            ("services", Value::Table(sets)) => self.named("service set", sets),
            (_, Value::Array(elements)) => {
                elements.into_iter().for_each(|element| {
                    self.definitions.insert((kind(key).to_owned(), name(&element)), element);
                });
            }
            (_, value) => {
                self.definitions.insert((kind(key).to_owned(), String::new()), value);
            }
        }
    }

    fn named(&mut self, kind: &str, values: Table) {
        self.definitions.extend(values.into_iter().map(|(name, value)| ((kind.to_owned(), name), value)));
    }
}

/// What an element of an array of tables is called.
fn kind(key: &str) -> &str {
    match key {
        "zone_pair" => "zone pair",
        other => other,
    }
}

/// The name of an element: its own, that of a pair of zones, or all that it says.
fn name(element: &Value) -> String {
    let Value::Table(table) = element else { return element.to_string() };
    if let Some(Value::String(name)) = table.get("name") {
        return name.clone();
    }
    match (text(table, "from"), text(table, "to")) {
        (from, to) if !from.is_empty() && !to.is_empty() => zone_pair_id(&from, &to),
        _ => element.to_string(),
    }
}

fn text(table: &Table, key: &str) -> String {
    table.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Where a key of a rule stands in the language's own order.
pub(super) fn position_in_rule(key: &str) -> usize {
    let Some(Takes::Tables(rule)) = FILE.key("rule").map(|key| key.takes) else { return 0 };
    rule.keys.iter().position(|known| known.name == key).unwrap_or(rule.keys.len())
}
