//! Renders the document as `report.md`, without charts.

use super::document::{Block, Field, Row, Table, Tone};
use super::{Report, prose, sections};
use crate::text::visible;

/// Number of workloads up to which their full tables are included.
const FULL_TABLES_MAX: usize = 4;

/// The whole file.
pub fn document(report: &Report) -> String {
    let is_full = report.points.len() <= FULL_TABLES_MAX;
    let scenario = &report.run.scenario;
    let description = prose::paragraphs(&scenario.description);
    let description = description.map(|text| format!("{}\n\n", escaped(text)));
    let title = format!("# {}\n\n{}", escaped(&scenario.title), description.collect::<String>());
    let sections = sections::all(report).into_iter().filter_map(|section| {
        let body: String = section.blocks.iter().map(|block| of_block(block, is_full)).collect();
        let body = match section.id {
            "figures" if !is_full => "Every figure is in `results.csv`.\n\n".to_owned(),
            _ => body,
        };
        let has_text = section.blocks.iter().any(|block| !is_drawn(block));
        has_text.then(|| format!("## {}\n\n{body}", escaped(&section.title)))
    });
    let text = title + &sections.collect::<String>();
    text.trim_end().to_owned() + "\n"
}

/// True for charts and the headings above them.
fn is_drawn(block: &Block) -> bool {
    matches!(block, Block::Charts(_) | Block::Heading(_))
}

fn of_block(block: &Block, is_full: bool) -> String {
    match block {
        Block::Heading(text) => format!("### {}\n\n", escaped(text)),
        Block::Paragraph(Tone::Strong | Tone::Void, text) => format!("**{}**\n\n", escaped(text)),
        Block::Paragraph(_, text) => format!("{}\n\n", escaped(text)),
        Block::List(items) => {
            let item = |(tone, text): &(Tone, String)| match tone {
                Tone::Void => format!("- **{}**\n", escaped(text)),
                _ => format!("- {}\n", escaped(text)),
            };
            items.iter().map(item).collect::<String>() + "\n"
        }
        Block::Terms(terms) => {
            let term = |(term, text): &(String, String)| {
                format!("- {}: {}\n", escaped(term), escaped(text))
            };
            terms.iter().map(term).collect::<String>() + "\n"
        }
        Block::Table(table) => of_table(table),
        Block::Charts(_) => String::new(),
        Block::Links(links) => {
            let link = |(text, target): &(String, String)| format!("- [{text}]({target})\n");
            links.iter().map(link).collect::<String>() + "\n"
        }
        Block::Details(_, _) if !is_full => String::new(),
        Block::Details(title, blocks) => {
            let body: String = blocks.iter().map(|block| of_block(block, is_full)).collect();
            format!("### {}\n\n{body}", escaped(title))
        }
    }
}

fn of_table(table: &Table) -> String {
    let columns = table.head.len();
    let is_figure = |index: usize| table.is_numeric && index >= table.names;
    let rule = (0..columns).map(|index| if is_figure(index) { "---:" } else { "---" });
    let rows = table.rows.iter().map(|row| match row {
        Row::Section(title) => {
            let blanks = (1..columns).map(|_| String::new());
            line([format!("**{title}**")].into_iter().chain(blanks))
        }
        Row::Fields(fields) => line(fields.iter().map(of_field)),
    });
    let head = line(table.head.iter().map(of_field)) + &line(rule.map(str::to_owned));
    head + &rows.collect::<String>() + "\n"
}

fn of_field(field: &Field) -> String {
    let text = match field.tone {
        Tone::Strong => format!("**{}**", escaped(&field.text)),
        _ => escaped(&field.text),
    };
    let figure = field.figure.map(|name| format!(" (`{name}`)"));
    let details: Vec<String> = field.details.iter().map(|detail| escaped(detail)).collect();
    let details = (!details.is_empty()).then(|| format!(" ({})", details.join("; ")));
    [Some(text), figure, details].into_iter().flatten().collect()
}

fn line(fields: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", fields.collect::<Vec<_>>().join(" | "))
}

/// `text` on one line, with every character escaped that Markdown would interpret.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in visible(&text.split_whitespace().collect::<Vec<_>>().join(" ")).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
    }
    escaped
}
