//! The agent of the firewall, and the command line that talks to it.
//!
//! `fw-agent` keeps the data plane and the kernel as `agent.toml` and the policy say ([`agent`]); `fwctl` shows what
//! it does and checks policies offline ([`cli`]).

pub mod address_range;
pub mod agent;
pub mod api;
pub mod arguments;
pub mod change;
pub mod cli;
pub mod clock;
pub mod conditions;
pub mod config;
pub mod dataplane;
pub mod enis;
pub mod explain;
pub mod facts;
pub mod feeds;
pub mod files;
pub mod flow_census;
pub mod flow_log;
pub mod fragments;
pub mod hits;
pub mod host;
pub mod http;
pub mod live;
pub mod lockout;
pub mod metrics;
pub mod names;
pub mod netlink;
pub mod nic;
pub mod parties;
pub mod plan;
pub mod policy_set;
pub mod probe;
pub mod takeover;
pub mod text;
