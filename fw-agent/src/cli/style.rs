//! Whether to colour.

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
