//! What demo, tests and benchmarks share: a lab of network name spaces that copies an Outposts rack, frames built byte by
//! byte, captures, and small servers and clients.
//!
//! Everything that the lab makes is held by a guard whose `Drop` removes it, and every wait has a deadline.

pub mod aws;
pub mod capture;
pub mod classbench;
pub mod client;
pub mod collection;
pub mod error;
pub mod flood;
pub mod lab;
pub mod netns;
pub mod nftables;
pub mod packet;
pub mod process;
pub mod reference;
pub mod service;
pub mod traffic;
pub mod wait;

pub use error::LabError;
