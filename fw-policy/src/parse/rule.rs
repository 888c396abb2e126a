//! `[[rule]]`.

use fw_common::abi::policy::Action;
use toml::de::DeTable;

use super::definitions::RuleDefinition;
use super::limits;
use super::schema::{Schema, Takes, key, words};
use super::table::TableReader;
use crate::Code;
use crate::diagnostic::Report;
use crate::policy::Mode;
use crate::source::{Location, Spanned};

/// `[[rule]]`.
pub(super) const RULE: Schema = Schema {
    what: "a rule",
    keys: &[
        key("id", Takes::Name, "Names the rule in counters, logs and metrics; unique and stable.")
            .required("\"NAME-001\""),
        key("renamed_from", Takes::Name, "The id that the rule had before, whose hits go on."),
        key("description", Takes::Text, "What the rule is for."),
        key("from", Takes::Zones, "The zones that packets come from.").required("[\"ZONE\"]"),
        key("to", Takes::Zones, "The zones that they go to.").required("[\"ZONE\"]"),
        key("source", Takes::Addresses, "Source addresses; any if left out."),
        key("destination", Takes::Addresses, "Destination addresses; any if left out."),
        key("services", Takes::Services, "Protocols and ports; any if left out."),
        key("action", Takes::Words(&ACTION_WORDS), "What is done with a packet that matches.").required("\"allow\""),
        key("log", Takes::Logging, "Whether it is logged, or as how severe; if left out, what is not allowed is."),
        key("mode", Takes::Words(&MODE_WORDS), "Whether the rule decides, or only counts and logs what it would do."),
        key("rate", Takes::Table(&limits::RATE), "How many flows it may open in a time."),
        key("max_flows", Takes::Table(&limits::MAX_FLOWS), "How many flows it may have at once."),
        key("idle_timeout", Takes::Duration, "When a flow without packets ends; by protocol and state if left out."),
        key("starts", Takes::Moment, "From when the rule matches."),
        key("expires", Takes::Moment, "From when it does not match any more."),
        key("expires_opens", Takes::Boolean, "Says that what the rule forbids may be allowed when it expires."),
        key("owner", Takes::Text, "Who answers for the rule."),
        key("ticket", Takes::Text, "Where the rule was asked for."),
    ],
    later: &[],
};

pub(super) const ACTIONS: [(&str, Action); 3] =
    [("allow", Action::Allow), ("drop", Action::Drop), ("reject", Action::Reject)];
pub(super) const ACTION_WORDS: [&str; 3] = words(&ACTIONS);
const MODE_WORDS: [&str; 2] = words(&Mode::WORDS);

pub(super) fn read(table: &DeTable<'_>, at: Location, report: &mut Report) -> RuleDefinition {
    let mut reader = TableReader::new(&RULE, table, at, report);
    let rule = RuleDefinition {
        id: reader.string("id"),
        renamed_from: reader.string("renamed_from"),
        description: reader.text("description"),
        from: reader.strings("from").map(|zones| zones.value),
        to: reader.strings("to").map(|zones| zones.value),
        source: reader.address_terms("source"),
        destination: reader.address_terms("destination"),
        services: reader.service_terms("services"),
        action: reader.choice("action", &ACTIONS),
        log: reader.logging("log").map(|log| log.value),
        mode: reader.choice("mode", &Mode::WORDS).map(|mode| mode.value).unwrap_or_default(),
        rate: limits::rate(&mut reader),
        max_flows: limits::max_flows(&mut reader),
        idle_timeout: reader.duration("idle_timeout"),
        starts: reader.moment("starts"),
        expires: reader.moment("expires"),
        expires_opens: reader.boolean("expires_opens"),
        owner: reader.text("owner"),
        ticket: reader.text("ticket"),
        at,
    };
    check_schedule(&mut reader, &rule);
    check_keys_that_need_an_action(&mut reader, &rule);
    rule
}

fn check_schedule(reader: &mut TableReader<'_, '_, '_>, rule: &RuleDefinition) {
    if let (Some(starts), Some(expires)) = (&rule.starts, &rule.expires)
        && starts.value >= expires.value
    {
        reader
            .report
            .at(Code::Schedule, expires.at, "the rule expires before it starts, so it never matches")
            .related(starts.at, "starts here");
    }
    // A value that is wrong has been reported.
    let opens = match &rule.expires_opens {
        Some(opens) => opens.value,
        None => reader.value("expires_opens").is_some(),
    };
    let Some(Spanned { value: Action::Drop | Action::Reject, .. }) = rule.action else { return };
    if let Some(expires) = &rule.expires
        && !opens
    {
        reader
            .report
            .at(Code::Schedule, expires.at, "when this rule expires, what it forbids may be allowed by a later one")
            .help("write `expires_opens = true` too if that is meant");
    }
}

/// Reports keys that say nothing with the action of the rule.
fn check_keys_that_need_an_action(reader: &mut TableReader<'_, '_, '_>, rule: &RuleDefinition) {
    let Some(action) = &rule.action else { return };
    let allows = action.value == Action::Allow;
    let mut contradiction = |key: &str, why: &str| {
        let at = reader.key_location(key);
        let message = format!("`{key}` contradicts `action = \"{}\"`: {why}", action.value.name());
        reader.report.at(Code::Contradiction, at, message).related(action.at, "the action is set here");
    };
    let about_flows = [
        ("rate", rule.rate.is_some()),
        ("max_flows", rule.max_flows.is_some()),
        ("idle_timeout", rule.idle_timeout.is_some()),
    ];
    for (key, _) in about_flows.into_iter().filter(|(_, is_there)| *is_there && !allows) {
        contradiction(key, "only a rule that allows opens flows");
    }
    if rule.expires_opens.is_some() && allows {
        contradiction("expires_opens", "a rule that allows closes when it expires");
    }
    if rule.expires_opens.is_some() && !allows && reader.value("expires").is_none() {
        let at = reader.key_location("expires_opens");
        reader.report.at(Code::Contradiction, at, "`expires_opens` says nothing without `expires`");
    }
}
