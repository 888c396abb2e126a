//! A reference firewall: what the firewall must do with a packet, said as plainly as possible.
//!
//! It shares no decision with the data plane: its policies are searched rule by rule, its flows lie in one map, its TCP and
//! SCTP are written from the RFCs. It is slow and knows no time. What it leaves out, and where it follows the data plane because both
//! ways are right, stands in `docs/oracle.md`.

mod address;
mod anomalies;
mod datagram;
mod firewall;
mod flow;
mod policy;
mod sctp;
mod sctp_names;
mod sctp_packet;
mod service;
mod tcp;
mod text;
mod topology;

pub use address::Prefix;
pub use datagram::{Body, Datagram, TcpSegment};
pub use firewall::{Reference, Verdict};
pub use flow::{FlowSummary, Tuple};
pub use policy::{Policy, PolicyError};
pub use sctp_packet::{SctpChunk, SctpPacket};
pub use text::TextError;
pub use topology::{Interface, Route, Target, Topology};
