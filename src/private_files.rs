//! Files with keys or messages, which only their owner should be able to read.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use tracing::warn;

/// Permissions of a group and of others.
const NOT_OWNER: u32 = 0o077;

/// Options for a file that is created readable and writable by its owner only.
pub fn creation_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

/// Creates a directory, and those above it, for their owner only. One that exists is left as it is.
///
/// # Errors
/// If it cannot be created.
pub fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Logs a warning if others than the owner have any permission on a file.
pub fn warn_if_exposed(path: &Path) {
    // The error is reported when the file is opened.
    let Ok(metadata) = std::fs::metadata(path) else { return };
    let mode = metadata.permissions().mode();
    if mode & NOT_OWNER != 0 {
        let (path, mode) = (path.display(), mode & 0o777);
        warn!("'{path}' has mode {mode:03o}, so others may read it: `chmod 600 '{path}'`");
    }
}
