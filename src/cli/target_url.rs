//! `--target URL`: parses the URL of the server to measure and resolves its addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, ensure};
use hyper::Uri;
use hyper::header::{HOST, HeaderMap, HeaderValue};

use crate::client::Dialer;

/// The parsed URL of a server.
#[derive(Debug)]
pub struct TargetUrl {
    pub is_https: bool,
    /// Without the brackets of an IPv6 address.
    pub name: String,
    port: u16,
    /// Value of the `Host` header: with the port, if the URL contains one.
    authority: String,
    /// Prepended to the path of every request.
    base_path: String,
}

impl TargetUrl {
    /// Parses `http://host:port/base/path`.
    ///
    /// # Errors
    /// If a part of the URL is unsupported; the text names it and the remedy.
    pub fn parse(url: &str) -> anyhow::Result<TargetUrl> {
        let example = "for example http://127.0.0.1:3030 or http://host/base";
        let has_fragment = url.contains('#');
        let uri: Uri = url.parse().ok().with_context(|| format!("not a URL; {example}"))?;
        let scheme = uri.scheme_str().unwrap_or_default();
        ensure!(
            matches!(scheme, "http" | "https"),
            "must begin with http:// or https://; {example}"
        );
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        ensure!(
            !authority.contains('@'),
            "user names and passwords are not supported; remove the part before the '@'"
        );
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.with_context(|| format!("has no host; {example}"))?;
        ensure!(
            uri.query().is_none() && !has_fragment,
            "a query or fragment is not supported; remove it"
        );
        let is_https = scheme == "https";
        let default_port = if is_https { 443 } else { 80 };
        let after_host = &authority[host.len()..];
        let port =
            match after_host.strip_prefix(':').unwrap_or(after_host) {
                "" => default_port,
                text => text.parse().ok().filter(|port| *port != 0).with_context(|| {
                    format!("the port '{text}' is not a number from 1 to 65535")
                })?,
            };
        Ok(TargetUrl {
            is_https,
            name: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority: authority.to_owned(),
            base_path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// A dialer for all addresses of the host.
    ///
    /// # Errors
    /// If the host has no address.
    pub fn dialer(&self) -> anyhow::Result<Dialer> {
        let resolved = (self.name.as_str(), self.port).to_socket_addrs();
        let resolved = resolved.with_context(|| format!("cannot resolve '{}'", self.name));
        let is_localhost = self.name.trim_end_matches('.').eq_ignore_ascii_case("localhost");
        let mut addresses: Vec<SocketAddr> = match resolved {
            Err(_) if is_localhost => Vec::new(),
            resolved => resolved?.collect(),
        };
        if is_localhost {
            // Both loopback addresses (RFC 6761, section 6.3), even if none is in /etc/hosts.
            for loopback in [Ipv4Addr::LOCALHOST.into(), IpAddr::from(Ipv6Addr::LOCALHOST)] {
                let address = SocketAddr::new(loopback, self.port);
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        let no_address = || format!("'{}' has no address", self.name);
        let dialer = Dialer::to_any_of(addresses).with_context(no_address)?;
        let host = HeaderValue::from_str(&self.authority).context("not a valid host name")?;
        let headers = HeaderMap::from_iter([(HOST, host)]);
        Ok(dialer.with_headers(&headers).with_base_path(&self.base_path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_split_into_its_parts() {
        let url = TargetUrl::parse("http://[::1]:8080/a/b/").expect("a good URL");
        assert_eq!((url.name.as_str(), url.port, url.is_https), ("::1", 8080, false));
        assert_eq!((url.authority.as_str(), url.base_path.as_str()), ("[::1]:8080", "/a/b"));
        let url = TargetUrl::parse("https://example.org").expect("a good URL");
        assert_eq!((url.port, url.base_path.as_str()), (443, ""));
        let url = TargetUrl::parse("http://example.org:/").expect("an empty port is the default");
        assert_eq!((url.port, url.base_path.as_str()), (80, ""));
        let dialer = TargetUrl::parse("http://127.0.0.1/base").and_then(|url| url.dialer());
        assert_eq!(dialer.expect("an address").url(), "http://127.0.0.1:80/base");
    }

    /// Whichever loopback address a server on `localhost` listens on, it is found.
    #[tokio::test]
    async fn localhost_is_tried_over_both_versions_of_ip() {
        for loopback in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = tokio::net::TcpListener::bind(loopback).await else { continue };
            let port = listener.local_addr().expect("it has one").port();
            for name in ["LocalHost", "localhost."] {
                let url = format!("http://{name}:{port}/");
                let dialer = TargetUrl::parse(&url).and_then(|url| url.dialer());
                let dialing = dialer.expect("a good URL").dial().await;
                dialing.unwrap_or_else(|error| panic!("{name} at {loopback}: {error}"));
            }
        }
    }

    #[test]
    fn unsupported_url_is_an_error_with_a_remedy() {
        let cases = [
            ("ftp://x", "must begin with http://"),
            ("127.0.0.1:3030", "for example http://"),
            ("", "for example http://"),
            ("http://", "for example http://"),
            ("http://user:pw@host", "remove the part before the '@'"),
            ("http://host:99999", "the port '99999' is not a number from 1 to 65535"),
            ("http://[::1]:x/base", "the port 'x' is not"),
            ("http://host:0", "the port '0' is not"),
            ("http://host/?a=b", "remove it"),
            ("http://host/#top", "remove it"),
        ];
        for (url, message) in cases {
            let error = TargetUrl::parse(url).expect_err(url).to_string();
            assert!(error.contains(message), "{url}: {error}");
        }
    }
}
