//! Which changes of `agent.toml` a running agent takes over, and which wait for a restart.

use super::{AgentConfig, DeviceKey, PolicyConfig};

impl AgentConfig {
    /// The configuration after a reload: `new` where a running agent can follow, `self` where it cannot, and the names of
    /// the latter's keys.
    ///
    /// The list of interfaces stays, because slots are positions in it and the flows in the table name them. The sizes of the tables are
    /// taken over here, although the tables are not: no restart changes them, and what they wait for is told by `agent/tables.rs`.
    #[must_use]
    pub fn reloaded(&self, new: Self) -> (Self, Vec<String>) {
        let mut waiting = Vec::new();
        let mut merged = Self { policy: self.policy.clone(), metrics: self.metrics.clone(), ..new.clone() };
        if self.keys() != new.keys() {
            waiting.push("interface".to_owned());
            merged.interfaces.clone_from(&self.interfaces);
            merged.routes.clone_from(&self.routes);
            merged.segment_limits.clone_from(&self.segment_limits);
        }
        for (merged, running) in merged.interfaces.iter_mut().zip(&self.interfaces) {
            if merged.mode != running.mode {
                waiting.push("interface.mode".to_owned());
                merged.mode = running.mode;
            }
        }
        if let (Some(merged), Some(running)) = (&mut merged.management, &self.management)
            && merged.mode != running.mode
        {
            waiting.push("management.mode".to_owned());
            merged.mode = running.mode;
        }
        if self.management.as_ref().map(|management| &management.key) != new.management.as_ref().map(|new| &new.key) {
            waiting.push("management.interface".to_owned());
            merged.management.clone_from(&self.management);
        }
        merged.policy = PolicyConfig {
            directory: self.policy.directory.clone(),
            bucket: self.policy.bucket.clone(),
            watch: self.policy.watch,
            ..new.policy.clone()
        };
        if merged.policy != new.policy {
            waiting.push("policy".to_owned());
        }
        if self.metrics != new.metrics {
            waiting.push("metrics".to_owned());
        }
        if self.flow_log != new.flow_log {
            waiting.push("flow_log".to_owned());
            merged.flow_log.clone_from(&self.flow_log);
        }
        if self.feeds != new.feeds {
            waiting.push("feeds".to_owned());
            merged.feeds.clone_from(&self.feeds);
        }
        if self.cloud != new.cloud {
            waiting.push("cloud".to_owned());
            merged.cloud.clone_from(&self.cloud);
        }
        (merged, waiting)
    }

    fn keys(&self) -> Vec<&DeviceKey> {
        self.interfaces.iter().map(|interface| &interface.key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[[interface]]\nname = \"a\"\nzones = [\"x\"]\n[[interface]]\nname = \"b\"\nzones = [\"y\"]\n";

    fn parse(text: &str) -> AgentConfig {
        AgentConfig::parse("agent.toml", text).unwrap()
    }

    #[test]
    fn zones_routes_time_outs_and_checks_are_taken_over() {
        let new = parse(&format!(
            "{}hairpin = true\n[[route]]\ndestination = \"10.0.0.0/8\"\ninterface = \"a\"\nvia = \"gateway\"\n[conntrack.timeouts]\nicmp = \"5s\"\n[anomalies]\nverify_checksums = true\n[policy]\nconfirm = \"manual\"\nkeep = 9\n",
            BASE.replace("\"y\"", "\"y\", \"z\"")
        ));
        assert_eq!(parse(BASE).reloaded(new.clone()), (new, vec![]));
    }

    #[test]
    fn sizes_of_tables_wait_for_no_restart() {
        let new = parse(&format!("{BASE}[conntrack]\nmax_flows = 4096\nmax_half_open = 512\n"));
        assert_eq!(parse(BASE).reloaded(new.clone()), (new, vec![]));
    }

    #[test]
    fn what_names_slots_waits_for_a_restart() {
        let new = parse(
            "[[interface]]\nname = \"b\"\nzones = [\"y\"]\n[metrics]\nlisten = \"127.0.0.1:1\"\n[feeds]\ndirectory = \"/x\"\n[cloud]\nregion = \"eu-central-1\"\n",
        );
        let (merged, waiting) = parse(BASE).reloaded(new);
        assert_eq!(waiting, ["interface", "metrics", "feeds", "cloud"]);
        assert_eq!(merged, parse(BASE));
        for policy in ["source = \"s3\"\nbucket = \"plant-7\"\n", "watch = false\n", "directory = \"/x\"\n"] {
            let (merged, waiting) = parse(BASE).reloaded(parse(&format!("{BASE}[policy]\n{policy}")));
            assert_eq!(waiting, ["policy"], "{policy}");
            assert_eq!(merged, parse(BASE));
        }
        let bucket = format!("{BASE}[policy]\nsource = \"s3\"\nbucket = \"plant-7\"\n");
        for other in [bucket.replace("plant-7", "plant-8"), format!("{bucket}poll = \"5m\"\n"), BASE.to_owned()] {
            let (merged, waiting) = parse(&bucket).reloaded(parse(&other));
            assert_eq!(waiting, ["policy"], "{other}");
            assert_eq!(merged, parse(&bucket));
        }
        let new = parse(&format!("{BASE}mode = \"generic\"\n"));
        let (merged, waiting) = parse(BASE).reloaded(new);
        assert_eq!(waiting, ["interface.mode"]);
        assert_eq!(merged, parse(BASE));
    }
}
