//! The chunks of a packet: whether their chain is well formed, and which of them mean something to the association.

use crate::DropReason;
use crate::wire::Packet;
use crate::wire::parse::{Extent, Frame, Part};

/// Types of chunks (IANA "SCTP Chunk Types").
pub mod chunk_type {
    /// User data.
    pub const DATA: u8 = 0;
    /// Begins an association.
    pub const INIT: u8 = 1;
    /// Answers an INIT, with a cookie.
    pub const INIT_ACK: u8 = 2;
    /// Acknowledges data.
    pub const SACK: u8 = 3;
    /// Asks whether a path works.
    pub const HEARTBEAT: u8 = 4;
    /// Answers a HEARTBEAT.
    pub const HEARTBEAT_ACK: u8 = 5;
    /// Ends an association at once.
    pub const ABORT: u8 = 6;
    /// Asks to end an association.
    pub const SHUTDOWN: u8 = 7;
    /// Answers a SHUTDOWN.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Reports errors.
    pub const ERROR: u8 = 9;
    /// Gives the cookie back.
    pub const COOKIE_ECHO: u8 = 10;
    /// Answers a COOKIE ECHO.
    pub const COOKIE_ACK: u8 = 11;
    /// Explicit congestion notification echo.
    pub const ECNE: u8 = 12;
    /// Congestion window reduced.
    pub const CWR: u8 = 13;
    /// Answers a SHUTDOWN ACK.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
    /// Authenticates the chunks behind it (RFC 4895).
    pub const AUTH: u8 = 15;
    /// User data, interleaved (RFC 8260).
    pub const I_DATA: u8 = 64;
}

/// Which chunks a packet has: a bit for each type below 16, and what else matters of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Chunks(pub u32);

impl Chunks {
    /// None.
    pub const NONE: Self = Self(0);
    /// An INIT.
    pub const INIT: Self = Self::of(chunk_type::INIT);
    /// An INIT ACK.
    pub const INIT_ACK: Self = Self::of(chunk_type::INIT_ACK);
    /// A HEARTBEAT.
    pub const HEARTBEAT: Self = Self::of(chunk_type::HEARTBEAT);
    /// A HEARTBEAT ACK.
    pub const HEARTBEAT_ACK: Self = Self::of(chunk_type::HEARTBEAT_ACK);
    /// An ABORT.
    pub const ABORT: Self = Self::of(chunk_type::ABORT);
    /// A SHUTDOWN.
    pub const SHUTDOWN: Self = Self::of(chunk_type::SHUTDOWN);
    /// A SHUTDOWN ACK.
    pub const SHUTDOWN_ACK: Self = Self::of(chunk_type::SHUTDOWN_ACK);
    /// An ERROR.
    pub const ERROR: Self = Self::of(chunk_type::ERROR);
    /// A COOKIE ECHO.
    pub const COOKIE_ECHO: Self = Self::of(chunk_type::COOKIE_ECHO);
    /// A COOKIE ACK.
    pub const COOKIE_ACK: Self = Self::of(chunk_type::COOKIE_ACK);
    /// A SHUTDOWN COMPLETE.
    pub const SHUTDOWN_COMPLETE: Self = Self::of(chunk_type::SHUTDOWN_COMPLETE);
    /// An AUTH.
    const AUTH: Self = Self::of(chunk_type::AUTH);
    /// Of another type, from 16 on.
    pub const OTHER: Self = Self(1 << 16);
    /// An ERROR whose first cause is a stale cookie (RFC 9260, section 3.3.10.3).
    pub const STALE_COOKIE: Self = Self(1 << 17);
    /// The ABORT or SHUTDOWN COMPLETE has the T bit: its verification tag is the one that its sender was addressed by.
    pub const REFLECTED: Self = Self(1 << 18);

    /// A chunk of this type.
    #[inline(always)]
    #[must_use]
    pub const fn of(chunk_type: u8) -> Self {
        if chunk_type < 16 { Self(1 << chunk_type) } else { Self::OTHER }
    }

    /// Both.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether one of these is there.
    #[inline(always)]
    #[must_use]
    pub const fn has_any(self, these: Self) -> bool {
        self.0 & these.0 != 0
    }

    /// Whether this one is there.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, this: Self) -> bool {
        self.has_any(this)
    }

    /// Whether nothing but this is there, perhaps with its authentication.
    #[inline(always)]
    #[must_use]
    pub const fn is_only(self, this: Self) -> bool {
        self.0 & !Self::AUTH.0 == this.0
    }
}

/// Chunks that stand alone in their packet (RFC 9260, section 6.10).
const ALONE: Chunks = Chunks::INIT.and(Chunks::INIT_ACK).and(Chunks::SHUTDOWN_COMPLETE);
/// Chunks that come first in their packet (RFC 9260, sections 5.1 C and D), but for their authentication (RFC 4895, section 6).
const FIRST: Chunks = Chunks::COOKIE_ECHO.and(Chunks::COOKIE_ACK);

/// Chunks that may be longer than a path carries, and behind which nothing is hidden: they stand alone, or before data.
const LONG: Chunks = Chunks::INIT.and(Chunks::INIT_ACK).and(Chunks::COOKIE_ECHO);

/// Bytes of a chunk's header.
const HEADER_LEN: u32 = 4;
/// Bytes of the common header.
const COMMON_HEADER_LEN: u32 = 12;
/// The T bit in the flags of an ABORT or SHUTDOWN COMPLETE.
const REFLECTED_BIT: u8 = 1;
/// Cause code of a stale cookie.
const CAUSE_STALE_COOKIE: u16 = 3;

/// The most chunks that are looked at: a packet of 9,000 bytes has room for 449 of the smallest that carry data.
pub const MAX_CHUNKS: u32 = 512;

/// A walk along the chunks of a packet.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Offset of the next chunk in the frame, in bytes.
    pub at: u32,
    /// Offset behind the packet.
    end: u32,
    /// What has been found.
    chunks: Chunks,
    /// The packet may go on where it cannot be read: a first fragment, or a packet of the host, which is not in one piece.
    is_cut: u32,
    /// The first fragment of a packet.
    is_first_fragment: u32,
    /// The type of the chunk before this place.
    last: u32,
}

impl Walk {
    /// A walk that is about to begin.
    #[inline(always)]
    #[must_use]
    pub const fn along(packet: &Packet, extent: Extent) -> Self {
        Self {
            at: packet.l4_offset as u32 + COMMON_HEADER_LEN,
            end: packet.l3_offset as u32 + packet.ip_len as u32,
            chunks: Chunks::NONE,
            is_cut: (!matches!(extent, Extent::Whole) || matches!(packet.part, Part::First)) as u32,
            is_first_fragment: matches!(packet.part, Part::First) as u32,
            last: 0,
        }
    }

    /// Whether there is another chunk.
    #[inline(always)]
    #[must_use]
    pub const fn goes_on(&self) -> bool {
        self.at < self.end
    }

    /// Whether the chunks may go on where they cannot be read.
    #[inline(always)]
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.is_cut != 0
    }

    /// Goes past a chunk with this header; `cause` reads the first cause of an ERROR. False if the chain is malformed.
    #[inline(always)]
    pub fn pass(&mut self, header: [u8; 4], cause: impl FnOnce() -> Option<[u8; 2]>) -> bool {
        let [chunk_type, flags, l0, l1] = header;
        let len = u32::from(u16::from_be_bytes([l0, l1]));
        let rest = self.end.wrapping_sub(self.at);
        if len < shortest(chunk_type) || (len > rest && !self.is_cut()) {
            return false;
        }
        let this = Chunks::of(chunk_type);
        let before = self.chunks;
        if before.has_any(ALONE)
            || (this.has_any(ALONE) && before.0 != 0)
            || (this.has_any(FIRST) && before.0 & !Chunks::AUTH.0 != 0)
        {
            return false;
        }
        self.chunks = before.and(this);
        self.last = u32::from(chunk_type);
        if this.has_any(Chunks::ABORT.and(Chunks::SHUTDOWN_COMPLETE)) && flags & REFLECTED_BIT != 0 {
            self.chunks = self.chunks.and(Chunks::REFLECTED);
        }
        if this.has(Chunks::ERROR) && len >= 8 && cause() == Some(CAUSE_STALE_COOKIE.to_be_bytes()) {
            self.chunks = self.chunks.and(Chunks::STALE_COOKIE);
        }
        // The padding of the last chunk may be missing.
        self.at = self.at.wrapping_add((len + 3) & !3);
        true
    }

    /// What was found, when the walk is over.
    #[inline(always)]
    pub const fn found(&self, packet: &Packet) -> Result<Chunks, DropReason> {
        let announces = self.chunks.has_any(Chunks::INIT.and(Chunks::INIT_ACK));
        // RFC 9260, sections 3.3.2 and 3.3.3: an initiate tag is never 0.
        if self.chunks.0 == 0 || (self.goes_on() && !self.is_cut()) || (announces && packet.initiate_tag == 0) {
            return Err(DropReason::SctpChunks);
        }
        if self.is_first_fragment != 0 && self.hides_chunks() {
            return Err(DropReason::SctpChunks);
        }
        Ok(self.chunks)
    }

    /// Whether later fragments may have chunks that matter.
    ///
    /// Behind data there is only data (RFC 9260, section 6.10), which is cut when the path has become narrower (section 6.9), or by a
    /// router. And a chunk that goes on in the next fragment is known by its header: a long INIT or INIT ACK stands alone, behind
    /// a long COOKIE ECHO is data or an ERROR. No stack has a reason to make others longer than the path, or to put anything behind them then.
    #[inline(always)]
    const fn hides_chunks(&self) -> bool {
        if self.last == chunk_type::DATA as u32 || self.last == chunk_type::I_DATA as u32 {
            return self.goes_on();
        }
        self.at <= self.end || self.last >= 16 || !LONG.has(Chunks::of(self.last as u8))
    }
}

/// The least length of a chunk (RFC 9260, section 3.3).
#[inline(always)]
const fn shortest(of: u8) -> u32 {
    match of {
        // Data without a byte of it is an error (section 3.3.1).
        chunk_type::DATA => 17,
        chunk_type::INIT | chunk_type::INIT_ACK => 20,
        chunk_type::SACK => 16,
        chunk_type::SHUTDOWN | chunk_type::ECNE | chunk_type::CWR | chunk_type::AUTH => 8,
        chunk_type::I_DATA => 21,
        _ => HEADER_LEN,
    }
}

/// Reads the chunks of a parsed packet into it.
pub fn read_chunks(frame: &impl Frame, packet: &mut Packet, extent: Extent) -> Result<(), DropReason> {
    let mut walk = Walk::along(packet, extent);
    for _ in 0..MAX_CHUNKS {
        if !walk.goes_on() {
            break;
        }
        let at = walk.at as usize;
        let Some(header) = frame.bytes(at) else { break };
        if !walk.pass(header, || frame.bytes(at + HEADER_LEN as usize)) {
            return Err(DropReason::SctpChunks);
        }
    }
    packet.chunks = walk.found(packet)?;
    Ok(())
}
