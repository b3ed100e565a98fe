//! The directory for the results of a run, by default in `reports/`, and the link to the newest.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::output::note;
use crate::run::Run;

/// The files of a run.
pub const RUN_FILES: &[&str] = &["run.json", "report.html"];
/// Default parent directory of results.
const REPORTS: &str = "reports";

/// The directory of one run.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// In `reports/`, so that `reports/latest` links to it.
    is_default: bool,
}

/// Prints a note if `--output` holds one of these files, which will be replaced.
pub fn note_replaced(output: &Path, files: &[&str]) {
    if files.iter().any(|file| output.join(file).exists()) {
        note(format!("note: --output {}: replaces the earlier results in it", output.display()));
    }
}

impl RunDirectory {
    /// Creates `output`, or `reports/TIME`.
    ///
    /// # Errors
    /// If the directory cannot be created.
    pub fn create(output: Option<&Path>) -> anyhow::Result<RunDirectory> {
        let create = || match output {
            Some(path) => std::fs::create_dir_all(path).map(|()| path.to_path_buf()),
            None => create_new(Path::new(REPORTS)),
        };
        let path = create().with_context(|| {
            format!(
                "cannot create the directory {}",
                output.unwrap_or(Path::new(REPORTS)).display()
            )
        })?;
        Ok(RunDirectory { path, is_default: output.is_none() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `run.json` atomically.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_run(&self, run: &Run) -> anyhow::Result<()> {
        let (temporary, path) = (self.path.join("run.json.new"), self.path.join("run.json"));
        std::fs::write(&temporary, run.to_json())
            .and_then(|()| std::fs::rename(&temporary, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Links `reports/latest` to this directory, if it is in `reports/`.
    ///
    /// # Errors
    /// If the link cannot be created.
    pub fn link_as_latest(&self) -> anyhow::Result<()> {
        let (true, Some(name)) = (self.is_default, self.path.file_name()) else { return Ok(()) };
        let reports = Path::new(REPORTS);
        let (temporary, link) = (reports.join(".latest"), reports.join("latest"));
        let _ = std::fs::remove_file(&temporary);
        std::os::unix::fs::symlink(name, &temporary)
            .and_then(|()| std::fs::rename(&temporary, &link))
            .with_context(|| format!("cannot link {}", link.display()))
    }
}

impl Drop for RunDirectory {
    /// Removes the directory of a run that has no results: only an empty one can be removed.
    fn drop(&mut self) {
        if self.is_default {
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// Creates the directory `TIME` in `parent`, or `TIME-2` and so on if other runs began in the same
/// second.
fn create_new(parent: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(parent)?;
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    let mut path = parent.join(&time);
    let mut number = 1;
    while let Err(error) = std::fs::create_dir(&path) {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(error);
        }
        number += 1;
        path = parent.join(format!("{time}-{number}"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_the_same_second_get_different_directories() {
        let parent = tempfile::tempdir().expect("a directory");
        let parent = parent.path().join("reports");
        let create = |_| create_new(&parent).expect("created");
        let paths: std::collections::BTreeSet<_> = (0..20).map(create).collect();
        assert_eq!(paths.len(), 20);
    }

    #[test]
    fn directory_of_a_run_without_results_is_removed() {
        let parent = tempfile::tempdir().expect("a directory");
        for has_results in [false, true] {
            let path = create_new(parent.path()).expect("created");
            if has_results {
                std::fs::write(path.join("run.json"), "{}").expect("written");
            }
            drop(RunDirectory { path: path.clone(), is_default: true });
            assert_eq!(path.exists(), has_results);
        }
    }
}
