//! The client that sent a request, and what it may do.

use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use warp::http::StatusCode;

use super::metrics::Refusal;
use super::peer::{Finished, Peer};
use super::token::{BadToken, Claims, NO_TOKEN, Right};
use super::{ApiError, App, End};
use crate::message::TopicName;

/// Where a connection comes from.
#[derive(Debug, Clone)]
pub struct Remote {
    pub address: IpAddr,
    pub peer: Peer,
}

/// How long a client that has closed its sending side is still held, in a poll or a stream. Most
/// such clients have left altogether, which cannot be told before something is sent to them.
const HALF_CLOSED_HOLD: Duration = Duration::from_secs(1);

/// Who sends a request: among its extensions, for routes that ask.
#[derive(Debug, Clone)]
pub struct Client {
    remote: Remote,
    /// `None` if the server asks for no tokens, or for none on the path.
    claims: Option<Arc<Claims>>,
}

impl Client {
    /// The client at `remote`; `claims` are those of the token that it has shown.
    pub fn new(remote: Remote, claims: Option<Claims>) -> Client {
        Client { remote, claims: claims.map(Arc::new) }
    }

    /// Checks a right that is not clear from the path.
    ///
    /// # Errors
    /// If there is no token where the server asks for one, it does not grant the right, or it has
    /// expired since it was shown.
    pub fn authorize(&self, app: &App, right: Right, topic: &TopicName) -> Result<(), ApiError> {
        let (status, text) = match &self.claims {
            None if app.token_key.is_none() => return Ok(()),
            None => (StatusCode::UNAUTHORIZED, NO_TOKEN.to_owned()),
            Some(claims) if claims.is_over() => {
                (StatusCode::UNAUTHORIZED, BadToken::Expired.to_string())
            }
            Some(claims) if claims.grant(right, topic) => return Ok(()),
            Some(_) => {
                let text = format!("the token does not grant to {right} to '{topic}'");
                (StatusCode::FORBIDDEN, text)
            }
        };
        app.metrics.refused(Refusal::Token);
        Err(ApiError::new(status, text))
    }

    /// Checks the right and the rate of a publication.
    ///
    /// # Errors
    /// If the token does not grant it, or it is one too many for now.
    pub fn authorize_publish(&self, app: &App, topic: &TopicName) -> Result<(), ApiError> {
        self.authorize(app, Right::Publish, topic)?;
        let limited = self.limited_address(app);
        if limited.is_some_and(|address| !app.publish_rates.allow(address, Instant::now())) {
            app.metrics.refused(Refusal::PublishRate);
            let rate = app.config.publish_rate;
            let text = format!("{rate} messages a second are the limit of one address; try again");
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, text));
        }
        Ok(())
    }

    /// The address, if the limits of one address apply to it.
    pub fn limited_address(&self, app: &App) -> Option<IpAddr> {
        let is_limited = app.config.limit_loopback || !self.remote.address.is_loopback();
        is_limited.then_some(self.remote.address)
    }

    /// Checks that the token has not expired since the request came.
    ///
    /// # Errors
    /// If it has.
    pub fn check_token(&self) -> Result<(), End> {
        let has_expired = self.claims.as_ref().is_some_and(|claims| claims.is_over());
        if has_expired { Err(End::TokenExpired) } else { Ok(()) }
    }

    /// Resolves when the client is gone, or one second after it has finished sending.
    pub async fn has_left(&self) {
        if self.remote.peer.finished().await == Finished::Sending {
            tokio::time::sleep(HALF_CLOSED_HOLD).await;
        }
    }

    /// Resolves when the token has expired; never if there is none or it does not expire.
    pub async fn token_expired(&self) {
        match self.claims.as_ref().and_then(|claims| claims.time_left()) {
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

    /// Whatever way a request may have come by a client without claims.
    #[tokio::test]
    async fn who_showed_no_token_or_one_that_is_over_may_do_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = directory.path().join("key");
        std::fs::write(&key, [b'k'; 32]).expect("writes");
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let app_with = async |token_key| {
            let config = ServerConfig { listen, token_key, ..ServerConfig::default() };
            Server::bind(config).await.expect("some port is free").app()
        };
        let (guarded, open) = (app_with(Some(key)).await, app_with(None).await);
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
            let remote = Remote { address: listen.ip(), peer: Peer::default() };
            Client { remote, claims }
        };
        for right in [Right::Subscribe, Right::Publish] {
            client(None).authorize(&open, right, &topic).expect("everybody may");
            client(Some(None)).authorize(&guarded, right, &topic).expect("the token grants it");
            for exp in [None, Some(Some(1))] {
                let refusal = client(exp).authorize(&guarded, right, &topic).expect_err("no right");
                assert_eq!(refusal.status, StatusCode::UNAUTHORIZED, "{right} {exp:?}");
            }
        }
        assert_eq!(guarded.metrics.refusals(Refusal::Token), 4);
    }
}
