//! `fw-agent check`, as others run it.

use std::fs::{File, OpenOptions};
use std::io;
use std::process::{Command, Stdio};

fn check(toml: impl AsRef<[u8]>, stdout: Stdio, stderr: Stdio) -> io::Result<Option<i32>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("agent.toml");
    std::fs::write(&path, toml)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_fw-agent"));
    command.args(["check", "--config"]).arg(&path).stdout(stdout).stderr(stderr);
    Ok(command.status()?.code())
}

fn full() -> io::Result<File> {
    OpenOptions::new().write(true).open("/dev/full")
}

/// A pipe that nobody reads.
fn closed() -> io::Result<Stdio> {
    let (reader, writer) = io::pipe()?;
    drop(reader);
    Ok(writer.into())
}

#[test]
fn an_answer_that_finds_no_room_is_a_failure_and_no_panic() -> io::Result<()> {
    let invalid = "nonsense = 1\n";
    assert_eq!(check(invalid, Stdio::null(), Stdio::null())?, Some(3));
    assert_eq!(check(invalid, full()?.into(), full()?.into())?, Some(1));
    assert_eq!(check(invalid, Stdio::null(), full()?.into())?, Some(1));
    Ok(())
}

#[test]
fn what_is_taken_otherwise_than_it_is_written_is_a_warning() -> io::Result<()> {
    let (mut reader, writer) = io::pipe()?;
    let toml = "[[interface]]\nname = \"a\"\nzones = [\"x\"]\n[conntrack]\nmax_flows = 4096\nmax_half_open = 4097\n";
    assert_eq!(check(toml, Stdio::null(), writer.into())?, Some(0));
    let said = io::read_to_string(&mut reader)?;
    assert!(said.contains("agent.toml: `max_half_open` (4097) is larger than `max_flows`"), "{said}");
    Ok(())
}

#[test]
fn what_feeds_need_and_is_not_there_is_a_warning() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let policies = dir.path().join("policies");
    std::fs::create_dir(&policies)?;
    let check = |feeds: &str| -> io::Result<String> {
        let (mut reader, writer) = io::pipe()?;
        let toml = format!(
            "[[interface]]\nname = \"a\"\nzones = [\"x\"]\n[policy]\ndirectory = \"{}\"\n{feeds}",
            policies.display()
        );
        assert_eq!(check(toml, Stdio::null(), writer.into())?, Some(0));
        io::read_to_string(&mut reader)
    };
    let nowhere = "[feeds]\ndirectory = \"/nowhere/lists\"\nca_file = \"/nowhere/ca.pem\"\n";
    let said = check(nowhere)?;
    assert!(said.contains("`[feeds] ca_file`, /nowhere/ca.pem: No such file"), "{said}");
    assert!(
        said.contains("`[feeds] directory`, /nowhere/lists: No such file") && said.contains("no feed can"),
        "{said}"
    );
    let policy =
        "version = 1\n[defaults]\naction = \"drop\"\n[zones.x]\n[[feed]]\nname = \"blocked\"\nurl = \"a.txt\"\n";
    std::fs::write(policies.join("a.toml"), policy)?;
    let said = check(nowhere)?;
    assert!(said.contains("/nowhere/lists: No such file") && said.contains("have no lists: blocked"), "{said}");
    assert_eq!(check(&format!("[feeds]\ndirectory = \"{}\"\n", dir.path().display()))?, "");
    Ok(())
}

#[test]
fn a_file_that_cannot_be_read_is_a_failure_and_not_invalid() -> io::Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fw-agent"));
    let status = command.args(["check", "--config", "/nowhere/agent.toml"]).stderr(Stdio::null()).status()?;
    assert_eq!(status.code(), Some(1));
    Ok(())
}

#[test]
fn bytes_that_are_no_text_are_named_with_their_place() -> io::Result<()> {
    let (mut reader, writer) = io::pipe()?;
    assert_eq!(check(b"# text\n# and \xe9\n", Stdio::null(), writer.into())?, Some(3));
    let said = io::read_to_string(&mut reader)?;
    assert!(said.contains(r"agent.toml: 2:7: this is not UTF-8: \xe9; save the file as UTF-8"), "{said}");
    Ok(())
}

#[test]
fn whoever_stops_reading_gets_the_answer_by_the_exit_code() -> io::Result<()> {
    assert_eq!(check("nonsense = 1\n", Stdio::null(), closed()?)?, Some(3));
    Ok(())
}
