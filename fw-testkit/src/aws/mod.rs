//! A strict fake of the parts of AWS that the firewall asks: EC2, Auto Scaling, Outposts, CloudWatch and instance
//! metadata. `docs/aws-fake.md` says what it does as the real services do, and where it is known to differ.
//!
//! [`model`] is the world, without I/O. [`Aws`] answers for it by HTTP, lets its time pass, and moves its devices.

mod clock;
mod connection;
mod devices;
mod faults;
pub mod model;
mod reference;
mod server;
mod state;
mod wire;

pub use devices::{Devices, NoDevices};
pub use faults::{Fault, Harm, Region};
pub use reference::{ACCOUNT, KEY, Reference, ZONE};
pub use server::{Aws, REGION};
pub use state::{Caller, Logged, Outcome};
