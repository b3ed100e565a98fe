//! The file of a feed: its path, its lock and the durability of writes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ::redb::StorageBackend;

use super::StoreError;
use crate::private_files;

/// The name of the file within the directory that `--data` names.
const FILE_NAME: &str = "feed.redb";
/// The magic number of redb files.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// The guarantee of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Durability {
    /// On the disk (fsync): it survives a power failure
    Full,
    /// Accepted by the operating system: it survives a crash of this process, but not a power
    /// failure
    Os,
}

/// The file, locked for this process until it is dropped.
#[derive(Debug)]
pub struct FeedFile {
    path: PathBuf,
    file: Arc<File>,
    syncs: Arc<AtomicBool>,
}

impl FeedFile {
    /// Locks the file in `directory`, which is created if it does not exist.
    pub fn lock(directory: &Path, durability: Durability) -> Result<FeedFile, StoreError> {
        let path = directory.join(FILE_NAME);
        let unreadable = |error: io::Error| StoreError::Unreadable {
            file: path.display().to_string(),
            why: error.to_string(),
        };
        private_files::create_directory(directory).map_err(unreadable)?;
        check_type(&path)?;
        private_files::warn_if_exposed(&path);
        let mut options = private_files::creation_options();
        options.read(true).write(true).truncate(false);
        FeedFile::take(options.open(&path).map_err(unreadable)?, &path, durability)
    }

    /// Locks the file in `directory`, which must exist.
    pub fn lock_existing(directory: &Path) -> Result<FeedFile, StoreError> {
        let path = directory.join(FILE_NAME);
        check_type(&path)?;
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(|error| {
            StoreError::Unreadable { file: path.display().to_string(), why: error.to_string() }
        })?;
        FeedFile::take(file, &path, Durability::Full)
    }

    fn take(file: File, path: &Path, durability: Durability) -> Result<FeedFile, StoreError> {
        let name = || path.display().to_string();
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::InUse { file: name() },
            TryLockError::Error(error) => {
                StoreError::Unreadable { file: name(), why: error.to_string() }
            }
        })?;
        let mut beginning = Vec::new();
        let read = (&file).take(MAGIC.len() as u64).read_to_end(&mut beginning);
        read.map_err(|error| StoreError::Unreadable { file: name(), why: error.to_string() })?;
        if !beginning.is_empty() && beginning != MAGIC {
            return Err(StoreError::UnknownFormat {
                file: name(),
                why: "it is not a database".to_owned(),
            });
        }
        let syncs = Arc::new(AtomicBool::new(durability == Durability::Full));
        Ok(FeedFile { path: path.to_owned(), file: Arc::new(file), syncs })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on every commit is synced to the disk, at any durability.
    pub fn sync_from_now_on(&self) {
        self.syncs.store(true, Relaxed);
    }

    pub fn backend(&self) -> impl StorageBackend + use<> {
        Backend { file: self.file.clone(), syncs: self.syncs.clone() }
    }
}

/// Rejects what is not a regular file: reading a named pipe would block.
fn check_type(path: &Path) -> Result<(), StoreError> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(StoreError::Unreadable {
            file: path.display().to_string(),
            why: "it is not a regular file".to_owned(),
        }),
        // The error is reported when the file is opened.
        _ => Ok(()),
    }
}

/// Backend of redb. The backend of redb itself always syncs and has its own lock.
#[derive(Debug)]
struct Backend {
    file: Arc<File>,
    syncs: Arc<AtomicBool>,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.syncs.load(Relaxed) { self.file.sync_data() } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}

/// Differs after each start of the machine; "unknown" where the system does not tell.
pub fn boot_id() -> String {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    boot_id.map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned())
}
