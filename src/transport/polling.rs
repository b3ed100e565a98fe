//! What both kinds of polling share on the client's side: one request with a cursor, one batch.

use std::time::Instant;

use serde_json::value::RawValue;

use super::{Received, Wish};
use crate::message::{Batch, Cursor, Message};
use crate::wire::clock::sleep_until;
use crate::wire::{Dialer, HttpConnection, WireError};

/// A subscriber that asks.
#[derive(Debug)]
pub(super) struct Asker {
    http: HttpConnection,
    /// `/topics/{topic}/{route}`
    path: String,
    cursor: Cursor,
    /// Before this the server does not want to be asked again.
    not_before: Option<Instant>,
}

impl Asker {
    /// Learns where the topic's head is, unless the wish has a cursor.
    pub async fn connect(dialer: Dialer, wish: &Wish, route: &str) -> Result<Asker, WireError> {
        let mut http = HttpConnection::new(dialer);
        let path = format!("/topics/{}/{route}", wish.topic);
        let cursor = match wish.cursor {
            Some(cursor) => cursor,
            None => ask(&mut http, &path).await?.0,
        };
        Ok(Asker { http, path, cursor, not_before: None })
    }

    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    pub fn dialer(&self) -> &Dialer {
        self.http.dialer()
    }

    /// Asks for what is after the cursor; `more` is added to the query.
    pub async fn ask(&mut self, more: &str) -> Result<Received, WireError> {
        let Cursor { epoch, offset } = self.cursor;
        let path = format!("{}?epoch={epoch}&after={offset}{more}", self.path);
        if let Some(not_before) = self.not_before.take() {
            sleep_until(not_before).await;
        }
        let (cursor, received) = ask(&mut self.http, &path).await?;
        self.not_before = self.http.retry_after().map(|wait| Instant::now() + wait);
        self.cursor = cursor;
        Ok(received)
    }
}

async fn ask(http: &mut HttpConnection, path: &str) -> Result<(Cursor, Received), WireError> {
    let body = http.get(path).await?;
    let nonsense = |error: serde_json::Error| WireError::Nonsense(error.to_string());
    let batch: Batch<&RawValue> = serde_json::from_slice(&body).map_err(nonsense)?;
    let payload_bytes: usize = batch.messages.iter().map(|message| message.get().len()).sum();
    let envelope_bytes = body.len() - payload_bytes;
    http.dialer().answered(batch.messages.len(), payload_bytes, envelope_bytes);
    let decode = |message: &&RawValue| serde_json::from_str::<Message>(message.get());
    let messages = batch.messages.iter().map(decode).collect::<Result<_, _>>().map_err(nonsense)?;
    let cursor = Cursor { epoch: batch.epoch, offset: batch.cursor };
    Ok((cursor, Received { messages, gap: batch.gap, reset: batch.reset }))
}
