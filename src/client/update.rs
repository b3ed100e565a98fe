//! What a subscriber receives at one time, on any transport.

use super::ClientError;
use crate::message::{Cursor, Event, Message, StreamItem};

/// What a subscriber receives at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// New messages, in order; none if a response was empty.
    pub messages: Vec<Message>,
    /// Messages before these that were lost to retention.
    pub gap: u64,
    /// The cursor was of another epoch or ahead of the head; reading continues at the head.
    pub reset: bool,
}

impl Update {
    /// The update in an item; moves `cursor` beyond what was received or lost. `None` if the item
    /// has no update for a subscriber.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn of(item: StreamItem, cursor: &mut Cursor) -> Result<Option<Update>, ClientError> {
        Ok(match item {
            StreamItem::Message(message) => {
                cursor.offset = message.offset;
                Some(Update { messages: vec![message], ..Update::default() })
            }
            StreamItem::Event(Event::Gap { gap }) => {
                // Otherwise the same gap would be reported again after a reconnection.
                cursor.offset = cursor.offset.saturating_add(gap);
                Some(Update { gap, ..Update::default() })
            }
            StreamItem::Event(Event::Reset { epoch, cursor: offset }) => {
                *cursor = Cursor { epoch, offset };
                Some(Update { reset: true, ..Update::default() })
            }
            StreamItem::Event(Event::Error { error }) => return Err(ClientError::Rejected(error)),
            StreamItem::Event(
                Event::Subscribed { .. } | Event::Published { .. } | Event::Heartbeat,
            ) => None,
        })
    }
}

/// Where a subscription begins, from the first item on a push connection.
///
/// # Errors
/// If `first` is another item.
pub fn first_cursor(first: StreamItem) -> Result<Cursor, ClientError> {
    match first {
        StreamItem::Event(Event::Subscribed { epoch, cursor }) => {
            Ok(Cursor { epoch, offset: cursor })
        }
        other => Err(ClientError::ProtocolError(format!("{other:?} before the subscription"))),
    }
}
