//! The files of the live page: content security policy and caching.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderMap, IF_NONE_MATCH};
use poll_vs_push::client::{HttpConnection, HttpResponse};

use super::support::{Raw, TestServer, soon};

fn files() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/page");
    let entries = fs::read_dir(folder).expect("the page's folder");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("readable").file_name();
    entries.map(|entry| name(entry).into_string().expect("plain names")).collect()
}

fn text(answer: &HttpResponse) -> &str {
    std::str::from_utf8(&answer.body).expect("text")
}

#[tokio::test]
async fn every_file_is_served_with_its_type() {
    let server = TestServer::start().await;
    for name in files() {
        let answer = server.get(&format!("/page/{name}")).await;
        assert_eq!(answer.status, 200, "{name}");
        let wanted = match name.rsplit('.').next().expect("an extension") {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        };
        assert_eq!(answer.headers["content-type"], wanted, "{name}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{name}");
    }
    assert_eq!(server.get("/").await.body, server.get("/page/index.html").await.body);
    assert_eq!(server.get("/page/none.js").await.status, 404);
    assert_eq!(server.post("/", "").await.status, 405);
    server.stop().await;
}

#[tokio::test]
async fn content_security_policy_allows_only_this_host() {
    let server = TestServer::start().await;
    let answer = server.get("/").await;
    let policy = answer.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'));
    server.stop().await;
}

#[test]
fn page_loads_nothing_external_and_creates_no_markup() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/page");
    for name in files() {
        let source = fs::read_to_string(folder.join(&name)).expect("text");
        let source = source.replace("http://www.w3.org/2000/svg", "");
        let forbidden =
            ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("];
        for word in forbidden {
            assert!(!source.contains(word), "{name} has {word}");
        }
    }
}

#[tokio::test]
async fn cached_files_are_not_sent_again() {
    let server = TestServer::start().await;
    let tag = server.get("/page/main.js").await.headers["etag"].to_str().expect("hex").to_owned();
    let status_with = async |known: &str| {
        let headers = HeaderMap::from_iter([(IF_NONE_MATCH, known.parse().expect("a tag"))]);
        let mut http = HttpConnection::new(server.dialer().with_headers(&headers));
        let asking = http.request(Method::GET, "/page/main.js", Bytes::new());
        soon(asking).await.expect("an answer").status
    };
    assert_eq!(status_with(&tag).await, 304);
    assert_eq!(status_with("\"other\"").await, 200);
    server.stop().await;
}

#[tokio::test]
async fn mirror_returns_headers_without_secrets() {
    let server = TestServer::start().await;
    let mut raw = Raw::connect(server.address).await;
    raw.get("/mirror", "x-plain: seen\r\ncookie: session=secret\r\nauthorization: Bearer s\r\n")
        .await;
    let answer = raw.answer().await;
    let lines: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    let line = |name: &str| {
        let lines = lines.as_array().expect("a list");
        lines.iter().find(|line| line["name"] == name).expect(name).clone()
    };
    assert_eq!(line("x-plain")["value"], "seen");
    assert_eq!(
        (&line("cookie")["value"], &line("cookie")["bytes"]),
        (&serde_json::Value::Null, &14.into())
    );
    assert!(!answer.body.contains("secret") && !answer.body.contains("Bearer"));
    assert_eq!(text(&server.get("/mirror").await).matches("name").count(), 1, "only host");
    server.stop().await;
}
