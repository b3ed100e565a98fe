//! What the report contains, in which order.

use crate::advise::{Cost, Need};
use crate::scenario::Headers;
use crate::units::Unit;

use super::decision::{self, Decision, Model};
use super::document::{Block, Field, Row, Section, Table, Tone};
use super::figures::Figure;
use super::{
    PointResults, Report, advice, axis, bills, charts, figure_table, figures, predictions, prose,
};
use super::{link_checks, loss, published, ramp, recovery, variants};

/// Points listed by name beside a recommendation.
const TITLES_MAX: usize = 8;

/// The whole report after its title: the decision, which fills a page, and the evidence.
pub fn all(report: &Report) -> Vec<Section> {
    let lines = axis::lines(report);
    let parts = [
        Some(decision(report)),
        (report.points.len() > 1).then(|| {
            let table = Block::Table(figure_table::headlines(report));
            Section::new("summary", "Summary", vec![table])
        }),
        sweeps(&lines),
        ramps(&lines),
        packet_loss(report),
        packet_link(report),
        published(report),
        changes_of_variants(report),
        restart(report),
        (!report.points.is_empty()).then(|| figures(report)),
        header_profiles(report),
        report.appendix.clone(),
        theory(report),
        Some(validity(report)),
        Some(Section::new("method", "Method", vec![Block::list(prose::METHOD)])),
        Some(circumstances(report)),
    ];
    parts.into_iter().flatten().collect()
}

/// What a terminal shows after a run.
pub fn summary(report: &Report) -> Vec<Section> {
    let table = Block::Table(figure_table::headlines(report));
    let parts = [
        Some(Section::new("summary", "", vec![table])),
        Some(Section::new("decision", "", conclusion(report))),
        theory(report),
        Some(validity(report)),
    ];
    parts.into_iter().flatten().collect()
}

/// The part that leads to a decision: it fits on one printed page.
fn decision(report: &Report) -> Section {
    let mut blocks = conclusion(report);
    if let [point] = report.points.as_slice()
        && let Some(chart) = chart(report, point)
    {
        // After the recommendation and the workload.
        let place = blocks.iter().position(|block| matches!(block, Block::Heading(_)));
        blocks.insert(place.unwrap_or(blocks.len()), Block::Charts(vec![chart]));
    }
    blocks.extend(bills(report));
    blocks.extend([Block::heading("What the numbers do not show"), Block::Table(unmeasured())]);
    Section::new("decision", "Decision", blocks)
}

/// What a month of the measured workload costs if its subscribers are browsers; nothing for several
/// workloads, or if the costs of the transports are unknown.
fn bills(report: &Report) -> Vec<Block> {
    let [point] = report.points.as_slice() else { return Vec::new() };
    let Some(decision) = Decision::of(report, point) else { return Vec::new() };
    let Some(model) = Model::of_run(report.run) else { return Vec::new() };
    let need = for_browsers_over_tls(&decision.need);
    let bills = bills::totals(&need, &model.estimates(&need));
    let heading = "Monthly bill, for browsers over TLS";
    std::iter::once(Block::heading(heading)).chain(bills).collect()
}

fn for_browsers_over_tls(need: &Need) -> Need {
    Need { headers: Headers::Browser, is_tls: true, browser_only: true, ..*need }
}

/// Whether the recommendation is the same for browsers over TLS, and the lowest bill then.
fn for_browsers(report: &Report, decision: &Decision) -> Option<String> {
    let model = Model::of_run(report.run)?;
    let need = for_browsers_over_tls(&decision.need);
    let recommended = decision.model().unwrap_or(&model).choose(&need)?.transport;
    let is_measured = (decision.need.headers, decision.need.is_tls) == (need.headers, need.is_tls);
    let same = match recommended == decision.choice.transport {
        true => "the same",
        false => recommended.label(),
    };
    let lowest = bills::on_a_machine(&need, &model.estimates(&need), Some(recommended))?;
    Some(match is_measured {
        true => format!("Lowest monthly bill for browsers, {lowest}."),
        false => format!(
            "With a browser's request headers and TLS, which add bytes to every poll, the \
             recommendation is {same}. Lowest monthly bill then, {lowest}."
        ),
    })
}

/// The recommendation, its reasons and its limits.
pub fn conclusion(report: &Report) -> Vec<Block> {
    let void = report.points.iter().flat_map(|point| {
        let title = point.title(report.run);
        point.results.iter().filter(|result| result.is_void()).map(move |result| {
            let at = if title.is_empty() { String::new() } else { format!(" ({title})") };
            let (name, reasons) = (result.variant.label(), result.void_reasons.join("; "));
            Block::Paragraph(Tone::Void, format!("Void: {name}{at} has no result. {reasons}."))
        })
    });
    let results = match report.points.as_slice() {
        [] => vec![Block::text("Nothing was measured.")],
        [point] => of_one(report, point),
        _ => across(report),
    };
    let cautions = report.findings.iter().filter(|finding| !finding.is_void()).count();
    let cautions = match cautions {
        0 => None,
        1 => Some("One caution applies: see Validity.".to_owned()),
        n => Some(format!("{n} cautions apply: see Validity.")),
    };
    void.chain(results).chain(cautions.map(Block::note)).collect()
}

fn of_one(report: &Report, point: &PointResults) -> Vec<Block> {
    let Some(decision) = Decision::of(report, point) else {
        let too_few = "Fewer than two transports have results, so the run supports no \
                       recommendation.";
        return vec![Block::text(too_few)];
    };
    let name = decision.choice.transport.label();
    let tie = ", or not distinguishable in this run";
    let mut verdict = advice::verdict(&decision.need, &decision.choice, false, tie);
    if decision.need.cost == Cost::Bytes {
        verdict.push_str(" The run is too short, or its server unknown, to compare CPU.");
    }
    let (margins, alternatives) = decision.changes();
    let changes = match decision.model() {
        Some(model) => {
            let choice = Some(decision.choice.clone());
            advice::changes(&decision.need, &choice, &margins, &alternatives, &model.costs)
        }
        None => vec![
            "The costs of this run do not support a statement about other workloads. Measure \
             them, or use `poll-vs-push advise`."
                .to_owned(),
        ],
    };
    let need = format!(
        "{} That age is what short polling reaches with its interval of {}: half the interval \
         would mean about twice as many requests.",
        advice::need_in_words(&decision.need),
        Unit::Seconds.show(point.workload.poll_interval.as_secs_f64())
    );
    let mut blocks = vec![
        Block::Paragraph(Tone::Strong, format!("Recommendation: {name}.")),
        Block::note(need),
        Block::text(verdict),
    ];
    blocks.extend(for_browsers(report, &decision).map(Block::text));
    blocks.extend([
        Block::heading("Why"),
        Block::list(decision::reasons(point, &decision)),
        Block::heading("What would change the recommendation"),
        Block::list(changes),
    ]);
    blocks
}

/// Several workloads: the recommendation for each, and where transports cross.
fn across(report: &Report) -> Vec<Block> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for point in &report.points {
        let name = match Decision::of(report, point) {
            Some(decision) => decision.choice.transport.label().to_owned(),
            None => "no recommendation".to_owned(),
        };
        let title = point.title(report.run);
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, titles)) => titles.push(title),
            None => groups.push((name, vec![title])),
        }
    }
    let all = report.points.len();
    let group = |(name, titles): (String, Vec<String>)| {
        let (shown, rest) = titles.split_at(titles.len().min(TITLES_MAX));
        let rest = match rest.len() {
            0 => String::new(),
            n => format!("; and {n} more"),
        };
        let text = format!("{} of {all} workloads: {}{rest}", titles.len(), shown.join("; "));
        (name, text)
    };
    let lines = axis::lines(report);
    let crossings = lines.iter().flat_map(|line| {
        let figures = [
            (&figures::REQUESTS_PER_SUBSCRIBER, "Requests"),
            (&figures::BYTES_PER_MESSAGE, "Bytes"),
            (&figures::CPU_BUSY, "Server CPU"),
        ];
        figures.into_iter().flat_map(move |(figure, name)| {
            let found = line.crossovers(figure);
            found.into_iter().map(move |found| format!("{name}: {}", found.in_words(line)))
        })
    });
    let crossings: Vec<String> = crossings.collect();
    let mut blocks = vec![
        Block::Paragraph(Tone::Strong, "Recommendation by workload".to_owned()),
        Block::note(
            "The lowest server CPU (or bytes, where the run cannot compare CPU), if a message may \
             be as old as short polling at its interval delivers it; between costs too close to \
             call, the simplest transport.",
        ),
        Block::Terms(groups.into_iter().map(group).collect()),
    ];
    if !crossings.is_empty() {
        blocks.extend([Block::heading("Where transports cross"), Block::list(crossings)]);
    }
    blocks
}

fn chart(report: &Report, point: &PointResults) -> Option<charts::Chart> {
    let decision = Decision::of(report, point)?;
    match decision.model() {
        Some(model) => Some(charts::map::recommended(model, decision.need)),
        None => charts::percentiles::latency(point),
    }
}

/// The figures that are drawn over a sweep, with their titles.
static CHARTS: &[(&Figure, &str)] = &[
    (&figures::LATENCY_MEAN, "Mean delivery latency"),
    (&figures::REQUESTS_PER_SUBSCRIBER, "Requests per second per subscriber"),
    (&figures::BYTES_PER_MESSAGE, "Bytes per delivered message"),
    (&figures::CPU_BUSY, "Server CPU, share of one core"),
];

/// The figures that are drawn over the loss, which changes the percentiles more than the mean.
static CHARTS_OVER_LOSS: &[(&Figure, &str)] = &[
    (&figures::LATENCY_P50, "Median delivery latency"),
    (&figures::LATENCY_P99, "Delivery latency, 99th percentile"),
    (&figures::LATENCY_TIMEOUT_SHARE, "Deliveries late by a retransmission timeout or more"),
    (&figures::LATENCY_MEAN, "Mean delivery latency"),
    (&figures::CONNECTIONS_READY_P99, "Connect and first response, 99th percentile"),
    (&figures::BYTES_PER_MESSAGE, "Bytes per delivered message"),
];

/// The figures that are drawn over the load of a ramp.
static CHARTS_OVER_LOAD: &[(&Figure, &str)] = &[
    (&figures::LATENCY_MEAN, "Mean delivery latency"),
    (&figures::LATENCY_P99, "Delivery latency, 99th percentile"),
    (&figures::CPU_BUSY, "Server CPU, share of one core"),
];

/// The charts over each ramp, and its knees.
fn ramps(lines: &[axis::Line]) -> Option<Section> {
    let blocks = lines.iter().filter(|line| line.is_ramp).flat_map(|line| {
        let axis = line.axis.label();
        let title = match line.name {
            "" => format!("Ramp, by {axis}"),
            name => format!("{name}, by {axis}"),
        };
        let charts = CHARTS_OVER_LOAD
            .iter()
            .map(|(figure, title)| charts::line_chart::along(line, figure, title));
        [
            Block::Heading(title),
            Block::list(ramp::sentences(line)),
            Block::note(ramp::DEFINITION),
            Block::Charts(charts.flatten().collect()),
        ]
    });
    let blocks: Vec<Block> = blocks.collect();
    (!blocks.is_empty()).then(|| Section::new("ramps", "Rising load", blocks))
}

/// The charts over each sweep: what changes along it, and where transports cross.
fn sweeps(lines: &[axis::Line]) -> Option<Section> {
    let blocks = lines.iter().filter(|line| !line.is_ramp).flat_map(|line| {
        let axis = line.axis.label();
        let title = match line.name {
            "" => format!("By {axis}"),
            name => format!("{name}, by {axis}"),
        };
        let charts = match line.axis {
            axis::Axis::Loss => CHARTS_OVER_LOSS,
            _ => CHARTS,
        };
        let charts =
            charts.iter().map(|(figure, title)| charts::line_chart::along(line, figure, title));
        [Block::Heading(title), Block::Charts(charts.flatten().collect())]
    });
    let blocks: Vec<Block> = blocks.collect();
    (!blocks.is_empty()).then(|| Section::new("sweeps", "Sweeps", blocks))
}

/// What packet loss does, for a run with loss.
fn packet_loss(report: &Report) -> Option<Section> {
    let table = loss::table(report)?;
    let note = "Share of the deliveries that took longer than the one-way delay and 200 ms; for \
                short polling, whose interval takes longer, there is no such share.";
    let explanation = loss::EXPLANATION.map(Block::text);
    let blocks = [Block::note(note), table].into_iter().chain(explanation).collect();
    Some(Section::new("loss", "What packet loss does", blocks))
}

/// The packet link, checked by the run itself.
fn packet_link(report: &Report) -> Option<Section> {
    let lines = link_checks::sentences(report);
    (!lines.is_empty())
        .then(|| Section::new("packet-link", "Packet link checks", vec![Block::list(lines)]))
}

fn published(report: &Report) -> Option<Section> {
    let rows: Vec<Row> = published::rows(report).into_iter().map(Row::Fields).collect();
    let head = ["case", "published by", "figure", "published", "this run", "why they may differ"];
    let head = head.map(Field::new).into();
    let table = Table { head, names: 1, is_numeric: false, rows };
    (!table.rows.is_empty()).then(|| {
        Section::new("published", "Published figures and this run", vec![Block::Table(table)])
    })
}

/// A list of what `sentences` says about each point, under its title if there are several.
fn by_point(
    report: &Report,
    sentences: impl Fn(&PointResults) -> Vec<String>,
) -> impl Iterator<Item = String> {
    report.points.iter().flat_map(move |point| {
        let title = match point.title(report.run) {
            title if title.is_empty() => title,
            title => format!("{title}: "),
        };
        sentences(point).into_iter().map(move |sentence| format!("{title}{sentence}"))
    })
}

fn changes_of_variants(report: &Report) -> Option<Section> {
    let lines: Vec<String> = by_point(report, variants::sentences).collect();
    let title = "Variants compared with their plain transport";
    (!lines.is_empty()).then(|| Section::new("variants", title, vec![Block::list(lines)]))
}

fn restart(report: &Report) -> Option<Section> {
    let lines: Vec<String> = by_point(report, recovery::sentences).collect();
    let title = "Restart of the server";
    (!lines.is_empty()).then(|| Section::new("restart", title, vec![Block::list(lines)]))
}

fn figures(report: &Report) -> Section {
    let blocks = match report.points.as_slice() {
        [point] => of_point(point),
        points => points
            .iter()
            .map(|point| {
                let description = point.case.map_or("", |case| case.description.as_str());
                let description = prose::paragraphs(description).map(Block::text);
                Block::Details(
                    point.title(report.run),
                    description.chain(of_point(point)).collect(),
                )
            })
            .collect(),
    };
    Section::new("figures", "All figures", blocks)
}

fn of_point(point: &PointResults) -> Vec<Block> {
    let charts = [
        charts::percentiles::latency(point),
        charts::bar_chart::requests(point),
        charts::byte_bars::per_message(point),
        charts::bar_chart::cpu(point),
        charts::timeline::subscriber(point),
    ];
    let charts = Block::Charts(charts.into_iter().flatten().collect());
    let mut blocks = vec![Block::note(prose::workload(point.workload))];
    let orders = decision::orders(point);
    if !orders.is_empty() {
        let terms = orders.into_iter().map(|(figure, order)| (figure.to_owned(), order));
        blocks.extend([
            Block::heading("Which differences are real"),
            Block::note(decision::KEY),
            Block::Terms(terms.collect()),
        ]);
    }
    blocks.extend([Block::heading("Table"), Block::Table(figure_table::all(point)), charts]);
    blocks
}

/// Bytes with minimal and with a browser's request headers, side by side.
fn header_profiles(report: &Report) -> Option<Section> {
    let point = report.points.first()?;
    let table = figure_table::header_profiles(report, point);
    if table.rows.is_empty() {
        return None;
    }
    let at = match point.title(report.run) {
        title if title.is_empty() => String::new(),
        title => format!(" At {title}."),
    };
    let note = format!(
        "Bytes per delivered message, TCP/IP included. Bold: measured. The other columns add or \
         subtract the {} that a browser's headers add to each request, and {} for each TLS record: \
         one for each request, response, pushed message and heartbeat.{at}",
        Unit::Bytes.show(crate::theory::bytes::Sizes::BROWSER_HEADERS),
        Unit::Bytes.show(crate::advise::TLS_RECORD_BYTES)
    );
    let maps = Model::of_run(report.run).map(|model| {
        let map = |headers| {
            let need = Need { headers, cost: Cost::Bytes, ..model.need };
            charts::map::recommended(&model, need)
        };
        Block::Charts(vec![map(Headers::Minimal), map(Headers::Browser)])
    });
    let blocks = [Block::note(note), Block::Table(table)].into_iter().chain(maps).collect();
    Some(Section::new("headers", "Minimal headers and a browser's headers", blocks))
}

fn theory(report: &Report) -> Option<Section> {
    let sentences = predictions::sentences(report);
    (!sentences.is_empty())
        .then(|| Section::new("theory", "Theory and measurement", vec![Block::list(sentences)]))
}

/// Properties that decide as often as the figures do.
fn unmeasured() -> Table {
    let rows = prose::UNMEASURED.iter().map(|row| Row::Fields(row.map(Field::new).into()));
    let head = ["", "polling, short or long", "SSE", "WebSocket"].map(Field::new).into();
    Table { head, names: 1, is_numeric: false, rows: rows.collect() }
}

fn validity(report: &Report) -> Section {
    let findings = report.findings.iter().map(|finding| match finding.is_void() {
        true => (Tone::Void, format!("Void. {finding}")),
        false => (Tone::Normal, format!("Caution. {finding}")),
    });
    let block = match report.findings.is_empty() {
        true => Block::text("No cautions apply to these figures."),
        false => Block::List(findings.collect()),
    };
    Section::new("validity", "Validity", vec![block])
}

fn circumstances(report: &Report) -> Section {
    let terms = prose::circumstances(report).into_iter();
    let terms = terms.map(|(name, value)| (name.to_owned(), value)).collect();
    let mut files: Vec<(String, String)> = ["results.csv", "report.md", "run.json"]
        .map(|file| (file.to_owned(), file.to_owned()))
        .into();
    if let Some(docs) = &report.docs {
        let pages = [
            ("How it is measured", "methodology.md"),
            ("What the comparison favours", "bias.md"),
            ("How the recommendation is made, and prices", "advice.md"),
            ("Operating the server", "operations.md"),
        ];
        files.extend(pages.map(|(text, page)| (text.to_owned(), format!("{docs}/{page}"))));
    }
    let title = "Circumstances and files";
    Section::new("circumstances", title, vec![Block::Terms(terms), Block::Links(files)])
}

/// The paragraphs and list items of `blocks`.
pub fn texts(blocks: Vec<Block>) -> Vec<String> {
    let text = |block: Block| match block {
        Block::Paragraph(_, text) => vec![text],
        Block::List(items) => items.into_iter().map(|(_, text)| text).collect(),
        Block::Terms(terms) => {
            terms.into_iter().map(|(term, text)| format!("{term}: {text}")).collect()
        }
        Block::Heading(_) | Block::Table(_) | Block::Charts(_) | Block::Links(_) => Vec::new(),
        Block::Details(_, blocks) => texts(blocks),
    };
    blocks.into_iter().flat_map(text).collect()
}
