//! The command line: one file a command.

pub mod advise;
pub mod predict;

use std::io::{self, Write};

/// Prints a line, or lines. A reader that has heard enough (`| head`) is no error.
fn print(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
