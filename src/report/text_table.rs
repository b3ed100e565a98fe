//! Tables for the terminal, with columns side by side. If they do not fit, each row becomes a block
//! of lines.

use comfy_table::presets::NOTHING;
use comfy_table::{
    Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, LineStyle, Table, Width,
};

use crate::text::visible;

/// Properties of the output.
#[derive(Debug, Clone, Copy, Default)]
pub struct TableStyle {
    /// Number of columns; `None` if unknown, in which case rows are never stacked.
    pub width: Option<u16>,
    /// Whether to use ANSI colours.
    pub colour: bool,
}

impl TableStyle {
    /// The style for standard output, without colours. The width is that of the terminal, or that
    /// of the environment variable `COLUMNS`, if the output goes elsewhere.
    pub fn of_stdout() -> TableStyle {
        let given = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
        let terminal = console::Term::stdout().size_checked().map(|(_, columns)| columns);
        TableStyle { width: terminal.or_else(given), colour: false }
    }
}

/// The text of a field and its colour, if any.
pub type Field = (String, Option<Color>);

/// Formats rows under a header. The first `names` columns identify the row and are aligned left,
/// the other columns right. Headers may be wrapped; fields and words are never broken.
pub fn render(header: &[&str], names: usize, rows: &[Vec<Field>], style: TableStyle) -> String {
    let widths = least_widths(header, rows);
    // With a space between two columns.
    let least = widths.iter().sum::<usize>() + header.len().saturating_sub(1);
    match style.width {
        Some(width) if least > usize::from(width) && !rows.is_empty() => {
            stacked(header, names, rows, width.into())
        }
        _ => side_by_side(header, names, rows, style, &widths),
    }
}

/// Smallest column widths at which no word of a header and no field is broken, with a space on both
/// sides.
fn least_widths(header: &[&str], rows: &[Vec<Field>]) -> Vec<usize> {
    let of_column = |(index, label): (usize, &&str)| {
        let words = label.split(' ').map(console::measure_text_width);
        let fields = rows.iter().map(|row| console::measure_text_width(&visible(&row[index].0)));
        words.chain(fields).max().unwrap_or(0) + 2
    };
    header.iter().enumerate().map(of_column).collect()
}

fn side_by_side(
    header: &[&str],
    names: usize,
    rows: &[Vec<Field>],
    style: TableStyle,
    widths: &[usize],
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING.header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(style.width.unwrap_or(u16::MAX));
    if style.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(header.iter().map(Cell::new));
    for row in rows {
        table.add_row(row.iter().map(|(text, colour)| {
            let cell = Cell::new(visible(text));
            match colour {
                Some(colour) => cell.fg(*colour),
                None => cell,
            }
        }));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        let least = u16::try_from(widths[index]).unwrap_or(u16::MAX);
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        if index >= names {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// A block per row: its names, then one line per figure, or more if it is too long for `width`.
fn stacked(header: &[&str], names: usize, rows: &[Vec<Field>], width: usize) -> String {
    let width_of = |label: &&str| console::measure_text_width(label);
    let label_width = header[names..].iter().map(width_of).max().unwrap_or(0);
    let block = |row: &Vec<Field>| {
        let title = row[..names].iter().map(|(text, _)| visible(text));
        let title: Vec<_> = title.filter(|text| !text.is_empty()).collect();
        let figures = header[names..].iter().zip(&row[names..]);
        let lines = figures.map(|(label, (text, _))| {
            let pad = " ".repeat(label_width - width_of(label));
            let line = format!("  {label}{pad}  {}", visible(text));
            match console::measure_text_width(&line) > width {
                true => format!("\n  {label}\n{}", wrapped(text, "    ", "    ", width)),
                false => format!("\n{line}"),
            }
        });
        wrapped(&title.join(", "), "", "", width) + &lines.collect::<String>()
    };
    rows.iter().map(block).collect::<Vec<_>>().join("\n")
}

/// `text` in lines of at most `width` columns: `first` begins the first one, `indent` the others.
/// Only a longer word makes a line longer.
pub(super) fn wrapped(text: &str, first: &str, indent: &str, width: usize) -> String {
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

    fn rows() -> Vec<Vec<Field>> {
        let row = |texts: [&str; 3]| texts.map(|text| (text.to_owned(), None)).to_vec();
        vec![row(["SSE", "1 ms", "2 ms"]), row(["short polling", "500 ms", "—"])]
    }

    #[test]
    fn table_that_does_not_fit_is_stacked() {
        let table = |width| {
            let style = TableStyle { width, colour: false };
            render(&["transport", "mean", "longest"], 1, &rows(), style)
        };
        insta::assert_snapshot!(table(None), @"
        transport         mean   longest
       ──────────────────────────────────
        SSE               1 ms      2 ms
        short polling   500 ms         —
       ");
        assert_eq!(table(Some(80)), table(None));
        insta::assert_snapshot!(table(Some(20)), @"
        SSE
          mean     1 ms
          longest  2 ms
        short polling
          mean     500 ms
          longest  —
        ");
    }

    #[test]
    fn no_line_of_a_stacked_table_is_wider_than_the_terminal() {
        let rows = vec![
            ["a transport with a long name", "1 ms", "connection time, 98.7 %"]
                .map(|text| (text.to_owned(), None))
                .to_vec(),
        ];
        for width in 18..60 {
            let style = TableStyle { width: Some(width), colour: false };
            let table = render(&["transport", "mean", "mostly"], 1, &rows, style);
            let widest = table.lines().map(console::measure_text_width).max();
            assert!(widest <= Some(width.into()), "{width}: {table}");
        }
    }

    #[test]
    fn control_characters_in_fields_are_escaped() {
        let rows = vec![vec![("\x1b[2J".to_owned(), None), ("1".to_owned(), None)]];
        for width in [None, Some(3)] {
            let style = TableStyle { width, colour: false };
            assert!(!render(&["transport", "n"], 1, &rows, style).contains('\x1b'));
        }
    }
}
