//! A strict fake of the parts of AWS that the firewall asks: EC2, Auto Scaling, Outposts, CloudWatch and instance
//! metadata. `docs/aws-fake.md` says what it does as the real services do, and where it is known to differ.
//!
//! [`model`] is the world, without I/O. [`Aws`] answers for it by HTTP, lets its time pass, and moves its devices.

mod clock;
mod connection;
mod credentials;
mod devices;
mod faults;
mod metadata;
pub mod model;
mod reference;
mod server;
mod state;
mod veths;
mod wire;

pub use devices::{Devices, NoDevices};
pub use faults::{Fault, Harm, Region};
pub use metadata::Metadata;
pub use reference::{ACCOUNT, GROUP, KEY, LAUNCH_HOOK, Reference, TERMINATE_HOOK, ZONE};
pub use server::{Aws, REGION};
pub use state::{Caller, Logged, Outcome};
pub use veths::{Port, Veths};
