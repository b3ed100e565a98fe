//! Where a run's results go: a directory of its own under `reports/`, and a link to the newest.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::run::Run;

/// Where results go unless another place is named.
const REPORTS: &str = "reports";

/// The directory of one run.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// Under `reports/`, and so linked as the newest.
    is_ours: bool,
}

impl RunDirectory {
    /// Makes `output`, or `reports/TIME`.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn create(output: Option<&Path>) -> anyhow::Result<RunDirectory> {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
        let path = output.map_or_else(|| Path::new(REPORTS).join(time), Path::to_path_buf);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the directory {}", path.display()))?;
        Ok(RunDirectory { path, is_ours: output.is_none() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `run.json`. A reader sees the old file or the new one, never a part.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_run(&self, run: &Run) -> anyhow::Result<()> {
        let (draft, path) = (self.path.join("run.json.new"), self.path.join("run.json"));
        std::fs::write(&draft, run.to_json())
            .and_then(|()| std::fs::rename(&draft, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Points `reports/latest` here.
    ///
    /// # Errors
    /// If the link cannot be made.
    pub fn link_as_latest(&self) -> anyhow::Result<()> {
        let (true, Some(name)) = (self.is_ours, self.path.file_name()) else { return Ok(()) };
        let (draft, link) = (Path::new(REPORTS).join(".latest"), Path::new(REPORTS).join("latest"));
        let _ = std::fs::remove_file(&draft);
        std::os::unix::fs::symlink(name, &draft)
            .and_then(|()| std::fs::rename(&draft, &link))
            .with_context(|| format!("cannot link {}", link.display()))
    }
}
