//! The internet checksum (RFC 1071) and the pseudo-headers of IPv4 (RFC 9293, 3.1) and IPv6 (RFC 8200, 8.1).

use std::net::IpAddr;

/// The internet checksum over several pieces; each but the last must have an even length.
#[must_use]
pub fn internet_checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for pair in pieces.iter().flat_map(|piece| piece.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The pseudo-header that a transport checksum covers.
#[must_use]
pub fn pseudo_header(src_addr: IpAddr, dst_addr: IpAddr, protocol: u8, length: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    match (src_addr, dst_addr) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
            bytes.extend(src_addr.octets());
            bytes.extend(dst_addr.octets());
            bytes.extend([0, protocol]);
            bytes.extend((length as u16).to_be_bytes());
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => {
            bytes.extend(octets6(src_addr));
            bytes.extend(octets6(dst_addr));
            bytes.extend(length.to_be_bytes());
            bytes.extend([0, 0, 0, protocol]);
        }
    }
    bytes
}

pub(super) fn octets6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_holds() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(internet_checksum(&[&bytes]), !0xddf2);
    }

    #[test]
    fn an_odd_last_byte_counts_as_the_high_half_of_a_word() {
        assert_eq!(internet_checksum(&[&[0x12, 0x34, 0x56]]), !(0x1234 + 0x5600));
    }
}
