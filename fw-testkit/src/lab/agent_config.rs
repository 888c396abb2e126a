//! The firewall's configuration in the lab: `agent.toml` for the reference topology.

use std::path::{Path, PathBuf};

/// What differs between the labs' configurations.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The directory of policies.
    pub policies: PathBuf,
    /// Lines of the section `[conntrack]`.
    pub conntrack: String,
    /// Further sections, appended as they are.
    pub extra: String,
}

impl AgentConfig {
    /// The reference topology's configuration with the policies of this directory.
    #[must_use]
    pub fn new(policies: impl Into<PathBuf>) -> Self {
        Self { policies: policies.into(), conntrack: "max_flows = 65_536".to_owned(), extra: String::new() }
    }

    /// The text of `agent.toml`.
    pub(super) fn render(&self, directory: &Path) -> String {
        let Self { policies, conntrack, extra } = self;
        let policies = policies.display();
        let flow_log = directory.join("flows.jsonl");
        let flow_log = flow_log.display();
        format!(
            r#"[[interface]]
name = "ens6"
zones = ["onprem", "exposed"]

[[interface]]
name = "ens7"
zones = ["ot"]

[[interface]]
name = "ens8"
zones = ["it"]

{routes}[management]
interface = "ens5"
allow = ["tcp/9477 from 10.3.0.0/16"]

[policy]
source = "directory"
directory = "{policies}"

[conntrack]
{conntrack}

[metrics]
listen = "127.0.0.1:9477"

[flow_log]
file = "{flow_log}"

{extra}"#,
            routes = routes(),
        )
    }
}

/// On-premises and each VPC, in both families, by way of the VPC's router.
fn routes() -> String {
    let destinations = [
        ("192.168.0.0/16", "ens6"),
        ("fd00:0:0:a00::/56", "ens6"),
        ("10.0.0.0/16", "ens6"),
        ("fd00::/56", "ens6"),
        ("10.1.0.0/16", "ens7"),
        ("fd00:0:0:100::/56", "ens7"),
        ("10.2.0.0/16", "ens8"),
        ("fd00:0:0:200::/56", "ens8"),
    ];
    destinations
        .map(|(destination, interface)| {
            format!("[[route]]\ndestination = \"{destination}\"\ninterface = \"{interface}\"\nvia = \"gateway\"\n\n")
        })
        .concat()
}
