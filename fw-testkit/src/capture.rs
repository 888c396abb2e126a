//! Frames as they are on a link: captured on, and sent from, one interface of one name space by AF_PACKET (packet(7)).

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustix::net::netdevice::name_to_index;
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

use crate::LabError;
use crate::error::While;
use crate::netns::NetNs;
use crate::packet::Decoded;

/// Room for frames that arrive while the test does something else.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;

/// The largest frame: GRO joins segments up to this.
const LARGEST_FRAME: usize = 65_536 + 18;

/// The longest that reading what has arrived may take.
const LONGEST_DRAIN: Duration = Duration::from_secs(10);

/// A frame that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The bytes from the Ethernet header on.
    pub bytes: Vec<u8>,
    /// Whether the node itself sent it; otherwise it came in.
    pub outgoing: bool,
}

impl Frame {
    /// The headers of an IPv4 or IPv6 frame.
    #[must_use]
    pub fn decode(&self) -> Option<Decoded> {
        Decoded::from_ethernet(&self.bytes)
    }

    /// Whether the frame carries a packet from one address to another.
    #[must_use]
    pub fn is_between(&self, src_addr: IpAddr, dst_addr: IpAddr) -> bool {
        self.decode().is_some_and(|packet| packet.src_addr == src_addr && packet.dst_addr == dst_addr)
    }
}

/// An open capture. It holds every frame since it was opened, until they are read.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
    interface: String,
}

impl Capture {
    /// Opens a capture; frames that pass after this call are seen.
    pub fn on(namespace: &NetNs, interface: &str) -> Result<Self, LabError> {
        let socket = namespace.within(|| packet_socket(interface, libc::ETH_P_ALL as u16))?;
        let socket = socket.during(|| format!("capture on {interface} in {}", namespace.name()))?;
        Ok(Self { socket, interface: interface.to_owned() })
    }

    /// Reads frames until one is wanted, and returns it.
    pub fn wait_for(&self, what: &str, within: Duration, wanted: impl Fn(&Frame) -> bool) -> Result<Frame, LabError> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left)? {
                Some(frame) if wanted(&frame) => return Ok(frame),
                Some(_other) => {}
                None => return Err(LabError::Timeout { what: format!("{what} on {}", self.interface), within }),
            }
        }
    }

    /// Every frame that has arrived, without waiting for more. On a link that is never silent this ends with an error.
    pub fn drain(&self) -> Result<Vec<Frame>, LabError> {
        let deadline = Instant::now() + LONGEST_DRAIN;
        let mut frames = Vec::new();
        while let Some(frame) = self.next(Duration::ZERO)? {
            frames.push(frame);
            if Instant::now() > deadline {
                return Err(LabError::Timeout {
                    what: format!("no frame on {}", self.interface),
                    within: LONGEST_DRAIN,
                });
            }
        }
        Ok(frames)
    }

    /// The next frame; `None` if none comes in time.
    fn next(&self, within: Duration) -> Result<Option<Frame>, LabError> {
        let what = || format!("capture on {}", self.interface);
        // A time limit of zero would mean none at all.
        let non_blocking = within.is_zero();
        self.socket.set_nonblocking(non_blocking).during(what)?;
        if !non_blocking {
            self.socket.set_read_timeout(Some(within)).during(what)?;
        }
        let mut bytes = Vec::with_capacity(LARGEST_FRAME);
        match self.socket.recv_from(bytes.spare_capacity_mut()) {
            Ok((length, address)) => {
                // SAFETY: the kernel has written the first `length` bytes of the capacity.
                unsafe { bytes.set_len(length) };
                bytes.shrink_to_fit();
                Ok(Some(Frame { bytes, outgoing: is_outgoing(&address) }))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error).during(what),
        }
    }
}

/// Sends raw frames from an interface, as any host on the link could.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
    interface: String,
}

impl Sender {
    /// Opens an interface for sending.
    pub fn on(namespace: &NetNs, interface: &str) -> Result<Self, LabError> {
        // Protocol 0 receives nothing.
        let socket = namespace.within(|| packet_socket(interface, 0))?;
        let socket = socket.during(|| format!("send on {interface} in {}", namespace.name()))?;
        Ok(Self { socket, interface: interface.to_owned() })
    }

    /// Sends one frame, from its Ethernet header on.
    pub fn send(&self, frame: &[u8]) -> Result<(), LabError> {
        self.socket.send(frame).during(|| format!("send a frame on {}", self.interface))?;
        Ok(())
    }
}

/// A packet socket that is bound to an interface before it receives anything.
fn packet_socket(interface: &str, protocol: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    let index = name_to_index(&socket, interface)?;
    socket.bind(&link_layer_address(index, protocol))?;
    Ok(socket)
}

fn link_layer_address(ifindex: u32, protocol: u16) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is as large and as aligned as any socket address, and every bit pattern is a `sockaddr_ll`.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = ifindex as i32;
    // SAFETY: the storage holds a complete `sockaddr_ll`, whose length is given.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}

fn is_outgoing(address: &SockAddr) -> bool {
    // SAFETY: a packet socket's peer address is a `sockaddr_ll`, and the storage behind the pointer is larger.
    let address = unsafe { &*address.as_ptr().cast::<libc::sockaddr_ll>() };
    address.sll_pkttype == libc::PACKET_OUTGOING
}
