//! The ingress program on single packets: `BPF_PROG_TEST_RUN` with interfaces, routes and neighbours of a name space of the
//! test's own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in the functions that tests share")]

mod anomalies;
mod answers;
mod capture;
mod checksums;
mod classifier;
mod collection;
mod denied;
mod end_flow;
mod explain;
mod floods;
mod flows;
mod forwarding;
mod fragments;
mod jumbo;
mod limits;
mod maps;
mod observe;
mod observing;
mod oracle;
mod passages;
mod policies;
mod races;
mod reasons;
mod rig;
mod sctp;
mod segment_size;
mod stack;
mod tcp;
