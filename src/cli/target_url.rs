//! `--target URL`: the server to measure, its addresses resolved.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, ensure};
use hyper::Uri;
use hyper::header::{HOST, HeaderMap, HeaderValue};

use crate::client::Dialer;

/// A server's URL, taken apart.
#[derive(Debug)]
pub struct TargetUrl {
    pub is_https: bool,
    /// Without the brackets of an IPv6 address.
    pub name: String,
    port: u16,
    /// As requests carry it: with the port, if the URL has one.
    authority: String,
    /// Set before the path of every request.
    base_path: String,
}

impl TargetUrl {
    /// Reads `http://host:port/base/path`.
    ///
    /// # Errors
    /// Says which part cannot be used and what to write instead.
    pub fn parse(url: &str) -> anyhow::Result<TargetUrl> {
        let example = "write for instance http://127.0.0.1:3030 or http://host/base";
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
            "user names and passwords are not sent; leave out what is before the '@'"
        );
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.with_context(|| format!("names no host; {example}"))?;
        ensure!(
            uri.query().is_none() && !has_fragment,
            "a query or fragment cannot be set before the paths of requests; leave it out"
        );
        let is_https = scheme == "https";
        Ok(TargetUrl {
            is_https,
            name: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            authority: authority.to_owned(),
            base_path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// What reaches the server, by whichever of its addresses answers.
    ///
    /// # Errors
    /// If the host has no address.
    pub fn dialer(&self) -> anyhow::Result<Dialer> {
        let addresses = (self.name.as_str(), self.port).to_socket_addrs();
        let addresses = addresses.with_context(|| format!("cannot resolve '{}'", self.name))?;
        let addresses: Vec<SocketAddr> = addresses.collect();
        let no_address = || format!("'{}' has no address", self.name);
        let dialer = Dialer::to_any_of(addresses).with_context(no_address)?;
        let host = HeaderValue::from_str(&self.authority).context("not the name of a host")?;
        let headers = HeaderMap::from_iter([(HOST, host)]);
        Ok(dialer.with_headers(&headers).with_base_path(&self.base_path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let url = TargetUrl::parse("http://[::1]:8080/a/b/").expect("a good URL");
        assert_eq!((url.name.as_str(), url.port, url.is_https), ("::1", 8080, false));
        assert_eq!((url.authority.as_str(), url.base_path.as_str()), ("[::1]:8080", "/a/b"));
        let url = TargetUrl::parse("https://example.org").expect("a good URL");
        assert_eq!((url.port, url.base_path.as_str()), (443, ""));
        let dialer = TargetUrl::parse("http://127.0.0.1/base").and_then(|url| url.dialer());
        assert_eq!(dialer.expect("an address").url(), "http://127.0.0.1:80/base");
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_with_a_remedy() {
        let cases = [
            ("ftp://x", "must begin with http://"),
            ("127.0.0.1:3030", "write for instance http://"),
            ("", "write for instance http://"),
            ("http://", "write for instance http://"),
            ("http://user:pw@host", "leave out what is before the '@'"),
            ("http://host/?a=b", "leave it out"),
            ("http://host/#top", "leave it out"),
        ];
        for (url, message) in cases {
            let error = TargetUrl::parse(url).expect_err(url).to_string();
            assert!(error.contains(message), "{url}: {error}");
        }
    }
}
