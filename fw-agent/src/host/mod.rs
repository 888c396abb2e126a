//! What the agent asks of the machine that it runs on, apart from the data plane and the routes.

pub mod ethtool;
pub mod forward_chain;
pub mod handover;
pub mod lock;
pub mod sysctl;
pub mod xdp_features;
