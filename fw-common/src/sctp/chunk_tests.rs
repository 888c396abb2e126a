//! Packets with chunks of every kind, and chains that no stack makes.

use super::*;
use crate::wire::parse::{Extent, Part, frame};
use proptest::prelude::*;
use std::vec::Vec;

const DATA: Chunks = Chunks::of(chunk_type::DATA);
const SACK: Chunks = Chunks::of(chunk_type::SACK);
/// The tag of most packets.
const TAG: u32 = 0x2222;

/// A chunk: type, flags, length, value without padding.
type Chunk = (u8, u8, Option<u16>, Vec<u8>);

/// An IPv4 packet with these chunks; `padded`: the last chunk, too.
fn packet(tag: u32, chunks: &[Chunk], padded: bool) -> Vec<u8> {
    let mut body = [[0x0f, 0xa0, 0x0b, 0x59].as_slice(), &tag.to_be_bytes(), &[0; 4]].concat();
    for (position, (chunk_type, flags, len, value)) in chunks.iter().enumerate() {
        let len = len.unwrap_or(value.len() as u16 + 4);
        body.extend([*chunk_type, *flags]);
        body.extend(len.to_be_bytes());
        body.extend(value);
        while (padded || position + 1 < chunks.len()) && body.len() % 4 != 0 {
            body.push(0);
        }
    }
    let [l0, l1] = (20 + body.len() as u16).to_be_bytes();
    let mut header = [0x45, 0, l0, l1, 0, 0, 0, 0, 64, 132, 0, 0, 10, 1, 0, 5, 10, 2, 0, 6];
    [header[10], header[11]] = crate::wire::checksum::finish(crate::wire::checksum::sum(&header)).to_be_bytes();
    [[0; 12].as_slice(), &[8, 0], &header, &body].concat()
}

/// What is read of it.
fn read(bytes: &[u8]) -> Result<Message, DropReason> {
    let mut parsed = frame(&bytes)?;
    read_chunks(&bytes, &mut parsed, Extent::Whole)?;
    Ok(Message::of(&parsed))
}

fn value(len: usize) -> Vec<u8> {
    std::vec![1; len]
}

#[test]
fn chunks_are_read() {
    let of = |chunks: &[Chunk]| read(&packet(TAG, chunks, true)).map(|message| message.chunks);
    let init = packet(0, &[(chunk_type::INIT, 0, None, [[0, 0, 0x11, 0x11].as_slice(), &[0; 12]].concat())], true);
    assert_eq!(read(&init), Ok(Message { tag: 0, initiate_tag: 0x1111, chunks: Chunks::INIT }));
    assert_eq!(
        of(&[(chunk_type::SACK, 0, None, value(12)), (chunk_type::DATA, 3, None, value(14))]),
        Ok(SACK.and(DATA))
    );
    assert_eq!(of(&[(chunk_type::ABORT, 0, None, value(0))]), Ok(Chunks::ABORT));
    assert_eq!(of(&[(chunk_type::ABORT, 1, None, value(0))]), Ok(Chunks::ABORT.and(Chunks::REFLECTED)));
    assert_eq!(of(&[(chunk_type::DATA, 1, None, value(14))]), Ok(DATA), "no T bit");
    let cause = |code: u8| (chunk_type::ERROR, 0, None, std::vec![0, code, 0, 8, 0, 0, 0, 9]);
    assert_eq!(of(&[cause(3)]), Ok(Chunks::ERROR.and(Chunks::STALE_COOKIE)));
    assert_eq!(of(&[cause(1)]), Ok(Chunks::ERROR));
    let auth = (chunk_type::AUTH, 0, None, value(24));
    assert_eq!(
        of(&[auth.clone(), (chunk_type::COOKIE_ECHO, 0, None, value(40))]).map(|it| it.has(Chunks::COOKIE_ECHO)),
        Ok(true)
    );
    assert_eq!(of(&[(0xc1, 0, None, value(4)), (0x40, 0, None, value(20))]), Ok(Chunks::OTHER));
    // The padding of the last one may be missing.
    assert!(read(&packet(TAG, &[(chunk_type::DATA, 3, None, value(13))], false)).is_ok());
}

#[test]
fn chains_that_no_stack_makes_are_refused() {
    let data = || (chunk_type::DATA, 3, None, value(13));
    let with_len = |chunk_type, len| (chunk_type, 0, Some(len), value(16));
    let init = |tag: u8| (chunk_type::INIT, 0, None, [[0, 0, 0, tag].as_slice(), &[0; 12]].concat());
    let alone = |chunk_type, len| (chunk_type, 0, None, value(len));
    for chunks in [
        std::vec![],
        std::vec![with_len(chunk_type::DATA, 0)],
        std::vec![with_len(chunk_type::SACK, 3)],
        std::vec![with_len(chunk_type::DATA, 16)],
        std::vec![with_len(chunk_type::SACK, 21)],
        std::vec![with_len(chunk_type::INIT, 19)],
        std::vec![init(0)],
        std::vec![init(1), data()],
        std::vec![data(), init(1)],
        std::vec![init(1), init(1)],
        std::vec![data(), alone(chunk_type::COOKIE_ACK, 0)],
        std::vec![data(), alone(chunk_type::COOKIE_ECHO, 8)],
        std::vec![alone(chunk_type::COOKIE_ACK, 0), alone(chunk_type::COOKIE_ACK, 0)],
        std::vec![alone(chunk_type::SHUTDOWN_COMPLETE, 0), data()],
        std::vec![alone(chunk_type::SACK, 12), alone(chunk_type::SHUTDOWN_COMPLETE, 0)],
        std::vec![alone(chunk_type::SHUTDOWN_ACK, 0); MAX_CHUNKS as usize + 1],
    ] {
        assert_eq!(read(&packet(TAG, &chunks, true)), Err(DropReason::SctpChunks), "{chunks:?}");
    }
    // Bytes behind the last chunk that are none of it.
    assert_eq!(read(&packet(TAG, &[(chunk_type::SACK, 0, Some(16), value(14))], false)), Err(DropReason::SctpChunks));
    let longest = std::vec![alone(chunk_type::SHUTDOWN_ACK, 0); MAX_CHUNKS as usize];
    assert!(read(&packet(TAG, &longest, true)).is_ok());
}

/// What is read of a first fragment with these chunks.
fn read_first(chunks: &[Chunk]) -> Result<Chunks, DropReason> {
    let whole = packet(TAG, chunks, true);
    let bytes = whole.as_slice();
    let mut parsed = frame(&bytes)?;
    parsed.part = Part::First;
    read_chunks(&bytes, &mut parsed, Extent::Whole)?;
    Ok(parsed.chunks)
}

#[test]
fn a_first_fragment_is_read_as_far_as_it_goes() {
    let sack = || (chunk_type::SACK, 0, None, value(12));
    let cut = |chunk_type| (chunk_type, 0, Some(3000), value(40));
    let whole = |chunk_type| (chunk_type, 0, None, value(44));
    assert_eq!(read(&packet(TAG, &[sack(), cut(chunk_type::DATA)], true)), Err(DropReason::SctpChunks));
    // Data: its rest, or more of it, is all that follows.
    assert_eq!(read_first(&[sack(), cut(chunk_type::DATA)]), Ok(SACK.and(DATA)));
    assert_eq!(read_first(&[sack(), whole(chunk_type::DATA)]), Ok(SACK.and(DATA)));
    for chunks in [[cut(chunk_type::I_DATA)], [whole(chunk_type::I_DATA)]] {
        assert_eq!(read_first(&chunks), Ok(Chunks::OTHER));
    }
    // Long ones that are known by their headers.
    for (chunk_type, found) in [
        (chunk_type::INIT, Chunks::INIT),
        (chunk_type::INIT_ACK, Chunks::INIT_ACK),
        (chunk_type::COOKIE_ECHO, Chunks::COOKIE_ECHO),
    ] {
        assert_eq!(read_first(&[cut(chunk_type)]), Ok(found));
        assert_eq!(read_first(&[whole(chunk_type)]), Err(DropReason::SctpChunks), "what follows?");
        assert!(read(&packet(TAG, &[whole(chunk_type)], true)).is_ok());
    }
    let echo = || (chunk_type::COOKIE_ECHO, 0, None, value(20));
    assert_eq!(read_first(&[echo(), cut(chunk_type::DATA)]), Ok(Chunks::COOKIE_ECHO.and(DATA)));
    // Behind these anything could follow.
    let others = [3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 65, 80, 128, 129, 192, 193, 255];
    for chunk_type in others {
        for chunk in [cut(chunk_type), whole(chunk_type)] {
            assert_eq!(read_first(core::slice::from_ref(&chunk)), Err(DropReason::SctpChunks), "{chunk:?}");
        }
    }
    assert_eq!(read_first(&[whole(chunk_type::DATA), sack()]), Err(DropReason::SctpChunks));
    // More than are looked at.
    let many = std::vec![(chunk_type::DATA, 0, None, value(13)); MAX_CHUNKS as usize + 1];
    assert_eq!(read_first(&many), Err(DropReason::SctpChunks));
    assert_eq!(read_first(&many[1..]), Ok(DATA));
}

proptest! {
    /// The reader never fails but by its reason, and what it accepts has a chunk.
    #[test]
    fn any_bytes_are_read(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), tag: u32) {
        let mut whole = packet(tag, &[], true);
        whole.append(&mut bytes);
        let len = (whole.len() as u16 - 14).to_be_bytes();
        whole[16..18].copy_from_slice(&len);
        whole[24..26].fill(0);
        let sum = crate::wire::checksum::finish(crate::wire::checksum::sum(whole[14..34].first_chunk::<20>().unwrap()));
        whole[24..26].copy_from_slice(&sum.to_be_bytes());
        match read(&whole) {
            Ok(message) => prop_assert_ne!(message.chunks, Chunks::NONE),
            Err(reason) => prop_assert_eq!(reason, DropReason::SctpChunks),
        }
    }
}
