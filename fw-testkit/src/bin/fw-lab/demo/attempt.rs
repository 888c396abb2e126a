//! One attempt of one client: what it did, and whether it worked, was refused, or had no answer.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use fw_testkit::lab::{ENIS, Lab, Node};
use fw_testkit::{LabError, client};

/// For an attempt that should work.
const PATIENCE: Duration = Duration::from_secs(5);

/// For an attempt that should not: long enough for one retransmission.
const IMPATIENCE: Duration = Duration::from_millis(1500);

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Reads a page by HTTP, on this port.
    Web(u16),
    /// Reads registers by Modbus on port 502.
    Modbus,
    /// Sends a datagram to port 5000 and waits for its echo.
    Echo,
    /// Sends an echo request.
    Ping,
    /// Follows the route; the firewall has to be on it.
    Traceroute,
}

/// What is expected of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// It works.
    Works,
    /// Nothing comes back.
    Silence,
    /// The firewall answers that it is not allowed.
    Refusal,
}

/// What happened.
enum Happened {
    Worked(String),
    NoAnswer,
    Refused(String),
    Strange(String),
}

/// Makes the attempt and compares it with what is expected.
pub(crate) fn compare(
    lab: &Lab,
    from: Node,
    act: Act,
    to: IpAddr,
    expected: Expected,
) -> Result<Result<String, String>, LabError> {
    let patience = if expected == Expected::Silence { IMPATIENCE } else { PATIENCE };
    let happened = attempt(lab, from, act, to, patience)?;
    Ok(match (expected, happened) {
        (Expected::Works, Happened::Worked(how)) => Ok(how),
        (Expected::Silence, Happened::NoAnswer) => Ok("no answer".to_owned()),
        (Expected::Refusal, Happened::Refused(how)) => Ok(how),
        (_, Happened::Worked(how)) => Err(format!("it worked: {how}")),
        (_, Happened::NoAnswer) => Err("no answer".to_owned()),
        (_, Happened::Refused(how)) => Err(format!("refused: {how}")),
        (_, Happened::Strange(how)) => Err(how),
    })
}

fn attempt(lab: &Lab, from: Node, act: Act, to: IpAddr, patience: Duration) -> Result<Happened, LabError> {
    let namespace = lab.ns(from);
    match act {
        Act::Web(port) => web(lab, from, to, port, patience),
        Act::Modbus => Ok(match client::modbus(namespace, (to, 502).into(), patience)? {
            Ok(values) if values == [100, 101] => Happened::Worked("registers 100 and 101 read".to_owned()),
            Ok(values) => Happened::Strange(format!("wrong registers {values:?}")),
            Err(error) => failure(&error),
        }),
        Act::Echo => Ok(match client::udp_exchange(namespace, (to, 5000).into(), patience)? {
            Ok(answer) => Happened::Worked(format!("{} bytes came back", answer.len())),
            Err(error) => failure(&error),
        }),
        Act::Ping => ping(lab, from, to),
        Act::Traceroute => traceroute(lab, from, to),
    }
}

fn failure(error: &io::Error) -> Happened {
    let silent = [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock];
    let refused = [io::ErrorKind::ConnectionRefused, io::ErrorKind::HostUnreachable, io::ErrorKind::PermissionDenied];
    if silent.contains(&error.kind()) {
        Happened::NoAnswer
    } else if refused.contains(&error.kind()) {
        Happened::Refused(error.to_string())
    } else {
        Happened::Strange(error.to_string())
    }
}

/// curl's exit codes: 7 could not connect, 28 time-out (curl(1)).
fn web(lab: &Lab, from: Node, to: IpAddr, port: u16, patience: Duration) -> Result<Happened, LabError> {
    let host = if to.is_ipv6() { format!("[{to}]") } else { to.to_string() };
    let url = format!("http://{host}:{port}/");
    let seconds = patience.as_secs_f64().to_string();
    let page = lab.run(from, &["curl", "--silent", "--show-error", "--fail", "--max-time", &seconds, &url])?;
    Ok(match page.status.code() {
        Some(0) => Happened::Worked(format!("curl printed {:?}", page.stdout.trim())),
        Some(7) => Happened::Refused(page.stderr.trim().to_owned()),
        Some(28) => Happened::NoAnswer,
        _ => Happened::Strange(page.stderr.trim().to_owned()),
    })
}

fn ping(lab: &Lab, from: Node, to: IpAddr) -> Result<Happened, LabError> {
    let answer = lab.run(from, &["ping", "-n", "-c1", "-W1", &to.to_string()])?;
    let line = |word: &str| answer.stdout.lines().find(|line| line.contains(word)).map(|line| line.trim().to_owned());
    Ok(match (answer.status.success(), line("filtered").or(line("rohibited"))) {
        (true, _) => Happened::Worked(line("time=").unwrap_or_default()),
        (false, Some(refusal)) => Happened::Refused(refusal),
        (false, None) => Happened::NoAnswer,
    })
}

fn traceroute(lab: &Lab, from: Node, to: IpAddr) -> Result<Happened, LabError> {
    let printed = lab.run(from, &["traceroute", "-n", "-q1", "-w1", "-m8", &to.to_string()])?.success()?;
    let hops: Vec<&str> = printed.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    let is_firewall = |hop: &&str| {
        let address = hop.parse::<IpAddr>();
        address.is_ok_and(|hop| ENIS.iter().any(|eni| hop == eni.ipv4 || eni.ipv6.is_some_and(|own| hop == own)))
    };
    let arrived = hops.last().and_then(|hop| hop.parse::<IpAddr>().ok()) == Some(to);
    let route = hops.join(" → ");
    Ok(match (arrived, hops.iter().position(is_firewall)) {
        (true, Some(position)) => Happened::Worked(format!("{route}; hop {} is the firewall", position + 1)),
        (false, None) => Happened::NoAnswer,
        _ => Happened::Strange(route),
    })
}
