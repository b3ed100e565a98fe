//! Escapes untrusted text (from a server, a file, a scenario) for output, and formats errors.

use std::borrow::Cow;

/// Longest quotation of untrusted text, in characters; the rest is cut off.
pub const QUOTED_CHARS_MAX: usize = 200;

/// Replaces control characters and bidirectional controls in `text` by `\u{..}`, so that it cannot
/// contain terminal escape sequences. Line feeds are kept.
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

/// The start of `text` on one line, escaped by [`visible`], with white space collapsed.
pub fn one_line(text: &str) -> String {
    // The rest of a long text cannot be part of the result.
    let examined =
        text.char_indices().nth(QUOTED_CHARS_MAX * 4).map_or(text, |(at, _)| &text[..at]);
    let line = examined.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_cut = examined.len() < text.len() || line.chars().count() > QUOTED_CHARS_MAX;
    let kept: String = line.chars().take(QUOTED_CHARS_MAX).collect();
    let end = if is_cut { "…" } else { "" };
    format!("{}{end}", visible(&kept))
}

/// The error with its chain of causes. A cause that is already part of the text is omitted.
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

/// The URL for an error message: without what may be a secret, a user name with a password or a
/// query.
pub fn without_secrets(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = plain.split_once("://").unwrap_or(("", plain));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let shown = match authority.rsplit_once('@') {
        Some((_, host)) => format!("...@{host}{path}"),
        None => rest.to_owned(),
    };
    let separator = if plain.contains("://") { "://" } else { "" };
    let more = if plain.len() < url.len() { "?..." } else { "" };
    format!("{scheme}{separator}{shown}{more}")
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
    fn terminal_escapes_and_bidirectional_controls_are_escaped() {
        assert_eq!(visible("plain é 漢\n"), "plain é 漢\n");
        assert_eq!(visible("\x1b[31mred\r\u{9b}0m"), "\\u{1b}[31mred\\u{d}\\u{9b}0m");
        assert_eq!(visible("\u{202e}evil"), "\\u{202e}evil");
    }

    #[test]
    fn quoted_text_is_one_short_line() {
        assert_eq!(one_line("  two\n\r\n lines\t"), "two lines");
        let long = one_line(&"x".repeat(1 << 20));
        assert_eq!(long.chars().count(), QUOTED_CHARS_MAX + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn repeated_causes_are_omitted() {
        let refused = std::io::Error::other("connection refused");
        let error = anyhow::Error::new(refused).context("cannot connect: connection refused");
        assert_eq!(causes(&error), "cannot connect: connection refused");
        assert_eq!(
            causes(&error.context("in cell 1")),
            "in cell 1: cannot connect: connection refused"
        );
    }

    #[test]
    fn error_messages_contain_no_password_and_no_query() {
        for (url, shown) in [
            ("http://user:pw@host:1/base", "http://...@host:1/base"),
            ("http://a@b:pw@host", "http://...@host"),
            ("user:pw@host/x", "...@host/x"),
            ("http://host/?token=secret", "http://host/?..."),
            ("http://host#secret", "http://host?..."),
            ("http://host/a@b", "http://host/a@b"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(url), shown, "{url}");
        }
    }
}
