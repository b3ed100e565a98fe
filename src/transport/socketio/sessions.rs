//! All Engine.IO sessions of a server: opens them within their limits, finds them by their id, and
//! ends those whose client is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warp::http::StatusCode;

use super::namespaces::Application;
use super::session::{Registration, Session};
use crate::app::metrics::Refusal;
use crate::app::{AddressPermit, AddressShares};
use crate::app::{ApiError, App, Client};
use crate::variant::Transport;

/// All sessions of a server.
#[derive(Debug)]
pub struct Sessions {
    by_id: Mutex<HashMap<u128, Arc<Session>>>,
    room: Arc<Semaphore>,
    addresses: Arc<AddressShares>,
}

impl Sessions {
    pub fn new(app: &App) -> Arc<Sessions> {
        Arc::new(Sessions {
            by_id: Mutex::default(),
            room: Arc::new(Semaphore::new(app.config.max_sessions)),
            addresses: AddressShares::new(app.config.max_sessions_per_address),
        })
    }

    /// Opens a session.
    ///
    /// # Errors
    /// If the server, or the client's address, has as many as it may.
    pub fn open(
        self: &Arc<Sessions>,
        app: &Arc<App>,
        client: Client,
        application: Application,
        carrier: Transport,
    ) -> Result<Arc<Session>, ApiError> {
        let admission = self.admit(app, &client)?;
        let session = Session::new(app, client, application, carrier, Box::new(admission));
        let session = Arc::new(session);
        self.lock().insert(session.id, session.clone());
        Ok(session)
    }

    fn admit(self: &Arc<Sessions>, app: &App, client: &Client) -> Result<Admission, ApiError> {
        let refuse = |refusal, status, whose, limit| {
            app.metrics.refused(refusal);
            let text = format!("{whose} has {limit} sessions of Socket.IO, which is its limit");
            ApiError::new(status, text)
        };
        let address_permit = client.limited_address().map(|address| self.addresses.enter(address));
        if let Some(None) = address_permit {
            let limit = app.config.max_sessions_per_address;
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Err(refuse(Refusal::SessionsPerAddress, status, "your address", limit));
        }
        let permit = self.room.clone().try_acquire_owned().map_err(|_| {
            let (status, limit) = (StatusCode::SERVICE_UNAVAILABLE, app.config.max_sessions);
            refuse(Refusal::Sessions, status, "the server", limit)
        })?;
        let sessions = Arc::downgrade(self);
        Ok(Admission { sessions, _permit: permit, _address_permit: address_permit.flatten() })
    }

    /// The session of that id, unless it has ended.
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        let session = self.lock().get(&u128::from_str_radix(id, 16).ok()?)?.clone();
        session.tick().ok().map(|()| session)
    }

    /// Ends polling sessions whose client is gone: between two polls they have no task that would.
    pub fn sweep(&self) {
        let all: Vec<_> = self.lock().values().cloned().collect();
        for session in all {
            if session.carrier() == Transport::SocketioPolling {
                let _ = session.tick();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Arc<Session>>> {
        self.by_id.lock().expect("no panic under this lock")
    }
}

/// A session's share of the limits.
#[derive(Debug)]
struct Admission {
    sessions: Weak<Sessions>,
    _permit: OwnedSemaphorePermit,
    _address_permit: Option<AddressPermit>,
}

impl Registration for Admission {
    fn remove(&self, id: u128) {
        if let Some(sessions) = self.sessions.upgrade() {
            sessions.lock().remove(&id);
        }
    }
}
