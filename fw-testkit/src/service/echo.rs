//! UDP request and response: every datagram comes back to its sender.

use tokio::net::UdpSocket;

pub(super) async fn serve(socket: UdpSocket) {
    let mut datagram = vec![0; 65_536];
    loop {
        // An ICMP error for an earlier answer shows here as an error, and concerns no later request.
        if let Ok((length, peer)) = socket.recv_from(&mut datagram).await {
            let _peer_gone = socket.send_to(&datagram[..length], peer).await;
        }
    }
}
