//! What is measured: a row of client, forwarder and server, and who forwards in it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use fw_testkit::lab::{Agent, PairLab, Programs};

use super::redirect::RedirectOnly;

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An XDP program that rewrites the MAC addresses and redirects: the floor.
    Redirect,
    /// The firewall, with a policy that allows the traffic.
    Firewall,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::Firewall => "firewall",
        }
    }
}

/// A row with its forwarder. The forwarder is dropped before the row.
pub(super) struct Candidate {
    pub(super) kind: Kind,
    _forwarder: Forwarder,
    pub(super) lab: PairLab,
}

/// What keeps forwarding as long as it is held.
#[expect(dead_code, reason = "held for its Drop only")]
enum Forwarder {
    Redirect(RedirectOnly),
    Firewall(Box<Agent>),
}

impl Candidate {
    pub(super) fn raise(kind: Kind, programs: &Programs, object: &Path) -> Result<Self> {
        let lab = PairLab::up()?;
        let forwarder = match kind {
            Kind::Redirect => Forwarder::Redirect(RedirectOnly::attach(&lab, object)?),
            Kind::Firewall => Forwarder::Firewall(Box::new(start_agent(&lab, programs)?)),
        };
        Ok(Self { kind, _forwarder: forwarder, lab })
    }
}

const POLICY: &str = r#"version = 1

[defaults]
action = "drop"

[zones.left]
networks = ["10.201.0.0/24"]
[zones.right]
networks = ["10.202.0.0/24"]

[[rule]]
id = "bench"
from = ["left"]
to = ["right"]
services = ["tcp/5201"]
action = "allow"
"#;

const INTERFACES: &str = r#"[[interface]]
name = "left"
zones = ["left"]

[[interface]]
name = "right"
zones = ["right"]
"#;

fn start_agent(lab: &PairLab, programs: &Programs) -> Result<Agent> {
    let directory = lab.directory();
    let policies = directory.join("policies");
    fs::create_dir(&policies).with_context(|| format!("create {}", policies.display()))?;
    fs::write(policies.join("bench.toml"), POLICY).context("write the policy")?;
    let flow_log = directory.join("flows.jsonl");
    let configuration = format!(
        "{INTERFACES}\n[policy]\ndirectory = \"{}\"\n\n[flow_log]\nfile = \"{}\"\n",
        policies.display(),
        flow_log.display()
    );
    let mut agent = lab.prepare_agent(programs.clone())?;
    agent.write_configuration(&configuration)?;
    agent.start()?;
    Ok(agent)
}
