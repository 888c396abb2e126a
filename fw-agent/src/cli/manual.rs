//! `fwctl man` and `fwctl completions`: what packages install beside the programs, made of the command lines themselves.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;
use super::output::print;
use crate::arguments;

/// Where the pages go.
#[derive(Debug, Args)]
pub(super) struct ManArguments {
    /// The directory, which is made if it is not there.
    directory: PathBuf,
}

/// For which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell.
    shell: Shell,
    /// The program that is completed.
    #[arg(long, value_enum, default_value_t = Program::Fwctl)]
    program: Program,
}

/// The programs that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Program {
    /// The operator's command line.
    Fwctl,
    /// The daemon.
    FwAgent,
}

impl Program {
    const ALL: [Self; 2] = [Self::Fwctl, Self::FwAgent];

    fn command(self) -> Command {
        match self {
            Self::Fwctl => Cli::command(),
            Self::FwAgent => arguments::Cli::command(),
        }
    }

    /// The section of the manual: commands of users, and programs of the system.
    const fn section(self) -> &'static str {
        match self {
            Self::Fwctl => "1",
            Self::FwAgent => "8",
        }
    }
}

/// Writes a script that completes command lines.
pub(super) fn completions(arguments: &CompletionsArguments) -> anyhow::Result<ExitCode> {
    let script = script(arguments.shell, arguments.program);
    print(script.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell, program: Program) -> String {
    let mut command = program.command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes a page for each command.
pub(super) fn man(arguments: &ManArguments) -> anyhow::Result<ExitCode> {
    let directory = &arguments.directory;
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    for program in Program::ALL {
        for (name, page) in pages(program)? {
            let path = directory.join(name);
            write(&path, &page).with_context(|| path.display().to_string())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, page: &[u8]) -> io::Result<()> {
    fs::File::create(path)?.write_all(page)
}

/// The pages of a program and of its commands, by file name.
fn pages(program: Program) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = program.command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_page(command, program, &mut pages)?;
    Ok(pages)
}

fn add_page(command: Command, program: Program, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        add_page(inner.clone(), program, pages)?;
    }
    let page = Man::new(command).section(program.section()).manual("outpost-fw");
    let mut text = Vec::new();
    page.render(&mut text)?;
    pages.push((page.get_filename(), text));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Command as Process, Stdio};

    use super::*;

    /// The paths of all commands of a program, such as `fwctl policy check`.
    fn paths(command: &Command, path: &str, found: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name()).trim().to_owned();
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            paths(inner, &path, found);
        }
        found.push(path);
    }

    fn all_paths() -> Vec<String> {
        let mut found = Vec::new();
        Program::ALL.into_iter().for_each(|program| paths(&program.command(), "", &mut found));
        found
    }

    #[test]
    fn each_command_has_a_page() {
        let mut names: Vec<String> = Vec::new();
        for program in Program::ALL {
            for (name, page) in pages(program).unwrap() {
                let text = String::from_utf8(page).unwrap();
                assert!(text.contains(".SH SYNOPSIS") && text.contains("outpost"), "{name}:\n{text}");
                names.push(name.rsplit_once('.').unwrap().0.to_owned());
            }
        }
        let mut expected: Vec<String> = all_paths().into_iter().map(|path| path.replace(' ', "-")).collect();
        names.sort();
        expected.sort();
        assert_eq!(names, expected);
        assert!(names.contains(&"fwctl-policy-check".to_owned()) && names.contains(&"fw-agent-run".to_owned()));
    }

    #[test]
    fn each_shell_completes_each_command() {
        for program in Program::ALL {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                let script = script(shell, program);
                for command in program.command().get_subcommands() {
                    assert!(script.contains(command.get_name()), "{shell} {program:?} {}", command.get_name());
                }
            }
        }
    }

    #[test]
    fn the_script_for_bash_is_one() {
        for program in Program::ALL {
            let mut bash = Process::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
            bash.stdin.take().unwrap().write_all(script(Shell::Bash, program).as_bytes()).unwrap();
            assert!(bash.wait().unwrap().success());
        }
    }

    #[test]
    fn the_reference_names_each_command() {
        let reference = include_str!("../../../docs/fwctl.md");
        // A row that names several leaves `fwctl` out behind the first.
        let missing = all_paths().into_iter().filter(|path| path.starts_with("fwctl ")).filter(|path| {
            let short = path.trim_start_matches("fwctl ");
            !reference.contains(&format!("`{path}")) && !reference.contains(&format!("`{short}"))
        });
        // What only groups others has no row of its own.
        let missing: Vec<String> = missing.filter(|path| path != "fwctl policy").collect();
        assert_eq!(missing, Vec::<String>::new());
    }
}
