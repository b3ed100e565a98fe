//! What a subscriber asks for, read from path and query in the same way for every transport.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::{ApiError, App};
use crate::feed::Topic;
use crate::feed::store::StoreError;
use crate::message::{BadInput, Cursor, ReadResult};

/// The query as it came: every value still text, so that an error can quote it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Query {
    pub epoch: Option<String>,
    pub after: Option<String>,
    pub limit: Option<String>,
    pub wait: Option<String>,
}

/// A checked request to read a topic.
#[derive(Debug, Clone)]
pub struct Subscription {
    pub topic: Arc<Topic>,
    /// Where to read on; `None` if the client has no cursor yet.
    pub cursor: Option<Cursor>,
    /// Messages in one answer, at most.
    pub limit: usize,
    /// How long a long poll may be held.
    pub hold: Duration,
}

impl Subscription {
    /// Checks path and query.
    ///
    /// `after` without `epoch` is taken to be of the present epoch, for those who type URLs; a
    /// program sends back both, as it got them.
    ///
    /// # Errors
    /// Names the value that is wrong and says what would be right.
    pub fn parse(app: &App, topic: &str, query: &Query) -> Result<Subscription, ApiError> {
        let topic = app.topic(&app.topic_name(topic)?)?;
        let present = topic.head().epoch;
        let epoch = query.epoch.as_deref().map_or(Ok(present), str::parse)?;
        let after = query.after.as_deref().map(|text| whole_number("after", text)).transpose()?;
        let cursor = after.map(|offset| Cursor { epoch, offset });
        let limit = match &query.limit {
            None => app.config.max_batch,
            Some(text) => match whole_number("limit", text)? as usize {
                0 => return Err(BadInput::new("limit", text, "at least 1").into()),
                limit => limit.min(app.config.max_batch),
            },
        };
        let hold = match &query.wait {
            None => app.config.max_hold,
            Some(text) => seconds("wait", text)?.min(app.config.max_hold),
        };
        Ok(Subscription { topic, cursor, limit, hold })
    }

    /// What there is for this subscriber now. One without a cursor is told where the head is, so
    /// that it can read on from there.
    ///
    /// # Errors
    /// If the store cannot read what is asked for.
    pub async fn read(&self) -> Result<ReadResult, StoreError> {
        match self.cursor {
            Some(cursor) => self.topic.read_after(cursor, self.limit).await,
            None => Ok(ReadResult::nothing_yet(self.topic.head())),
        }
    }
}

fn whole_number(field: &'static str, text: &str) -> Result<u64, BadInput> {
    text.parse().map_err(|_| BadInput::new(field, text, "a whole number"))
}

fn seconds(field: &'static str, text: &str) -> Result<Duration, BadInput> {
    let parsed = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    parsed.ok_or_else(|| BadInput::new(field, text, "a number of seconds"))
}
