//! The kernel's links, addresses, routes and neighbours: what is there ([`state`]), what should be there ([`plan`],
//! pure), and the few changes that the agent makes ([`kernel`]).
//!
//! What is not ours is never touched: our routes and rules carry [`PROTOCOL`] and live in [`TABLE`].

pub mod events;
pub mod kernel;
pub mod neighbours;
pub mod plan;
pub mod solicit;
pub mod state;

/// The routing table of the forwarded traffic.
pub const TABLE: u32 = 9477;

/// Priority of the rules that lead to [`TABLE`]: before the main table.
pub const RULE_PRIORITY: u32 = 9477;

/// Protocol number (rtnetlink's `rtm_protocol`) of our routes, rules and neighbours.
pub const PROTOCOL: u8 = 147;

/// What can go wrong in a talk with the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket could not be opened or was closed.
    #[error("netlink socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The kernel refused a request.
    #[error("{what}: {reason}")]
    Refused {
        /// What was asked.
        what: String,
        /// What the kernel said.
        reason: String,
    },
}

impl NetlinkError {
    /// Names the request that failed.
    pub(crate) fn refused(what: impl Into<String>, error: &rtnetlink::Error) -> Self {
        let reason = if let rtnetlink::Error::NetlinkError(message) = error {
            message.to_io().to_string()
        } else {
            error.to_string()
        };
        Self::Refused { what: what.into(), reason }
    }
}
