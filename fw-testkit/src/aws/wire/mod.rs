//! What goes over the wire: calls are read, handed to the world, and answered in the format of their service.

mod auth;
mod autoscaling;
pub(super) mod call;
mod cbor;
mod cloudwatch;
mod ec2;
pub(super) mod judge;
mod params;
mod query;
mod refusal;
mod request;
mod rest;
mod select;
mod xml;

pub(super) use request::Received;

use xml::Xml;
