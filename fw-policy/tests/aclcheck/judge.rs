//! The other judge: a process that is asked a line at a time. It needs Python and Aerleon, which `cargo xtask setup` puts below the
//! target directory.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

const SCRIPT: &str = include_str!("judge.py");

pub(crate) struct Judge {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Where set-up puts it.
fn directory() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    target.expect("it is within the target directory").join("aclcheck")
}

impl Judge {
    /// Starts it.
    ///
    /// # Errors
    /// Why there is none here.
    pub(crate) fn start() -> Result<Self, String> {
        let python = directory().join("bin/python");
        // Set-up writes it last.
        if !directory().join("made-for.txt").exists() {
            let why = std::fs::read_to_string(directory().with_extension("why")).unwrap_or_default();
            let why = why.lines().next().unwrap_or("`cargo xtask setup` installs it").to_owned();
            return Err(format!("Aerleon is not installed: {why}"));
        }
        let mut command = Command::new(python);
        command.args(["-I", "-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| format!("python cannot be started: {error}"))?;
        let questions = process.stdin.take().expect("it was asked for");
        let answers = BufReader::new(process.stdout.take().expect("it was asked for"));
        Ok(Self { process, questions, answers })
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.questions, "{question}").expect("the judge takes questions");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the judge answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: the judge said {line:?} to {question}"))
    }

    /// Has it read a policy; the number of its terms.
    pub(crate) fn read(&mut self, (policy, definitions): &(String, String)) -> u64 {
        let answer = self.ask(&json!({ "policy": policy, "definitions": definitions }));
        answer["terms"].as_u64().expect("a number of terms")
    }

    /// The name of the term that decides, and its action.
    pub(crate) fn judge(&mut self, packet: &Value) -> (String, String) {
        let answer = self.ask(packet);
        let text = |key: &str| answer[key].as_str().unwrap_or("nothing").to_owned();
        (text("term"), text("action"))
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _reaped = self.process.wait();
    }
}
