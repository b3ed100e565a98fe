//! The lines of a trace, as spans with a role, from which both renderings are made.

use std::time::Duration;

use super::super::{Action, Conversation, Part, PartKind, Step};
use crate::measure::Ledger;
use crate::units::{sentence_case, thousands};

/// The role of a span, which determines its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Plain,
    Title,
    /// Times and sources.
    Faint,
    Wait,
    /// A request or status line.
    Start,
    Header,
    Framing,
    Mask,
    Payload,
    TcpIp,
}

pub(super) type StyledLine = Vec<(Role, String)>;

/// Columns of the time, of the name of a kind, and of the number of bytes.
const TIME_COLUMNS: usize = 13;
const KIND_COLUMNS: usize = 13;
const BYTES_COLUMNS: usize = 6;
/// Columns that the text of a part has at least; a narrower terminal wraps the lines itself.
const TEXT_COLUMNS_MIN: usize = 16;
/// On a narrower terminal the parts are indented less.
const NARROW_COLUMNS: usize = 70;

/// All lines, with at most `columns` columns.
pub(super) fn of(trace: &Conversation, columns: usize) -> Vec<StyledLine> {
    let place = super::super::source::place(trace.variant.transport);
    let title = format!("{}: waits {place}", sentence_case(&trace.variant.label()));
    let mut lines: Vec<StyledLine> =
        wrapped(&title, columns).map(|line| vec![(Role::Title, line)]).collect();
    lines.push(Vec::new());
    for step in &trace.steps {
        lines.extend(step_lines(step, columns));
    }
    lines.push(Vec::new());
    lines.extend(sums(trace));
    lines
}

/// The head of a step, and a line or more for each of its parts.
fn step_lines(step: &Step, columns: usize) -> Vec<StyledLine> {
    let (role, text) = describe(step);
    let time = format!("{:>9} ms ", format!("{:.1}", ms(step.at)));
    let source = format!("{} {}()", step.source.file, step.source.function);
    let used = TIME_COLUMNS + 1 + text.chars().count();
    let length = source.chars().count();
    let is_one_line = used + 2 + length <= columns;
    let indent = " ".repeat(indent(columns));
    let mut lines = Vec::new();
    for (index, piece) in wrapped(&text, columns.saturating_sub(TIME_COLUMNS + 1)).enumerate() {
        let before = if index == 0 { format!("{time:<TIME_COLUMNS$} ") } else { indent.clone() };
        lines.push(vec![(Role::Faint, before), (role, piece)]);
    }
    if is_one_line {
        let gap = columns - used - length;
        lines[0].push((Role::Faint, format!("{:gap$}{source}", "")));
    } else {
        let pieces = wrapped(&source, columns.saturating_sub(indent.len()));
        lines.extend(pieces.map(|piece| vec![(Role::Faint, format!("{indent}{piece}"))]));
    }
    for part in &step.parts {
        let role = role_of(part);
        lines.extend(row(role, part.kind.name(), part.bytes as u64, &part.text, columns));
    }
    let tcp_ip = step.tcp_ip.iter().sum();
    if tcp_ip > 0 {
        let text = segments(step.tcp_ip);
        lines.extend(row(Role::TcpIp, "TCP/IP", tcp_ip, &text, columns));
    }
    lines
}

/// The text in lines of at most `columns` columns, wrapped between words.
fn wrapped(text: &str, columns: usize) -> impl Iterator<Item = String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                *line += " ";
                *line += word;
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.into_iter()
}

/// The role and the text of the head of a step.
fn describe(step: &Step) -> (Role, String) {
    let bytes = thousands(step.bytes() as i64);
    match &step.action {
        Action::Publish { text } => (Role::Plain, format!("publisher: \"{text}\"")),
        Action::Connect { connection } => {
            (Role::Title, format!("client: TCP connection {connection}"))
        }
        Action::Send(what) => (Role::Title, format!("client → server: {what}, {bytes} bytes")),
        Action::Receive(what) => (Role::Title, format!("client ← server: {what}, {bytes} bytes")),
        Action::Wait { duration, place } => {
            (Role::Wait, format!("WAIT {:.0} ms {place}", ms(*duration)))
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn role_of(part: &Part) -> Role {
    match part.kind {
        PartKind::RequestLine | PartKind::StatusLine => Role::Start,
        PartKind::Header => Role::Header,
        PartKind::ChunkSize | PartKind::FrameHeader | PartKind::EventField | PartKind::Envelope => {
            Role::Framing
        }
        PartKind::Mask => Role::Mask,
        PartKind::Payload => Role::Payload,
    }
}

/// How far parts are indented.
fn indent(columns: usize) -> usize {
    if columns < NARROW_COLUMNS { 2 } else { TIME_COLUMNS + 1 }
}

/// A part: its kind, its bytes, and its text in as many lines as it needs.
fn row(role: Role, kind: &str, bytes: u64, text: &str, columns: usize) -> Vec<StyledLine> {
    let start = indent(columns);
    let before = start + KIND_COLUMNS + BYTES_COLUMNS + 2;
    let room = columns.saturating_sub(before).max(TEXT_COLUMNS_MIN);
    let bytes = thousands(bytes as i64);
    let head = format!("{:start$}{kind:<KIND_COLUMNS$}{bytes:>BYTES_COLUMNS$}  ", "");
    let chars: Vec<char> = text.chars().collect();
    let mut pieces = chars.chunks(room).map(|piece| piece.iter().collect::<String>());
    let mut lines = vec![vec![(role, head + &pieces.next().unwrap_or_default())]];
    lines.extend(pieces.map(|piece| vec![(role, format!("{:before$}{piece}", ""))]));
    lines
}

/// The number of segments whose headers have these bytes, up and down.
fn segments(tcp_ip: [u64; 2]) -> String {
    let [up, down] = tcp_ip.map(|bytes| bytes / crate::client::SEGMENT_HEADER_BYTES);
    let counted = |count, what| {
        let s = if count == 1 { "" } else { "s" };
        format!("{count} segment{s} {what}")
    };
    match (up, down) {
        (up, 0) => counted(up, "sent"),
        (0, down) => counted(down, "received"),
        (up, down) => format!("{}, {down} received", counted(up, "sent")),
    }
}

/// The bytes of the whole conversation by the kinds of the ledger.
fn sums(trace: &Conversation) -> Vec<StyledLine> {
    let [up, down] = trace.ledgers();
    let figure = |of: fn(&Ledger) -> u64| [of(&up), of(&down)];
    let rows: [(Role, &str, [u64; 2]); 5] = [
        (Role::Header, "HTTP headers", figure(|ledger| ledger.headers)),
        (Role::Framing, "framing", figure(|ledger| ledger.framing)),
        (Role::Payload, "payload", figure(|ledger| ledger.payload)),
        (Role::TcpIp, "TCP/IP", figure(|ledger| ledger.tcp_ip)),
        (Role::Title, "all", figure(Ledger::total)),
    ];
    let head = format!("{:<14}{:>8}{:>8}", "bytes", "up", "down");
    let mut lines = vec![vec![(Role::Faint, head)]];
    lines.extend(rows.map(|(role, name, [up, down])| {
        let [up, down] = [up, down].map(|bytes| thousands(bytes as i64));
        vec![(role, format!("{name:<14}{up:>8}{down:>8}"))]
    }));
    lines
}
