//! moto as a server of its own.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use fw_testkit::wait;

use crate::python::Python;

/// How long Python takes to load it, on a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Moto {
    process: Child,
    port: u16,
}

impl Moto {
    /// Starts it on a port that is free, and waits until it listens.
    pub(crate) fn start(python: &Python) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let mut command = python.program("python");
        command.args(["-I", "-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut moto = Self { process: command.spawn().expect("python can be started"), port };
        let listens = || {
            assert_eq!(moto.process.try_wait().expect("it is ours"), None, "moto has ended");
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        };
        wait::until_true("moto listens", PATIENCE, listens).unwrap();
        moto
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _reaped = self.process.wait();
    }
}
