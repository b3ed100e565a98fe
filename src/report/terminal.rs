//! Renders the document as text for a terminal: wrapped paragraphs, lists and tables, no charts.

use comfy_table::Color;

use super::charts::palette;
use super::document::{Block, Field, Row, Section, Table, Tone};
use super::text_table;
use crate::text::visible;

pub use super::text_table::TableStyle;

/// Columns of a paragraph, at most.
const TEXT_WIDTH_MAX: usize = 100;

/// The sections in order. The only escape sequences are those for the colours of this renderer.
pub fn render(sections: &[Section], style: TableStyle) -> String {
    let section = |section: &Section| {
        let blocks = section.blocks.iter().filter_map(|block| of_block(block, style));
        let parts: Vec<String> = std::iter::once(section.title.clone())
            .filter(|title| !title.is_empty())
            .chain(blocks)
            .collect();
        parts.join("\n")
    };
    sections.iter().map(section).collect::<Vec<_>>().join("\n\n")
}

fn of_block(block: &Block, style: TableStyle) -> Option<String> {
    let width = style.width.map_or(TEXT_WIDTH_MAX, usize::from).min(TEXT_WIDTH_MAX);
    let item = |text: &str| wrapped(text, "- ", "  ", width);
    let lines = |lines: Vec<String>| lines.join("\n");
    Some(match block {
        Block::Heading(text) => format!("\n{}", visible(text)),
        Block::Paragraph(_, text) => wrapped(text, "", "", width),
        Block::List(items) => lines(items.iter().map(|(_, text)| item(text)).collect()),
        Block::Terms(terms) => {
            lines(terms.iter().map(|(term, text)| item(&format!("{term}: {text}"))).collect())
        }
        Block::Table(table) => format!("\n{}\n", of_table(table, style)),
        Block::Details(title, blocks) => {
            let blocks = blocks.iter().filter_map(|block| of_block(block, style));
            lines(std::iter::once(format!("\n{}", visible(title))).chain(blocks).collect())
        }
        Block::Charts(_) | Block::Links(_) => return None,
    })
}

fn of_table(table: &Table, style: TableStyle) -> String {
    let head: Vec<&str> = table.head.iter().map(|field| field.text.as_str()).collect();
    let fields = |row: &Row| match row {
        Row::Section(title) => {
            let blanks = (1..head.len()).map(|_| (String::new(), None));
            std::iter::once(((*title).to_owned(), None)).chain(blanks).collect()
        }
        Row::Fields(fields) => {
            fields.iter().map(|field| (field.text.clone(), colour(field))).collect()
        }
    };
    let rows: Vec<Vec<text_table::Field>> = table.rows.iter().map(fields).collect();
    text_table::render(&head, table.names, &rows, style)
}

fn colour(field: &Field) -> Option<Color> {
    let of_variant = |variant| {
        let (r, g, b) = palette::of(variant).dark;
        Color::Rgb { r, g, b }
    };
    match field.tone {
        Tone::Void => Some(Color::Red),
        _ => field.variant.map(of_variant),
    }
}

/// `text` in lines of at most `width` columns.
fn wrapped(text: &str, first: &str, indent: &str, width: usize) -> String {
    let mut lines = vec![first.to_owned()];
    for word in visible(text).split_whitespace() {
        let line = lines.last_mut().expect("it begins with one");
        let is_begun = line.len() > indent.len();
        let columns = console::measure_text_width(line) + console::measure_text_width(word);
        match is_begun {
            true if columns + 1 > width => lines.push(format!("{indent}{word}")),
            true => line.extend([" ", word]),
            false => line.push_str(word),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_and_made_visible() {
        let style = TableStyle { width: Some(12), colour: false };
        let blocks =
            vec![Block::text("one two three four"), Block::list(["aaaaa b\u{1b}[2J", "c"])];
        let text = render(&[Section::new("s", "Title", blocks)], style);
        assert_eq!(text, "Title\none two\nthree four\n- aaaaa\n  b\\u{1b}[2J\n- c");
    }
}
