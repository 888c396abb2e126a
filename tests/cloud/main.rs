//! What the agent asks of AWS, over the wire, of a strict fake of it: no root, and no network but the loopback.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in the functions that tests share")]

mod takeover;
mod world;
