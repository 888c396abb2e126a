//! The daemon: it brings the data plane and the kernel to what `agent.toml` and the policy say, and keeps them there.
//!
//! [`run`] is the whole life of an agent. What it sets up outlives it: the data plane goes on forwarding with the last
//! policy, and the forward chain goes on dropping everything else.

mod adopted;
mod arrivals;
mod bucket;
mod changes;
mod enis;
mod feeds;
mod follow;
mod housekeeping;
mod interfaces;
mod opening;
mod options;
mod orders;
mod policy;
mod reading;
mod rescue;
mod retry;
mod routes;
mod start;
mod supervisor;
mod tables;
mod vouching;
mod watch;
mod witnesses;

use crate::config::ConfigError;
use crate::dataplane::DataplaneError;
use crate::feeds::fetch::Failure;
use crate::host::forward_chain::{self, ForwardChainError};
use crate::host::handover::HandoverError;
use crate::host::lock::{Lock, LockError};
use crate::netlink::NetlinkError;
use crate::policy_set::PolicyError;

use orders::{Order, Orders};
use reading::ConfigFile;

pub use options::RunOptions;

/// Why the agent could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another agent runs, or the runtime directory cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// `agent.toml` is invalid or cannot be read, and there is no data plane to go on with.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The policy is invalid or cannot be read, and there is no data plane to go on with.
    #[error("{0}")]
    Policy(#[from] PolicyError),
    /// The forward chain could not be loaded.
    #[error(transparent)]
    ForwardChain(#[from] ForwardChainError),
    /// The hand-over devices could not be set up.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The kernel could not be asked or refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The data plane failed.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// A file, socket or setting could not be used.
    #[error("{what}: {reason}")]
    Io {
        /// What for.
        what: String,
        /// What the kernel said.
        reason: std::io::Error,
    },
    /// There is no policy, and the bucket that it is to come from brings none.
    #[error("there is no policy to begin with, and the bucket brings none: {0}")]
    Bucket(Failure),
    /// A step that was done aside was cut off.
    #[error("{0} was interrupted")]
    Interrupted(&'static str),
}

impl RunError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        |reason| Self::Io { what: what.into(), reason }
    }

    /// The error for a person. `color` adds ANSI escape sequences.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        if let Self::Config(error) = self {
            return error.render(color);
        }
        if let Self::Policy(PolicyError::Invalid(diagnostics)) = self {
            return diagnostics.render(color);
        }
        format!("error: {self}")
    }

    /// The exit code: 3 for an invalid configuration or policy, 4 for failed policy tests, else 1, also for files that were not read.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(error) => error.exit_code(),
            Self::Policy(
                PolicyError::Invalid(_)
                | PolicyError::NotText { .. }
                | PolicyError::NotNames { .. }
                | PolicyError::Bundle { .. }
                | PolicyError::Set(_)
                | PolicyError::NamedTwice(_)
                | PolicyError::Lockout(_),
            ) => 3,
            Self::Policy(PolicyError::TestsFailed(_)) => 4,
            Self::Lock(_)
            | Self::Policy(
                PolicyError::Unreadable { .. }
                | PolicyError::TooSlow { .. }
                | PolicyError::TooLarge { .. }
                | PolicyError::InFlux(_)
                | PolicyError::Store(_),
            )
            | Self::ForwardChain(_)
            | Self::Handover(_)
            | Self::Netlink(_)
            | Self::Dataplane(_)
            | Self::Io { .. }
            | Self::Bucket(_)
            | Self::Interrupted(_) => 1,
        }
    }
}

/// Runs until it is told to stop, and leaves the data plane forwarding.
pub async fn run(options: RunOptions) -> Result<(), RunError> {
    let _lock = Lock::take(&options.runtime_dir)?;
    let mut orders = Orders::listen().map_err(RunError::io("signals"))?;
    // Before anything that can fail: whatever this machine forwards already, an invalid file must not leave it open.
    forward_chain::load().await?;
    let mut file = ConfigFile::new(options.config.clone());
    let read = tokio::select! {
        read = file.read() => read,
        () = told_to_stop(&mut orders) => return Ok(()),
    };
    let config = match read {
        Ok(config) => config,
        Err(error) => match rescue::until_valid(&options, error, &mut file, &mut orders).await? {
            Some(config) => config,
            None => return Ok(()),
        },
    };
    let supervisor = tokio::select! {
        started = start::start(options, config) => started?,
        () = told_to_stop(&mut orders) => return Ok(()),
    };
    supervisor.supervise(orders).await
}

/// A start reads everything anyway, so that an order to reload changes nothing.
async fn told_to_stop(orders: &mut Orders) {
    while orders.next().await != Order::Stop {}
}
