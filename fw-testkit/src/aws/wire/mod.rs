//! What goes over the wire: calls are read, handed to the world, and answered in the format of their service.

mod auth;
pub(super) mod call;
mod ec2;
pub(super) mod judge;
mod params;
mod query;
mod request;
mod select;
mod xml;

pub(super) use request::Received;

use xml::Xml;
