//! Reads what a device is. What cannot be read is unknown: the kernel has the last word when the program is attached.

use std::fmt::Display;

use super::{Facts, Release};
use crate::host::{ethtool, xdp_features};
use crate::netlink::state::Link;

/// Reads the facts of a device.
pub async fn probe(link: &Link) -> Facts {
    let unknown = |what: &str, error: &dyn Display| {
        tracing::debug!(device = %link.name, %error, "{what} cannot be read");
    };
    Facts {
        driver: ethtool::driver(&link.name).map_err(|error| unknown("the driver", &error)).ok(),
        channels: ethtool::channels(&link.name).map_err(|error| unknown("the number of queues", &error)).ok().flatten(),
        xdp: match xdp_features::of_device(link.index).await {
            Ok(features) => features,
            Err(error) => {
                unknown("what XDP can do", &error);
                None
            }
        },
        mtu: link.mtu,
        kernel: Release::parse(&rustix::system::uname().release().to_string_lossy()).unwrap_or(Release(0, 0)),
    }
}
