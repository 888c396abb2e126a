//! Whether to colour, and how wide to write.

use std::io::IsTerminal;

/// `NO_COLOR` (no-color.org) is not set, or empty.
#[must_use]
pub fn colors_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Diagnostics on standard error are coloured.
#[must_use]
pub fn colors_on_stderr() -> bool {
    colors_wanted() && std::io::stderr().is_terminal()
}

/// How wide diagnostics on standard error may be, in characters: as wide as the terminal, if it is one.
#[must_use]
pub fn width_on_stderr() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    size.map_or(fw_policy::DEFAULT_WIDTH, |size| usize::from(size.ws_col)).max(1)
}

/// Answers on standard output are coloured.
#[must_use]
pub fn colors_on_stdout() -> bool {
    colors_wanted() && std::io::stdout().is_terminal()
}
