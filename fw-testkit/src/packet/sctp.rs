//! SCTP packets (RFC 9260, section 3).

use std::net::IpAddr;

use super::build::{Packet, Transport};

/// Types of chunks.
pub mod chunk {
    /// User data.
    pub const DATA: u8 = 0;
    /// Begins an association.
    pub const INIT: u8 = 1;
    /// Answers an INIT.
    pub const INIT_ACK: u8 = 2;
    /// Acknowledges data.
    pub const SACK: u8 = 3;
    /// Asks whether a path works.
    pub const HEARTBEAT: u8 = 4;
    /// Says that it does.
    pub const HEARTBEAT_ACK: u8 = 5;
    /// Ends an association at once.
    pub const ABORT: u8 = 6;
    /// Asks to end an association.
    pub const SHUTDOWN: u8 = 7;
    /// Answers a SHUTDOWN.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Reports an error.
    pub const ERROR: u8 = 9;
    /// Gives a cookie back.
    pub const COOKIE_ECHO: u8 = 10;
    /// Takes a cookie.
    pub const COOKIE_ACK: u8 = 11;
    /// Answers a SHUTDOWN ACK.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// A chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// One of [`chunk`].
    pub kind: u8,
    /// Flags; 1 is the T bit of ABORT and SHUTDOWN COMPLETE.
    pub flags: u8,
    /// What is behind its header, without padding.
    pub value: Vec<u8>,
}

impl Chunk {
    /// A chunk without flags, and with a value that such a chunk can have.
    #[must_use]
    pub fn new(kind: u8) -> Self {
        let value = match kind {
            // Sequence numbers, and three bytes of data: the padding is part of most packets.
            chunk::DATA => vec![1; 15],
            chunk::SACK => vec![0; 12],
            chunk::SHUTDOWN => vec![0; 4],
            chunk::HEARTBEAT | chunk::HEARTBEAT_ACK => vec![0, 1, 0, 8, 7, 7, 7, 7],
            chunk::COOKIE_ECHO => vec![9; 20],
            chunk::INIT | chunk::INIT_ACK => return Self::announcing(kind, 1),
            _ => Vec::new(),
        };
        Self { kind, flags: if kind == chunk::DATA { 3 } else { 0 }, value }
    }

    /// An INIT or INIT ACK with this initiate tag.
    #[must_use]
    pub fn announcing(kind: u8, initiate_tag: u32) -> Self {
        let mut value = initiate_tag.to_be_bytes().to_vec();
        // A window of 64 KiB, ten streams each way, and a first number.
        value.extend([0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1]);
        if kind == chunk::INIT_ACK {
            // The state cookie.
            value.extend([0, 7, 0, 24]);
            value.extend([9; 20]);
        }
        Self { kind, flags: 0, value }
    }

    /// An ABORT or SHUTDOWN COMPLETE with the T bit.
    #[must_use]
    pub fn reflecting(kind: u8) -> Self {
        Self { flags: 1, ..Self::new(kind) }
    }

    /// An ERROR with a cause.
    #[must_use]
    pub fn error(cause: u16) -> Self {
        let [high, low] = cause.to_be_bytes();
        Self { value: vec![high, low, 0, 8, 0, 0, 0, 5], ..Self::new(chunk::ERROR) }
    }
}

impl Packet {
    /// An SCTP packet with these chunks.
    #[must_use]
    pub fn sctp(
        (src_addr, src_port): (impl Into<IpAddr>, u16),
        (dst_addr, dst_port): (impl Into<IpAddr>, u16),
        verification_tag: u32,
        chunks: &[Chunk],
    ) -> Self {
        let bytes = sctp_packet(src_port, dst_port, verification_tag, chunks);
        Self::new(src_addr, dst_addr, Transport::Other(132)).payload(&bytes)
    }
}

/// Common header and chunks, each padded.
#[must_use]
pub fn sctp_packet(src_port: u16, dst_port: u16, verification_tag: u32, chunks: &[Chunk]) -> Vec<u8> {
    let mut bytes = [src_port.to_be_bytes(), dst_port.to_be_bytes()].concat();
    bytes.extend(verification_tag.to_be_bytes());
    bytes.extend([0; 4]);
    for Chunk { kind, flags, value } in chunks {
        bytes.extend([*kind, *flags]);
        bytes.extend((value.len() as u16 + 4).to_be_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let checksum = crc32c(&bytes);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// CRC32c (RFC 9260, appendix A), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_test_vectors() {
        // RFC 3720, appendix B.4, and the usual check value.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn chunks_are_padded() {
        let bytes = sctp_packet(1, 2, 3, &[Chunk::new(chunk::DATA), Chunk::new(chunk::COOKIE_ACK)]);
        assert_eq!(bytes.len(), 12 + 20 + 4);
        assert_eq!(bytes[12..16], [0, 3, 0, 19]);
        assert_eq!(bytes[32..], [11, 0, 0, 4]);
    }
}
