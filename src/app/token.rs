//! Access tokens: JSON Web Tokens signed with HMAC-SHA-256 (RFC 7519, RFC 7515), and no other
//! algorithm.
//!
//! ```text
//! {"alg":"HS256","typ":"JWT"}
//! {"sub":"A","exp":1767225600,"subscribe":["news.*"],"publish":["room"]}
//! ```
//! A right is a list of patterns: the name of a topic, or a prefix and a `*`. A token without `exp`
//! does not expire. `nbf` and `exp` are compared with the clock without leeway, and a header with
//! `crit` is refused, since no extension is supported (RFC 7515, section 4.1.11).

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::message::{Object, TopicName};

/// The error for a request without a token.
pub const NO_TOKEN: &str = "a token is required: Authorization: Bearer ..";
/// A shorter key could be guessed (RFC 7518, section 3.2).
const KEY_BYTES_MIN: usize = 32;
/// A larger file is not a key, and a device file may have no end.
const KEY_BYTES_MAX: u64 = 64 << 10;
/// Longer tokens are rejected without parsing.
pub const TOKEN_BYTES_MAX: usize = 4 << 10;

/// The key that signs tokens and verifies their signatures.
#[derive(Clone)]
pub struct TokenKey(Hmac<Sha256>);

impl fmt::Debug for TokenKey {
    /// Keeps the key out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadKey {
    #[error("'{file}' cannot be read")]
    Unreadable { file: String, source: std::io::Error },
    #[error("'{file}' has {KEY_BYTES_MAX} bytes or more, so it is not a key")]
    Long { file: String },
    #[error("it has {bytes} bytes instead of {KEY_BYTES_MIN}; `openssl rand -hex 32` makes a key")]
    Short { bytes: usize },
}

/// The claims of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The name of its holder, for display only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sub: String,
    /// When it expires, seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
    /// When it begins to be valid, seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// Topics that it may read.
    #[serde(default)]
    pub subscribe: Vec<String>,
    /// Topics that it may publish to.
    #[serde(default)]
    pub publish: Vec<String>,
}

/// Reads a pattern of topics, as of a flag.
///
/// # Errors
/// If no topic can match it.
pub fn pattern(text: &str) -> Result<String, String> {
    let can_match = match text.strip_suffix('*') {
        Some(prefix) => prefix.is_empty() || prefix.parse::<TopicName>().is_ok(),
        None => text.parse().is_ok_and(|name: TopicName| !name.is_removed_from_paths()),
    };
    can_match.then(|| text.to_owned()).ok_or_else(|| {
        "no topic matches it; give the name of a topic (1 to 64 letters, digits, '.', '_' or '-'), \
         or a prefix and '*'"
            .to_owned()
    })
}

/// An operation on a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    Subscribe,
    Publish,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Right::Subscribe => "subscribe",
            Right::Publish => "publish",
        })
    }
}

impl Claims {
    /// True if the token grants `right` on `topic`.
    pub fn grant(&self, right: Right, topic: &TopicName) -> bool {
        let patterns = match right {
            Right::Subscribe => &self.subscribe,
            Right::Publish => &self.publish,
        };
        patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => topic.as_str().starts_with(prefix),
            None => topic.as_str() == pattern,
        })
    }

    /// True once the token has expired.
    pub fn is_over(&self) -> bool {
        self.time_left() == Some(Duration::ZERO)
    }

    /// Time until the token expires; `None` if it does not.
    pub fn time_left(&self) -> Option<Duration> {
        self.exp.map(|exp| Duration::from_secs(exp).saturating_sub(since_unix_epoch()))
    }

    fn has_begun(&self) -> bool {
        self.nbf.is_none_or(|nbf| Duration::from_secs(nbf) <= since_unix_epoch())
    }
}

fn since_unix_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Why a token is refused. The text does not contain the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    #[error("the token is not a JSON Web Token signed with HS256")]
    Malformed,
    #[error("the token is not signed with this server's key")]
    Forged,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    Early,
}

#[derive(Serialize, Deserialize)]
struct TokenHeader {
    alg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
    /// Extensions that the verifier must support.
    #[serde(default, skip_serializing)]
    crit: Option<IgnoredAny>,
}

impl TokenKey {
    /// Reads a key from a file, without the whitespace around it.
    ///
    /// # Errors
    /// If the file cannot be read, or the key is too short.
    pub fn read(file: &Path) -> Result<TokenKey, BadKey> {
        let mut text = Vec::new();
        File::open(file)
            .and_then(|file| file.take(KEY_BYTES_MAX).read_to_end(&mut text))
            .map_err(|source| BadKey::Unreadable { file: file.display().to_string(), source })?;
        if text.len() as u64 == KEY_BYTES_MAX {
            return Err(BadKey::Long { file: file.display().to_string() });
        }
        TokenKey::new(text.trim_ascii())
    }

    /// # Errors
    /// If the key is too short.
    pub fn new(key: &[u8]) -> Result<TokenKey, BadKey> {
        if key.len() < KEY_BYTES_MIN {
            return Err(BadKey::Short { bytes: key.len() });
        }
        Ok(TokenKey(Hmac::new_from_slice(key).expect("HMAC takes keys of any length")))
    }

    /// The token with these claims.
    pub fn sign(&self, claims: &Claims) -> String {
        let header =
            TokenHeader { alg: "HS256".to_owned(), typ: Some("JWT".to_owned()), crit: None };
        let encode = |json: Vec<u8>| URL_SAFE_NO_PAD.encode(json);
        let header = encode(serde_json::to_vec(&header).expect("strings encode"));
        let claims = encode(serde_json::to_vec(claims).expect("strings and numbers encode"));
        let signed = format!("{header}.{claims}");
        let mut mac = self.0.clone();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    /// Verifies a token and returns its claims.
    ///
    /// # Errors
    /// If it is malformed, not signed with this key, expired or not valid yet.
    pub fn check(&self, token: &str) -> Result<Claims, BadToken> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(BadToken::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(BadToken::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(BadToken::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| BadToken::Malformed);
        let Object(header): Object<TokenHeader> =
            serde_json::from_slice(&decode(header)?).map_err(|_| BadToken::Malformed)?;
        // The token does not choose its algorithm.
        if header.alg != "HS256" || header.crit.is_some() {
            return Err(BadToken::Malformed);
        }
        let mut mac = self.0.clone();
        mac.update(signed.as_bytes());
        mac.verify_slice(&decode(signature)?).map_err(|_| BadToken::Forged)?;
        let Object(claims): Object<Claims> =
            serde_json::from_slice(&decode(claims)?).map_err(|_| BadToken::Malformed)?;
        if claims.is_over() {
            return Err(BadToken::Expired);
        }
        if !claims.has_begun() {
            return Err(BadToken::Early);
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 7515, appendix A.1.
    const RFC_KEY: &str =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    /// The token of RFC 7515, appendix A.1; it ended in 2011.
    const RFC_TOKEN: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOj\
        EzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1\
        p1r_wW1gFWFOEjXk";

    fn key() -> TokenKey {
        TokenKey::new(b"0123456789abcdef0123456789abcdef").expect("long enough")
    }

    fn claims() -> Claims {
        let list = |patterns: &[&str]| patterns.iter().map(|it| (*it).to_owned()).collect();
        Claims {
            sub: "A".into(),
            exp: None,
            nbf: None,
            subscribe: list(&["news.*", "room"]),
            publish: list(&["room"]),
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_verified() {
        let key = URL_SAFE_NO_PAD.decode(RFC_KEY).expect("base64");
        let key = TokenKey::new(&key).expect("long enough");
        assert_eq!(key.check(RFC_TOKEN), Err(BadToken::Expired));
        let forged = RFC_TOKEN.replace("dBjft", "dBjfu");
        assert_eq!(key.check(&forged), Err(BadToken::Forged));
    }

    #[test]
    fn a_signed_token_is_verified_by_its_key_only() {
        assert_eq!(key().check(&key().sign(&claims())), Ok(claims()));
        let other = TokenKey::new(&[7; 32]).expect("long enough");
        assert_eq!(other.check(&key().sign(&claims())), Err(BadToken::Forged));
        let over = Claims { exp: Some(1), ..claims() };
        assert_eq!(key().check(&key().sign(&over)), Err(BadToken::Expired));
    }

    #[test]
    fn other_algorithms_are_refused() {
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims()).expect("encodes"));
        for alg in ["none", "None", "HS512", "RS256"] {
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}"}}"#));
            assert_eq!(key().check(&format!("{header}.{body}.")), Err(BadToken::Malformed));
        }
        for nonsense in ["", ".", "..", "a.b.c", &"x".repeat(10_000)] {
            assert_eq!(key().check(nonsense), Err(BadToken::Malformed));
        }
    }

    /// Signs any header and claims with the key.
    fn signed(header: &str, claims: &str) -> String {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let mut mac = key().0;
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    #[test]
    fn claims_and_headers_that_restrict_a_token_are_respected() {
        const HEADER: &str = r#"{"alg":"HS256"}"#;
        let now = since_unix_epoch().as_secs();
        let check = |header: &str, claims: &str| key().check(&signed(header, claims)).map(|_| ());
        assert_eq!(check(HEADER, "{}"), Ok(()));
        for (claims, expected) in [
            (format!(r#"{{"exp":{now}}}"#), Err(BadToken::Expired)),
            (format!(r#"{{"exp":{}}}"#, now + 60), Ok(())),
            (format!(r#"{{"nbf":{now}}}"#), Ok(())),
            (format!(r#"{{"nbf":{}}}"#, now + 60), Err(BadToken::Early)),
            (r#"{"nbf":"tomorrow"}"#.to_owned(), Err(BadToken::Malformed)),
            (r#"{"exp":-1}"#.to_owned(), Err(BadToken::Malformed)),
            (r#"["A"]"#.to_owned(), Err(BadToken::Malformed)),
            ("[]".to_owned(), Err(BadToken::Malformed)),
            (format!(r#"{{"exp":{},"exp":1}}"#, now + 60), Err(BadToken::Malformed)),
        ] {
            assert_eq!(check(HEADER, &claims), expected, "{claims}");
        }
        for header in [
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"alg":"HS256","crit":[],"b64":false}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS256","alg":"none"}"#,
            r#"["HS256",null,null]"#,
            "{}",
        ] {
            assert_eq!(check(header, "{}"), Err(BadToken::Malformed), "{header}");
        }
    }

    #[test]
    fn a_pattern_is_a_name_or_a_prefix() {
        let grants = |right, topic: &str| claims().grant(right, &topic.parse().expect("a name"));
        assert!(grants(Right::Subscribe, "news.sport"));
        assert!(!grants(Right::Subscribe, "new"));
        assert!(!grants(Right::Subscribe, "room2"));
        assert!(grants(Right::Publish, "room"));
        assert!(!grants(Right::Publish, "news.sport"));
    }

    #[test]
    fn debug_output_hides_the_key() {
        assert_eq!(format!("{:?}", key()), "TokenKey(..)");
        assert!(matches!(TokenKey::new(b"short"), Err(BadKey::Short { bytes: 5 })));
    }
}
