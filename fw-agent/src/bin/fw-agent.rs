//! The daemon.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use fw_agent::agent::{self, RunOptions};
use fw_agent::arguments::{Check, Cli, Command, Detach, LogFormat, Run};
use fw_agent::cli::style;
use fw_agent::config::AgentConfig;
use fw_agent::dataplane::kernel;
use fw_agent::feeds::presence;
use fw_agent::host::forward_chain;
use fw_agent::host::lock::Lock;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = log_to_stderr(cli.log_format, &cli.log_level) {
        tell(&format!("error: --log-level: {error}"));
        return ExitCode::from(2);
    }
    match cli.command {
        Command::Run(arguments) => run(arguments, cli.log_format),
        Command::Detach(arguments) => report(detach(&arguments)),
        Command::Check(arguments) => check(&arguments),
    }
}

fn run(arguments: Run, format: LogFormat) -> ExitCode {
    let Run { config, pin_dir, runtime_dir, state_dir } = arguments;
    let options = RunOptions { config, pin_dir, runtime_dir, state_dir };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(Err(error.into())),
    };
    let result = runtime.block_on(agent::run(options));
    // A program that is being loaded aside is not waited for.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match format {
                LogFormat::Json => tracing::error!(problem = %error, "the agent ended"),
                LogFormat::Text => tell(&error.render(style::colors_on_stderr())),
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn detach(arguments: &Detach) -> anyhow::Result<()> {
    let _no_agent_runs = Lock::take(&arguments.runtime_dir)?;
    // Without the program only the chain stands between the networks.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(forward_chain::load()).context("nothing was taken off: the forward chain does not stand")?;
    kernel::detach_all(&arguments.pin_dir)?;
    println!("the data plane is off all interfaces; the forward chain stays and drops");
    Ok(())
}

fn check(arguments: &Check) -> ExitCode {
    let (written, code) = match AgentConfig::load(&arguments.config) {
        Ok(config) => {
            let (file, interfaces, routes) = (arguments.config.display(), config.interfaces.len(), config.routes.len());
            let mut warnings = config.warnings().into_iter().chain(presence::missing(&config));
            let told = warnings.try_for_each(|warning| writeln!(io::stderr(), "warning: {file}: {warning}"));
            let answered = writeln!(io::stdout(), "{file}: ok, {interfaces} interfaces, {routes} routes");
            (told.and(answered), ExitCode::SUCCESS)
        }
        Err(error) => {
            (writeln!(io::stderr(), "{}", error.render(style::colors_on_stderr())), ExitCode::from(error.exit_code()))
        }
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            // The other one may be open still; if not, the exit code says it.
            let _ = writeln!(io::stderr(), "error: the answer could not be written: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Says what went wrong. The exit code says it where there is no room for words.
fn tell(text: &str) {
    let _not_said = writeln!(io::stderr(), "{text}");
}

fn log_to_stderr(format: LogFormat, level: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal() && style::colors_wanted()).init(),
    }
    Ok(())
}
