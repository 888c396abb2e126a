//! A client that sends what it is told to, for answers that clients of AWS would hide or repeat.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::format_description;

/// The longest that any answer of these tests takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    /// The code of an error in XML.
    pub(crate) fn code(&self) -> &str {
        let after = self.body.split_once("<Code>").map_or("", |(_, rest)| rest);
        after.split_once("</Code>").map_or("", |(code, _)| code)
    }

    /// The text of the first element of a name.
    pub(crate) fn element(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    }
}

/// A connection to an endpoint such as `http://127.0.0.1:1234`.
pub(crate) fn connect(endpoint: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(endpoint.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a request and reads the answer, of which the server says the length.
pub(crate) fn ask(stream: &mut TcpStream, head: &str, body: &str) -> std::io::Result<Answer> {
    let length = body.len();
    stream.write_all(format!("{head}Host: aws\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())?;
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece)?;
        text.extend(&piece[..count]);
        let seen = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = seen.split_once("\r\n\r\n") {
            let field = |name: &str| {
                let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
                line.split_once(':').map(|(_, value)| value.trim().to_owned())
            };
            let length: usize = field("content-length").unwrap().parse().unwrap();
            if body.len() >= length {
                let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
                return Ok(Answer { status, body: body.to_owned() });
            }
        }
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The first lines of a signed call of a Query protocol.
pub(crate) fn signed(key: &str, service: &str) -> String {
    let now = OffsetDateTime::now_utc();
    let date = now.format(format_description!("[year][month][day]T[hour][minute][second]Z")).unwrap();
    let scope = format!("{key}/{}/eu-central-1/{service}/aws4_request", &date[..8]);
    let signature = "0".repeat(64);
    format!(
        "POST / HTTP/1.1\r\nX-Amz-Date: {date}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={scope}, \
         SignedHeaders=host;x-amz-date, Signature={signature}\r\n"
    )
}

/// A call of EC2 on a connection.
pub(crate) fn ec2(stream: &mut TcpStream, key: &str, action: &str, parameters: &str) -> std::io::Result<Answer> {
    ask(stream, &signed(key, "ec2"), &format!("Action={action}&Version=2016-11-15{parameters}"))
}
