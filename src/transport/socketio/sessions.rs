//! All Engine.IO sessions of a server: opens them within their limits, finds them by their id, and
//! ends those whose client has disappeared.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use warp::http::StatusCode;

use super::namespaces::Application;
use super::session::{Session, SessionGuard};
use crate::app::metrics::Refusal;
use crate::app::{AddressPermit, AddressShares};
use crate::app::{ApiError, App, Client};
use crate::variant::Transport;

/// Shortest and longest time between two checks for sessions whose client has disappeared.
const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(10);
const CHECK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// All sessions of a server.
#[derive(Debug)]
pub struct Sessions {
    registered: Mutex<Registered>,
    room: Arc<Semaphore>,
    addresses: Arc<AddressShares>,
}

#[derive(Debug, Default)]
struct Registered {
    by_id: HashMap<u128, TrackedSession>,
    /// The sessions that are to be checked, by the time of their next check.
    checks: BTreeSet<(Instant, u128)>,
}

#[derive(Debug)]
struct TrackedSession {
    session: Arc<Session>,
    check_at: Option<Instant>,
}

impl Registered {
    fn insert(&mut self, session: Arc<Session>) {
        let (id, check_at) = (session.id, session.check_at());
        self.checks.extend(check_at.map(|at| (at, id)));
        self.by_id.insert(id, TrackedSession { session, check_at });
    }

    fn remove(&mut self, id: u128) -> Option<Arc<Session>> {
        let TrackedSession { session, check_at } = self.by_id.remove(&id)?;
        if let Some(at) = check_at {
            self.checks.remove(&(at, id));
        }
        Some(session)
    }

    /// The sessions that are to be checked by `now`.
    fn due(&self, now: Instant) -> Vec<Arc<Session>> {
        let due = self.checks.range(..=(now, u128::MAX));
        due.map(|(_, id)| self.by_id[id].session.clone()).collect()
    }

    /// Plans the next check of a session, unless it has ended.
    fn check_later(&mut self, session: &Session) {
        if let Some(session) = self.remove(session.id) {
            self.insert(session);
        }
    }
}

impl Sessions {
    pub fn new(app: &App) -> Arc<Sessions> {
        Arc::new(Sessions {
            registered: Mutex::default(),
            room: Arc::new(Semaphore::new(app.config.max_sessions)),
            addresses: AddressShares::new(app.config.max_sessions_per_address),
        })
    }

    /// Opens a session.
    ///
    /// # Errors
    /// If the server, or the client's address, has reached its limit.
    pub fn open(
        self: &Arc<Sessions>,
        app: &Arc<App>,
        client: Client,
        application: Application,
        transport: Transport,
    ) -> Result<Arc<Session>, ApiError> {
        let admission = self.admit(app, &client)?;
        let session = Session::new(app, client, application, transport, Box::new(admission));
        let session = Arc::new(session);
        self.lock().insert(session.clone());
        Ok(session)
    }

    fn admit(self: &Arc<Sessions>, app: &App, client: &Client) -> Result<SessionPermits, ApiError> {
        let refuse = |refusal, status, whose, limit, flag| {
            app.metrics.refused(refusal);
            ApiError::at_limit(status, whose, limit, "sessions of Socket.IO", flag)
        };
        let address_permit = client.limited_address().map(|address| self.addresses.enter(address));
        if let Some(None) = address_permit {
            let limit = app.config.max_sessions_per_address;
            let status = StatusCode::TOO_MANY_REQUESTS;
            let (whose, flag) = ("your address", "--max-sessions-per-address");
            return Err(refuse(Refusal::SessionsPerAddress, status, whose, limit, flag));
        }
        let permit = self.room.clone().try_acquire_owned().map_err(|_| {
            let (status, limit) = (StatusCode::SERVICE_UNAVAILABLE, app.config.max_sessions);
            refuse(Refusal::Sessions, status, "the server", limit, "--max-sessions")
        })?;
        let sessions = Arc::downgrade(self);
        Ok(SessionPermits { sessions, _permit: permit, _address_permit: address_permit.flatten() })
    }

    /// The session of that id, unless it has ended.
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        let id = u128::from_str_radix(id, 16).ok()?;
        let session = self.lock().by_id.get(&id)?.session.clone();
        session.tick().ok().map(|()| session)
    }

    /// Ends polling sessions whose client has disappeared: between two polls a session has no task
    /// that could detect it. It never returns.
    pub async fn end_abandoned(&self, app: &App) {
        // A session that is opened meanwhile is due later than this.
        let config = &app.config;
        let soonest = config.heartbeat.min(config.send_timeout).min(config.connect_timeout);
        let interval = soonest.clamp(CHECK_INTERVAL_MIN, CHECK_INTERVAL_MAX);
        loop {
            let now = Instant::now();
            let next = self.check_due(now).unwrap_or(now + interval);
            sleep_until(next.clamp(now + CHECK_INTERVAL_MIN, now + interval)).await;
        }
    }

    /// Checks the sessions that are due at `now`. Returns when the next one is.
    fn check_due(&self, now: Instant) -> Option<Instant> {
        let due = self.lock().due(now);
        for session in due {
            if session.tick().is_ok() {
                self.lock().check_later(&session);
            }
        }
        self.lock().checks.first().map(|(at, _)| *at)
    }

    fn lock(&self) -> MutexGuard<'_, Registered> {
        self.registered.lock().expect("no panic under this lock")
    }
}

/// A session's share of the limits.
#[derive(Debug)]
struct SessionPermits {
    sessions: Weak<Sessions>,
    _permit: OwnedSemaphorePermit,
    _address_permit: Option<AddressPermit>,
}

impl SessionGuard for SessionPermits {
    fn remove(&self, id: u128) {
        if let Some(sessions) = self.sessions.upgrade() {
            sessions.lock().remove(id);
        }
    }
}
