//! Every route of the server as data: its path, its methods, the required right and the handler.
//! Methods, `Allow` and authentication are decided from this table before a request reaches any
//! filter. The response to a path that is not in the table is 404.

use std::borrow::Cow;

use hyper::{Method, Uri};

use crate::app::token::Right;

/// Who may use a route if the server requires tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every client.
    Public,
    /// The holder of a token that grants this right on the topic in the path.
    Topic(Right),
    /// The holder of any valid token; the topic is checked later, when it is known.
    SocketIo,
}

/// One row of the table.
#[derive(Debug)]
pub struct Route {
    /// The path; `{}` stands for one non-empty segment, a final `{*}` for any rest or none.
    pub path: &'static str,
    /// The methods, without OPTIONS, which every route has.
    pub methods: &'static [Method],
    pub access: Access,
    pub handler: Handler,
}

/// The handler of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handler {
    Publish,
    ShortPolling,
    LongPolling,
    WebSocket,
    Sse,
    Ndjson,
    Echo,
    Metrics,
    Health,
    Web,
    Class,
    Demo,
    /// The only handler that is not a warp filter.
    SocketIo,
}

impl Handler {
    /// The warp filters, in the order of their numbers.
    pub const FILTERS: [Handler; Handler::SocketIo as usize] = [
        Handler::Publish,
        Handler::ShortPolling,
        Handler::LongPolling,
        Handler::WebSocket,
        Handler::Sse,
        Handler::Ndjson,
        Handler::Echo,
        Handler::Metrics,
        Handler::Health,
        Handler::Web,
        Handler::Class,
        Handler::Demo,
    ];
}

const GET: &[Method] = &[Method::GET, Method::HEAD];
const POST: &[Method] = &[Method::POST];
/// No HEAD: a GET of Socket.IO opens a session or removes packets from it.
const GET_POST: &[Method] = &[Method::GET, Method::POST];

const fn route(
    path: &'static str,
    methods: &'static [Method],
    access: Access,
    handler: Handler,
) -> Route {
    Route { path, methods, access, handler }
}

const fn subscribe(path: &'static str, handler: Handler) -> Route {
    route(path, GET, Access::Topic(Right::Subscribe), handler)
}

const fn public(path: &'static str, handler: Handler) -> Route {
    route(path, GET, Access::Public, handler)
}

/// Every route.
pub const ROUTES: &[Route] = &[
    route("/topics/{}/messages", POST, Access::Topic(Right::Publish), Handler::Publish),
    subscribe("/topics/{}/poll", Handler::ShortPolling),
    subscribe("/topics/{}/long-poll", Handler::LongPolling),
    subscribe("/topics/{}/ws", Handler::WebSocket),
    subscribe("/topics/{}/events", Handler::Sse),
    subscribe("/topics/{}/stream", Handler::Ndjson),
    route("/socket.io/{*}", GET_POST, Access::SocketIo, Handler::SocketIo),
    route("/engine.io/{*}", GET_POST, Access::SocketIo, Handler::SocketIo),
    public("/echo", Handler::Echo),
    public("/metrics", Handler::Metrics),
    public("/healthz", Handler::Health),
    public("/mirror", Handler::Web),
    public("/docs/{}", Handler::Web),
    public("/reports", Handler::Web),
    public("/reports/{}/{}", Handler::Web),
    public("/watch", Handler::Web),
    public("/model", Handler::Web),
    public("/lesson", Handler::Web),
    public("/class", Handler::Class),
    public("/teacher", Handler::Class),
    public("/class/state", Handler::Class),
    public("/class/qr", Handler::Class),
    route("/class/report", POST, Access::Public, Handler::Class),
    route("/class/settings", POST, Access::Public, Handler::Class),
    route("/demo/freeze", POST, Access::Public, Handler::Demo),
    route("/demo/restart", POST, Access::Public, Handler::Demo),
    public("/page/{}", Handler::Web),
    public("/", Handler::Web),
];

impl Route {
    /// The route of a path. One slash at the end makes no difference.
    pub fn find(path: &str) -> Option<&'static Route> {
        ROUTES.iter().find(|route| route.matches(path))
    }

    fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        let mut given = rest.strip_suffix('/').unwrap_or(rest).split('/');
        for expected in self.path[1..].split('/') {
            match (expected, given.next()) {
                ("{*}", _) => return true,
                ("{}", Some(segment)) if !segment.is_empty() => {}
                (expected, Some(segment)) if expected == segment => {}
                _ => return false,
            }
        }
        given.next().is_none()
    }

    pub fn allows(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }

    /// The value of `Allow`: `GET, HEAD, OPTIONS`.
    pub fn allow(&self) -> String {
        let names: Vec<_> = self.methods.iter().map(Method::as_str).collect();
        format!("{}, OPTIONS", names.join(", "))
    }
}

/// The topic in a path below `/topics/`.
pub fn topic_of(path: &str) -> Option<&str> {
    path.strip_prefix("/topics/")?.split('/').next()
}

/// The path with percent-encoded unreserved characters decoded, which are equivalent to the plain
/// ones (RFC 3986, section 6.2.2.2), so that authentication and filters see the same path.
pub fn normalized_path(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code.filter(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            None => {
                plain.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// `uri` with its path [normalized](normalized_path); `None` if it is not in origin form or
/// absolute form with a path that begins with a slash (RFC 9112, section 3.2).
pub fn normalized(uri: &Uri) -> Option<Cow<'_, Uri>> {
    if !uri.path().starts_with('/') {
        return None;
    }
    match normalized_path(uri.path()) {
        Cow::Borrowed(_) => Some(Cow::Borrowed(uri)),
        Cow::Owned(path) => {
            let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
            let mut parts = uri.clone().into_parts();
            parts.path_and_query = Some(format!("{path}{query}").parse().ok()?);
            Uri::from_parts(parts).ok().map(Cow::Owned)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_matches_at_most_one_route() {
        let path = |path: &str| Route::find(path).map(|route| route.path);
        for (given, expected) in [
            ("/", Some("/")),
            ("/topics/room/poll", Some("/topics/{}/poll")),
            ("/topics/room/poll/", Some("/topics/{}/poll")),
            ("/topics/room/poll//", None),
            ("/topics//poll", None),
            ("/topics/room", None),
            ("/topics/room/other", None),
            ("/socket.io", Some("/socket.io/{*}")),
            ("/socket.io/", Some("/socket.io/{*}")),
            ("/socket.io/any/thing", Some("/socket.io/{*}")),
            ("/socket.iox", None),
            ("/reports/a/b", Some("/reports/{}/{}")),
            ("topics/room/poll", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(path(given), expected, "{given}");
        }
        for route in ROUTES {
            let example = route.path.replace("{*}", "x").replace("{}", "x");
            let matching = ROUTES.iter().filter(|route| route.matches(&example)).count();
            assert_eq!(matching, 1, "{example}");
        }
    }

    #[test]
    fn filters_are_found_by_their_number() {
        for (number, handler) in Handler::FILTERS.into_iter().enumerate() {
            assert_eq!(handler as usize, number);
        }
    }

    #[test]
    fn only_unreserved_characters_are_decoded() {
        for (given, expected) in [
            ("/topics/r%6Fom/p%6fll", "/topics/room/poll"),
            ("/topics/a%2Fb/poll", "/topics/a%2Fb/poll"),
            ("/topics/%2E%2E/poll", "/topics/../poll"),
            ("/100%", "/100%"),
            ("/%zz%4", "/%zz%4"),
            ("/%C3%A9", "/%C3%A9"),
            ("/%é", "/%é"),
        ] {
            assert_eq!(normalized_path(given), expected);
        }
    }
}
