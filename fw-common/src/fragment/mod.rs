//! What a fragment may do.
//!
//! In: what the fragment says of itself ([`Fragment`]), and what is known of its datagram. Out: an [`Arrival`]. A datagram's
//! first fragment is judged as a packet is; the others follow it, if they neither overlap one that has passed nor
//! contradict it. Nothing is put together: each fragment passes or does not, so that the receiver can put together exactly
//! what was judged.

mod datagram;
mod header;
#[cfg(test)]
mod tests;

pub use datagram::{Arrival, Comparison, OWN, Progress, arrive, conclude, lifetime, worth};
pub use header::{Fragment, HOST_SLOT, check_kind, check_transport_header, is_ipv4, key, read};
