//! Python with boto3 and moto, which `cargo xtask setup` puts below the target directory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where set-up puts it.
fn directory() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    target.expect("it is within the target directory").join("boto")
}

/// The environment.
pub(crate) struct Python(PathBuf);

impl Python {
    /// Finds it, or says why the test is skipped.
    pub(crate) fn find() -> Option<Self> {
        // Set-up writes it last.
        if directory().join("made-for.txt").exists() {
            return Some(Self(directory()));
        }
        let why = std::fs::read_to_string(directory().with_extension("why")).unwrap_or_default();
        println!(
            "skipped: boto3 is not installed: {}",
            why.lines().next().unwrap_or("`cargo xtask setup` installs it")
        );
        None
    }

    /// A program of the environment.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.0.join("bin").join(name));
        // Nothing of the user's own set-up is to take part.
        for variable in ["AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "HTTP_PROXY", "http_proxy"] {
            command.env_remove(variable);
        }
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("NO_PROXY", "127.0.0.1");
        command
    }

    /// Runs a part of the script to its end; what it printed.
    pub(crate) fn run(&self, part: &str, ids: &Value) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boto/drive.py");
        let mut command = self.program("python");
        command.arg("-B").arg(script).arg(part);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("python can be started");
        let mut input = process.stdin.take().expect("it was asked for");
        input.write_all(ids.to_string().as_bytes()).expect("it reads its input");
        drop(input);
        let output = process.wait_with_output().expect("it ends");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{part}: {}\n{out}{err}", output.status);
        assert!(out.lines().last() == Some(part), "{part} did not come to its end: {out}{err}");
        out.into_owned()
    }
}
