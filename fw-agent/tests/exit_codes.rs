//! The exit codes of `fwctl`, as scripts see them, where no agent runs.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn fwctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fwctl"));
    command.args(arguments);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(command: &mut Command) -> io::Result<Option<i32>> {
    Ok(command.status()?.code())
}

#[test]
fn what_finds_no_room_on_standard_error_is_a_failure_and_no_panic() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let directory = dir.path().to_string_lossy().into_owned();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").map(Stdio::from);
    let check = ["policy", "check", &directory];
    // There are no files: the policy is invalid.
    assert_eq!(code(fwctl(&check).stderr(Stdio::null()))?, Some(3));
    assert_eq!(code(fwctl(&check).stderr(full()?))?, Some(1));
    // A warning, which is said beside the answer.
    fs::write(
        dir.path().join("a.toml"),
        "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[addresses]\nx = [\"!10.0.0.1\"]\n",
    )?;
    assert_eq!(code(fwctl(&check).stdout(Stdio::null()).stderr(Stdio::null()))?, Some(0));
    assert_eq!(code(fwctl(&check).stdout(Stdio::null()).stderr(full()?))?, Some(1));
    assert_eq!(code(fwctl(&["status", "--socket", "/nowhere"]).stderr(full()?))?, Some(1));
    let explain =
        ["policy", "explain", &directory, "--from", "a", "--src", "10.0.0.1", "--dst", "10.0.0.2", "--service", "tcp"];
    assert_eq!(code(fwctl(&explain).stderr(Stdio::null()))?, Some(2), "more than one packet");
    assert_eq!(code(fwctl(&explain).stderr(full()?))?, Some(1));
    Ok(())
}

#[test]
fn flows_are_ended_by_a_condition_or_all_of_them() -> io::Result<()> {
    let refused = fwctl(&["flows", "kill", "--socket", "/nowhere"]).output()?;
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("or say `--all`"), "{}", said(&refused));
    for meant in [["--all"].as_slice(), &["--port", "502"]] {
        let asked = fwctl(&[&["flows", "kill", "--socket", "/nowhere"], meant].concat()).output()?;
        assert_eq!(asked.status.code(), Some(1), "there is no agent: {}", said(&asked));
    }
    Ok(())
}

#[test]
fn no_packet_has_port_zero() -> io::Result<()> {
    for command in [["flows"].as_slice(), &["flows", "list"], &["flows", "top"], &["flows", "kill"], &["observe"]] {
        let refused = fwctl(&[command, &["--port", "0", "--socket", "/nowhere"]].concat()).output()?;
        assert_eq!(refused.status.code(), Some(2), "{command:?}: {}", said(&refused));
    }
    Ok(())
}

#[test]
fn what_is_no_policy_directory_is_named() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let (fifo, file) = (dir.path().join("fifo"), dir.path().join("a.toml"));
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)?;
    fs::write(&file, "version = 1\n")?;
    for (path, what) in [(fifo.as_path(), "a FIFO"), (Path::new("/dev/zero"), "a device"), (file.as_path(), "a file")] {
        for command in ["check", "test", "fmt", "stats"] {
            let refused = fwctl(&["policy", command]).arg(path).output()?;
            assert_eq!(refused.status.code(), Some(1), "{command}: {}", said(&refused));
            let expected = format!("error: {}: this is {what} and not a directory", path.display());
            assert!(said(&refused).starts_with(&expected), "{command}: {}", said(&refused));
        }
    }
    Ok(())
}

#[test]
fn names_that_are_no_text_are_invalid() -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"n\xe9.toml")), "version = 1\n")?;
    let refused = fwctl(&["policy", "check"]).arg(dir.path()).output()?;
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(said(&refused).contains(r"these are not: n\xe9.toml"), "{}", said(&refused));
    Ok(())
}
