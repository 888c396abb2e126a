//! Small servers for the hosts of the lab, with real sockets: as threads of a test, or as processes by `fw-lab serve`.

mod authority;
mod echo;
mod http;
mod metadata;
mod modbus;
mod objects;
mod s3;

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub use http::pattern;
pub use objects::{Objects, Seen};
pub use s3::Account;

use crate::LabError;
use crate::error::While;
use crate::netns::NetNs;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: `GET /` and `GET /bytes/N[?per_second=M]`.
    Http,
    /// Modbus over TCP: reads of holding registers, each of which holds its own number.
    Modbus,
    /// UDP: every datagram comes back.
    Echo,
    /// The instance metadata service, version 2 (with session tokens).
    Metadata,
}

impl Protocol {
    const NAMES: [(&'static str, Self); 4] =
        [("http", Self::Http), ("modbus", Self::Modbus), ("echo", Self::Echo), ("metadata", Self::Metadata)];
}

/// A server's protocol and the address that it listens on; written `http=[::]:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it listens; `[::]` is both families.
    pub address: SocketAddr,
}

impl Endpoint {
    /// A server on all addresses of both families.
    #[must_use]
    pub fn any(protocol: Protocol, port: u16) -> Self {
        Self { protocol, address: (std::net::Ipv6Addr::UNSPECIFIED, port).into() }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text.split_once('=').ok_or("expected PROTOCOL=ADDRESS:PORT, such as http=[::]:80")?;
        let protocol = Protocol::NAMES.iter().find(|(known, _)| *known == name).map(|(_, protocol)| *protocol);
        let protocol = protocol.ok_or_else(|| format!("unknown protocol {name:?}: http, modbus, echo or metadata"))?;
        let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
        Ok(Self { protocol, address })
    }
}

/// Servers on a thread of this process. Dropping the guard closes their sockets and connections.
#[derive(Debug)]
pub struct Service {
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts servers in a network name space. They listen when this returns.
    pub fn start(namespace: &NetNs, endpoints: &[Endpoint]) -> Result<Self, LabError> {
        let (shutdown, stopped) = oneshot::channel();
        let what = || format!("serve {endpoints:?} in {}", namespace.name());
        // Sockets belong to the name space of the thread that creates them, whichever thread drives them later.
        let listening = namespace.within(|| listen(endpoints))?.during(what)?;
        let (report, reported) = mpsc::channel();
        let thread = thread::spawn(move || {
            let outcome = register(listening);
            let (runtime, servers) = match outcome {
                Ok(parts) => parts,
                Err(error) => return drop(report.send(Err(error))),
            };
            drop(report.send(Ok(())));
            runtime.block_on(serve_until(servers, stopped));
        });
        reported.recv().unwrap_or_else(|_| Err(io::Error::other("the server's thread ended"))).during(what)?;
        Ok(Self { shutdown: Some(shutdown), thread: Some(thread) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take() {
            let _its_panic_was_printed = thread.join();
        }
    }
}

/// Serves in the caller's name space until the process is ended.
pub fn serve_forever(endpoints: &[Endpoint]) -> io::Result<()> {
    let (runtime, servers) = register(listen(endpoints)?)?;
    runtime.block_on(servers.run());
    Ok(())
}

/// A bound socket of the standard library.
enum Bound {
    Tcp(Protocol, std::net::TcpListener),
    Udp(std::net::UdpSocket),
}

fn listen(endpoints: &[Endpoint]) -> io::Result<Vec<Bound>> {
    endpoints.iter().map(bind).collect()
}

fn bind(endpoint: &Endpoint) -> io::Result<Bound> {
    match endpoint.protocol {
        Protocol::Echo => {
            let socket = std::net::UdpSocket::bind(endpoint.address)?;
            socket.set_nonblocking(true)?;
            Ok(Bound::Udp(socket))
        }
        protocol @ (Protocol::Http | Protocol::Modbus | Protocol::Metadata) => {
            let listener = std::net::TcpListener::bind(endpoint.address)?;
            listener.set_nonblocking(true)?;
            Ok(Bound::Tcp(protocol, listener))
        }
    }
}

/// Sockets that are registered with a runtime.
#[derive(Default)]
struct Servers {
    tcp: Vec<(Protocol, TcpListener)>,
    udp: Vec<UdpSocket>,
}

fn register(bound: Vec<Bound>) -> io::Result<(Runtime, Servers)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let mut servers = Servers::default();
    for socket in bound {
        match socket {
            Bound::Tcp(protocol, listener) => servers.tcp.push((protocol, TcpListener::from_std(listener)?)),
            Bound::Udp(socket) => servers.udp.push(UdpSocket::from_std(socket)?),
        }
    }
    drop(guard);
    Ok((runtime, servers))
}

async fn serve_until(servers: Servers, stopped: oneshot::Receiver<()>) {
    tokio::select! {
        () = servers.run() => {}
        _sender_dropped = stopped => {}
    }
}

impl Servers {
    async fn run(self) {
        let mut tasks = JoinSet::new();
        for (protocol, listener) in self.tcp {
            tasks.spawn(accept(protocol, listener));
        }
        for socket in self.udp {
            tasks.spawn(echo::serve(socket));
        }
        while tasks.join_next().await.is_some() {}
    }
}

async fn accept(protocol: Protocol, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, peer)) = accepted {
                    connections.spawn(converse(protocol, stream, peer));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn converse(protocol: Protocol, stream: TcpStream, peer: SocketAddr) {
    // A client that goes away in mid-sentence is what half of the tests provoke.
    let _client_gone = match protocol {
        Protocol::Http => http::converse(stream, peer).await,
        Protocol::Modbus => modbus::converse(stream).await,
        Protocol::Metadata => metadata::converse(stream).await,
        Protocol::Echo => Ok(()),
    };
}
