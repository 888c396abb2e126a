//! Packets as a pcapng file (draft-ietf-opsawg-pcapng): blocks of 32-bit words in the byte order of this machine.

/// Link type: Ethernet.
const LINKTYPE_ETHERNET: u16 = 1;
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Codes of options. Those above 1 mean something else in each kind of block.
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SHB_USERAPPL: u16 = 4;
    pub(super) const IF_NAME: u16 = 2;
    pub(super) const IF_DESCRIPTION: u16 = 3;
    pub(super) const IF_TSRESOL: u16 = 9;
    pub(super) const EPB_FLAGS: u16 = 2;
    pub(super) const EPB_VERDICT: u16 = 7;
    pub(super) const ISB_IFDROP: u16 = 5;
}

/// `if_tsresol`: powers of ten, here nanoseconds.
const NANOSECONDS: u8 = 9;

/// Who decided about a packet: kinds of `epb_verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DecidedBy {
    /// A program behind the host's stack, with a value of `TC_ACT_*`.
    Tc = 1,
    /// A program in the driver, with a value of `enum xdp_action`.
    Xdp = 2,
}

/// A packet to be written.
#[derive(Clone, Debug)]
pub struct Packet<'p> {
    /// Number of its interface, in the order in which interfaces were written.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub at: u64,
    /// Length on the wire.
    pub len: u32,
    /// As much of it as was kept.
    pub bytes: &'p [u8],
    /// It leaves; otherwise it comes in.
    pub outbound: bool,
    /// The kernel's action.
    pub verdict: (DecidedBy, u64),
    /// What is said of it.
    pub comment: &'p str,
}

/// The beginning of a file.
#[must_use]
pub fn section() -> Vec<u8> {
    let mut block = Block::new(SECTION_HEADER);
    block.word(BYTE_ORDER_MAGIC);
    block.half(1);
    block.half(0);
    // The length of the section is not known.
    block.bytes(&u64::MAX.to_ne_bytes());
    block.option(option::SHB_USERAPPL, concat!("outpost-fw ", env!("CARGO_PKG_VERSION")).as_bytes());
    block.finish()
}

/// An interface.
#[must_use]
pub fn interface(name: &str, description: &str, snaplen: u32) -> Vec<u8> {
    let mut block = Block::new(INTERFACE_DESCRIPTION);
    block.half(LINKTYPE_ETHERNET);
    block.half(0);
    block.word(snaplen);
    block.option(option::IF_NAME, name.as_bytes());
    if !description.is_empty() {
        block.option(option::IF_DESCRIPTION, description.as_bytes());
    }
    block.option(option::IF_TSRESOL, &[NANOSECONDS]);
    block.finish()
}

/// A packet.
#[must_use]
pub fn packet(packet: &Packet<'_>) -> Vec<u8> {
    let mut block = Block::new(ENHANCED_PACKET);
    block.word(packet.interface);
    block.time(packet.at);
    block.word(u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX));
    block.word(packet.len);
    block.bytes(packet.bytes);
    block.pad();
    block.option(option::EPB_FLAGS, &(if packet.outbound { 2u32 } else { 1 }).to_ne_bytes());
    let (decided_by, value) = packet.verdict;
    let mut verdict = vec![decided_by as u8];
    verdict.extend(value.to_ne_bytes());
    block.option(option::EPB_VERDICT, &verdict);
    block.option(option::COMMENT, packet.comment.as_bytes());
    block.finish()
}

/// The end of a capture: how many packets of it were lost.
#[must_use]
pub fn statistics(interface: u32, at: u64, lost: u64) -> Vec<u8> {
    let mut block = Block::new(INTERFACE_STATISTICS);
    block.word(interface);
    block.time(at);
    block.option(option::ISB_IFDROP, &lost.to_ne_bytes());
    block.finish()
}

/// What a file holds, counted while it passes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Packets that were lost, as far as the file has come to say so.
    pub lost: u64,
    /// The beginning of a block whose end has not come.
    rest: Vec<u8>,
}

impl Tally {
    /// Counts the blocks of the next bytes of a file that this module has written on this machine.
    pub fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let mut rest = self.rest.as_slice();
        while let Some((kind, len)) = Self::head(rest)
            && let Some((block, behind)) = rest.split_at_checked(len)
        {
            match kind {
                ENHANCED_PACKET => self.packets += 1,
                INTERFACE_STATISTICS => self.lost += Self::lost_of(block),
                _ => {}
            }
            rest = behind;
        }
        self.rest = rest.to_vec();
    }

    fn head(bytes: &[u8]) -> Option<(u32, usize)> {
        let (kind, len) = (bytes.first_chunk()?, bytes.get(4..)?.first_chunk()?);
        let len = u32::from_ne_bytes(*len) as usize;
        (len >= 12).then_some((u32::from_ne_bytes(*kind), len))
    }

    /// The first option of such a block: behind its head, its interface, its time, and the head of the option.
    fn lost_of(block: &[u8]) -> u64 {
        const AT: usize = 8 + 4 + 8 + 4;
        block.get(AT..).and_then(|value| value.first_chunk()).map_or(0, |lost| u64::from_ne_bytes(*lost))
    }
}

/// A block that is being written.
struct Block {
    bytes: Vec<u8>,
}

impl Block {
    fn new(kind: u32) -> Self {
        let mut block = Self { bytes: Vec::with_capacity(128) };
        block.word(kind);
        // The length, which is not known yet.
        block.word(0);
        block
    }

    fn half(&mut self, value: u16) {
        self.bytes(&value.to_ne_bytes());
    }

    fn word(&mut self, value: u32) {
        self.bytes(&value.to_ne_bytes());
    }

    /// The upper half of a timestamp stands before the lower one, whatever the byte order.
    fn time(&mut self, nanoseconds: u64) {
        self.word((nanoseconds >> 32) as u32);
        self.word(nanoseconds as u32);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Text beyond what fits into an option is cut off.
    fn option(&mut self, code: u16, value: &[u8]) {
        let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.half(code);
        self.half(len);
        self.bytes(&value[..usize::from(len)]);
        self.pad();
    }

    fn finish(mut self) -> Vec<u8> {
        self.half(option::END);
        self.half(0);
        let len = u32::try_from(self.bytes.len() + 4).unwrap_or(u32::MAX);
        self.bytes[4..8].copy_from_slice(&len.to_ne_bytes());
        self.word(len);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_and_losses_are_counted_however_the_bytes_come() {
        let of_packet = packet(&Packet {
            interface: 0,
            at: 5,
            len: 60,
            bytes: &[1; 37],
            outbound: false,
            verdict: (DecidedBy::Tc, 0),
            comment: "",
        });
        let blocks = [section(), interface("ens5", "ot", 100), of_packet.clone(), of_packet, statistics(0, 5, 7)];
        for size in [1, 7, 64, 4096] {
            let mut tally = Tally::default();
            blocks.concat().chunks(size).for_each(|chunk| tally.take(chunk));
            assert_eq!(tally, Tally { packets: 2, lost: 7, rest: vec![] }, "{size}");
        }
    }

    #[test]
    fn every_block_says_its_length_at_both_ends_and_fills_words() {
        let of_packet = packet(&Packet {
            interface: 0,
            at: 5,
            len: 60,
            bytes: &[1; 37],
            outbound: true,
            verdict: (DecidedBy::Xdp, 1),
            comment: "drop policy",
        });
        for block in [section(), interface("ens5", "ot", 100), of_packet, statistics(0, 5, 7)] {
            let len = u32::try_from(block.len()).unwrap().to_ne_bytes();
            assert!(block.len().is_multiple_of(4));
            assert_eq!(block[4..8], len);
            assert_eq!(block[block.len() - 4..], len);
        }
    }
}
