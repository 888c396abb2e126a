//! What another policy would do to the running firewall: what the agent tells of it ([`basis`]), and what `fwctl` makes of that, flow by
//! flow ([`live`]), with the lists that feeds hold ([`lists`]). Nothing of it changes anything.

pub mod basis;
pub mod lists;
pub mod live;
