//! Cuts a packet into fragments, honest ones and others.

use std::net::IpAddr;
use std::ops::Range;

use super::{Packet, Transport};

/// Protocol number of the IPv6 fragment header.
const FRAGMENT_HEADER: u8 = 44;

impl Packet {
    /// The frame of one fragment: these bytes of what follows the network header, the transport header included. Bytes that the
    /// packet does not have are zero. The range begins at a multiple of eight.
    #[must_use]
    pub fn fragment(&self, identification: u32, range: Range<usize>, more: bool) -> Vec<u8> {
        let mut bytes = self.build_transport();
        bytes.resize(bytes.len().max(range.end), 0);
        let mut piece = self.clone().payload(&bytes[range.clone()]);
        piece.transport = Transport::Other(self.protocol());
        let offset = range.start as u16;
        assert!(offset.is_multiple_of(8), "fragments begin at multiples of eight");
        let piece = match self.src_addr {
            IpAddr::V4(_) => piece.ipv4_fragment(identification as u16, (offset / 8) | (u16::from(more) << 13)),
            IpAddr::V6(_) => {
                let place = (offset | u16::from(more)).to_be_bytes();
                let body = [[0].as_slice(), &place, &identification.to_be_bytes()].concat();
                piece.extension(FRAGMENT_HEADER, &body)
            }
        };
        piece.build()
    }

    /// The frames of all fragments, in order, with at most `size` bytes (a multiple of eight) of the packet in each.
    #[must_use]
    pub fn fragments(&self, identification: u32, size: usize) -> Vec<Vec<u8>> {
        let len = self.build_transport().len();
        let starts = (0..len).step_by(size);
        starts.map(|start| self.fragment(identification, start..len.min(start + size), start + size < len)).collect()
    }
}
