//! Renders the document as `report.html`: one file that needs no network, for light and dark
//! screens and for paper. maud escapes all text, so nothing in a scenario can become markup.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::charts::{Chart, palette};
use super::document::{Block, Field, Row, Section, Table, Tone};
use super::{Report, prose, sections, what_if};
use crate::text::visible;

const STYLE: &str = include_str!("report.css");

/// The report of a run.
pub fn page(report: &Report) -> String {
    let scenario = &report.run.scenario;
    let sections = sections::all(report);
    let body = html! {
        @for (index, section) in sections.iter().enumerate() {
            (of_section(section))
            @if index == 0 { (contents(&sections, !report.points.is_empty())) }
        }
        (what_if::section(report))
    };
    framed(&scenario.title, prose::paragraphs(&scenario.description), &body)
}

/// A page with these sections.
pub fn document(title: &str, lead: &str, sections: &[Section]) -> String {
    let body = html! { @for section in sections { (of_section(section)) } };
    framed(title, std::iter::once(lead), &body)
}

fn framed<'a>(title: &str, lead: impl Iterator<Item = &'a str>, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (visible(title)) }
                style { (PreEscaped(STYLE)) (PreEscaped(palette::css())) }
            }
            body { main {
                h1 { (visible(title)) }
                @for paragraph in lead { p class="lead" { (visible(paragraph)) } }
                (body)
            } }
        }
    };
    page.into_string()
}

/// Links to the sections after the decision, and to the model if the report has one.
fn contents(sections: &[Section], has_model: bool) -> Markup {
    html! {
        nav aria-label="Contents" {
            @if has_model {
                p {
                    "For another workload, use "
                    a href=(format!("#{}", what_if::ID)) { "the model with controls" }
                    " at the end of this report."
                }
            }
            h2 { "Evidence" }
            ol {
                @for section in &sections[1..] {
                    li { a href=(format!("#{}", section.id)) { (section.title) } }
                }
                @if has_model {
                    li { a href=(format!("#{}", what_if::ID)) { (what_if::TITLE) } }
                }
                li { a href="results.csv" { "Every figure as CSV" } }
            }
        }
    }
}

fn of_section(section: &Section) -> Markup {
    html! {
        section id=(section.id) {
            h2 { (section.title) }
            @for block in &section.blocks { (of_block(block)) }
        }
    }
}

fn of_block(block: &Block) -> Markup {
    html! {
        @match block {
            Block::Heading(text) => h3 { (shown(text)) },
            Block::Paragraph(tone, text) => p class=[class(*tone)] { (shown(text)) },
            Block::List(items) => ul { @for (tone, text) in items {
                li class=[class(*tone)] { (shown(text)) }
            } },
            Block::Terms(terms) => dl { @for (term, text) in terms {
                dt { (shown(term)) } dd { (shown(text)) }
            } },
            Block::Table(table) => (of_table(table)),
            Block::Charts(charts) => div class="charts" {
                @for chart in charts { (figure(chart)) }
            },
            Block::Details(title, blocks) => details {
                summary { h3 { (visible(title)) } }
                @for block in blocks { (of_block(block)) }
            },
            Block::Links(links) => ul { @for (text, target) in links {
                li { a href=(target) { (text) } }
            } },
        }
    }
}

fn class(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Normal => None,
        Tone::Strong => Some("strong"),
        Tone::Note => Some("note"),
        Tone::Void => Some("void"),
    }
}

fn of_table(table: &Table) -> Markup {
    let columns = table.head.len();
    let style = format!("--columns:{}", columns - table.names);
    let class = match (table.is_numeric, table.names) {
        (true, 1) => "figures",
        (true, _) => "wide",
        (false, _) => "texts",
    };
    let number = |index: usize| (table.is_numeric && index >= table.names).then_some("number");
    html! {
        div class="scroll" tabindex="0" {
            table class=(class) style=(style) {
                thead { tr { @for (index, field) in table.head.iter().enumerate() {
                    th class=[number(index)] { (of_field(field)) }
                } } }
                tbody { @for row in &table.rows { tr {
                    @match row {
                        Row::Section(title) => th class="section" colspan=(columns) { (title) },
                        Row::Fields(fields) => @for (index, field) in fields.iter().enumerate() {
                            @if index < table.names {
                                th title=[field.figure] { (of_field(field)) }
                            } @else {
                                // Narrow screens show the head of the column beside the field.
                                td class=[number(index)] data-head=(table.head[index].text) {
                                    (of_field(field))
                                }
                            }
                        },
                    }
                } } }
            }
        }
    }
}

fn of_field(field: &Field) -> Markup {
    let text = shown(&field.text);
    let class = field.variant.map(|variant| format!("transport {}", palette::class(variant)));
    html! {
        @match field.tone {
            Tone::Strong => strong { (text) },
            Tone::Note => span class="faint" { (text) },
            Tone::Void => span class="void" { (text) },
            Tone::Normal => @if class.is_some() { span class=[class] { (text) } } @else { (text) },
        }
        @for detail in &field.details { span class="spread" { (shown(detail)) } }
    }
}

/// The visible text, with no-break spaces between numbers and their units, so that no line ends
/// there.
fn shown(text: &str) -> String {
    let text = visible(text);
    let mut joined = String::with_capacity(text.len());
    for word in text.split(' ') {
        let is_unit = UNITS.contains(&word.trim_end_matches([',', ';', ':', '.', ')']));
        match joined.chars().last() {
            None => {}
            Some(last) if is_unit && last.is_ascii_digit() => joined.push(NO_BREAK_SPACE),
            Some(_) => joined.push(' '),
        }
        joined.push_str(word);
    }
    joined
}

const NO_BREAK_SPACE: char = '\u{a0}';
const UNITS: [&str; 16] = [
    "%", "ns", "µs", "ms", "s", "min", "h", "B", "kB", "MB", "GB", "B/s", "kB/s", "MB/s", "GB/s",
    "points",
];

fn figure(chart: &Chart) -> Markup {
    html! {
        figure class=[chart.wide.then_some("wide")] {
            figcaption { strong { (chart.title) } span { (chart.note) } }
            div class="scroll" tabindex="0" { (chart.svg) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_units_stay_on_one_line() {
        let text = shown("0.9, 32.6 % empty (531 ms to 540 ms): 5 kB/s, 7 transports");
        let expected = "0.9, 32.6_% empty (531_ms to 540_ms): 5_kB/s, 7 transports";
        assert_eq!(text, expected.replace('_', "\u{a0}"));
    }
}
