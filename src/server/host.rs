//! The host and the origin of a request: `Host`, `Origin`, `Sec-Fetch-Site`.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::http::uri::Scheme;
use hyper::{Request, Uri, Version};

/// Host and port of a request or an origin. A missing port is the default of the scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// In lower case; an IPv6 address without its brackets, in its canonical form (RFC 5952).
    host: String,
    port: Option<u16>,
}

impl Authority {
    /// Parses `host[:port]` (RFC 9110, section 7.2: no user, no path).
    pub fn parse(text: &str) -> Option<Authority> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                let port = port.strip_prefix(':').or(port.is_empty().then_some(""))?;
                (Cow::Owned(address.to_string()), port)
            }
            None => {
                let (host, port) = text.split_once(':').unwrap_or((text, ""));
                (Cow::Borrowed(host), port)
            }
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_name) {
            return None;
        }
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port {
            "" => None,
            port if digits => Some(port.parse().ok()?),
            _ => return None,
        };
        Some(Authority { host: host.to_ascii_lowercase(), port })
    }

    /// True for hosts that no other site can own: an IP address, `localhost` and names below it
    /// (RFC 6761, section 6.3).
    fn is_local_or_address(&self) -> bool {
        let host = self.host.strip_suffix('.').unwrap_or(&self.host);
        host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok()
    }

    /// True if a server that is meant for its own machine may serve a request for this host, given
    /// the names of `--allow-host`. This prevents DNS rebinding, with which the page of another
    /// site reaches the server under the site's own name.
    pub fn is_acceptable_on_loopback(&self, allowed: &[String]) -> bool {
        let listed = |name: &String| name == "*" || name.eq_ignore_ascii_case(&self.host);
        self.is_local_or_address() || allowed.iter().any(listed)
    }
}

/// True unless the request target names another scheme, which no resource of a server has. A proxy
/// in front may have terminated TLS.
pub fn is_http(target: &Uri) -> bool {
    target.scheme().is_none_or(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme))
}

/// The one host that a request names. HTTP/1.0 may name none, which is `Ok(None)`.
///
/// # Errors
/// If the host is missing, repeated or malformed (RFC 9112, section 3.2).
pub fn host_of<B>(request: &Request<B>) -> Result<Option<Authority>, &'static str> {
    let mut hosts = request.headers().get_all(HOST).into_iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err("Host: must be given once");
    }
    let header = match header {
        Some(value) => {
            let text = value.to_str().ok();
            Some(text.and_then(Authority::parse).ok_or("Host: must be a name and a port")?)
        }
        None => None,
    };
    // The target's own host has precedence (RFC 9112, section 3.2.2; RFC 9113, section 8.3.1).
    let target = request.uri().authority().map(|it| Authority::parse(it.as_str()));
    let target = target.map(|it| it.ok_or("the request target's host is malformed")).transpose()?;
    // HTTP/1.1 ignores the header then; in HTTP/2 such a request is malformed.
    if request.version() == Version::HTTP_2
        && target.is_some()
        && header.is_some()
        && target != header
    {
        return Err("Host: must not differ from :authority");
    }
    match target.or(header) {
        None if request.version() == Version::HTTP_11 => Err("Host: must be given"),
        host => Ok(host),
    }
}

/// The origin of a page.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    authority: Authority,
}

impl Origin {
    fn parse(text: &str) -> Option<Origin> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let mut authority = Authority::parse(rest)?;
        // Default ports compare equal to none (RFC 9110, section 4.2.3).
        authority.port = authority.port.filter(|port| Some(*port) != default_port(&scheme));
        Some(Origin { scheme, authority })
    }

    /// True if this is the origin of the pages at `host`. A proxy in front may have terminated TLS,
    /// so the scheme is not compared, and a missing port is the default of the origin's scheme.
    fn is_at(&self, host: &Authority) -> bool {
        let port = host.port.filter(|port| Some(*port) != default_port(&self.scheme));
        self.authority.host == host.host && self.authority.port == port
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// True if this value of `--allow-origin` can match the origin of a page: `null` is that of a page
/// without one.
pub fn can_be_allowed(origin: &str) -> bool {
    matches!(origin, "*" | "null") || Origin::parse(origin).is_some()
}

/// True if this is the name of a host, without a port.
pub fn is_name(text: &str) -> bool {
    Authority::parse(text).is_some_and(|it| it.port.is_none()) && !text.ends_with(':')
}

/// Origins whose pages may use the server, as `--allow-origin` names them.
#[derive(Debug, Clone, Copy)]
pub struct AllowedOrigins<'a>(pub &'a [String]);

impl AllowedOrigins<'_> {
    /// True for every origin, or for this one.
    pub fn list(&self, origin: &HeaderValue) -> bool {
        let Ok(text) = origin.to_str() else { return false };
        let parsed = Origin::parse(text);
        let same = |allowed: &String| {
            allowed == "*"
                || allowed == text
                || (parsed.is_some() && Origin::parse(allowed) == parsed)
        };
        self.0.iter().any(same)
    }

    /// True if the page that a request comes from may use the server: it is one of the server's own
    /// or of an origin in the list; or the request comes from no page.
    pub fn accept(&self, headers: &HeaderMap, host: Option<&Authority>) -> bool {
        let mut origins = headers.get_all(ORIGIN).into_iter();
        let Some(origin) = origins.next() else {
            return !is_from_foreign_page(headers) || self.all();
        };
        if origins.next().is_some() {
            return false;
        }
        let parsed = origin.to_str().ok().and_then(Origin::parse);
        let is_own = parsed.zip(host).is_some_and(|(origin, host)| origin.is_at(host));
        is_own || self.list(origin)
    }

    fn all(&self) -> bool {
        self.0.iter().any(|allowed| allowed == "*")
    }
}

/// True if the browser reports that a page of another site or origin sent the request without a
/// navigation by the user: a no-cors request has no `Origin` but has this (Fetch Metadata, section
/// 2.3).
fn is_from_foreign_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let is_foreign = matches!(text("sec-fetch-site"), Some("cross-site" | "same-site"));
    // A link or a typed address: the user sees the response, and no other page can read it.
    let is_navigation =
        text("sec-fetch-mode") == Some("navigate") && text("sec-fetch-dest") == Some("document");
    is_foreign && !is_navigation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, hosts: &[&str]) -> Request<()> {
        let mut request = Request::get("/").version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).expect("a good request")
    }

    #[test]
    fn a_host_is_given_once_and_well_formed() {
        for good in ["a", "a.example:80", "127.0.0.1:3030", "[::1]", "[::1]:3030", "A.b-c_d", "a:"]
        {
            assert!(host_of(&request(Version::HTTP_11, &[good])).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "u@a", "a:b", "a:99999", "[::1", "[x]", "::1", "a,b"] {
            assert!(host_of(&request(Version::HTTP_11, &[bad])).is_err(), "{bad}");
        }
        assert!(host_of(&request(Version::HTTP_11, &[])).is_err());
        assert_eq!(host_of(&request(Version::HTTP_10, &[])), Ok(None));
        assert!(host_of(&request(Version::HTTP_10, &["a", "a"])).is_err());
    }

    #[test]
    fn origins_are_compared_with_case_and_default_ports_normalized() {
        let own = |origin: &'static str, host: &str| {
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
            AllowedOrigins(&[]).accept(&headers, Authority::parse(host).as_ref())
        };
        for (origin, host) in [
            ("http://example.com", "example.com:80"),
            ("http://example.com:80", "example.com"),
            ("HTTP://EXAMPLE.com", "Example.COM"),
            ("https://example.com", "example.com"),
            ("https://example.com", "example.com:443"),
            ("http://[::1]:3030", "[::1]:3030"),
            ("http://[::1]", "[0::1]"),
            ("http://[2001:DB8:0::1]", "[2001:db8::1]"),
        ] {
            assert!(own(origin, host), "{origin} at {host}");
        }
        for (origin, host) in [
            ("http://example.com:81", "example.com"),
            ("http://example.com", "example.com:81"),
            ("http://example.com", "example.org"),
            ("https://example.com", "example.com:80"),
            ("null", "example.com"),
            ("http://example.com.evil", "example.com"),
        ] {
            assert!(!own(origin, host), "{origin} at {host}");
        }
        let listed = ["https://App.example:443".to_owned()];
        assert!(AllowedOrigins(&listed).list(&HeaderValue::from_static("https://app.example")));
        assert!(!AllowedOrigins(&listed).list(&HeaderValue::from_static("http://app.example")));
    }

    #[test]
    fn loopback_accepts_addresses_localhost_and_named_hosts() {
        let allowed = ["chat.example".to_owned()];
        let accepts =
            |host| Authority::parse(host).expect(host).is_acceptable_on_loopback(&allowed);
        for good in
            ["localhost:3030", "a.localhost", "127.0.0.1", "[::1]:1", "10.0.0.1", "Chat.example"]
        {
            assert!(accepts(good), "{good}");
        }
        for bad in
            ["evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "localhost.."]
        {
            assert!(!accepts(bad), "{bad}");
        }
    }
}
