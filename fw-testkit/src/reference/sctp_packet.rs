//! An SCTP packet as the reference reads it.

use fw_common::DropReason;

use crate::packet::{Chunk, chunk};

/// A chunk, as far as anybody but the two ends cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SctpChunk {
    /// INIT with its initiate tag.
    Init(u32),
    /// INIT ACK with its initiate tag.
    InitAck(u32),
    /// ABORT or SHUTDOWN COMPLETE with the T bit.
    Reflecting(u8),
    /// ERROR with its cause.
    Error(u16),
    /// Any other, by its type.
    Plain(u8),
}

impl SctpChunk {
    /// Its type.
    #[must_use]
    pub const fn kind(self) -> u8 {
        match self {
            Self::Init(_) => chunk::INIT,
            Self::InitAck(_) => chunk::INIT_ACK,
            Self::Error(_) => chunk::ERROR,
            Self::Reflecting(kind) | Self::Plain(kind) => kind,
        }
    }

    /// As bytes.
    #[must_use]
    pub fn build(self) -> Chunk {
        match self {
            Self::Init(tag) | Self::InitAck(tag) => Chunk::announcing(self.kind(), tag),
            Self::Reflecting(kind) => Chunk::reflecting(kind),
            Self::Error(cause) => Chunk::error(cause),
            Self::Plain(kind) => Chunk::new(kind),
        }
    }
}

/// A packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SctpPacket {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Verification tag.
    pub tag: u32,
    /// Its chunks.
    pub chunks: Vec<SctpChunk>,
}

impl SctpPacket {
    /// Whether it has a chunk of a type.
    pub(super) fn has(&self, kind: u8) -> bool {
        self.chunks.iter().any(|chunk| chunk.kind() == kind)
    }

    /// Whether all of it is one chunk of a type, or several.
    pub(super) fn is_all(&self, kind: u8) -> bool {
        self.chunks.iter().all(|chunk| chunk.kind() == kind)
    }

    /// The tag that it announces.
    pub(super) fn announced(&self) -> Option<u32> {
        self.chunks.iter().find_map(|chunk| match chunk {
            SctpChunk::Init(tag) | SctpChunk::InitAck(tag) => Some(*tag),
            SctpChunk::Reflecting(_) | SctpChunk::Error(_) | SctpChunk::Plain(_) => None,
        })
    }

    pub(super) fn reflects(&self) -> bool {
        self.chunks.iter().any(|chunk| matches!(chunk, SctpChunk::Reflecting(_)))
    }

    pub(super) fn is_stale_cookie(&self) -> bool {
        self.chunks.contains(&SctpChunk::Error(3))
    }

    /// Why no stack can have sent this.
    pub(super) fn contradiction(&self) -> Option<DropReason> {
        let lonely = [chunk::INIT, chunk::INIT_ACK, chunk::SHUTDOWN_COMPLETE];
        let leading = [chunk::COOKIE_ECHO, chunk::COOKIE_ACK];
        let behind = self.chunks.iter().skip(1);
        if self.src_port == 0 || self.dst_port == 0 {
            Some(DropReason::PortZero)
        } else if self.chunks.is_empty()
            || (self.chunks.len() > 1 && self.chunks.iter().any(|chunk| lonely.contains(&chunk.kind())))
            || behind.into_iter().any(|chunk| leading.contains(&chunk.kind()))
            || self.announced() == Some(0)
        {
            Some(DropReason::SctpChunks)
        } else {
            None
        }
    }
}
