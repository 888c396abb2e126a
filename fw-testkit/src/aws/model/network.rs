//! What does not move: VPCs, subnets, security groups, placement groups, Outposts and types of instances.

use std::collections::BTreeMap;

use ipnet::{Ipv4Net, Ipv6Net};

/// Names and values that people put on things.
pub type Tags = BTreeMap<String, String>;

/// A VPC.
#[derive(Clone, Debug)]
pub struct Vpc {
    /// `vpc-…`.
    pub id: String,
    /// Its account.
    pub owner: String,
    /// Its IPv4 networks; the first is the primary one.
    pub networks: Vec<Ipv4Net>,
    /// Its IPv6 networks.
    pub networks6: Vec<Ipv6Net>,
    /// Its tags.
    pub tags: Tags,
}

/// A subnet.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// `subnet-…`.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Its account, which may share it with others.
    pub owner: String,
    /// Its IPv4 network.
    pub network: Ipv4Net,
    /// Its IPv6 network.
    pub network6: Option<Ipv6Net>,
    /// Its Availability Zone.
    pub zone: String,
    /// The ARN of its Outpost; without one it is in the Region.
    pub outpost: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// A permission of a security group: a protocol (`-1`: all) and IPv4 and IPv6 networks.
#[derive(Clone, Debug)]
pub struct Permission {
    /// The protocol by number or name; `-1` is all of them.
    pub protocol: String,
    /// The first and the last port, if the protocol has ports.
    pub ports: Option<(u16, u16)>,
    /// IPv4 networks.
    pub networks: Vec<Ipv4Net>,
    /// IPv6 networks.
    pub networks6: Vec<Ipv6Net>,
}

impl Permission {
    /// Everything, from and to everywhere.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            protocol: "-1".to_owned(),
            ports: None,
            networks: vec![Ipv4Net::default()],
            networks6: vec![Ipv6Net::default()],
        }
    }
}

/// A security group.
#[derive(Clone, Debug)]
pub struct SecurityGroup {
    /// `sg-…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its VPC.
    pub vpc: String,
    /// Its account.
    pub owner: String,
    /// What may come in.
    pub ingress: Vec<Permission>,
    /// What may go out.
    pub egress: Vec<Permission>,
}

/// A placement group.
#[derive(Clone, Debug)]
pub struct PlacementGroup {
    /// `pg-…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `cluster`, `spread` or `partition`.
    pub strategy: String,
    /// What a spread keeps apart: `host` or `rack`.
    pub spread_level: Option<String>,
}

/// A type of instances, as far as interfaces are concerned.
#[derive(Clone, Debug)]
pub struct InstanceType {
    /// Such as `c5.xlarge`.
    pub name: String,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory, in MiB.
    pub memory: u64,
    /// The most interfaces that one instance has.
    pub interfaces: usize,
    /// The most IPv4 addresses of one interface.
    pub addresses: usize,
}

/// Types as DescribeInstanceTypes tells them: name, processors, memory in MiB, interfaces, addresses of each.
pub(super) const TYPES: [(&str, u32, u64, usize, usize); 5] = [
    ("c5.large", 2, 4096, 3, 10),
    ("c5.xlarge", 4, 8192, 4, 15),
    ("c5.2xlarge", 8, 16384, 4, 15),
    ("c5.4xlarge", 16, 32768, 8, 30),
    ("m5.xlarge", 4, 16384, 4, 15),
];

/// An Outpost.
#[derive(Clone, Debug)]
pub struct Outpost {
    /// `op-…`.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// Its account.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// The Availability Zone that it is homed to.
    pub zone: String,
    /// For each type that the rack is slotted for, how many more instances fit.
    pub capacity: BTreeMap<String, u32>,
}
