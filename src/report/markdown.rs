//! `report.md`: the report without its charts, for a pull request or a chat.

use std::fmt::Write as _;

use super::figures;
use super::table::{self, Entry};
use super::terminal::heading;
use super::{Point, Report, differences, prose, published};

/// Beyond so many points the full tables are left to `results.csv`.
const FULL_TABLES_MAX: usize = 4;

/// The whole file.
pub fn document(report: &Report) -> String {
    let mut text = String::new();
    let run = report.run;
    let _ = writeln!(text, "# {}\n", escaped(&run.scenario.title));
    report.answer().iter().for_each(|sentence| {
        let _ = writeln!(text, "{}\n", escaped(sentence));
    });
    let _ = writeln!(text, "## Figures\n");
    if report.points.len() > 1 {
        text.push_str(&headlines(report));
    }
    if report.points.len() <= FULL_TABLES_MAX {
        report.points.iter().for_each(|point| text.push_str(&full_table(report, point)));
    } else {
        text.push_str("Every figure is in `results.csv`.\n\n");
    }
    text.push_str(&published(report));
    text.push_str(&held(report));
    text.push_str(&validity(report));
    text.push_str("## Method\n\n");
    prose::METHOD.iter().for_each(|line| {
        let _ = writeln!(text, "- {line}");
    });
    text.push_str("\n## Circumstances\n\n");
    for (name, value) in prose::circumstances(report) {
        let _ = writeln!(text, "- {name}: {}", escaped(&value));
    }
    text
}

fn headlines(report: &Report) -> String {
    let columns = figures::HEADLINES.iter().map(|figure| heading(figure).to_owned());
    let mut text = table_head(&["".to_owned(), "way".to_owned()], columns);
    for point in &report.points {
        for way in &point.ways {
            let figures = figures::HEADLINES.iter().map(|figure| match way.summary(figure) {
                _ if way.is_void() => "void".to_owned(),
                Some(summary) => figure.unit.show(summary.value),
                None => "—".to_owned(),
            });
            let names = [escaped(&point.title(report.run)), way.variant.label().to_owned()];
            text.push_str(&table_row(names.into_iter().chain(figures)));
        }
    }
    text + "\n"
}

fn full_table(report: &Report, point: &Point) -> String {
    let mut text = String::new();
    let title = point.title(report.run);
    if !title.is_empty() {
        let _ = writeln!(text, "### {}\n", escaped(&title));
    }
    let ways = point.ways.iter().map(|way| way.variant.label().to_owned());
    text.push_str(&table_head(&["figure".to_owned()], ways));
    for section in table::sections(point) {
        let blanks = point.ways.iter().map(|_| String::new());
        let title = format!("**{}**", section.heading);
        text.push_str(&table_row(std::iter::once(title).chain(blanks)));
        for row in &section.rows {
            let name = format!("{} (`{}`)", row.figure.label, row.figure.name);
            let entries = row.entries.iter().map(entry);
            text.push_str(&table_row(std::iter::once(name).chain(entries)));
        }
    }
    text + "\n" + &differences(point)
}

fn differences(point: &Point) -> String {
    let orders = differences::orders(point);
    if orders.is_empty() {
        return String::new();
    }
    let mut text = format!("Which differences are real? {}\n\n", escaped(differences::KEY));
    for (figure, order) in orders {
        let _ = writeln!(text, "- {figure}: {}", escaped(&order));
    }
    text + "\n"
}

fn published(report: &Report) -> String {
    let rows = published::rows(report);
    if rows.is_empty() {
        return String::new();
    }
    let columns = ["case", "published by", "figure", "published", "ours", "why"];
    let mut text = "## Published figures beside ours\n\n".to_owned();
    text.push_str(&table_head(&columns.map(str::to_owned), std::iter::empty()));
    for row in rows {
        let cells = [row.case, row.source, row.figure, row.value, &row.ours, row.why];
        text.push_str(&table_row(cells.into_iter().map(escaped)));
    }
    text + "\n"
}

fn entry(entry: &Entry) -> String {
    match entry {
        Entry::Void => "void".to_owned(),
        Entry::None => "—".to_owned(),
        Entry::TooFew => "sample too small".to_owned(),
        Entry::Measured { value, spread, theory } => {
            let spread = spread.as_ref().map(|spread| format!(" ({spread})"));
            let theory = theory.as_ref().map(|theory| match &theory.comparison {
                Some(comparison) => format!("; theory {}, {comparison}", theory.value),
                None => format!("; theory {}", theory.value),
            });
            [Some(format!("**{value}**")), spread, theory].into_iter().flatten().collect()
        }
    }
}

fn held(report: &Report) -> String {
    let sentences = report.held();
    if sentences.is_empty() {
        return String::new();
    }
    let lines: String =
        sentences.iter().map(|sentence| format!("- {}\n", escaped(sentence))).collect();
    format!("## Theory held against measurement\n\n{lines}\n")
}

fn validity(report: &Report) -> String {
    let mut text = "## Validity\n\n".to_owned();
    if report.findings.is_empty() {
        text.push_str("Nothing speaks against these figures.\n");
    }
    for finding in &report.findings {
        let severity = if finding.is_void() { "**Void**" } else { "Caution" };
        let _ = writeln!(text, "- {severity}: {}", escaped(&finding.to_string()));
    }
    text + "\n"
}

fn table_head(names: &[String], columns: impl Iterator<Item = String>) -> String {
    let columns: Vec<String> = names.iter().cloned().chain(columns).collect();
    let alignments: Vec<&str> =
        (0..columns.len()).map(|at| if at < names.len() { "---" } else { "---:" }).collect();
    let rule = table_row(alignments.into_iter().map(str::to_owned));
    table_row(columns.into_iter()) + &rule
}

fn table_row(columns: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", columns.collect::<Vec<_>>().join(" | "))
}

/// Text that came from a file stays text: no markup, no broken table, on one line.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
    }
    escaped
}
