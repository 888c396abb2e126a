//! Changes of the policy: which revision is in force, which one waits for confirmation, what was rolled back, and what is kept.
//!
//! [`ledger`] decides, without any I/O and with the clock as a parameter. [`bundle`] reads what the directory offers, [`mirror`] brings there what a bucket offers, [`store`] keeps
//! what was applied, and [`audit`] writes down who did what.

pub mod audit;
pub mod bundle;
mod digest;
pub mod ledger;
pub mod mirror;
pub mod moment;
pub mod signature;
mod staging;
pub mod store;
pub mod who;

pub use digest::Digest;
pub use ledger::{Ledger, Revision};
pub use moment::Moment;
