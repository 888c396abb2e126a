//! What becomes of a packet that somebody describes: the packet itself, and what the running firewall says of it.

pub mod frame;
pub mod live;
