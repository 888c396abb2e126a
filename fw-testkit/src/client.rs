//! Clients that run in a name space of the lab and say what happened: an answer, or which error, within a time limit.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::LabError;
use crate::netns::NetNs;
use crate::service::pattern;

/// A connection from a name space; it stays in it wherever it is used.
pub fn connect(from: &NetNs, to: SocketAddr, within: Duration) -> Result<io::Result<TcpStream>, LabError> {
    from.within(|| {
        let stream = TcpStream::connect_timeout(&to, within)?;
        stream.set_read_timeout(Some(within))?;
        stream.set_write_timeout(Some(within))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

/// An answer to an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// Length of the body in bytes.
    pub length: u64,
    /// SHA-256 of the body.
    pub digest: [u8; 32],
    /// The first bytes of the body, as text.
    pub start: String,
}

/// Fetches a page; the time limit holds for the connection and for each wait for more of the body.
pub fn http_get(
    from: &NetNs,
    to: SocketAddr,
    path: &str,
    within: Duration,
) -> Result<io::Result<HttpAnswer>, LabError> {
    let connection = connect(from, to, within)?;
    Ok(connection.and_then(|stream| fetch(stream, path)))
}

fn fetch(mut stream: TcpStream, path: &str) -> io::Result<HttpAnswer> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed HTTP answer");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(256 * 1024, stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split_whitespace().nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    while !line.trim().is_empty() {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let mut answer = HttpAnswer { status, length: 0, digest: [0; 32], start: String::new() };
    let mut digest = Sha256::new();
    let mut piece = vec![0; 256 * 1024];
    loop {
        let length = reader.read(&mut piece)?;
        if length == 0 {
            answer.digest = digest.finalize().into();
            return Ok(answer);
        }
        if answer.length == 0 {
            answer.start = String::from_utf8_lossy(&piece[..length.min(200)]).into_owned();
        }
        digest.update(&piece[..length]);
        answer.length += length as u64;
    }
}

/// SHA-256 of the body of `/bytes/N`, computed without any server.
#[must_use]
pub fn expected_digest(length: u64) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut piece = Vec::with_capacity(1 << 16);
    let mut position = 0;
    while position < length {
        piece.clear();
        piece.extend((position..length.min(position + (1 << 16))).map(pattern));
        digest.update(&piece);
        position += piece.len() as u64;
    }
    digest.finalize().into()
}

/// Reads holding registers by Modbus over TCP on an open connection.
pub fn modbus_read(stream: &mut TcpStream, start: u16, count: u16) -> io::Result<Vec<u16>> {
    let mut request = vec![0, 1, 0, 0, 0, 6, 1, 3];
    request.extend(start.to_be_bytes());
    request.extend(count.to_be_bytes());
    stream.write_all(&request)?;
    let mut header = [0; 9];
    stream.read_exact(&mut header)?;
    if header[7] != 3 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("Modbus exception {}", header[8])));
    }
    let mut values = vec![0; usize::from(header[8])];
    stream.read_exact(&mut values)?;
    Ok(values.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
}

/// Connects, reads two registers and closes.
pub fn modbus(from: &NetNs, to: SocketAddr, within: Duration) -> Result<io::Result<Vec<u16>>, LabError> {
    let connection = connect(from, to, within)?;
    Ok(connection.and_then(|mut stream| modbus_read(&mut stream, 100, 2)))
}

/// A UDP socket in a name space, connected to a peer, so that ICMP errors come back as errors.
pub fn udp(from: &NetNs, to: SocketAddr, within: Duration) -> Result<io::Result<UdpSocket>, LabError> {
    from.within(|| {
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(within))?;
        Ok(socket)
    })
}

/// Sends one datagram and waits for its echo.
pub fn udp_exchange(from: &NetNs, to: SocketAddr, within: Duration) -> Result<io::Result<Vec<u8>>, LabError> {
    Ok(udp(from, to, within)?.and_then(|socket| {
        socket.send(b"are you there?")?;
        let mut answer = vec![0; 2048];
        let length = socket.recv(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    }))
}
