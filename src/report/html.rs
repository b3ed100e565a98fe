//! `report.html`: one file that opens without a network, on light and dark screens and on paper.
//!
//! It opens with the answer; then figures, charts, validity, method and circumstances. All text
//! from a run is escaped by maud: nothing in a scenario can become markup.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::charts::{self, Chart, palette};
use super::decision::{Cost, Decision};
use super::table::{self, Entry};
use super::terminal::heading;
use super::{Point, Report, Way, differences, figures, prose, published, sweep};

const STYLE: &str = include_str!("report.css");

/// The whole page.
pub fn page(report: &Report) -> String {
    let scenario = &report.run.scenario;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (scenario.title) }
                style { (PreEscaped(STYLE)) (PreEscaped(palette::css())) }
            }
            body {
                main {
                    h1 { (scenario.title) }
                    @for paragraph in prose::paragraphs(&scenario.description) {
                        p class="lead" { (paragraph) }
                    }
                    (answer(report))
                    @if report.points.len() > 1 { (headlines(report)) }
                    @for line in sweep::lines(report) { (of_line(&line)) }
                    (published(report))
                    @if report.points.len() > 1 { h2 { "Each workload" } }
                    @for point in &report.points { (of_point(report, point)) }
                    (decision(report))
                    (held(report))
                    (validity(report))
                    (method())
                    (circumstances(report))
                }
            }
        }
    };
    page.into_string()
}

fn answer(report: &Report) -> Markup {
    html! {
        section class="answer" {
            h2 { "The answer" }
            @for sentence in report.answer() {
                p class=[sentence.starts_with("Void").then_some("void")] { (sentence) }
            }
            (cautioned(report))
        }
    }
}

/// A line that sends the reader to the warnings, where there are any.
fn cautioned(report: &Report) -> Markup {
    let cautions = report.findings.iter().filter(|finding| !finding.is_void()).count();
    html! {
        @match cautions {
            0 => {},
            1 => p class="note" { "One caution applies: see " a href="#validity" { "validity" } "." },
            n => p class="note" { (n) " cautions apply: see " a href="#validity" { "validity" } "." },
        }
    }
}

fn headlines(report: &Report) -> Markup {
    html! {
        section {
            h2 { "The figures that decide" }
            div class="scroll" {
                table {
                    thead { tr {
                        th {} th { "way" }
                        @for figure in figures::HEADLINES { th class="number" { (heading(figure)) } }
                    } }
                    tbody {
                        @for point in &report.points {
                            @for (index, way) in point.ways.iter().enumerate() {
                                tr class=[(index == 0).then_some("first")] {
                                    @if index == 0 {
                                        th rowspan=(point.ways.len()) { (point.title(report.run)) }
                                    }
                                    th { (name(way)) }
                                    @for figure in figures::HEADLINES {
                                        td class="number" { (headline(way, figure)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn headline(way: &Way, figure: &figures::Figure) -> String {
    match way.summary(figure) {
        _ if way.is_void() => "void".to_owned(),
        Some(summary) => figure.unit.show(summary.value),
        None => "—".to_owned(),
    }
}

/// The charts over a sweep: what changes along it, and where ways meet.
fn of_line(line: &sweep::Line) -> Markup {
    let charts = [
        charts::sweep::along(line, &figures::LATENCY_MEAN, "Mean delivery latency"),
        charts::sweep::along(
            line,
            &figures::REQUESTS_PER_SUBSCRIBER,
            "Requests per second of each subscriber",
        ),
        charts::sweep::along(line, &figures::BYTES_PER_MESSAGE, "Bytes per delivered message"),
        charts::sweep::along(line, &figures::CPU_BUSY, "Server CPU, of one core"),
    ];
    html! {
        section {
            h2 {
                @if line.name.is_empty() { "Along the sweep: " } @else { (line.name) ", along: " }
                (line.axis.label())
            }
            div class="charts" { @for chart in charts.iter().flatten() { (figure(chart)) } }
        }
    }
}

fn published(report: &Report) -> Markup {
    let rows = published::rows(report);
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "Published figures beside ours" }
                div class="scroll" {
                    table {
                        thead { tr {
                            th { "case" } th { "published by" } th { "figure" }
                            th { "published" } th { "ours" } th { "why they differ, or need not" }
                        } }
                        tbody { @for row in &rows { tr {
                            th { (row.case) } td { (row.source) } td { (row.figure) }
                            td { (row.value) } td { strong { (row.ours) } } td { (row.why) }
                        } } }
                    }
                }
            }
        }
    }
}

/// A point's table and charts; folded away if there are many points.
fn of_point(report: &Report, point: &Point) -> Markup {
    let body = html! {
        p class="note" { (prose::workload(point.workload)) }
        (figure_table(point))
        (differences(point))
        (point_charts(point))
    };
    let description = point.case.map_or("", |case| case.description.as_str());
    html! {
        @if report.points.len() == 1 {
            section { h2 { "Every figure" } (body) }
        } @else {
            section { details {
                summary { h3 { (point.title(report.run)) } }
                @for paragraph in prose::paragraphs(description) { p { (paragraph) } }
                (body)
            } }
        }
    }
}

fn figure_table(point: &Point) -> Markup {
    html! {
        div class="scroll" {
            table class="figures" style=(format!("--ways:{}", point.ways.len())) {
                thead { tr {
                    th {}
                    @for way in &point.ways { th class="number" { (name(way)) } }
                } }
                @for section in table::sections(point) {
                    tbody {
                        tr { th class="section" colspan=(point.ways.len() + 1) {
                            (section.heading)
                        } }
                        @for row in &section.rows {
                            tr {
                                th title=(row.figure.name) { (row.figure.label) }
                                @for item in &row.entries { td class="number" { (entry(item)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn differences(point: &Point) -> Markup {
    let orders = differences::orders(point);
    html! {
        @if !orders.is_empty() {
            h3 { "Which differences are real" }
            p class="note" { (differences::KEY) }
            dl { @for (figure, order) in &orders { dt { (figure) } dd { (order) } } }
        }
    }
}

fn entry(entry: &Entry) -> Markup {
    html! {
        @match entry {
            Entry::Void => span class="void" { "void" },
            Entry::None => span class="faint" { "—" },
            Entry::TooFew => span class="faint" { "sample too small" },
            Entry::Measured { value, spread, theory } => {
                strong { (value) }
                @if let Some(spread) = spread { span class="spread" { (spread) } }
                @if let Some(theory) = theory {
                    span class="theory" {
                        "theory " (theory.value)
                        @if let Some(comparison) = &theory.comparison { " · " (comparison) }
                    }
                }
            }
        }
    }
}

fn name(way: &Way) -> Markup {
    html! { span class=(format!("way {}", palette::class(way.variant))) {
        (way.variant.label())
    } }
}

fn point_charts(point: &Point) -> Markup {
    let charts = [
        charts::percentiles::latency(point),
        charts::bars::requests(point),
        charts::bytes::per_message(point),
        charts::bars::cpu(point),
        charts::timeline::subscriber(point),
    ];
    html! {
        div class="charts" { @for chart in charts.iter().flatten() { (figure(chart)) } }
    }
}

fn figure(chart: &Chart) -> Markup {
    html! {
        figure class=[chart.wide.then_some("wide")] {
            figcaption { strong { (chart.title) } span { (chart.note) } }
            div class="scroll" { (chart.svg) }
        }
    }
}

fn decision(report: &Report) -> Markup {
    let charts = Decision::of(report).map(|decision| {
        [Cost::ServerCpu, Cost::Bytes].map(|cost| charts::map::cheapest(&decision, cost))
    });
    html! {
        @if let Some(charts) = charts {
            section {
                h2 { "Which way is cheapest where" }
                div class="charts" { @for chart in &charts { (figure(chart)) } }
            }
        }
    }
}

fn held(report: &Report) -> Markup {
    let sentences = report.held();
    html! {
        @if !sentences.is_empty() {
            section {
                h2 { "Theory held against measurement" }
                @for sentence in &sentences { p { (sentence) } }
            }
        }
    }
}

fn validity(report: &Report) -> Markup {
    html! {
        section id="validity" {
            h2 { "Validity" }
            @if report.findings.is_empty() { p { "Nothing speaks against these figures." } }
            ul {
                @for finding in &report.findings {
                    @if finding.is_void() {
                        li class="void" { strong { "Void. " } (finding) }
                    } @else {
                        li { strong { "Caution. " } (finding) }
                    }
                }
            }
        }
    }
}

fn method() -> Markup {
    html! {
        section {
            h2 { "Method, in brief" }
            ul { @for line in prose::METHOD { li { (line) } } }
        }
    }
}

fn circumstances(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Circumstances" }
            dl { @for (name, value) in prose::circumstances(report) { dt { (name) } dd { (value) } } }
        }
    }
}
