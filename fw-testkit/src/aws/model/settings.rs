//! How long things take in the world, and what the real services leave open.

use std::time::Duration;

/// Delays, lags and choices. [`Settings::default`] is quick, for tests that wait for real; [`Settings::as_measured`] is
/// what was seen on EC2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From the call until an attachment is `attached`.
    pub attach: Duration,
    /// From the call until a detached interface is `available`.
    pub detach: Duration,
    /// The same when the detachment is forced.
    pub detach_forced: Duration,
    /// How long an instance is `pending`.
    pub launch: Duration,
    /// How long after its launch an instance is not found by calls that name it.
    pub propagation: Duration,
    /// How long an instance is `shutting-down`.
    pub shut_down: Duration,
    /// How long a terminated instance keeps its interfaces.
    pub release: Duration,
    /// How much older than the truth what is described is (EC2 developer guide, "Eventual consistency").
    pub described_lag: Duration,
    /// How much later than `attached` the device appears on the instance.
    pub device: Duration,
    /// How long `device-number` of the instance metadata reads 0 after the device has appeared.
    pub metadata_lag: Duration,
    /// How long an Auto Scaling state without a clock of its own lasts, such as `Pending:Proceed`.
    pub lifecycle_step: Duration,
    /// From the moment at which an instance is unhealthy until the group acts.
    pub health_check: Duration,
    /// From the moment at which a group has too few instances until it launches one.
    pub replacement: Duration,
    /// Attaching an interface that is in use is told by `InvalidParameterValue` instead of `InvalidNetworkInterface.InUse`:
    /// the error codes page says that either may come.
    pub in_use_is_invalid_value: bool,
    /// An interface is `in-use` from the call on, and only its attachment says `attaching`.
    pub in_use_while_attaching: bool,
    /// A forced detachment leaves the device index of the instance unusable and its metadata stale (EC2 user guide,
    /// "Detach a network interface").
    pub forced_detach_blocks_index: bool,
    /// The most that any answer lists at once, for tests of pagination; otherwise what the caller asks for counts.
    pub page: usize,
    /// Routes of one subnet route table, without that of the VPC itself (VPC user guide, "Amazon VPC quotas").
    pub routes_per_table: usize,
    /// Routes of one local gateway route table that lead to interfaces (Outposts user guide, "Local gateway route tables").
    pub interface_routes_per_local_gateway: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attach: Duration::from_millis(150),
            detach: Duration::from_millis(150),
            detach_forced: Duration::from_millis(80),
            launch: Duration::from_millis(200),
            propagation: Duration::ZERO,
            shut_down: Duration::from_millis(200),
            release: Duration::from_millis(100),
            described_lag: Duration::ZERO,
            device: Duration::ZERO,
            metadata_lag: Duration::from_millis(100),
            lifecycle_step: Duration::from_millis(50),
            health_check: Duration::from_millis(100),
            replacement: Duration::from_millis(50),
            in_use_is_invalid_value: false,
            in_use_while_attaching: false,
            forced_detach_blocks_index: true,
            page: 1000,
            routes_per_table: 500,
            interface_routes_per_local_gateway: 100,
        }
    }
}

impl Settings {
    /// The slow side of what was seen: an interface moves in 20 to 60 seconds, devices come late.
    #[must_use]
    pub fn as_measured() -> Self {
        Self {
            attach: Duration::from_secs(8),
            detach: Duration::from_secs(30),
            detach_forced: Duration::from_secs(10),
            launch: Duration::from_secs(20),
            propagation: Duration::from_secs(2),
            shut_down: Duration::from_secs(40),
            release: Duration::from_secs(5),
            described_lag: Duration::from_secs(1),
            device: Duration::from_secs(3),
            metadata_lag: Duration::from_secs(5),
            lifecycle_step: Duration::from_secs(5),
            health_check: Duration::from_secs(60),
            replacement: Duration::from_secs(10),
            ..Self::default()
        }
    }
}
