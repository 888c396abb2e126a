//! Feeds: lists of addresses that come from elsewhere, and change while the rules stay.
//!
//! `fetch` says how something is fetched, and why not; `file`, `https` and `s3` do it. `load` makes a list of what was fetched, if it is
//! what its author has made. `schedule` decides when the next attempt is due, without a clock. `store` keeps the last good list of each
//! feed on disk, and `held` what is known of all of them, so that a policy is never compiled without a list that was had once. `follower`
//! keeps those of the policy in force fresh; the agent's own task puts in force what it brings.

pub mod facts;
pub mod fetch;
pub mod file;
pub mod follower;
pub mod held;
pub mod https;
pub mod load;
pub mod presence;
pub mod s3;
pub mod schedule;
pub mod sources;
pub mod store;
