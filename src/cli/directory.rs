//! The directory for the results of a run, by default in `reports/`, and the link to the newest.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::run::Run;

/// Default parent directory of results.
const REPORTS: &str = "reports";

/// The directory of one run.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// In `reports/`, so that `reports/latest` links to it.
    is_default: bool,
}

impl RunDirectory {
    /// Creates `output`, or `reports/TIME`.
    ///
    /// # Errors
    /// If the directory cannot be created.
    pub fn create(output: Option<&Path>) -> anyhow::Result<RunDirectory> {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
        let path = output.map_or_else(|| Path::new(REPORTS).join(time), Path::to_path_buf);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot create the directory {}", path.display()))?;
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
