//! The routes of a classroom. Without `--class` each of them is answered with 404.
//!
//! ```text
//! GET  /class           the page of a device, which phones open
//! GET  /teacher         the page of the teacher
//! GET  /class/state     what the teacher's page shows
//! GET  /class/qr        the address of the class as a QR code
//! POST /class/report    {"device","team","delays_ms":{transport:[..]}} -> settings and time
//! POST /class/settings  {"key","settings":{"rate","poll_interval_ms","round_trip_ms"}} -> 204
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use qrcode::QrCode;
use qrcode::render::svg;
use serde::Deserialize;
use serde_json::json;
use warp::filters::BoxedFilter;
use warp::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::find;
use crate::app::class::{Class, DeviceReport, Settings};
use crate::app::request_body::{BodyLimit, read_body};
use crate::app::response::{json_response, to_response};
use crate::app::{ApiError, App, Client};
use crate::client::local_address;
use crate::message::Object;

const BODY_LIMIT: BodyLimit = BodyLimit::fixed(64 << 10);
/// An address of TEST-NET-1 (RFC 5737), which is on no network.
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// A change by the teacher.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsChange {
    key: String,
    settings: Object<Settings>,
}

/// All routes of the class.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let app = app.clone();
    let class = warp::any().and_then(move || {
        let app = app.clone();
        async move { if app.class.is_some() { Ok(app) } else { Err(warp::reject::not_found()) } }
    });
    let page = |path: &'static str, file: &'static str| {
        warp::path(path)
            .and(warp::path::end())
            .and(warp::get())
            .and(class.clone())
            .and(warp::header::headers_cloned())
            .and_then(move |_, headers: HeaderMap| async move {
                let file = find(file).ok_or_else(warp::reject::not_found)?;
                Ok::<_, Rejection>(file.respond(&headers))
            })
    };
    let state =
        warp::path!("class" / "state").and(warp::get()).and(class.clone()).map(|app: Arc<App>| {
            let mut overview = json!(class_of(&app).overview());
            overview["url"] = json!(url(&app));
            json_response(StatusCode::OK, overview.to_string())
        });
    let qr = warp::path!("class" / "qr")
        .and(warp::get())
        .and(class.clone())
        .map(|app: Arc<App>| to_response(qr(&url(&app))));
    let body = || warp::body::stream().and(warp::ext::get::<Client>());
    let report =
        warp::path!("class" / "report").and(warp::post()).and(class.clone()).and(body()).then(
            |app: Arc<App>, parts, client: Client| async move {
                let body = read_body(&app, client.account(), BODY_LIMIT, parts).await;
                to_response(body.and_then(|body| report(class_of(&app), &body.bytes)))
            },
        );
    let change =
        warp::path!("class" / "settings").and(warp::post()).and(class.clone()).and(body()).then(
            |app: Arc<App>, parts, client: Client| async move {
                let body = read_body(&app, client.account(), BODY_LIMIT, parts).await;
                to_response(body.and_then(|body| change(class_of(&app), &body.bytes)))
            },
        );
    page("class", "class.html")
        .or(page("teacher", "teacher.html"))
        .unify()
        .or(state)
        .unify()
        .or(qr)
        .unify()
        .or(report)
        .unify()
        .or(change)
        .unify()
        .boxed()
}

fn class_of(app: &App) -> &Class {
    app.class.as_ref().expect("the filter lets no request pass without a class")
}

fn invalid(error: serde_json::Error) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not valid: {error}"))
}

fn report(class: &Class, body: &[u8]) -> Result<Response, ApiError> {
    let Object(report): Object<DeviceReport> = serde_json::from_slice(body).map_err(invalid)?;
    let settings = class.report(&report)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let body = json!({ "settings": settings, "now_ms": now.as_secs_f64() * 1e3 });
    Ok(json_response(StatusCode::OK, body.to_string()))
}

fn change(class: &Class, body: &[u8]) -> Result<Response, ApiError> {
    let Object(change): Object<SettingsChange> = serde_json::from_slice(body).map_err(invalid)?;
    let SettingsChange { key, settings: Object(settings) } = change;
    class.set(&key, settings)?;
    let mut response = HttpResponse::new(Default::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// The address that devices open. A server that listens on all addresses of the machine names the
/// one from which it reaches others.
fn url(app: &App) -> String {
    let mut address = app.config.listen;
    if address.ip().is_unspecified() {
        address.set_ip(local_address(ELSEWHERE).unwrap_or(Ipv4Addr::LOCALHOST.into()));
    }
    let scheme = if app.config.tls_cert.is_some() { "https" } else { "http" };
    format!("{scheme}://{address}/class")
}

fn qr(url: &str) -> Result<Response, ApiError> {
    let code = QrCode::new(url).map_err(|error| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("no QR code: {error}"))
    })?;
    let image = code.render::<svg::Color<'_>>().min_dimensions(240, 240).build();
    let mut response = HttpResponse::new(image.into());
    let svg = HeaderValue::from_static("image/svg+xml");
    response.headers_mut().insert(CONTENT_TYPE, svg);
    Ok(response)
}
