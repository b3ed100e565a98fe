//! The live page: all transports side by side in a browser.
//!
//! Its files are part of the program and are served unchanged from `page/`, without a bundler and
//! without files of another host. The page is a client like any other; beside the transports'
//! routes it needs only `reports.rs` and `mirror.rs`, which returns the request headers that a
//! browser hides from scripts.

pub mod class;
pub mod demo;
mod documentation;
mod mirror;
mod reports;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::LazyLock;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;

use crate::app::response::Preconditions;
use crate::model;

/// Allows only scripts, styles and connections of this host. With Trusted Types the browser rejects
/// scripts that convert a string to markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the page.
struct File {
    name: &'static str,
    body: &'static str,
}

macro_rules! files {
    ($($name:literal)*) => {
        &[$(File { name: $name, body: include_str!(concat!("page/", $name)) }),*]
    };
}

const FILES: &[File] = files![
    "index.html"
    "style.css"
    "icon.svg"
    "main.js"
    "announce.js"
    "board.js"
    "break_it.js"
    "bytes.js"
    "chat.js"
    "class.css"
    "class.html"
    "class.js"
    "clock.js"
    "connections.js"
    "controls.js"
    "dom.js"
    "follow.js"
    "lane.js"
    "lane_view.js"
    "lesson.css"
    "lesson.html"
    "lesson.js"
    "link.js"
    "long_polling.js"
    "polling.js"
    "publisher.js"
    "race.js"
    "scene.js"
    "short_polling.js"
    "socket.js"
    "socketio.js"
    "sse.js"
    "teacher.html"
    "teacher.js"
    "theme.js"
    "timeline.js"
    "token.js"
    "track.js"
    "watch.html"
    "watch.js"
    "websocket.js"
    "wire_view.js"
];

/// The page `/model`, generated once, and its files.
static MODEL: LazyLock<String> = LazyLock::new(model::page);
static MODEL_FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let page = File { name: "model.html", body: &MODEL };
    model::files().map(|(name, body)| File { name, body }).chain([page]).collect()
});

fn find(name: &str) -> Option<&'static File> {
    FILES.iter().chain(MODEL_FILES.iter()).find(|file| file.name == name)
}

/// `GET /`: the lanes. `GET /lesson`: the same as a lesson. `GET /watch`: runs in progress, and the
/// reports in `reports`. `GET /model`: the advice with controls. `GET /docs/{page}`: documentation
/// that reports link to. `GET /page/{file}`: the files of these pages.
pub fn route(reports: Option<PathBuf>) -> BoxedFilter<(Response,)> {
    let lanes = warp::path::end().map(|| find("index.html"));
    let runs = warp::path!("watch").map(|| find("watch.html"));
    let lesson = warp::path!("lesson").map(|| find("lesson.html"));
    let model = warp::path!("model").map(|| find("model.html"));
    let part = warp::path!("page" / String).map(|name: String| find(&name));
    lanes
        .or(runs)
        .unify()
        .or(model)
        .unify()
        .or(lesson)
        .unify()
        .or(part)
        .unify()
        .and_then(
            |file: Option<&'static File>| async move { file.ok_or_else(warp::reject::not_found) },
        )
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .map(|file: &'static File, headers: HeaderMap| file.respond(&headers))
        .or(mirror::route())
        .unify()
        .or(documentation::route())
        .unify()
        .or(reports::route(reports))
        .unify()
        .boxed()
}

impl File {
    /// The file, or `304` if the browser has this version of it, or `412` if it wants another.
    fn respond(&self, request: &HeaderMap) -> Response {
        let tag = self.tag();
        let text = tag.to_str().expect("hex digits in quotes are text");
        let mut response = match Preconditions::of(request).client_has(text) {
            Ok(false) => HttpResponse::new(self.body.into()),
            Ok(true) => {
                let mut response = HttpResponse::new(Default::default());
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                response
            }
            Err(error) => return error.into(),
        };
        let fixed: [(HeaderName, &'static str); 5] = [
            (CONTENT_TYPE, self.content_type()),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            // Cached, but validated each time: a new version of the program has new files.
            (CACHE_CONTROL, "no-cache"),
        ];
        let headers = response.headers_mut();
        headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
        headers.insert(ETAG, tag);
        response
    }

    fn content_type(&self) -> &'static str {
        match self.name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        }
    }

    fn tag(&self) -> HeaderValue {
        let mut hasher = DefaultHasher::new();
        self.body.hash(&mut hasher);
        let tag = format!("\"{:016x}\"", hasher.finish());
        HeaderValue::try_from(tag).expect("hex digits in quotes are a valid header")
    }
}
