//! `GET /reports`: the list of runs. `GET /reports/{run}/{file}`: a file that a run wrote.
//!
//! Read-only, and only files that runs write: no path is taken from a request, the name of a run
//! consists of letters, digits and a few other characters, and a report is shown in a sandbox, as
//! if it came from another site.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;

use crate::app::ApiError;
use crate::app::response::{json_response, to_response};
use crate::model;

use super::documentation;

/// The files of a run, with their media types.
const FILES: [(&str, &str); 4] = [
    ("report.html", "text/html; charset=utf-8"),
    ("report.md", "text/plain; charset=utf-8"),
    ("results.csv", "text/plain; charset=utf-8"),
    ("run.json", "application/json"),
];
/// A report contains its own style, and one script, that of the model, which is allowed by its
/// hash. The report is shown in a sandbox without access to this site.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = BASE64.encode(Sha256::digest(model::script()));
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; \
         img-src data:; frame-ancestors 'none'; sandbox allow-scripts"
    );
    HeaderValue::try_from(policy).expect("plain text is a valid header")
});
/// Largest number of runs in the list: the newest.
const LISTED_MAX: usize = 100;

/// A run that has written files.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Listed {
    name: String,
    files: Vec<&'static str>,
}

/// Without a directory the list is empty.
pub(super) fn route(directory: Option<PathBuf>) -> BoxedFilter<(Response,)> {
    let listed = directory.clone();
    let list = warp::path!("reports").and(warp::get()).then(move || {
        let directory = listed.clone();
        async move { to_response(blocking(move || Ok(list(directory.as_deref()))).await) }
    });
    let file =
        warp::path!("reports" / String / String).and(warp::get()).then(
            move |run: String, file: String| {
                let directory = directory.clone();
                async move {
                    to_response(blocking(move || show(directory.as_deref(), &run, &file)).await)
                }
            },
        );
    list.or(file).unify().boxed()
}

/// Files are read on the blocking pool.
async fn blocking(
    work: impl FnOnce() -> Result<Response, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    tokio::task::spawn_blocking(work).await.expect("reading files does not panic")
}

fn list(directory: Option<&Path>) -> Response {
    let entries = directory.and_then(|directory| std::fs::read_dir(directory).ok());
    let mut runs: Vec<Listed> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            // A link, such as `latest`, would list a run twice.
            let is_folder = entry.file_type().ok()?.is_dir();
            let name = entry.file_name().into_string().ok().filter(|name| is_plain(name))?;
            let has = |file: &&str| is_folder && entry.path().join(file).is_file();
            let files: Vec<_> = FILES.map(|(file, _)| file).into_iter().filter(has).collect();
            (!files.is_empty()).then_some(Listed { name, files })
        })
        .collect();
    // The name of a run is the time at which it began.
    runs.sort_by(|a, b| b.name.cmp(&a.name));
    runs.truncate(LISTED_MAX);
    json_response(StatusCode::OK, serde_json::to_vec(&runs).expect("strings always encode"))
}

fn show(directory: Option<&Path>, run: &str, file: &str) -> Result<Response, ApiError> {
    let none = || ApiError::new(StatusCode::NOT_FOUND, "no such run, or it has no such file");
    // The link of a report in a directory beside `docs`.
    if run == "docs" {
        return documentation::page(file).ok_or_else(none);
    }
    let directory = directory.filter(|_| is_plain(run)).ok_or_else(none)?;
    let known = FILES.into_iter().find(|(name, _)| *name == file);
    let (name, content_type) = known.ok_or_else(none)?;
    let path = directory.join(run).join(name);
    // Reading a named pipe would block.
    if !path.is_file() {
        return Err(none());
    }
    let body = std::fs::read(path).map_err(|_| none())?;
    let mut response = HttpResponse::new(body.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// True for a name that cannot be a path on any file system.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_of_known_files_are_shown() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        for run in ["run-1", "run-2"] {
            std::fs::create_dir(path.join(run)).expect("made");
            std::fs::write(path.join(run).join("report.html"), run).expect("written");
            std::fs::write(path.join(run).join("other.html"), run).expect("written");
        }
        std::fs::write(path.join("report.html"), "outside").expect("written");
        std::os::unix::fs::symlink("run-2", path.join("latest")).expect("linked");
        let status = |run: &str, file: &str| match show(Some(path), run, file) {
            Ok(response) => response.status().as_u16(),
            Err(error) => error.status.as_u16(),
        };
        assert_eq!(status("run-1", "report.html"), 200);
        assert_eq!(status("latest", "report.html"), 200);
        for (run, file) in [
            ("run-1", "other.html"),
            ("run-1", "run.json"),
            ("..", "report.html"),
            (".", "report.html"),
            ("run-1/..", "report.html"),
            ("run-1", "../report.html"),
            ("", "report.html"),
        ] {
            assert_eq!(status(run, file), 404, "{run}/{file}");
        }
        let pipe = path.join("run-1").join("report.md");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|it| it.success()));
        assert_eq!(status("run-1", "report.md"), 404, "reading a pipe would block");
        assert_eq!(status("docs", "methodology.md"), 200);
        assert_eq!(status("docs", "report.html"), 404);
        assert!(show(None, "run-1", "report.html").is_err());
    }
}
