//! A minimal HTTP/1.1 server: a greeting, and bodies of any size that the client can verify.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

/// The longest request head that is read, in lines.
const LONGEST_HEAD: usize = 64;

/// The piece in which a body is written, in bytes.
const PIECE: usize = 64 * 1024;

/// A request without its body.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

pub(super) async fn read_request(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Request> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed request");
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut words = line.split_whitespace();
    let method = words.next().ok_or_else(malformed)?.to_owned();
    let path = words.next().ok_or_else(malformed)?.to_owned();
    let mut headers = Vec::new();
    while headers.len() < LONGEST_HEAD {
        line.clear();
        stream.read_line(&mut line).await?;
        if line.trim().is_empty() {
            return Ok(Request { method, path, headers });
        }
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    Err(malformed())
}

pub(super) async fn respond(stream: &mut BufReader<TcpStream>, status: &str, body: &str) -> io::Result<()> {
    let head = head(status, body.len() as u64);
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await
}

fn head(status: &str, length: u64) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
}

pub(super) async fn converse(stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read_request(&mut stream).await?;
    match (request.method.as_str(), wanted_bytes(&request.path)) {
        ("GET", Some((length, per_second))) => {
            stream.write_all(head("200 OK", length).as_bytes()).await?;
            write_pattern(&mut stream, length, per_second).await
        }
        ("GET", None) if request.path == "/" => {
            respond(&mut stream, "200 OK", &format!("hello {}\n", peer.ip().to_canonical())).await
        }
        ("GET", None) => respond(&mut stream, "404 Not Found", "no such page\n").await,
        _ => respond(&mut stream, "405 Method Not Allowed", "only GET\n").await,
    }
}

/// Reads `/bytes/N?per_second=M`; without a rate, M is 0 and the body comes as fast as it can.
fn wanted_bytes(path: &str) -> Option<(u64, u64)> {
    let (length, query) = path.strip_prefix("/bytes/").map(|rest| rest.split_once('?').unwrap_or((rest, "")))?;
    let per_second = query.strip_prefix("per_second=").and_then(|rate| rate.parse().ok()).unwrap_or(0);
    Some((length.parse().ok()?, per_second))
}

/// The body of `/bytes/N` is this byte for each position: not periodic in any power of two, so that a lost, repeated or moved
/// piece changes the body's digest.
#[must_use]
pub const fn pattern(position: u64) -> u8 {
    (position % 251) as u8
}

async fn write_pattern(stream: &mut BufReader<TcpStream>, length: u64, per_second: u64) -> io::Result<()> {
    let start = Instant::now();
    let mut piece = Vec::with_capacity(PIECE);
    let mut position = 0;
    while position < length {
        piece.clear();
        piece.extend((position..length.min(position + PIECE as u64)).map(pattern));
        stream.write_all(&piece).await?;
        position += piece.len() as u64;
        if per_second > 0 {
            sleep_until(start + Duration::from_secs_f64(position as f64 / per_second as f64)).await;
        }
    }
    stream.shutdown().await
}
