//! Prints a trace: as text for a terminal, with or without colours, and as HTML.

mod lines;

use std::fmt::Write as _;

use console::Style;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Conversation;
use crate::text::visible;
use lines::{Role, StyledLine};

/// The style sheet of the HTML, which the book uses as well.
const STYLE: &str = include_str!("../../docs/trace.css");

/// The trace as text with at most `columns` columns.
pub fn text(trace: &Conversation, columns: usize, is_coloured: bool) -> String {
    let mut text = String::new();
    for line in lines::of(trace, columns) {
        for (role, span) in line {
            let span = visible(&span).into_owned();
            match style(role).filter(|_| is_coloured) {
                Some(style) => write!(text, "{}", style.force_styling(true).apply_to(span)),
                None => write!(text, "{span}"),
            }
            .expect("writing to a String succeeds");
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text.trim_end().to_owned()
}

fn style(role: Role) -> Option<Style> {
    let style = Style::new();
    Some(match role {
        Role::Plain => return None,
        Role::Title => style.bold(),
        Role::Faint | Role::TcpIp => style.dim(),
        Role::Wait => style.bold().red(),
        Role::Start => style.blue().bold(),
        Role::Header => style.blue(),
        Role::Framing => style.yellow(),
        Role::Mask => style.magenta(),
        Role::Payload => style.green(),
    })
}

/// A `pre` element with the trace; its classes are those of `docs/trace.css`.
pub fn fragment(trace: &Conversation, columns: usize) -> String {
    let lines: Vec<StyledLine> = lines::of(trace, columns);
    let pre = html! {
        pre class="trace" {
            @for line in &lines {
                @for (role, span) in line {
                    @match class(*role) {
                        Some(class) => span class=(class) { (visible(span)) },
                        None => (visible(span)),
                    }
                }
                "\n"
            }
        }
    };
    pre.into_string()
}

/// A whole page with these traces.
pub fn page(traces: &[Conversation], columns: usize) -> String {
    let of_trace = |trace: &Conversation| -> Markup {
        html! { h2 { (trace.variant.label()) } (PreEscaped(fragment(trace, columns))) }
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Conversations byte by byte" }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                h1 { "Conversations byte by byte" }
                @for trace in traces { (of_trace(trace)) }
            } }
        }
    };
    page.into_string()
}

/// The class of a span; `None` if it needs none.
fn class(role: Role) -> Option<&'static str> {
    Some(match role {
        Role::Plain => return None,
        Role::Title => "title",
        Role::Faint => "faint",
        Role::TcpIp => "tcp-ip",
        Role::Wait => "wait",
        Role::Start => "start",
        Role::Header => "head",
        Role::Framing => "framing",
        Role::Mask => "mask",
        Role::Payload => "payload",
    })
}
