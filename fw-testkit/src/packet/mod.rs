//! Frames built byte by byte, for tests that need what no socket sends; and the headers of frames that were captured.
//!
//! The checksums here are computed by this module alone, so that a mistake in the code under test cannot hide in them.

mod build;
mod checksum;
mod decode;
mod fragment;
mod sctp;

pub use build::{Packet, Transport, tcp_flags};
pub use checksum::{internet_checksum, pseudo_header};
pub use decode::Decoded;
pub use sctp::{Chunk, chunk, sctp_packet};
