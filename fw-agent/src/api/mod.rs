//! The Unix socket: one JSON request on a line, one JSON answer on a line, and the connection is closed.

pub mod answers;
pub mod change;
pub mod client;
pub mod collect;
pub mod flows;
mod places;
mod plan;
pub mod request;
pub mod server;
mod stream;

/// The socket's name in the runtime directory.
pub const SOCKET: &str = "agent.sock";

/// The longest request, in bytes, with its newline.
pub const MAX_REQUEST: usize = 16 * 1024;
