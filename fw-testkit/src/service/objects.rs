//! A server of objects that change while it runs: lists behind https, or in a bucket of S3.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;
use super::http::{Request, read_request};
use super::s3;
use crate::LabError;
use crate::error::While;
use crate::netns::NetNs;

/// What was asked, and what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The path.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) const fn new(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body }
    }
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// What is answered to everything.
    refusal: Option<(u16, Vec<(&'static str, String)>)>,
    seen: Vec<Seen>,
}

#[derive(Clone)]
enum Dialect {
    Https(TlsAcceptor),
    S3(s3::Account),
}

/// The server. Dropping it closes its socket and its connections.
#[derive(Debug)]
pub struct Objects {
    state: Arc<Mutex<State>>,
    authority: Option<String>,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Objects {
    /// Serves by https, with a certificate of an authority of its own. It listens when this returns.
    ///
    /// # Errors
    /// If there can be no certificate or no socket.
    pub fn https(namespace: &NetNs, address: SocketAddr) -> Result<Self, LabError> {
        let authority = Authority::new().during(|| "make an authority".to_owned())?;
        let acceptor = authority.server(address.ip()).during(|| "make a certificate".to_owned())?;
        let mut server = Self::start(namespace, address, Dialect::Https(acceptor))?;
        server.authority = Some(authority.pem().to_owned());
        Ok(server)
    }

    /// Serves as S3 does, to one account. Objects are at `/BUCKET/KEY`.
    ///
    /// # Errors
    /// If there can be no socket.
    pub fn s3(namespace: &NetNs, address: SocketAddr, account: s3::Account) -> Result<Self, LabError> {
        Self::start(namespace, address, Dialect::S3(account))
    }

    fn start(namespace: &NetNs, address: SocketAddr, dialect: Dialect) -> Result<Self, LabError> {
        let what = || format!("serve objects at {address} in {}", namespace.name());
        let listener = namespace.within(|| std::net::TcpListener::bind(address))?.during(what)?;
        listener.set_nonblocking(true).during(what)?;
        let state = Arc::<Mutex<State>>::default();
        let (shutdown, stopped) = oneshot::channel();
        let (report, reported) = mpsc::channel();
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let begun = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
                let _context = runtime.enter();
                let listener = TcpListener::from_std(listener)?;
                Ok((runtime, listener))
            });
            match begun {
                Ok((runtime, listener)) => {
                    drop(report.send(Ok(())));
                    runtime.block_on(async {
                        tokio::select! {
                            () = accept(listener, dialect, shared) => {}
                            _sender_dropped = stopped => {}
                        }
                    });
                }
                Err(error) => drop(report.send(Err(error))),
            }
        });
        reported.recv().unwrap_or_else(|_| Err(io::Error::other("the server's thread ended"))).during(what)?;
        Ok(Self { state, authority: None, shutdown: Some(shutdown), thread: Some(thread) })
    }

    /// The certificate of the authority, in PEM.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Puts an object at a path.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.state().objects.insert(path.to_owned(), bytes.into());
    }

    /// Takes it away.
    pub fn remove(&self, path: &str) {
        self.state().objects.remove(path);
    }

    /// Answers everything with a status and a header from now on, or as it is again.
    pub fn refuse(&self, refusal: Option<(u16, Vec<(&'static str, String)>)>) {
        self.state().refusal = refusal;
    }

    /// What has been asked so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take() {
            let _its_panic_was_printed = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, dialect: Dialect, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, dialect.clone(), Arc::clone(&state)));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, dialect: Dialect, state: Arc<Mutex<State>>) {
    // A client that does not trust the certificate goes away in mid-sentence.
    let _client_gone = match dialect {
        Dialect::Https(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => converse(BufReader::new(stream), None, &state).await,
            Err(error) => Err(error),
        },
        Dialect::S3(account) => converse(BufReader::new(stream), Some(&account), &state).await,
    };
}

async fn converse<S>(mut stream: BufReader<S>, account: Option<&s3::Account>, state: &Mutex<State>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    BufReader<S>: AsyncBufRead,
{
    let request = read_request(&mut stream).await?;
    let answer = {
        let mut state = lock(state);
        let answer = answer(&request, account, &state);
        state.seen.push(Seen { path: request.path.clone(), status: answer.status });
        answer
    };
    let mut head =
        format!("HTTP/1.1 {} -\r\nContent-Length: {}\r\nConnection: close\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    stream.write_all(&answer.body).await?;
    stream.shutdown().await
}

fn answer(request: &Request, account: Option<&s3::Account>, state: &State) -> Answer {
    if let Some((status, headers)) = &state.refusal {
        return Answer { headers: headers.clone(), ..Answer::new(*status, Vec::new()) };
    }
    let path = request.path.split('?').next().unwrap_or_default();
    let object = state.objects.get(path);
    match account {
        Some(account) => {
            let has_bucket = |bucket: &str| state.objects.keys().any(|path| path.starts_with(&format!("/{bucket}/")));
            s3::answer(account, request, path, object.map(Vec::as_slice), has_bucket)
        }
        None => match object {
            Some(bytes) if request.method == "GET" => conditional(request, bytes),
            Some(_) => Answer::new(405, Vec::new()),
            None => Answer::new(404, b"no such page\n".to_vec()),
        },
    }
}

/// The object, unless the client has it.
pub(super) fn conditional(request: &Request, bytes: &[u8]) -> Answer {
    let digest: String = Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let etag = format!("\"{digest}\"");
    let is_known = request.header("If-None-Match") == Some(&etag);
    let body = if is_known { Vec::new() } else { bytes.to_vec() };
    Answer { headers: vec![("ETag", etag)], ..Answer::new(if is_known { 304 } else { 200 }, body) }
}
