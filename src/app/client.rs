//! The client that sent a request, and its rights.

use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use warp::http::StatusCode;

use super::memory::Account;
use super::metrics::Refusal;
use super::peer::{Finished, Peer};
use super::token::{BadToken, Claims, NO_TOKEN, Right};
use super::{ApiError, App, End};
use crate::message::TopicName;

/// The remote end of a connection.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The address for the limits of one address; `None` if they do not apply.
    pub limited_address: Option<IpAddr>,
    pub peer: Peer,
    /// The memory account of the connection.
    pub account: Account,
}

/// How long a poll or a stream continues after the client has closed its sending side. Most such
/// clients have disconnected, which the server cannot detect before it sends something to them.
const HALF_CLOSED_HOLD: Duration = Duration::from_secs(1);

/// The client that sent a request. It is one of the extensions of the request.
#[derive(Debug, Clone)]
pub struct Client {
    remote: Arc<Remote>,
    /// `None` if the server requires no tokens, or none on this path.
    claims: Option<Arc<Claims>>,
}

impl Client {
    /// The client at `remote`; `claims` are those of its token.
    pub fn new(remote: Arc<Remote>, claims: Option<Claims>) -> Client {
        Client { remote, claims: claims.map(Arc::new) }
    }

    /// Checks a right on a topic that is not in the path.
    ///
    /// # Errors
    /// If a required token is missing, does not grant the right, or has expired meanwhile.
    pub fn authorize(&self, app: &App, right: Right, topic: &TopicName) -> Result<(), ApiError> {
        let (status, text) = match &self.claims {
            None if app.token_key.is_none() => return Ok(()),
            None => (StatusCode::UNAUTHORIZED, NO_TOKEN.to_owned()),
            Some(claims) if claims.is_over() => {
                (StatusCode::UNAUTHORIZED, BadToken::Expired.to_string())
            }
            Some(claims) if claims.grant(right, topic) => return Ok(()),
            Some(_) => {
                let text = format!("the token does not grant the right to {right} to '{topic}'");
                (StatusCode::FORBIDDEN, text)
            }
        };
        app.metrics.refused(Refusal::Token);
        Err(ApiError::new(status, text))
    }

    /// Checks the right to publish, and the rate.
    ///
    /// # Errors
    /// If clients may only read, the token does not grant the right, or the address exceeds
    /// `--publish-rate`.
    pub fn authorize_publish(&self, app: &App, topic: &TopicName) -> Result<(), ApiError> {
        if app.config.read_only {
            let text = "clients can only read from this server";
            return Err(ApiError::new(StatusCode::FORBIDDEN, text));
        }
        self.authorize(app, Right::Publish, topic)?;
        let limited = self.limited_address();
        if limited.is_some_and(|address| !app.publish_rates.allow(address, Instant::now())) {
            app.metrics.refused(Refusal::PublishRate);
            let rate = app.config.publish_rate;
            let text = format!(
                "the limit of one address is {rate} messages per second (--publish-rate); try again \
                 later"
            );
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, text));
        }
        Ok(())
    }

    /// The memory account of the client's connection.
    pub fn account(&self) -> &Account {
        &self.remote.account
    }

    /// The address for the limits of one address; `None` if they do not apply.
    pub fn limited_address(&self) -> Option<IpAddr> {
        self.remote.limited_address
    }

    /// Checks that the token has not expired since the request was authenticated.
    ///
    /// # Errors
    /// If it has expired.
    pub fn check_token(&self) -> Result<(), End> {
        let has_expired = self.claims.as_ref().is_some_and(|claims| claims.is_over());
        if has_expired { Err(End::TokenExpired) } else { Ok(()) }
    }

    /// When the token expires, seconds since the Unix epoch.
    pub fn token_expiry(&self) -> Option<u64> {
        self.claims.as_ref().and_then(|claims| claims.exp)
    }

    /// Time until the token expires; `None` if there is none or it does not expire.
    pub fn token_time_left(&self) -> Option<Duration> {
        self.claims.as_ref().and_then(|claims| claims.time_left())
    }

    /// Resolves when the client has disconnected, or one second after it has finished sending.
    pub async fn has_left(&self) {
        if self.remote.peer.finished().await == Finished::Sending {
            tokio::time::sleep(HALF_CLOSED_HOLD).await;
        }
    }

    /// Resolves when the token has expired; never if there is none or it does not expire.
    pub async fn token_expired(&self) {
        match self.token_time_left() {
            // Boxed, since most clients have no such token.
            Some(left) => Box::pin(tokio::time::sleep(left)).await,
            None => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::app::ServerConfig;
    use crate::server::Server;

    #[tokio::test]
    async fn missing_or_expired_token_grants_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = directory.path().join("key");
        std::fs::write(&key, [b'k'; 32]).expect("writes");
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let app_with = async |token_key| {
            let config = ServerConfig { listen, token_key, ..ServerConfig::default() };
            Server::bind(config).await.expect("some port is free").app()
        };
        let (protected, open) = (app_with(Some(key)).await, app_with(None).await);
        let topic: TopicName = "room".parse().expect("a good name");
        let client = |exp: Option<Option<u64>>| {
            let all = vec!["*".to_owned()];
            let claims = |exp| Claims {
                sub: String::new(),
                exp,
                nbf: None,
                subscribe: all.clone(),
                publish: all.clone(),
            };
            let claims = exp.map(|exp| Arc::new(claims(exp)));
            let remote = Remote {
                limited_address: None,
                peer: Peer::default(),
                account: protected.memory.account(None),
            };
            Client { remote: Arc::new(remote), claims }
        };
        for right in [Right::Subscribe, Right::Publish] {
            client(None).authorize(&open, right, &topic).expect("everybody may");
            client(Some(None)).authorize(&protected, right, &topic).expect("the token grants it");
            for exp in [None, Some(Some(1))] {
                let refusal =
                    client(exp).authorize(&protected, right, &topic).expect_err("no right");
                assert_eq!(refusal.status, StatusCode::UNAUTHORIZED, "{right} {exp:?}");
            }
        }
        assert_eq!(protected.metrics.refusals(Refusal::Token), 4);
    }
}
