//! Other users than root, many at once. They are threads of the test, so that these tests need root.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream as Stream;
use std::time::Instant;

use rustix::thread::set_thread_res_uid;

use super::*;
use crate::api::places::QUEUE_OF_USER;
use crate::live::hub::MAX_OBSERVERS;

/// Does something as a user who may only look; `None`, after saying so, where this process cannot become one.
fn as_other_user<T: Send>(fixture: &Fixture, work: impl FnOnce(&Path) -> T + Send) -> Option<T> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: this needs root");
        return None;
    }
    let directory = fixture.socket.parent().unwrap();
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    let other = rustix::process::Uid::from_raw(65_534);
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            // Of this thread alone; its group goes on being that of the socket.
            set_thread_res_uid(other, other, other).unwrap();
            work(&fixture.socket)
        });
        Some(working.join().unwrap())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_keep_nobody_s_requests_waiting() {
    let fixture = fixture();
    let observe = |socket: &Path| client::stream(socket, &Request::Observe(ObserveFilter::default())).unwrap();
    let Some(_observers) =
        as_other_user(&fixture, |socket| (0..MAX_OBSERVERS).map(|_| observe(socket)).collect::<Vec<_>>())
    else {
        return;
    };
    let began = Instant::now();
    let answer = as_other_user(&fixture, |socket| client::ask(socket, &Request::Drops {})).unwrap();
    assert!(answer.is_ok(), "{answer:?}");
    assert!(began.elapsed() < PLACE_TIME, "it took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_crowd_of_requests_few_wait_and_root_gets_through() {
    let fixture = fixture();
    // What asks the data plane waits for this.
    let held = fixture.dataplane.state();
    let ask = |socket: &Path| {
        let mut stream = Stream::connect(socket).unwrap();
        // It may have been told to leave already.
        let _ = stream.write_all(b"{\"command\":\"status\"}\n");
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let Some(mut open) = as_other_user(&fixture, |socket| (0..200).map(|_| ask(socket)).collect::<Vec<_>>()) else {
        return;
    };
    let (end, mut answers) = (Instant::now() + PLACE_TIME / 2, String::new());
    // Eight are answered, and so many wait.
    while open.len() > 8 + QUEUE_OF_USER && Instant::now() < end {
        open.retain_mut(|stream| matches!(stream.read_to_string(&mut answers), Err(error) if error.kind() == io::ErrorKind::WouldBlock));
        std::thread::yield_now();
    }
    assert!(open.len() <= 8 + QUEUE_OF_USER, "{} are open", open.len());
    assert!(answers.contains("busy: other requests"), "{answers}");
    let refused = client::ask(&fixture.socket, &Request::EndFlows(EndFlows::default()));
    assert!(matches!(&refused, Err(ClientError::Usage(why)) if why.contains("no condition")), "{refused:?}");
    drop(held);
}

#[tokio::test]
async fn a_request_that_is_here_is_read_whoever_else_has_come() {
    for _ in 0..100 {
        let (leave, told_to_leave) = oneshot::channel();
        leave.send(()).unwrap();
        assert_eq!(read_in_time(&b"{}\n"[..], told_to_leave).await.unwrap(), Ok(b"{}\n".to_vec()));
    }
}
