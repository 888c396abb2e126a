//! The kernel's notifications, gathered into batches.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::NetlinkError;
use super::kernel::neighbour_from;
use super::neighbours::NeighbourEvent;

/// A batch ends when nothing has happened for this long.
const QUIET: Duration = Duration::from_millis(20);

/// A batch ends at the latest after this time, so that a steady stream of events cannot delay a repair for long.
const LONGEST: Duration = Duration::from_millis(200);

type Messages = BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>;

/// What has happened since the last batch.
#[derive(Debug, Default)]
pub struct Batch {
    /// Links, addresses, routes or rules have changed.
    pub topology: bool,
    /// Neighbours that have changed, in order.
    pub neighbours: Vec<NeighbourEvent>,
    /// The kernel had to drop notifications: everything has to be read anew.
    pub lost: bool,
}

/// A subscription to the kernel's notifications; a task of its own gathers them.
#[derive(Debug)]
pub struct Events {
    batches: mpsc::Receiver<Batch>,
}

impl Events {
    /// Subscribes; nothing that happens from now on is missed unseen.
    pub fn subscribe() -> Result<Self, NetlinkError> {
        let (connection, _handle, messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ])?;
        tokio::spawn(connection);
        let (sender, batches) = mpsc::channel(16);
        tokio::spawn(gather(messages.map(|(message, _sender)| message).boxed(), sender));
        Ok(Self { batches })
    }

    /// Waits for something to happen and returns it with what followed closely. `None` when the socket is closed.
    pub async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }
}

async fn gather(mut messages: Messages, batches: mpsc::Sender<Batch>) {
    while let Some(batch) = next_batch(&mut messages).await {
        if batches.send(batch).await.is_err() {
            return;
        }
    }
}

async fn next_batch(messages: &mut Messages) -> Option<Batch> {
    let mut batch = Batch::default();
    while !batch.take(messages.next().await?) {}
    let end = Instant::now() + LONGEST;
    loop {
        let quiet = (Instant::now() + QUIET).min(end);
        match timeout_at(quiet, messages.next()).await {
            Ok(Some(message)) => {
                batch.take(message);
            }
            Ok(None) | Err(_) => return Some(batch),
        }
    }
}

impl Batch {
    /// Adds one notification. False if it says nothing that matters.
    fn take(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) -> bool {
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) => {
                let Some(neighbour) = neighbour_from(&message) else { return false };
                self.neighbours.push(NeighbourEvent::Changed(neighbour));
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(message)) => {
                let Some(neighbour) = neighbour_from(&message) else { return false };
                self.neighbours.push(NeighbourEvent::Gone { ifindex: neighbour.ifindex, addr: neighbour.addr });
            }
            NetlinkPayload::Overrun(_) => self.lost = true,
            NetlinkPayload::InnerMessage(_) => self.topology = true,
            NetlinkPayload::Done(_) | NetlinkPayload::Error(_) | NetlinkPayload::Noop => return false,
            _ => return false,
        }
        true
    }
}
