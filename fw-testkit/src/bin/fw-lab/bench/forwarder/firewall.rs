//! The firewall: the real agent, with a policy.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};
use fw_testkit::lab::{
    Agent, CLIENT_ADDRESS, CLIENT_ADDRESS6, CLIENT_NETWORKS, LEFT, PairLab, Programs, RIGHT, SERVER_ADDRESS,
    SERVER_ADDRESS6, SERVER_NETWORKS,
};

use crate::bench::policy::Policy;

pub(super) fn start(lab: &PairLab, programs: &Programs, policy: &Policy) -> Result<Agent> {
    let directory = lab.directory();
    let policies = directory.join("policies");
    fs::create_dir(&policies).with_context(|| format!("create {}", policies.display()))?;
    fs::write(policies.join("bench.toml"), policy.document()).context("write the policy")?;
    let mut configuration = interfaces();
    write!(
        configuration,
        "\n[policy]\ndirectory = \"{}\"\n\n[conntrack]\n{}\n[flow_log]\nfile = \"{}\"\n",
        policies.display(),
        policy.conntrack(),
        directory.join("flows.jsonl").display()
    )?;
    let mut agent = lab.prepare_agent(programs.clone())?;
    agent.write_configuration(&configuration)?;
    agent.start()?;
    Ok(agent)
}

/// The interfaces, and the routes to the networks behind the hosts.
fn interfaces() -> String {
    let sides = [
        (LEFT, CLIENT_NETWORKS, CLIENT_ADDRESS, CLIENT_ADDRESS6),
        (RIGHT, SERVER_NETWORKS, SERVER_ADDRESS, SERVER_ADDRESS6),
    ];
    let interfaces = sides.map(|(name, ..)| format!("[[interface]]\nname = \"{name}\"\nzones = [\"{name}\"]\n"));
    let routes = sides.map(|(name, [network, network6], host, host6)| {
        [(network, host.to_string()), (network6, host6.to_string())]
            .map(|(destination, via)| {
                format!("[[route]]\ndestination = \"{destination}\"\ninterface = \"{name}\"\nvia = \"{via}\"\n")
            })
            .concat()
    });
    [interfaces.concat(), routes.concat()].concat()
}
