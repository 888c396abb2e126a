//! Fragments that came before their datagram's first one: they wait here until that has been judged, or their time is over.
//!
//! The data plane decides about them, before and after ([`crate::dataplane::kernel::HeldFragments`]); this only remembers.
//! See `docs/adr/0012-fragments.md`.

mod holder;
mod keeper;

pub use holder::{Counts, Holder, Waiting};
pub use keeper::Keeper;
