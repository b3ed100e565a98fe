//! What a subscriber receives at one time, on any transport.

use super::ClientError;
use crate::message::{Cursor, Event, Frame, Message};

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
    /// The update in a frame; moves `cursor`. `None` if the frame has none for a subscriber.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn of(frame: Frame, cursor: &mut Cursor) -> Result<Option<Update>, ClientError> {
        Ok(match frame {
            Frame::Message(message) => {
                cursor.offset = message.offset;
                Some(Update { messages: vec![message], ..Update::default() })
            }
            Frame::Event(Event::Gap { gap }) => Some(Update { gap, ..Update::default() }),
            Frame::Event(Event::Reset { epoch, cursor: offset }) => {
                *cursor = Cursor { epoch, offset };
                Some(Update { reset: true, ..Update::default() })
            }
            Frame::Event(Event::Error { error }) => return Err(ClientError::Rejected(error)),
            Frame::Event(Event::Subscribed { .. } | Event::Published { .. } | Event::Heartbeat) => {
                None
            }
        })
    }
}

/// Where a subscription begins, from the first frame on a push connection.
///
/// # Errors
/// If `first` is another frame.
pub fn subscribed_at(first: Frame) -> Result<Cursor, ClientError> {
    match first {
        Frame::Event(Event::Subscribed { epoch, cursor }) => Ok(Cursor { epoch, offset: cursor }),
        other => Err(ClientError::ProtocolError(format!("{other:?} before the subscription"))),
    }
}
