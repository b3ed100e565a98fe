//! Text from outside (a server, a file, a scenario) made safe to show, and errors in words.

use std::borrow::Cow;

/// Characters of a text from outside that a message quotes; the rest is cut off.
pub const QUOTED_CHARS_MAX: usize = 200;

/// `text` with every character that acts on a terminal or on the order of the text written as
/// `\u{..}`: control characters (escape sequences begin with one) and bidirectional controls.
/// Line feeds stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_active) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_active(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// The beginning of `text` as [`visible`] shows it, on one line: runs of white space are one space.
pub fn one_line(text: &str) -> String {
    // More than this cannot be shown, so no more is looked at.
    let looked_at =
        text.char_indices().nth(QUOTED_CHARS_MAX * 4).map_or(text, |(at, _)| &text[..at]);
    let line = looked_at.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_cut = looked_at.len() < text.len() || line.chars().count() > QUOTED_CHARS_MAX;
    let kept: String = line.chars().take(QUOTED_CHARS_MAX).collect();
    let end = if is_cut { "…" } else { "" };
    format!("{}{end}", visible(&kept))
}

/// What went wrong and why, each cause once: many errors repeat their cause in their own text.
pub fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_active(c: char) -> bool {
    let is_bidi_control = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let is_line_separator = matches!(c, '\u{2028}' | '\u{2029}');
    (c.is_control() && c != '\n') || is_bidi_control || is_line_separator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_and_bidirectional_controls_become_visible() {
        assert_eq!(visible("plain é 漢\n"), "plain é 漢\n");
        assert_eq!(visible("\x1b[31mred\r\u{9b}0m"), "\\u{1b}[31mred\\u{d}\\u{9b}0m");
        assert_eq!(visible("\u{202e}evil"), "\\u{202e}evil");
    }

    #[test]
    fn a_quoted_text_is_one_short_line() {
        assert_eq!(one_line("  two\n\r\n lines\t"), "two lines");
        let long = one_line(&"x".repeat(1 << 20));
        assert_eq!(long.chars().count(), QUOTED_CHARS_MAX + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn each_cause_is_named_once() {
        let refused = std::io::Error::other("connection refused");
        let error = anyhow::Error::new(refused).context("cannot connect: connection refused");
        assert_eq!(causes(&error), "cannot connect: connection refused");
        assert_eq!(
            causes(&error.context("in cell 1")),
            "in cell 1: cannot connect: connection refused"
        );
    }
}
