//! The one-core chain: generator, firewall, sink, all on one processor.
//!
//! ```text
//!   client: generate ── eth0 ═══ left : middle : right ═══ eth0 : server: sink
//! ```

pub(super) mod core;
pub(super) mod delays;
pub(super) mod ends;
mod frame;
pub(super) mod interface;
pub(super) mod measure;
pub(super) mod sink;
pub(super) mod traffic;
