//! Output of the commands, and their exit codes. A closed standard output (`| head`) and a failed
//! write to standard error are ignored: neither may stop the program, which writes its results to
//! files.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;

use crate::text::visible;

/// An invalid command line, or an invalid file that it names.
pub const EXIT_USAGE: u8 = 2;
/// The run is void.
pub const EXIT_VOID: u8 = 3;
/// The condition of a `--fail-if` was true.
pub const EXIT_THRESHOLD: u8 = 4;
/// Terminated by Ctrl-C, as reported by shells.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Bytes of a file that is read whole: far more than a run of hours writes. A device file may have
/// no end.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// An error in a flag, or in a file that a flag names: the exit code is [`EXIT_USAGE`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

/// The usage error with this text.
pub fn usage(text: impl Display) -> anyhow::Error {
    UsageError(text.to_string()).into()
}

/// Reads and parses a file that the command line names: `name` is the flag before it, or empty.
///
/// # Errors
/// A usage error if it cannot be read or is invalid.
pub fn parse_file<T, E: Display>(
    name: &str,
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> anyhow::Result<T> {
    let file = path.display();
    let invalid =
        |error: &dyn Display| usage(format!("{name} {file}: {error}").trim_start().to_owned());
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 == FILE_BYTES_MAX => {
            Err(invalid(&format_args!("has {} MiB or more", FILE_BYTES_MAX >> 20)))
        }
        Ok(_) => parse(&text).map_err(|error| invalid(&error)),
        Err(error) => Err(invalid(&format_args!("cannot be read: {error}"))),
    }
}

/// Prints lines to standard output, with control characters escaped.
///
/// # Errors
/// If the output cannot be written, except for a closed pipe (`| head`).
pub fn print(text: &str) -> anyhow::Result<()> {
    print_styled(&visible(text))
}

/// Prints trusted text that may contain terminal colours.
pub fn print_styled(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    written(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// The result of a write to standard output. That its reader has closed the pipe is no error.
pub fn written(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// Prints lines to standard error.
pub fn note(text: impl Display) {
    // There is nowhere to report a failure.
    let _ = writeln!(io::stderr().lock(), "{}", visible(&text.to_string()));
}
