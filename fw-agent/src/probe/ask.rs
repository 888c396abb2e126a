//! Asks one target once, over the network.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use hyper_util::rt::TokioIo;
use surge_ping::{Client, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{Check, ProbeConfig};

/// Bytes of an echo's data, as ping sends.
const ECHO_DATA: [u8; 56] = [0x70; 56];

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody has answered in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The target is the firewall, which always answers itself.
    #[error("{0} is an address of the firewall itself: name one beyond the way")]
    Own(IpAddr),
    /// The host's own network stack, or the target, has refused.
    #[error("{0}")]
    Refused(io::Error),
    /// Echoes need a raw socket, which is for who may have one.
    #[error("no raw socket for echoes ({0}): the agent needs CAP_NET_RAW")]
    Socket(io::Error),
    /// Somebody has answered that the echo does not arrive.
    #[error("ICMP {kind}/{code} from {from}")]
    Error {
        /// Who.
        from: IpAddr,
        /// The type of his message.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// Echoes cannot be sent.
    #[error("{0}")]
    Echo(SurgeError),
    /// The answer is none of HTTP's, or none of success.
    #[error("HTTP: {0}")]
    Http(String),
}

/// Asks, again and again.
pub struct Asker {
    config: ProbeConfig,
    /// Sends echoes; made with the first of them, and anew when it has failed.
    client: Option<Client>,
    number: u16,
}

impl Asker {
    /// An asker of a target.
    #[must_use]
    pub const fn new(config: ProbeConfig) -> Self {
        Self { config, client: None, number: 0 }
    }

    /// Asks once. How long the answer took.
    ///
    /// # Errors
    /// If none has come in time, or a wrong one.
    pub async fn ask(&mut self) -> Result<Duration, Failure> {
        let start = Instant::now();
        let limit = self.config.timeout;
        let target = self.config.target;
        if is_own(target) {
            return Err(Failure::Own(target));
        }
        match self.config.check.clone() {
            Check::Ping => return self.echo().await,
            Check::Tcp(port) => drop(within(limit, connect(target, port)).await?),
            Check::Http { port, path } => within(limit, get(target, port, &path)).await?,
        }
        Ok(start.elapsed())
    }

    async fn echo(&mut self) -> Result<Duration, Failure> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(client(self.config.target).map_err(Failure::Socket)?).clone(),
        };
        self.number = self.number.wrapping_add(1);
        // Answers are told apart by the identifier, which other programs on the machine choose, too.
        let mut pinger = client.pinger(self.config.target, PingIdentifier(identifier())).await;
        pinger.timeout(self.config.timeout);
        // The client's own measure begins behind the sending, when the answer may have come already.
        let start = Instant::now();
        match pinger.ping(PingSequence(self.number), &ECHO_DATA).await {
            Ok((answer, _)) => is_echo(&answer).map(|()| start.elapsed()),
            Err(SurgeError::Timeout { .. }) => Err(Failure::Late(self.config.timeout)),
            Err(error) => {
                self.client = None;
                Err(Failure::Echo(error))
            }
        }
    }
}

/// Whether an address is one of this host: then a socket can be bound to it, unless a setting lets sockets be bound to any
/// (Documentation/networking/ip-sysctl.rst of the kernel).
fn is_own(target: IpAddr) -> bool {
    let version = if target.is_ipv4() { "ipv4" } else { "ipv6" };
    let binds_to_any = || {
        let setting = std::fs::read_to_string(format!("/proc/sys/net/{version}/ip_nonlocal_bind"));
        setting.is_ok_and(|setting| setting.trim() != "0")
    };
    std::net::UdpSocket::bind((target, 0)).is_ok() && !binds_to_any()
}

/// The client also hands over errors about an echo, such as that of a router that does not find the host.
fn is_echo(answer: &IcmpPacket) -> Result<(), Failure> {
    // RFC 792, and RFC 4443, section 4.2.
    let (is_reply, from, kind, code) = match answer {
        IcmpPacket::V4(answer) => {
            let kind = answer.get_icmp_type().0;
            (kind == 0, answer.get_source().into(), kind, answer.get_icmp_code().0)
        }
        IcmpPacket::V6(answer) => {
            let kind = answer.get_icmpv6_type().0;
            (kind == 129, answer.get_source().into(), kind, answer.get_icmpv6_code().0)
        }
    };
    if is_reply { Ok(()) } else { Err(Failure::Error { from, kind, code }) }
}

/// A raw socket: those for echoes are for groups that the machine's settings name (`net.ipv4.ping_group_range`).
fn client(target: IpAddr) -> io::Result<Client> {
    let family = if target.is_ipv4() { ICMP::V4 } else { ICMP::V6 };
    Client::new(&surge_ping::Config::builder().kind(family).sock_type_hint(socket2::Type::RAW).build())
}

fn identifier() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness it is always the same one, which the sequence number and the data still tell from others'.
    let _read = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u16::from_ne_bytes(bytes)
}

async fn within<T>(limit: Duration, what: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(limit, what).await.unwrap_or(Err(Failure::Late(limit)))
}

async fn connect(target: IpAddr, port: u16) -> Result<TcpStream, Failure> {
    TcpStream::connect((target, port)).await.map_err(Failure::Refused)
}

async fn get(target: IpAddr, port: u16, path: &str) -> Result<(), Failure> {
    let http = |error: &dyn std::fmt::Display| Failure::Http(error.to_string());
    let stream = connect(target, port).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| http(&error))?;
    let request = Request::get(path)
        .header(header::HOST, SocketAddr::new(target, port).to_string())
        .header(header::USER_AGENT, concat!("outpost-fw/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Body::empty())
        .map_err(|error| http(&error))?;
    let answer = async {
        let answer = sender.send_request(request).await;
        // Nothing more is read: dropping the sender ends the connection.
        drop(sender);
        answer
    };
    let (answer, _ended) = tokio::join!(answer, connection);
    let status = answer.map_err(|error| http(&error))?.status();
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(Failure::Http(status.to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_s_own_addresses_are_known_and_others_are_not_taken_for_them() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        // For documentation (RFC 5737, RFC 3849): nobody has it.
        assert!(!is_own("192.0.2.1".parse().unwrap()) && !is_own("2001:db8::1".parse().unwrap()));
    }
}
