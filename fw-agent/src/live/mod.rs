//! What the running data plane is asked to tell as it happens: [`hub`] hands [`event`]s to observers, [`capture`] packets to whoever
//! captures, as [`pcapng`]. What was [`denied`] is kept for a while.

pub mod capture;
pub mod denied;
pub mod event;
pub mod filter;
pub mod hub;
pub mod pcapng;

use std::sync::Arc;

/// What the readers of live events and packets share.
#[derive(Debug, Default)]
pub struct Live {
    /// The observers.
    pub hub: Arc<hub::Hub>,
    /// The capture that runs: there is one at most.
    pub capture: Arc<tokio::sync::Mutex<()>>,
    /// The measurement of all flows' rates that runs: it remembers every flow, so there is one at most.
    pub rates: Arc<tokio::sync::Mutex<()>>,
    /// What was denied a while ago.
    pub denied: denied::RecentlyDenied,
}
