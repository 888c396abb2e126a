//! `fwctl capture`: packets with what was decided about them, as a pcapng file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::output::tell;
use crate::address_range::AddressRange;
use crate::api::client;
use crate::api::request::Request;
use crate::conditions::{DropName, ProtocolName};
use crate::live::capture::{CaptureRequest, DEFAULT_SECONDS};
use crate::live::pcapng::Tally;

/// Which packets, how many, and where they go.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The file; - for standard output.
    #[arg(short, long)]
    write: PathBuf,
    /// An address or prefix at either end.
    #[arg(long)]
    addr: Option<AddressRange>,
    /// A port at either end.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// A protocol's name or number.
    #[arg(long)]
    protocol: Option<ProtocolName>,
    /// allow or deny.
    #[arg(long, value_parser = ["allow", "deny"])]
    verdict: Option<String>,
    /// A drop reason, such as policy.
    #[arg(long)]
    reason: Option<DropName>,
    /// An interface, as agent.toml or the kernel names it.
    #[arg(short, long)]
    interface: Option<String>,
    /// End after so many packets; one that is forwarded is two, as it comes in and as it leaves.
    #[arg(short, long)]
    count: Option<u64>,
    /// End after so many seconds.
    #[arg(long, default_value_t = DEFAULT_SECONDS)]
    seconds: u32,
    /// How many bytes of each frame are kept.
    #[arg(short, long)]
    snaplen: Option<u32>,
}

pub(super) fn run(arguments: &Arguments, socket: &Path) -> anyhow::Result<ExitCode> {
    let request = Request::Capture(CaptureRequest {
        addr: arguments.addr,
        port: arguments.port,
        protocol: arguments.protocol,
        verdict: arguments.verdict.clone(),
        reason: arguments.reason,
        interface: arguments.interface.clone(),
        count: arguments.count,
        seconds: Some(arguments.seconds),
        snaplen: arguments.snaplen,
    });
    let mut packets = client::stream(socket, &request)?;
    tell(&format!("capturing for {} seconds at most", arguments.seconds))?;
    let mut out: Box<dyn Write> = if arguments.write == Path::new("-") {
        Box::new(io::stdout())
    } else {
        let file = File::create(&arguments.write).with_context(|| arguments.write.display().to_string())?;
        Box::new(file)
    };
    let mut tally = Tally::default();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = packets.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        let bytes = &buffer[..read];
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written.with_context(|| {
                format!("{}: the capture ends after {} packets", arguments.write.display(), tally.packets)
            })?,
        }
        tally.take(bytes);
    }
    tell(&format!("{} packets captured, {} lost", tally.packets, tally.lost))?;
    Ok(ExitCode::SUCCESS)
}
