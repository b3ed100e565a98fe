//! The frame reader of the subscriber: it gives the same results for any split of the bytes. The
//! frames are written by tungstenite, which is independent of the reader.

use poll_vs_push::client::websocket_frames::{self as frames, FrameError, FrameReader};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};

const BYTES_MAX: usize = 100_000;

/// The results for `parts`, received one after the other.
fn receive<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<String>, FrameError> {
    let mut frames = FrameReader::new(BYTES_MAX);
    let mut received = Vec::new();
    for part in parts {
        frames.read_buffer().extend_from_slice(part);
        while let Some(frame) = frames.next_frame()? {
            received.push(format!("{frame:?}"));
        }
    }
    Ok(received)
}

fn written(frame: Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.format(&mut bytes).expect("a Vec takes all bytes");
    bytes
}

/// A message in this number of fragments of similar length, with a ping between each two.
fn message(opcode: Data, payload: &[u8], count: usize) -> Vec<u8> {
    let mut parts: Vec<_> = payload.chunks(payload.len().div_ceil(count).max(1)).collect();
    if parts.is_empty() {
        parts.push(&[]);
    }
    let last = parts.len() - 1;
    let mut bytes = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let opcode = if index == 0 { opcode } else { Data::Continue };
        let frame = Frame::message(part.to_vec(), OpCode::Data(opcode), index == last);
        bytes.extend(written(frame));
        if index != last {
            bytes.extend(written(Frame::ping("between")));
        }
    }
    bytes
}

/// Frames of a server as bytes, with the expected results.
fn saying() -> impl Strategy<Value = (Vec<u8>, Vec<String>)> {
    let lengths = prop_oneof![4 => 0..300usize, 1 => 65_000..66_000usize];
    (0..4u8, lengths, 1..5usize, any::<char>()).prop_map(|(kind, length, count, char)| {
        let text: String = std::iter::repeat_n(char, length / char.len_utf8()).collect();
        let control: String = text.chars().take(125 / char.len_utf8()).collect();
        match kind {
            0 | 1 => {
                let is_text = kind == 0;
                let opcode = if is_text { Data::Text } else { Data::Binary };
                let bytes = message(opcode, text.as_bytes(), count);
                let pings = bytes.windows(9).filter(|nine| nine.ends_with(b"between")).count();
                let whole = match is_text {
                    true => format!("Text({text:?})"),
                    false => format!("Binary({:?})", text.as_bytes()),
                };
                let pings = vec![format!("Ping({:?})", b"between"); pings];
                (bytes, [pings, vec![whole]].concat())
            }
            2 => (
                written(Frame::ping(control.clone())),
                vec![format!("Ping({:?})", control.as_bytes())],
            ),
            _ => (
                written(Frame::pong(control.clone())),
                vec![format!("Pong({:?})", control.as_bytes())],
            ),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn frames_are_parsed_in_any_fragmentation(
        sayings in vec(saying(), 0..8),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let (bytes, wanted): (Vec<_>, Vec<_>) = sayings.into_iter().unzip();
        let (bytes, wanted) = (bytes.concat(), wanted.concat());
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let parts = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        prop_assert_eq!(receive(parts), Ok(wanted.clone()));
        if bytes.len() < 2_000 {
            prop_assert_eq!(receive(bytes.chunks(1)), Ok(wanted));
        }
    }

    #[test]
    fn any_bytes_are_parsed_or_rejected_in_any_fragmentation(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(receive([&bytes[..]]).err(), receive(bytes.chunks(1)).err());
    }
}

#[test]
fn frames_after_a_close_are_ignored() {
    let close = |close| written(Frame::close(close));
    let goodbye = CloseFrame { code: CloseCode::Away, reason: "é".into() };
    let after = [close(Some(goodbye)), written(Frame::ping(""))].concat();
    assert_eq!(receive([&after[..]]), Ok(vec![r#"Close(Some((1001, "é")))"#.to_owned()]));
    assert_eq!(receive([&close(None)[..]]), Ok(vec!["Close(None)".to_owned()]));
}

#[test]
fn protocol_violations_have_specific_errors_and_close_codes() {
    use FrameError::*;
    let huge = [&[0x81, 127][..], &u64::MAX.to_be_bytes()].concat();
    let half = [&[0x01, 127][..], &60_000u64.to_be_bytes(), &[b'x'; 60_000]].concat();
    let two_halves = [&half[..], &[0x80, 126, 0xff, 0xff]].concat();
    let cases: [(&[u8], FrameError, u16); 17] = [
        (&[0x81, 0x82], Masked, 1002),
        (&[0xc1, 0], ReservedBits, 1002),
        (&[0x91, 0], ReservedBits, 1002),
        (&[0x83, 0], ReservedOpcode(3), 1002),
        (&[0x8b, 0], ReservedOpcode(11), 1002),
        (&[0x09, 0], FragmentedControl, 1002),
        (&[0x89, 126], LongControl, 1002),
        (&[0x80, 0], ContinuationOfNothing, 1002),
        (&[0x01, 1, b'x', 0x81, 0], MessageInMessage, 1002),
        (&[0x01, 0, 0x82, 0], MessageInMessage, 1002),
        (&huge, TooLarge { bytes_max: BYTES_MAX }, 1009),
        (&two_halves, TooLarge { bytes_max: BYTES_MAX }, 1009),
        (&[0x81, 1, 0xff], NotUtf8, 1007),
        (&[0x01, 1, 0xc3, 0x80, 1, b'x'], NotUtf8, 1007),
        (&[0x88, 3, 0x03, 0xe8, 0xff], NotUtf8, 1007),
        (&[0x88, 1, 0x03], HalfACode, 1002),
        (&[0x88, 2, 0x03, 0xed], BadCode(1005), 1002),
    ];
    for (bytes, error, code) in cases {
        assert_eq!(receive([bytes]), Err(error));
        assert_eq!(error.closing_code(), code, "{error}");
    }
}

#[test]
fn utf8_character_may_be_split_across_reads() {
    let bytes = [0x01, 1, 0xc3, 0x80, 1, 0xa9];
    assert_eq!(receive([&bytes[..]]), Ok(vec![r#"Text("é")"#.to_owned()]));
}

#[test]
fn buffer_shrinks_after_a_large_message() {
    let mut frames = FrameReader::new(BYTES_MAX);
    let idle = frames.read_buffer().capacity();
    // Memory is allocated for received bytes, not for the length in a frame's header.
    frames.read_buffer().extend_from_slice(&[0x81, 127, 0, 0, 0, 0, 0, 1, 0x00, 0x00]);
    assert_eq!(frames.next_frame(), Ok(None));
    assert_eq!(frames.read_buffer().capacity(), idle);
    frames.read_buffer().extend_from_slice(&[b'x'; 65_536]);
    assert!(frames.next_frame().is_ok_and(|received| received.is_some()));
    assert_eq!(frames.read_buffer().capacity(), idle);
    assert!(idle <= 4096, "{idle}");
}

#[test]
fn client_frames_are_masked() {
    let mask = [1, 2, 3, 4];
    let [mut text, mut pong, mut close] = [Vec::new(), Vec::new(), Vec::new()];
    frames::text("abcde", mask, &mut text);
    frames::pong(b"", mask, &mut pong);
    frames::close(Some(1001), mask, &mut close);
    assert_eq!(text, [0x81, 0x85, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2, b'c' ^ 3, b'd' ^ 4, b'e' ^ 1]);
    assert_eq!(pong, [0x8a, 0x80, 1, 2, 3, 4]);
    assert_eq!(close, [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]);
    for (length, header) in [(125, 6), (126, 8), (65_535, 8), (65_536, 14)] {
        let mut frame = Vec::new();
        frames::text(&"x".repeat(length), mask, &mut frame);
        assert_eq!(frame.len(), header + length);
    }
}
