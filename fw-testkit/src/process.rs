//! Commands that run to their end, and processes that run beside the test and are ended by a guard.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::LabError;
use crate::error::While;
use crate::wait;

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// The standard output of a command that must succeed.
    pub fn success(self) -> Result<String, LabError> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        let output = format!("{}{}", self.stdout, self.stderr).trim().to_owned();
        Err(LabError::Command { command: self.command, status: self.status.to_string(), output })
    }
}

/// The longest that a command may run which is waited for.
const LONGEST_RUN: Duration = Duration::from_secs(120);

/// Runs a command to its end and collects what it prints. A command that does not end by itself is killed.
pub fn run(command: &mut Command) -> Result<Finished, LabError> {
    feed(command, "")
}

/// As [`run`], with a text as the command's standard input.
pub fn feed(command: &mut Command, input: &str) -> Result<Finished, LabError> {
    let line = command_line(command);
    let what = || format!("run `{line}`");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().during(what)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends before it has read everything says why by its status.
        let _reader_gone = stdin.write_all(input.as_bytes());
    }
    let stdout = child.stdout.take().map(|stream| thread::spawn(move || read_all(stream)));
    let stderr = child.stderr.take().map(|stream| thread::spawn(move || read_all(stream)));
    let ended = wait::until(&what(), LONGEST_RUN, || child.try_wait().transpose());
    if ended.is_err() {
        child.kill().and_then(|()| child.wait()).during(what)?;
    }
    let text = |thread: Option<JoinHandle<String>>| thread.and_then(|thread| thread.join().ok()).unwrap_or_default();
    Ok(Finished { status: ended?.during(what)?, stdout: text(stdout), stderr: text(stderr), command: line })
}

fn read_all(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read until the stream broke is still worth showing.
    let _broken = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a command can be found in `PATH`.
#[must_use]
pub fn is_installed(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(command).is_file())
}

/// A process that runs beside the test. Dropping the guard kills it and waits for its end.
#[derive(Debug)]
pub struct Running {
    child: Child,
    command: String,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Starts a command whose output goes to the file `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> Result<Self, LabError> {
        let line = command_line(command);
        let file = File::options().create(true).append(true).open(&log).during(|| format!("open {}", log.display()))?;
        let errors = file.try_clone().during(|| format!("duplicate the handle of {}", log.display()))?;
        let child =
            command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn().during(|| format!("start `{line}`"))?;
        Ok(Self { child, command: line, log, ended: None })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, or `None` while it runs.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// What it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus, LabError> {
        let what = format!("`{}` ends", self.command);
        wait::until(&what, within, || self.try_wait())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), LabError> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).during(|| format!("send {signal:?} to `{}`", self.command))
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) -> Result<ExitStatus, LabError> {
        if let Some(status) = self.try_wait() {
            return Ok(status);
        }
        self.child.kill().during(|| format!("kill `{}`", self.command))?;
        let status = self.child.wait().during(|| format!("wait for `{}`", self.command))?;
        self.ended = Some(status);
        Ok(status)
    }
}

impl Running {
    /// Lets the process outlive the guard.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _nothing_can_be_done_in_drop = self.kill();
    }
}

fn command_line(command: &Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    command.get_args().fold(program, |line, argument| line + " " + &argument.to_string_lossy())
}
