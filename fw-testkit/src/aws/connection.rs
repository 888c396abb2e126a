//! Connections: taken while the Region is not refusing them, one request after the other, and ended as faults say.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::faults::Region;
use super::server::{Place, Shared};
use super::state::State;
use super::wire::Received;
use super::wire::judge::{Reply, Verdict};

/// What decides about a request. The last argument says that a delay has been served already.
pub(super) type Judge = Arc<dyn Fn(&mut State, &Received, bool) -> Verdict + Send + Sync>;

/// Serves until it is over, which the channel says with `None`.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    place: &Place,
    shared: &Arc<Shared>,
    judge: &Judge,
    mut region: watch::Receiver<Option<Region>>,
    follows: impl Fn(&mut State, Region),
) {
    let mut connections = JoinSet::new();
    let mut listening = TcpListener::from_std(listener).ok();
    loop {
        let now = *region.borrow_and_update();
        match now {
            None => return,
            // Closing the socket is what makes the kernel refuse.
            Some(Region::Refuses) => listening = None,
            Some(Region::Up | Region::BlackHole | Region::Throttles | Region::CredentialsExpired) => {
                if listening.is_none() {
                    listening = place.listen().ok().and_then(|listener| TcpListener::from_std(listener).ok());
                }
            }
        }
        if let Some(now) = now {
            follows(&mut shared.lock(), now);
            shared.changed.notify_all();
        }
        tokio::select! {
            changed = region.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            stream = accepted(listening.as_ref()) => {
                connections.spawn(converse(stream, Arc::clone(shared), Arc::clone(judge)));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// The next connection; none for ever while nobody listens.
async fn accepted(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        None => std::future::pending().await,
        Some(listener) => loop {
            if let Ok((stream, _)) = listener.accept().await {
                return stream;
            }
        },
    }
}

/// A connection that is to be reset.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset on purpose")]
struct Resetting;

async fn converse(stream: TcpStream, shared: Arc<Shared>, judge: Judge) {
    let Ok(twin) = SockRef::from(&stream).try_clone() else { return };
    let service = service_fn(|request| answer(request, &shared, &judge, &twin));
    // A client that goes away in mid-sentence is what half of the tests provoke.
    let _client_gone = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    shared: &Shared,
    judge: &Judge,
    twin: &Socket,
) -> Result<Response<Full<Bytes>>, Resetting> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Err(Resetting) };
    let received = Received {
        method: head.method.as_str().to_owned(),
        path: head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        headers: head.headers,
        body: body.to_bytes().to_vec(),
    };
    let mut delayed = Duration::ZERO;
    loop {
        let verdict = {
            let mut state = shared.lock();
            let verdict = judge(&mut state, &received, !delayed.is_zero());
            shared.changed.notify_all();
            verdict
        };
        match verdict {
            Verdict::Answer(reply) => return Ok(response(reply)),
            Verdict::Wait(delay) => {
                delayed = delay.max(Duration::from_nanos(1));
                // The delay itself is what the test has ordered.
                tokio::time::sleep(delay).await;
            }
            Verdict::Hang => return never().await,
            Verdict::Reset => {
                // Without lingering, the last handle that is closed sends a reset (tcp(7), SO_LINGER in socket(7)).
                let _it_ends_either_way = twin.set_linger(Some(Duration::ZERO));
                return Err(Resetting);
            }
        }
    }
}

async fn never() -> Result<Response<Full<Bytes>>, Resetting> {
    let nothing: Infallible = std::future::pending().await;
    match nothing {}
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut builder = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        builder = builder.header(name, value);
    }
    // Names and values are our own.
    builder.body(Full::new(Bytes::from(reply.body))).unwrap_or_default()
}
