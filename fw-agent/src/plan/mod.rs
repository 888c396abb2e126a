//! What another policy would do to the running firewall: what the agent tells of it ([`basis`]), and what `fwctl` makes of that, flow by
//! flow ([`live`]). Nothing of it changes anything.

pub mod basis;
pub mod live;
