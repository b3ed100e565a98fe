//! `POST /demo/freeze?seconds=` and `POST /demo/restart`: faults that the lesson tries on the
//! server. Without `--demo`, which is for loopback only, both are answered with 404.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde::Deserialize;
use tokio::runtime::Handle;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

use crate::app::response::{json_response, to_response};
use crate::app::{ApiError, App};
use crate::message::BadInput;

/// Longest freeze, seconds.
const FREEZE_S_MAX: u64 = 30;
/// The response is written before the fault begins.
const BEFORE_FAULT: Duration = Duration::from_millis(100);

#[derive(Debug, Deserialize)]
struct FreezeQuery {
    /// Not parsed yet, so that an error can quote it.
    seconds: Option<String>,
}

/// Both routes.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let app = app.clone();
    let demo = warp::any().and_then(move || {
        let app = app.clone();
        async move { if app.config.demo { Ok(app) } else { Err(warp::reject::not_found()) } }
    });
    let is_frozen = Arc::new(AtomicBool::new(false));
    let freeze = warp::path!("demo" / "freeze")
        .and(warp::post())
        .and(demo.clone())
        .and(warp::query::<FreezeQuery>())
        .map(move |_: Arc<App>, query: FreezeQuery| {
            to_response(freeze(&is_frozen, &query.seconds.unwrap_or_default()))
        });
    let restart =
        warp::path!("demo" / "restart").and(warp::post()).and(demo).map(|app: Arc<App>| {
            let restart = app.restart.clone();
            tokio::spawn(async move {
                tokio::time::sleep(BEFORE_FAULT).await;
                restart.cancel();
            });
            json_response(StatusCode::ACCEPTED, "{}")
        });
    freeze.or(restart).unify().boxed()
}

/// Blocks every thread of the runtime for this time: no task runs, and the kernel continues to
/// accept connections and bytes for it.
fn freeze(is_frozen: &Arc<AtomicBool>, seconds: &str) -> Result<Response, ApiError> {
    let whole = seconds.parse().ok();
    let Some(seconds) = whole.filter(|seconds| (1..=FREEZE_S_MAX).contains(seconds)) else {
        return Err(BadInput::new("seconds", seconds, "a whole number from 1 to 30").into());
    };
    if is_frozen.swap(true, Relaxed) {
        return Err(ApiError::new(StatusCode::CONFLICT, "the server is about to freeze already"));
    }
    let (is_frozen, runtime) = (is_frozen.clone(), Handle::current());
    let duration = Duration::from_secs(seconds);
    // Not on a worker: no other worker can take over its newest task.
    std::thread::spawn(move || {
        std::thread::sleep(BEFORE_FAULT);
        for _ in 0..runtime.metrics().num_workers() {
            runtime.spawn(async move { std::thread::sleep(duration) });
        }
        std::thread::sleep(duration);
        is_frozen.store(false, Relaxed);
    });
    Ok(json_response(StatusCode::ACCEPTED, "{}"))
}
