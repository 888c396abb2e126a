//! What a device's driver says it can do with XDP: family `netdev` of generic netlink (linux/netdev.h), from kernel 6.3 on.

use std::io;

use futures_util::TryStreamExt as _;
use netlink_packet_core::{
    DecodeError, Emitable, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, NlasIterator, ParseableParametrized,
};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};

/// `NETDEV_CMD_DEV_GET`
const GET_DEVICE: u8 = 1;
/// `NETDEV_A_DEV_IFINDEX`
const IFINDEX: u16 = 1;
/// `NETDEV_A_DEV_XDP_FEATURES`
const FEATURES: u16 = 3;
/// The length of an attribute's header.
const HEADER_LEN: usize = 4;

/// Bits of `enum netdev_xdp_act`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures(pub u64);

impl XdpFeatures {
    /// Runs programs: `NETDEV_XDP_ACT_BASIC`.
    pub const BASIC: u64 = 1;
    /// Obeys `XDP_REDIRECT`: `NETDEV_XDP_ACT_REDIRECT`.
    pub const REDIRECT: u64 = 2;
    /// Sends what is redirected to it, at present: `NETDEV_XDP_ACT_NDO_XMIT`.
    pub const TRANSMIT: u64 = 4;
    /// Receives frames of several buffers: `NETDEV_XDP_ACT_RX_SG`.
    pub const RECEIVE_FRAGS: u64 = 32;
    /// Sends frames of several buffers: `NETDEV_XDP_ACT_NDO_XMIT_SG`.
    pub const TRANSMIT_FRAGS: u64 = 64;

    /// All of these bits are set.
    #[must_use]
    pub const fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }
}

/// Asks the kernel about a device; `None` if the kernel is too old to know.
///
/// # Errors
/// What the kernel says.
pub async fn of_device(ifindex: u32) -> io::Result<Option<XdpFeatures>> {
    let (connection, mut handle, _events) = genetlink::new_connection()?;
    let task = tokio::spawn(connection);
    let message = GenlMessage::from_payload(Device { ifindex: Some(ifindex), features: None });
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST;
    let answer = match handle.request(request).await {
        Ok(mut answers) => answers.try_next().await.map_err(|error| io::Error::other(error.to_string())),
        // The family is unknown.
        Err(_) => Ok(None),
    };
    task.abort();
    match answer?.map(|answer| answer.payload) {
        Some(NetlinkPayload::InnerMessage(device)) => Ok(device.payload.features.map(XdpFeatures)),
        Some(NetlinkPayload::Error(error)) => Err(error.to_io()),
        _ => Ok(None),
    }
}

/// A message of the family.
#[derive(Clone, Debug)]
struct Device {
    ifindex: Option<u32>,
    features: Option<u64>,
}

impl GenlFamily for Device {
    fn family_name() -> &'static str {
        "netdev"
    }

    fn command(&self) -> u8 {
        GET_DEVICE
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for Device {
    fn buffer_len(&self) -> usize {
        if self.ifindex.is_some() { HEADER_LEN + size_of::<u32>() } else { 0 }
    }

    fn emit(&self, buffer: &mut [u8]) {
        if let Some(ifindex) = self.ifindex {
            let len = u16::try_from(self.buffer_len()).unwrap_or(u16::MAX);
            let attribute = [&len.to_ne_bytes()[..], &IFINDEX.to_ne_bytes()[..], &ifindex.to_ne_bytes()[..]].concat();
            buffer[..attribute.len()].copy_from_slice(&attribute);
        }
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Device {
    fn parse_with_param(buffer: &[u8], _header: GenlHeader) -> Result<Self, DecodeError> {
        let mut device = Self { ifindex: None, features: None };
        for attribute in NlasIterator::new(buffer) {
            let attribute = attribute?;
            match attribute.kind() {
                IFINDEX => device.ifindex = attribute.value().try_into().map(u32::from_ne_bytes).ok(),
                FEATURES => device.features = attribute.value().try_into().map(u64::from_ne_bytes).ok(),
                _ => {}
            }
        }
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_kernel_is_read() {
        let mut message = vec![0; 8];
        Device { ifindex: Some(7), features: None }.emit(&mut message);
        // Padding, and an attribute of a later kernel.
        message.extend([4, 0, 2, 0, 12, 0, 3, 0]);
        message.extend(0x67u64.to_ne_bytes());
        message.extend([8, 0, 99, 0, 1, 2, 3, 4]);
        let device = Device::parse_with_param(&message, GenlHeader { cmd: GET_DEVICE, version: 1 }).unwrap();
        assert_eq!((device.ifindex, device.features), (Some(7), Some(0x67)));
        assert!(XdpFeatures(0x67).has(XdpFeatures::BASIC | XdpFeatures::TRANSMIT_FRAGS));
        assert!(!XdpFeatures(0x67).has(8));
    }

    #[tokio::test]
    async fn the_loopback_device_is_known_to_run_nothing_or_unknown() {
        let features = of_device(1).await.unwrap();
        assert!(features.is_none_or(|features| !features.has(XdpFeatures::REDIRECT)), "{features:?}");
        assert!(
            of_device(0x7fff_fff0).await.is_ok_and(|features| features.is_none())
                || of_device(0x7fff_fff0).await.is_err()
        );
    }
}
