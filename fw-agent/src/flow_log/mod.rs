//! The flow log: one JSON object a line for each flow that has ended, was denied, or that a rule observes ([`record`]), written by a thread
//! of its own ([`writer`]) to a file of bounded size ([`mod@file`]).

pub mod file;
pub mod record;
pub mod writer;
