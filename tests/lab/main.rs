//! The firewall in the reference topology: real interfaces, real sockets, the real agent. Each test raises a lab of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in the functions that tests share")]

mod a_day;
mod answers;
mod attachment;
mod aws_devices;
mod bucket;
mod capture;
mod changes;
mod conditions;
mod end_flows;
mod enis;
mod explain;
mod feeds;
mod firewall;
mod floods;
mod flow_log;
mod forwarding;
mod fragments;
mod garbage;
mod host_services;
mod instruments;
mod lockout;
mod neighbours;
mod observe;
mod observing;
mod plan;
mod policy_change;
mod probes;
mod reading;
mod redirects;
mod renaming;
mod repair;
mod restart;
mod rule_hits;
mod slots;
mod spoofing;
mod start_order;
mod static_stability;
mod topology;
mod wire;
