//! What the commands print, and the exit codes that say how they went. A reader of standard output
//! that has gone away is no error, and whatever cannot be written to standard error is dropped:
//! neither may end the program, whose results are in files.

use std::fmt::Display;
use std::io::{self, Write as _};

use anyhow::Context as _;

use crate::text::visible;

/// Something is wrong with what was given on the command line, or in a file named there.
pub const EXIT_USAGE: u8 = 2;
/// The run does not count.
pub const EXIT_VOID: u8 = 3;
/// A `--fail-if` held.
pub const EXIT_THRESHOLD: u8 = 4;
/// Ended by Ctrl-C, as shells count it.
pub const EXIT_INTERRUPTED: u8 = 130;

/// An error in a flag, or in a file that a flag names: the exit code is [`EXIT_USAGE`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

/// The usage error with this text.
pub fn usage(text: impl Display) -> anyhow::Error {
    UsageError(text.to_string()).into()
}

/// Prints a line, or lines, to standard output; what acts on a terminal is made visible.
///
/// # Errors
/// If the output cannot be written, but not if its reader has gone (`| head`).
pub fn print(text: &str) -> anyhow::Result<()> {
    print_styled(&visible(text))
}

/// The same for text of our own that holds colours.
pub fn print_styled(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// Prints a line, or lines, to standard error.
pub fn note(text: impl Display) {
    // Where this cannot be written, nothing can be said.
    let _ = writeln!(io::stderr().lock(), "{}", visible(&text.to_string()));
}
