//! Renders the document as text for a terminal: wrapped paragraphs, lists and tables, no charts.

use comfy_table::Color;

use super::charts::palette;
use super::document::{Block, Field, Row, Section, Table, Tone};
use super::text_table::{self, wrapped};

pub use super::text_table::TableStyle;

/// Columns of a paragraph, at most: longer lines are hard to read.
const TEXT_WIDTH_MAX: usize = 100;

/// The sections in order. The only escape sequences are those for the colours of this renderer.
pub fn render(sections: &[Section], style: TableStyle) -> String {
    let section = |section: &Section| {
        let blocks = section.blocks.iter().filter_map(|block| of_block(block, style));
        let title = wrapped(&section.title, "", "", text_width(style));
        let parts: Vec<String> =
            std::iter::once(title).filter(|title| !title.is_empty()).chain(blocks).collect();
        parts.join("\n")
    };
    sections.iter().map(section).collect::<Vec<_>>().join("\n\n")
}

/// Columns of a paragraph.
fn text_width(style: TableStyle) -> usize {
    style.width.map_or(TEXT_WIDTH_MAX, usize::from).min(TEXT_WIDTH_MAX)
}

fn of_block(block: &Block, style: TableStyle) -> Option<String> {
    let width = text_width(style);
    let item = |text: &str| wrapped(text, "- ", "  ", width);
    let lines = |lines: Vec<String>| lines.join("\n");
    Some(match block {
        Block::Heading(text) => format!("\n{}", wrapped(text, "", "", width)),
        Block::Paragraph(_, text) => wrapped(text, "", "", width),
        Block::List(items) => lines(items.iter().map(|(_, text)| item(text)).collect()),
        Block::Terms(terms) => {
            lines(terms.iter().map(|(term, text)| item(&format!("{term}: {text}"))).collect())
        }
        Block::Table(table) => format!("\n{}\n", of_table(table, style)),
        Block::Details(title, blocks) => {
            let blocks = blocks.iter().filter_map(|block| of_block(block, style));
            let title = format!("\n{}", wrapped(title, "", "", width));
            lines(std::iter::once(title).chain(blocks).collect())
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
