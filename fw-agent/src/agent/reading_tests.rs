use super::*;
use crate::api::answers::Reload;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

const CONFIG: &str = "[[interface]]\nname = \"ens6\"\nzones = [\"ot\"]\n[policy]\ndirectory = \"DIRECTORY\"\n";
const POLICY: &str = "version = 1\n[defaults]\naction = \"drop\"\n[zones.ot]\nnetworks = [\"10.1.0.0/16\"]\n";

struct Fixture {
    dir: tempfile::TempDir,
    reader: Reader,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = CONFIG.replace("DIRECTORY", &dir.path().display().to_string());
        std::fs::write(dir.path().join("agent.conf"), config).unwrap();
        std::fs::write(dir.path().join("a.toml"), POLICY).unwrap();
        Self { dir, reader: Reader::default() }
    }

    fn known(&self) -> Known {
        let config_file = self.dir.path().join("agent.conf");
        Known {
            config: AgentConfig::load(&config_file).unwrap(),
            config_file,
            checker: SharedChecker::default(),
            running: None,
            bundle: None,
            standing: Standing::default(),
            followed: BTreeSet::new(),
            again: false,
        }
    }

    fn begin(&mut self) {
        let known = self.known();
        self.reader.begin(known);
    }

    async fn read(&mut self) -> Read {
        match self.reader.progress().await {
            Progress::Done(read) => *read,
            Progress::Slow(slow) => panic!("{} is slow", slow.path.display()),
        }
    }
}

fn client() -> (ReloadRequest, oneshot::Receiver<Reload>) {
    oneshot::channel()
}

#[tokio::test]
async fn what_is_asked_for_meanwhile_is_one_reading_that_begins_afterwards() {
    let mut fixture = Fixture::new();
    let (first, _answer) = client();
    fixture.reader.ask(Scope::Policy, "first", Some(first));
    fixture.begin();
    let clients = [client(), client()].map(|(client, _answer)| client);
    for client in clients {
        fixture.reader.ask(Scope::Everything, "later", Some(client));
    }
    fixture.reader.ask(Scope::PolicyIfChanged, "a look", None);
    assert!(!fixture.reader.is_due(), "one at a time");
    let read = fixture.read().await;
    assert_eq!((read.reason.as_str(), read.clients.len(), read.config.is_none()), ("first", 1, true));
    assert!(read.policy.unwrap().unwrap().result.is_ok());
    assert!(fixture.reader.is_due());
    fixture.begin();
    let read = fixture.read().await;
    assert_eq!((read.reason.as_str(), read.clients.len(), read.config.is_some()), ("later", 2, true));
    assert!(!fixture.reader.is_due());
}

#[tokio::test]
async fn each_client_is_kept_waiting_for_as_long_as_the_others() {
    let [(early, mut told), (late, mut kept), (next, mut kept_too)] = [client(), client(), client()];
    let place = Place::default();
    place.enter("/policies".as_ref());
    let mut reader = Reader::default();
    reader.ask(Scope::Policy, "test", Some(early));
    reader.ask(Scope::Policy, "test", Some(late));
    let mut wish = reader.next.take().unwrap();
    wish.clients[0].since -= PATIENCE;
    let (since, next_look) = (OffsetDateTime::now_utc(), Instant::now());
    reader.running = Some(Running { wish, task: tokio::spawn(pending()), place, began: next_look, since, next_look });
    reader.ask(Scope::Policy, "test", Some(next));
    let Progress::Slow(slow) = reader.progress().await else { panic!("it does not end") };
    assert_eq!(slow.clients.len(), 1);
    drop(slow);
    assert_eq!(told.try_recv(), Err(TryRecvError::Closed), "he has waited long enough");
    assert_eq!([kept.try_recv(), kept_too.try_recv()], [Err(TryRecvError::Empty), Err(TryRecvError::Empty)]);
}
