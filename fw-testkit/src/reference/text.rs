//! Packets as lines of text, so that a sequence that once failed can be kept, read and changed by hand.
//!
//! `tcp 10.1.1.50 4000 > 10.2.1.20 80 flags=SA seq=1 ack=2 window=65535 scale=7 sackok sack=5-9 len=3 ttl=64`;
//! `udp … len=9`; `icmp 10.1.1.50 0 > 10.2.1.20 0 type=8 code=0 id=7`, or with `quote` and the quoted packet at the end;
//! `proto … number=47`; `sctp … tag=9 chunks=cookie-ack,sack,abort:t`, with the tag of `init:7` or the cause of `error:3`.

use std::fmt;
use std::str::FromStr;

use super::datagram::{Body, Datagram, TcpSegment};
use super::sctp_packet::{SctpChunk, SctpPacket};
use crate::packet::{chunk, tcp_flags};

/// A line that is no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a packet: {0}")]
pub struct TextError(String);

/// The letters of tcpdump, but for ACK, which is `A`.
const FLAGS: [(char, u8); 6] = [
    ('F', tcp_flags::FIN),
    ('S', tcp_flags::SYN),
    ('R', tcp_flags::RST),
    ('P', tcp_flags::PSH),
    ('A', tcp_flags::ACK),
    ('U', 0x20),
];

impl fmt::Display for Datagram {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, src_port, dst_port) = match &self.body {
            Body::Tcp(segment) => ("tcp", segment.src_port, segment.dst_port),
            Body::Udp(src_port, dst_port) => ("udp", *src_port, *dst_port),
            Body::Sctp(packet) => ("sctp", packet.src_port, packet.dst_port),
            Body::Icmp { .. } => ("icmp", 0, 0),
            Body::Other(_) => ("proto", 0, 0),
        };
        write!(out, "{name} {} {src_port} > {} {dst_port}", self.src, self.dst)?;
        match &self.body {
            Body::Tcp(segment) => write_segment(segment, out)?,
            Body::Icmp { kind, code, id, .. } => write!(out, " type={kind} code={code} id={id}")?,
            Body::Other(number) => write!(out, " number={number}")?,
            Body::Sctp(packet) => write_chunks(packet, out)?,
            Body::Udp(..) => {}
        }
        if self.len != 0 {
            write!(out, " len={}", self.len)?;
        }
        if self.ttl != 64 {
            write!(out, " ttl={}", self.ttl)?;
        }
        if self.may_fragment {
            write!(out, " fragmentable")?;
        }
        if let Body::Icmp { quote: Some(quote), .. } = &self.body {
            write!(out, " quote {quote}")?;
        }
        Ok(())
    }
}

fn write_segment(segment: &TcpSegment, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let flags: String = FLAGS.iter().filter(|(_, flag)| segment.has(*flag)).map(|(letter, _)| *letter).collect();
    write!(out, " flags={flags} seq={} ack={} window={}", segment.seq, segment.ack, segment.window)?;
    if let Some(scale) = segment.scale {
        write!(out, " scale={scale}")?;
    }
    if segment.sack_permitted {
        write!(out, " sackok")?;
    }
    if let Some((left, right)) = segment.sack {
        write!(out, " sack={left}-{right}")?;
    }
    Ok(())
}

/// The names of chunks, by their types.
const CHUNKS: [(&str, u8); 13] = [
    ("data", chunk::DATA),
    ("init", chunk::INIT),
    ("init-ack", chunk::INIT_ACK),
    ("sack", chunk::SACK),
    ("heartbeat", chunk::HEARTBEAT),
    ("heartbeat-ack", chunk::HEARTBEAT_ACK),
    ("abort", chunk::ABORT),
    ("shutdown", chunk::SHUTDOWN),
    ("shutdown-ack", chunk::SHUTDOWN_ACK),
    ("error", chunk::ERROR),
    ("cookie-echo", chunk::COOKIE_ECHO),
    ("cookie-ack", chunk::COOKIE_ACK),
    ("shutdown-complete", chunk::SHUTDOWN_COMPLETE),
];

fn write_chunks(packet: &SctpPacket, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(out, " tag={}", packet.tag)?;
    for (position, chunk) in packet.chunks.iter().enumerate() {
        out.write_str(if position == 0 { " chunks=" } else { "," })?;
        match CHUNKS.iter().find(|(_, kind)| *kind == chunk.kind()) {
            Some((name, _)) => out.write_str(name)?,
            None => write!(out, "{}", chunk.kind())?,
        }
        match chunk {
            SctpChunk::Init(tag) | SctpChunk::InitAck(tag) => write!(out, ":{tag}")?,
            SctpChunk::Error(cause) => write!(out, ":{cause}")?,
            SctpChunk::Reflecting(_) => out.write_str(":t")?,
            SctpChunk::Plain(_) => {}
        }
    }
    Ok(())
}

fn chunk_of(text: &str) -> Option<SctpChunk> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    let kind = match CHUNKS.iter().find(|(known, _)| *known == name) {
        Some((_, kind)) => *kind,
        None => name.parse().ok()?,
    };
    Some(match (kind, value) {
        (chunk::INIT, _) => SctpChunk::Init(value.parse().ok()?),
        (chunk::INIT_ACK, _) => SctpChunk::InitAck(value.parse().ok()?),
        (chunk::ERROR, _) => SctpChunk::Error(value.parse().ok()?),
        (_, "t") => SctpChunk::Reflecting(kind),
        (_, "") => SctpChunk::Plain(kind),
        _ => return None,
    })
}

impl FromStr for Datagram {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        read(text).ok_or_else(|| TextError(text.to_owned()))
    }
}

fn read(text: &str) -> Option<Datagram> {
    let (text, quote) = match text.split_once(" quote ") {
        Some((text, quote)) => (text, Some(Box::new(quote.parse().ok()?))),
        None => (text, None),
    };
    let mut words = text.split_whitespace();
    let name = words.next()?;
    let (src, src_port) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    if words.next() != Some(">") {
        return None;
    }
    let (dst, dst_port) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let body = match name {
        "tcp" => Body::Tcp(TcpSegment { src_port, dst_port, ..TcpSegment::default() }),
        "udp" => Body::Udp(src_port, dst_port),
        "sctp" => Body::Sctp(SctpPacket { src_port, dst_port, ..SctpPacket::default() }),
        "icmp" => Body::Icmp { kind: 0, code: 0, id: 0, quote },
        "proto" => Body::Other(0),
        _ => return None,
    };
    let mut datagram = Datagram::new(src, dst, body);
    words.try_for_each(|word| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        set(&mut datagram, key, value)
    })?;
    Some(datagram)
}

/// Sets what one word says.
fn set(datagram: &mut Datagram, key: &str, value: &str) -> Option<()> {
    match (key, &mut datagram.body) {
        ("len", _) => datagram.len = value.parse().ok()?,
        ("ttl", _) => datagram.ttl = value.parse().ok()?,
        ("fragmentable", _) => datagram.may_fragment = true,
        ("type", Body::Icmp { kind, .. }) => *kind = value.parse().ok()?,
        ("code", Body::Icmp { code, .. }) => *code = value.parse().ok()?,
        ("id", Body::Icmp { id, .. }) => *id = value.parse().ok()?,
        ("number", Body::Other(number)) => *number = value.parse().ok()?,
        ("tag", Body::Sctp(packet)) => packet.tag = value.parse().ok()?,
        ("chunks", Body::Sctp(packet)) => packet.chunks = value.split(',').map(chunk_of).collect::<Option<_>>()?,
        (_, Body::Tcp(segment)) => return set_of_segment(segment, key, value),
        _ => return None,
    }
    Some(())
}

fn set_of_segment(segment: &mut TcpSegment, key: &str, value: &str) -> Option<()> {
    match key {
        "flags" => {
            let flag = |letter: char| FLAGS.iter().find(|(known, _)| *known == letter).map(|(_, flag)| *flag);
            segment.flags = value.chars().map(flag).try_fold(0, |flags, flag| Some(flags | flag?))?;
        }
        "seq" => segment.seq = value.parse().ok()?,
        "ack" => segment.ack = value.parse().ok()?,
        "window" => segment.window = value.parse().ok()?,
        "scale" => segment.scale = Some(value.parse().ok()?),
        "sackok" => segment.sack_permitted = true,
        "sack" => {
            let (left, right) = value.split_once('-')?;
            segment.sack = Some((left.parse().ok()?, right.parse().ok()?));
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        for line in [
            "tcp 10.1.1.50 4000 > 10.2.1.20 80 flags=SA seq=1 ack=2 window=65535 scale=7 sackok sack=5-9 len=3 ttl=1",
            "udp fd00::1 4000 > fd00::2 53 len=9 fragmentable",
            "icmp 10.1.1.50 0 > 10.2.1.20 0 type=3 code=1 id=0 quote udp 10.2.1.20 53 > 10.1.1.50 4000",
            "proto 10.1.1.50 0 > 10.2.1.20 0 number=47",
            "sctp 10.1.1.50 4000 > 10.2.1.20 2905 tag=0 chunks=init:7",
            "sctp fd00::1 4000 > fd00::2 2905 tag=9 chunks=sack,error:3,data,abort:t,192",
        ] {
            let datagram: Datagram = line.parse().unwrap();
            assert_eq!(datagram.to_string(), line);
        }
        for line in
            ["", "tcp 10.1.1.50 4000", "udp 10.1.1.1 1 > 10.1.1.2 2 flags=S", "tcp 1.1.1.1 1 > 1.1.1.2 2 flags=X"]
        {
            assert!(line.parse::<Datagram>().is_err(), "{line}");
        }
    }
}
