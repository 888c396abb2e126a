//! The server: a thread that answers, and a thread that lets time pass.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::watch;

use super::clock;
use super::connection::{self, Judge};
use super::devices::Devices;
use super::faults::{Fault, Region};
use super::metadata::Metadata;
use super::model::{Time, World};
use super::state::{Caller, Logged, State};
use super::wire::judge::judge;
use crate::error::While;
use crate::netns::NetNs;
use crate::{LabError, wait};

/// The Region that the fake is.
pub const REGION: &str = "eu-central-1";

/// How long opening a socket may take.
const FOLLOWS: Duration = Duration::from_secs(10);

/// What the threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// The world has changed, or it is over.
    pub(super) changed: Condvar,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the server listens.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The network name space; `None` is that of the caller.
    namespace: Option<String>,
    pub(super) address: SocketAddr,
}

impl Place {
    pub(super) fn within(namespace: Option<&NetNs>, address: SocketAddr) -> Self {
        Self { namespace: namespace.map(|namespace| namespace.name().to_owned()), address }
    }

    pub(super) fn listen(&self) -> Result<std::net::TcpListener, LabError> {
        let what = || format!("answer for AWS at {}", self.address);
        let listen = || {
            let listener = std::net::TcpListener::bind(self.address)?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>(listener)
        };
        match &self.namespace {
            None => listen().during(what),
            Some(name) => NetNs::open(name)?.within(listen)?.during(what),
        }
    }
}

/// The fake of AWS. Dropping it closes its sockets and its connections.
#[derive(Debug)]
pub struct Aws {
    shared: Arc<Shared>,
    address: SocketAddr,
    region: watch::Sender<Option<Region>>,
    threads: Vec<JoinHandle<()>>,
}

impl Aws {
    /// Answers on a free port of 127.0.0.1 of the caller's name space.
    ///
    /// # Errors
    /// If there can be no socket.
    pub fn on_loopback(
        world: World,
        callers: BTreeMap<String, Caller>,
        devices: Box<dyn Devices>,
    ) -> Result<Self, LabError> {
        Self::start(None, (Ipv4Addr::LOCALHOST, 0).into(), world, callers, devices)
    }

    /// Answers at an address in a network name space.
    ///
    /// # Errors
    /// If there can be no socket.
    pub fn within(
        namespace: &NetNs,
        address: SocketAddr,
        world: World,
        callers: BTreeMap<String, Caller>,
        devices: Box<dyn Devices>,
    ) -> Result<Self, LabError> {
        Self::start(Some(namespace), address, world, callers, devices)
    }

    fn start(
        namespace: Option<&NetNs>,
        address: SocketAddr,
        world: World,
        callers: BTreeMap<String, Caller>,
        devices: Box<dyn Devices>,
    ) -> Result<Self, LabError> {
        let what = || format!("answer for AWS at {address}");
        let mut place = Place::within(namespace, address);
        let listener = place.listen()?;
        // A port that was chosen is kept while nobody listens.
        place.address = listener.local_addr().during(what)?;
        let address = place.address;
        let state = State::new(REGION, world, callers);
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (region, followed) = watch::channel(Some(Region::Up));
        let (report, reported) = mpsc::channel();
        let (of_server, of_clock) = (Arc::clone(&shared), Arc::clone(&shared));
        let over = region.subscribe();
        let answering = thread::spawn(move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(report.send(Err(error))),
            };
            drop(report.send(Ok(())));
            let judge: Judge = Arc::new(judge);
            let follows = |state: &mut State, region| state.followed = region;
            runtime.block_on(connection::serve(listener, &place, &of_server, &judge, followed, follows));
        });
        let passing = thread::spawn(move || clock::run(&of_clock, devices, || over.borrow().is_none()));
        let threads = vec![answering, passing];
        let aws = Self { shared, address, region, threads };
        reported.recv().unwrap_or_else(|_| Err(io::Error::other("the server's thread ended"))).during(what)?;
        Ok(aws)
    }

    /// What clients take as the URL of each service.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets the Region be up or down. It is when this returns.
    ///
    /// # Errors
    /// If the socket cannot be opened again.
    pub fn set_region(&self, region: Region) -> Result<(), LabError> {
        self.shared.lock().region = region;
        let _nobody_listens_any_more = self.region.send(Some(region));
        let state = self.shared.lock();
        let differs = |state: &mut State| state.followed != region;
        let waited = self.shared.changed.wait_timeout_while(state, FOLLOWS, differs);
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            return Err(LabError::Timeout { what: format!("the Region is {region:?}"), within: FOLLOWS });
        }
        Ok(())
    }

    /// What goes wrong from now on, instead of what has.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.shared.lock().faults.set(faults);
    }

    /// One more thing that goes wrong.
    pub fn add_fault(&self, fault: Fault) {
        self.shared.lock().faults.add(fault);
    }

    /// Somebody who may ask from now on, by access key.
    pub fn set_caller(&self, key: &str, caller: Caller) {
        self.shared.lock().callers.insert(key.to_owned(), caller);
    }

    /// What has been asked so far.
    #[must_use]
    pub fn log(&self) -> Vec<Logged> {
        self.shared.lock().log.clone()
    }

    /// Answers as the metadata service of an instance, at an address of a name space or of the caller's own.
    ///
    /// # Errors
    /// If there can be no socket.
    pub fn serve_metadata(
        &self,
        namespace: Option<&NetNs>,
        address: SocketAddr,
        instance: &str,
    ) -> Result<Metadata, LabError> {
        Metadata::start(Arc::clone(&self.shared), Place::within(namespace, address), instance)
    }

    /// How long credentials of an instance's role are good from now on.
    pub fn set_credential_lifetime(&self, lifetime: Duration) {
        let mut state = self.shared.lock();
        state.credentials.set_lifetime(lifetime);
    }

    /// Looks at the world as it is, or changes it.
    pub fn world<T>(&self, look: impl FnOnce(Time, &mut World) -> T) -> T {
        let mut state = self.shared.lock();
        let now = state.now();
        let seen = look(now, state.history.live(now));
        state.history.note(now);
        self.shared.changed.notify_all();
        seen
    }

    /// Waits until something holds of the world.
    ///
    /// # Errors
    /// If it does not in this time.
    pub fn wait(&self, what: &str, within: Duration, mut holds: impl FnMut(&World) -> bool) -> Result<(), LabError> {
        wait::until_true(what, within, || self.world(|_, world| holds(world)))
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        let _nobody_listens_any_more = self.region.send(None);
        // Whoever waits for the condition looks at the channel while it holds the lock, or sees this.
        drop(self.shared.lock());
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _its_panic_was_printed = thread.join();
        }
    }
}
