//! What the eBPF program, the agent and the policy compiler share.
//!
//! Two things live here and nothing else: the layouts of the maps ([`abi`]), and the pure functions that decide.
//! A stage of the program reads bytes and maps, calls a function of this crate, and writes back what it says; the same
//! functions run in `fwctl policy test` and in the tests. So nothing here does I/O, reads a clock or allocates.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod abi;
pub mod anomaly;
pub mod capture;
pub mod conntrack;
pub mod denied;
pub mod drop_reason;
pub mod flow_index;
pub mod fragment;
pub mod generation;
pub mod half_open;
pub mod icmp_error;
pub mod limit;
pub mod policy;
pub mod sctp;
pub mod tcp;
pub mod verdict;
pub mod wire;

pub use abi::ABI_VERSION;
pub use drop_reason::DropReason;
pub use verdict::Verdict;
