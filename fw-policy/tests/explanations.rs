//! What `fwctl explain-code` shows is true: each wrong example is refused with its code and no other, each right one is taken.

use std::collections::BTreeSet;

use fw_policy::{
    Binding, Code, Diagnostic, Example, ExampleVerdict, InterfaceBinding, ManagementBinding, Options, WorkLimits, load,
};
use time::OffsetDateTime;
use time::macros::datetime;

/// What the compiler is told of `agent.toml`. That the agent reads the examples alike is tried where it does, in `fw-agent`.
fn binding(agent: &str) -> Binding {
    let agent: toml::Table = agent.parse().expect("an example is TOML");
    let strings = |table: &toml::Table, key: &str| -> Vec<String> {
        let values = table.get(key).and_then(toml::Value::as_array).into_iter().flatten();
        values.filter_map(toml::Value::as_str).map(str::to_owned).collect()
    };
    let name = |table: &toml::Table, key: &str| table[key].as_str().expect("a name").to_owned();
    let interfaces: Vec<InterfaceBinding> = agent["interface"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|interface| {
            let interface = interface.as_table().expect("a table");
            InterfaceBinding { name: name(interface, "name"), zones: strings(interface, "zones") }
        })
        .collect();
    let management = agent.get("management").and_then(toml::Value::as_table).map(|management| {
        let position = interfaces.iter().position(|known| known.name == name(management, "interface"));
        let slot = u32::try_from(position.unwrap_or(interfaces.len())).expect("a slot");
        ManagementBinding { slot, allow: strings(management, "allow") }
    });
    let policy = agent.get("policy").and_then(toml::Value::as_table);
    let disabled = policy.map(|policy| strings(policy, "disabled_system_rules")).unwrap_or_default();
    Binding { interfaces, management, disabled_system_rules: disabled.into_iter().collect(), ..Binding::default() }
}

const NOW: OffsetDateTime = datetime!(2026-07-01 0:00 UTC);

/// All findings about an example, warnings too; what the analysis finds only if the code is one of it.
fn findings(code: Code, example: &Example) -> Vec<Diagnostic> {
    let policy = match load(&example.files()) {
        Ok(policy) => policy,
        Err(diagnostics) => return diagnostics.items,
    };
    let mut options = Options::default();
    options.memory_budget = example.memory_budget.unwrap_or(options.memory_budget);
    let binding = example.agent.as_deref().map_or_else(|| Binding::offline(&policy), binding);
    if let Err(diagnostics) = policy.compile_with(&binding, NOW, &options) {
        return diagnostics.items;
    }
    let mut found = policy.warnings().to_vec();
    if code.is_of_analysis() {
        let mut limits = WorkLimits::default();
        limits.rule = example.rule_work.unwrap_or(limits.rule);
        let analysed = policy.analyse_within(&binding, NOW, limits).items;
        // Examples are short: there are pairs of zones that they do not speak of.
        let counts = |item: &Diagnostic| item.code != Code::PairsWithoutRules || code == Code::PairsWithoutRules;
        found.extend(analysed.into_iter().filter(counts));
    }
    found
}

#[test]
fn each_wrong_example_gets_its_code_and_each_right_one_none() {
    for code in Code::ALL {
        let explanation = code.explain();
        for example in explanation.examples() {
            let found = findings(*code, example);
            let codes: BTreeSet<String> = found.iter().map(|item| item.code.to_string()).collect();
            let expected = match example.verdict {
                ExampleVerdict::Wrong => [code.to_string()].into(),
                ExampleVerdict::Right => BTreeSet::new(),
            };
            assert_eq!(codes, expected, "{code}, {:?}:\n{}\n{found:#?}", example.verdict, example.shown());
        }
    }
}
