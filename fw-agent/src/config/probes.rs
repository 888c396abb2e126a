//! `[[probe]]`: who is asked whether the way to him works.

use std::net::IpAddr;
use std::time::Duration;

use fw_policy::{Code, ProbeBinding, ProbeService};

use super::duration;
use super::report::Report;
use super::section::{At, Section};

/// More would be a monitoring system.
const MAX_PROBES: usize = 64;
/// A name is a label of metrics and part of a rule's id.
const MAX_NAME: usize = 64;

/// One `[[probe]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Its name, unique.
    pub name: String,
    /// Who is asked.
    pub target: IpAddr,
    /// What is asked.
    pub check: Check,
    /// How often, and from when on an answer is too late.
    pub interval: Duration,
    /// See [`Self::interval`].
    pub timeout: Duration,
    /// So many failures in a row, and the way is dead.
    pub dead_after: u32,
    /// So many answers in a row, and it is alive again.
    pub alive_after: u32,
    /// For at least so long a way that has died stays dead.
    pub hold_down: Duration,
    /// The firewall is ready only while the way is alive.
    pub required: bool,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// An echo.
    Ping,
    /// A TCP connection.
    Tcp(u16),
    /// A GET whose answer says success or redirects (RFC 9110, sections 15.3 and 15.4).
    Http {
        /// The port.
        port: u16,
        /// The path, with its slash.
        path: String,
    },
}

impl Check {
    fn parse(text: &str) -> Option<Self> {
        if text == "ping" {
            return Some(Self::Ping);
        }
        let (what, rest) = text.split_once('/')?;
        let port = |text: &str| text.parse().ok().filter(|port: &u16| *port != 0 && !text.starts_with('+'));
        match what {
            "tcp" => port(rest).map(Self::Tcp),
            "http" => {
                let (number, path) = rest.split_once('/').unwrap_or((rest, ""));
                // What HTTP cannot carry in a request line (RFC 9112, section 3).
                let path_is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
                let port = port(number).filter(|_| path_is_plain)?;
                Some(Self::Http { port, path: format!("/{path}") })
            }
            _ => None,
        }
    }

    const fn service(&self) -> ProbeService {
        match self {
            Self::Ping => ProbeService::Echo,
            Self::Tcp(port) | Self::Http { port, .. } => ProbeService::Tcp(*port),
        }
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ping => f.write_str("ping"),
            Self::Tcp(port) => write!(f, "tcp/{port}"),
            Self::Http { port, path } => write!(f, "http/{port}{path}"),
        }
    }
}

impl ProbeConfig {
    /// What the policy compiler must know of it.
    #[must_use]
    pub fn binding(&self) -> ProbeBinding {
        ProbeBinding { name: self.name.clone(), target: self.target, service: self.check.service() }
    }
}

pub(super) fn probes(sections: Vec<Section<'_>>, report: &mut Report<'_>) -> Vec<ProbeConfig> {
    let mut probes: Vec<ProbeConfig> = Vec::new();
    for mut section in sections {
        let name = name(&mut section, report);
        let probe = probe(&mut section, report);
        let span = section.span();
        section.finish(report);
        let (Some(name), Some(probe)) = (name, probe) else { continue };
        if probes.iter().any(|other| other.name == name.value) {
            report.add(Code::Duplicate, name.span, format!("there is another probe `{}`", name.value));
        } else if probes.len() == MAX_PROBES {
            report.add(Code::InvalidValue, span, format!("more than {MAX_PROBES} probes"));
            break;
        } else {
            probes.push(ProbeConfig { name: name.value.to_owned(), ..probe });
        }
    }
    probes
}

fn name<'t>(section: &mut Section<'t>, report: &mut Report<'_>) -> Option<At<&'t str>> {
    let Some(name) = section.string("name", report) else {
        section.missing("name", "a name, such as \"plant-floor\"", report);
        return None;
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.value.is_empty() || name.value.len() > MAX_NAME || !name.value.bytes().all(is_plain) {
        report
            .add(Code::InvalidValue, name.span, "this is no name of a probe")
            .expected(format!("expected letters, digits, `-`, `_` and `.`, at most {MAX_NAME}"));
        return None;
    }
    Some(name)
}

/// All but the name.
fn probe(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<ProbeConfig> {
    let target = target(section, report);
    let check = match section.string("check", report) {
        None => Some(Check::Ping),
        Some(text) => {
            let check = Check::parse(text.value);
            if check.is_none() {
                report
                    .add(Code::InvalidValue, text.span, "this is nothing that a probe asks")
                    .expected("expected \"ping\", \"tcp/502\" or \"http/80/path\"");
            }
            check
        }
    };
    let mut time = |key, without, report: &mut Report<'_>| {
        let text = section.string(key, report);
        let seconds = text.as_ref().and_then(|text| duration::reported(text, report));
        (Duration::from_secs(seconds.unwrap_or(without).into()), text.map(|text| text.span))
    };
    let (interval, _) = time("interval", 1, report);
    let (timeout, written) = time("timeout", 1, report);
    let (hold_down, _) = time("hold_down", 10, report);
    if timeout > interval
        && let Some(span) = written
    {
        report
            .add(Code::Contradiction, span, "the time-out is longer than the interval")
            .expected(format!("expected at most the interval, {interval:?}, or a longer `interval`"));
    }
    let mut count = |key, without, report: &mut Report<'_>| {
        let number = section.integer(key, 1..=1_000, report).and_then(|number| u32::try_from(number.value).ok());
        number.unwrap_or(without)
    };
    let (dead_after, alive_after) = (count("dead_after", 3, report), count("alive_after", 3, report));
    let required = section.boolean("required", report).is_none_or(|required| required.value);
    Some(ProbeConfig {
        name: String::new(),
        target: target?,
        check: check?,
        interval,
        timeout,
        dead_after,
        alive_after,
        hold_down,
        required,
    })
}

fn target(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<IpAddr> {
    let Some(text) = section.string("target", report) else {
        section.missing("target", "the address that is asked, such as \"192.168.10.1\"", report);
        return None;
    };
    let Ok(target) = text.value.parse() else {
        report
            .add(Code::InvalidAddress, text.span, "this is no address of a host")
            .expected("expected an address, such as \"192.168.10.1\" or \"fd00::1\"; names are not resolved");
        return None;
    };
    if let Some(why) = nobody_else(target) {
        report.add(Code::InvalidAddress, text.span, why).expected("expected the address of one other host");
        return None;
    }
    Some(target)
}

/// Why an address is not that of another host that can be asked; `None` if it may be one. That of an interface is known by the machine
/// only, and told when it is asked. Link-local addresses of IPv4 lead to one host where a route says so, as within a VPN.
fn nobody_else(addr: IpAddr) -> Option<&'static str> {
    let addr = addr.to_canonical();
    match addr {
        _ if addr.is_unspecified() => Some("this is no address of a host"),
        _ if addr.is_loopback() => Some("this is the firewall itself, which always answers"),
        _ if addr.is_multicast() => Some("this is a group of hosts: whoever answers says nothing of a way"),
        IpAddr::V4(addr) if addr.is_broadcast() => Some("this is all hosts: whoever answers says nothing of a way"),
        IpAddr::V6(addr) if addr.is_unicast_link_local() => {
            Some("this is link-local: each interface has such an address, and a probe names no interface")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_written_as_it_is_read() {
        for text in ["ping", "tcp/502", "http/80/", "http/8080/health?full=1"] {
            assert_eq!(Check::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Check::parse("http/80"), Check::parse("http/80/"));
        for wrong in
            ["", "icmp", "tcp", "tcp/0", "tcp/+1", "tcp/65536", "udp/53", "http/80/a b", "http/x/", "http/80/\r\n"]
        {
            assert_eq!(Check::parse(wrong), None, "{wrong:?}");
        }
    }
}
