//! Required and forbidden content of a report, in every format.

use std::path::Path;

use super::*;
use crate::advise::prices::PriceList;
use crate::run::{StopReason, StoppedEarly};
use crate::variant::Transport;

/// The texts in which figures appear.
fn texts(report: &Report) -> [String; 4] {
    let style = TableStyle { width: Some(120), colour: false };
    let html = report.html().replace('\u{a0}', " ");
    [html, report.markdown(), report.csv(), report.text(style)]
}

fn stopped(text: &str) -> StoppedEarly {
    StoppedEarly { reason: StopReason::Failed, text: text.to_owned() }
}

/// Writes the fixtures' reports to `target/report-sample`, for a visual check.
#[test]
#[ignore = "writes files to look at"]
fn write_samples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/report-sample");
    let mut void = fixture::run();
    void.cells[0].deliveries.lost = 3;
    void.tool.profile = "debug".to_owned();
    void.stopped_early = Some(stopped("interrupted"));
    for (name, run) in [("plain", fixture::run()), ("void", void), ("sweep", fixture::sweep())] {
        std::fs::create_dir_all(root.join(name)).unwrap();
        write_all(&run, &root.join(name), None).unwrap();
    }
}

#[test]
fn a_percentile_of_too_few_messages_is_not_shown() {
    let run = fixture::run();
    let report = Report::new(&run);
    let result = report.points[0].result(Transport::WebSocket).unwrap();
    assert!(result.published() < 200);
    assert!(result.summary(&figures::LATENCY_P99).is_some());
    assert!(result.summary(&figures::LATENCY_P999).is_none());
    assert!(!report.csv().contains("latency.p99.9"));
    assert!(report.markdown().contains("| p99.9 (`latency.p99.9`) | sample too small |"));
    let is_shown = |finding: &Finding| finding.to_string().contains("latency.p99.9 not shown");
    assert_eq!(report.findings.iter().filter(|finding| is_shown(finding)).count(), 3);
}

#[test]
fn wrong_deliveries_void_the_transport_and_hide_its_figures() {
    let mut run = fixture::run();
    let honest = Report::new(&run);
    let mean = honest.points[0].result(Transport::LongPolling).unwrap();
    let mean = figures::LATENCY_MEAN.unit.show(mean.summary(&figures::LATENCY_MEAN).unwrap().value);
    assert!(texts(&honest).iter().take(2).all(|text| text.contains(&mean)));

    let cell = run.cells.iter_mut().find(|cell| cell.variant == Transport::LongPolling);
    cell.unwrap().deliveries.lost = 3;
    let report = Report::new(&run);
    assert!(report.is_void());
    assert!(report.points[0].result(Transport::LongPolling).unwrap().is_void());
    for text in texts(&report) {
        assert!(!text.contains(&mean), "{text}");
        assert!(text.contains("void"), "{text}");
    }
    assert!(report.answer()[0].starts_with("Void: long polling has no result"));
    assert!(report.answer()[0].contains("3 of 400 deliveries were lost"), "{:?}", report.answer());
    let ok_lines = |line: &&str| line.contains(",long-polling,ok,");
    assert_eq!(report.csv().lines().filter(ok_lines).count(), 0);
    assert!(!report.html().contains("long polling: p50"), "the void result is drawn");
}

#[test]
fn a_saturated_repeat_does_not_count_and_the_others_do() {
    let mut run = fixture::run();
    run.cells[0].generator.cpu_s = 1.9 * run.cells[0].steady_s;
    let transport = run.cells[0].variant;
    let report = Report::new(&run);
    assert!(report.is_void());
    let result = report.points[0].result(transport).unwrap();
    assert_eq!(result.cells.len(), 2);
    let texts: Vec<String> = report.findings.iter().map(Finding::to_string).collect();
    assert!(texts.iter().any(|text| text.contains("used 1.9 of 2 cores")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("only 2 of 3 repeats count")), "{texts:?}");
}

#[test]
fn a_generator_is_saturated_by_the_use_of_its_own_threads() {
    let mut run = fixture::run();
    run.cells[0].generator.cpu_s = 0.9 * run.cells[0].steady_s;
    assert!(!Report::new(&run).is_void());
    run.cells[0].generator.threads = Some(1);
    let report = Report::new(&run);
    assert!(report.is_void());
    let texts: Vec<String> = report.findings.iter().map(Finding::to_string).collect();
    assert!(texts.iter().any(|text| text.contains("used 0.9 of 1 core,")), "{texts:?}");
}

#[test]
fn text_fits_narrow_terminals() {
    let run = fixture::run();
    let report = Report::new(&run);
    for width in [40, 80, 100] {
        let text = report.text(TableStyle { width: Some(width), colour: false });
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(width.into()), "{width}:\n{text}");
        assert!(text.contains("subscriber"), "words stay whole:\n{text}");
    }
}

#[test]
fn text_of_a_run_has_no_effect_on_terminals_and_spreadsheets() {
    let mut run = fixture::run();
    let hostile = "=1+1\u{1b}[2J\u{202e}\u{9b}";
    run.machine.cpu = hostile.to_owned();
    run.scenario.title = hostile.to_owned();
    run.server.version = hostile.to_owned();
    run.cells.iter_mut().for_each(|cell| cell.case = hostile.to_owned());
    run.failed.push(crate::run::FailedCell {
        variant: Transport::Sse.into(),
        case: hostile.to_owned(),
        workload: run.scenario.workload.clone(),
        repeat: 0,
        error: hostile.to_owned(),
    });
    let report = Report::new(&run);
    for text in texts(&report) {
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{text}");
    }
    assert!(report.csv().contains("\n'=1+1"), "{}", report.csv());
    assert!(!report.csv().contains("\n="));
}

#[test]
fn text_of_a_run_is_not_markup() {
    let mut run = fixture::run();
    run.scenario.title = "<script>alert(1)</script> & | more".to_owned();
    run.scenario.description = "<img src=x onerror=alert(1)>".to_owned();
    run.stopped_early = Some(stopped("</title><script>alert(2)</script>"));
    run.machine.cpu = "a <b>bold</b> processor".to_owned();
    let report = Report::new(&run);
    for text in [without_model(&report.html()), report.markdown()] {
        assert!(!text.contains("<script") && !text.contains("<img") && !text.contains("<b>"));
    }
}

/// The page without the model's two script elements: its data, and the script itself.
fn without_model(page: &str) -> String {
    let script = format!("<script type=\"module\">{}</script>", crate::model::script());
    let (before, data) = page.split_once("<script id=\"model-data\"").expect("data");
    let (_, after) = data.split_once("</script>").expect("an end");
    assert!(after.contains(&script), "the script is the model's, to the byte");
    format!("{before}{}", after.replacen(&script, "", 1))
}

#[test]
fn report_loads_no_other_resource() {
    let run = fixture::run();
    let mut page = without_model(&Report::new(&run).html());
    page = page.replace("http://www.w3.org/2000/svg", "");
    // Named as text, not loaded.
    for list in PriceList::built_in() {
        page = list.prices.values().fold(page, |page, price| page.replace(&price.source, ""));
    }
    for loader in ["http://", "https://", "src=", "<link", "@import", "url(", "<script"] {
        assert!(!page.contains(loader), "{loader}");
    }
}

#[test]
fn markdown_tables_are_rectangular() {
    let run = fixture::run();
    let markdown = Report::new(&run).markdown();
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    let mut count = 0;
    for table in markdown.split("\n\n").filter(|block| block.starts_with('|')) {
        let widths: Vec<usize> = table.lines().map(columns).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
        count += widths.len();
    }
    assert!(count > 30, "{markdown}");
}

#[test]
fn csv_has_a_line_for_each_figure_of_each_transport() {
    let mut run = fixture::run();
    run.cells[0].deliveries.duplicated = 1;
    let report = Report::new(&run);
    let csv = report.csv();
    let lines: Vec<Vec<String>> = csv.lines().map(fields).collect();
    assert!(lines.iter().all(|fields| fields.len() == lines[0].len()), "{csv}");
    let figures: usize = report.points[0].results.iter().map(|result| result.summaries.len()).sum();
    assert_eq!(lines.len(), 1 + figures + 1, "a header, the figures, and the void result");
    let value = lines[0].iter().position(|name| name == "value").unwrap();
    assert!(lines[2..].iter().all(|fields| fields[value].parse::<f64>().is_ok()));
}

/// The fields of a line of CSV.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().unwrap().push(c),
        }
    }
    fields
}

#[test]
fn the_terminal_shows_figures_recommendation_and_validity() {
    let mut run = fixture::run();
    run.cells.iter_mut().for_each(|cell| cell.server = None);
    let cell = run.cells.iter_mut().find(|cell| cell.variant == Transport::ShortPolling);
    cell.unwrap().deliveries.reordered = 1;
    let text = Report::new(&run).text(TableStyle { width: Some(110), colour: false });
    insta::assert_snapshot!(text.lines().skip(1).take(7).collect::<Vec<_>>().join("\n"), @"
     transport          mean    median   p99 latency     requests       empty   bytes per   server CPU per
                     latency   latency                        per   responses     message          message
                                                       subscriber
    ───────────────────────────────────────────────────────────────────────────────────────────────────────
     short polling      void      void          void         void        void        void             void
     long polling    21.1 ms   20.4 ms       52.5 ms       1.12/s         0 %       639 B                —
     WebSocket       20.4 ms   20.4 ms       20.6 ms          0/s           —       288 B                —
    ");
    for line in [
        "Void: short polling has no result.",
        "\nRecommendation: WebSocket.\n",
        "\nWhat would change the recommendation\n- Rate above ",
        "\nTheory and measurement\n- 3 of 4 predictions held",
        "\nValidity\n- Void. short polling (repeat 1): 1 of 374 deliveries were out of order\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn answer_states_recommendation_reasons_and_limits() {
    let run = fixture::run();
    insta::assert_snapshot!(Report::new(&run).answer().join("\n"), @"
    Recommendation: WebSocket.
    For 60 subscribers (10 per topic) that each receive 1 message/s of 100 B, at most 1.06 s old; round trip 40 ms; minimal request headers; no TLS. That age is what short polling reaches with its interval of 1 s: half the interval would mean about twice as many requests.
    WebSocket needs the least server CPU; the next transport needs 3.86 times as much.
    With a browser's request headers and TLS, which add bytes to every poll, the recommendation is the same. Lowest monthly bill then, on a virtual machine: WebSocket, 33.52 USD.
    Server CPU time per delivered message: 93.2 µs. Higher: short polling 360 µs (3.86 times) and long polling 385 µs (4.13 times).
    Mean latency: 20.4 ms. No difference established: long polling 21.1 ms. Higher: short polling 526 ms (25.8 times).
    Bytes per delivered message: 288 B. Higher: short polling 604 B (2.1 times) and long polling 639 B (2.22 times).
    Rate above 3.62 messages/s (now 1 message/s): short polling.
    Acceptable age above 3.6 s (now 1.06 s): short polling.
    Acceptable age below 20 ms (now 1.06 s): no transport is fast enough.
    Round trip above 2.12 s (now 40 ms): no transport is fast enough.
    Number of subscribers: no change up to 1,000 times as many or as few (extrapolated: measured up to 60 subscribers).
    5 cautions apply: see Validity.
    ");
}

#[test]
fn a_difference_within_the_spread_is_not_claimed() {
    let mut run = fixture::run();
    for cell in &mut run.cells {
        let wide = if cell.repeat == 0 { 1.8 } else { 1.0 };
        let server = cell.server.as_mut().unwrap();
        server.cpu_s = wide * cell.deliveries.in_steady as f64 * 200e-6;
    }
    let answer = Report::new(&run).answer().join("\n");
    let cpu = answer.lines().find(|line| line.starts_with("Server CPU")).expect("CPU is ranked");
    assert!(cpu.contains("No difference established") && !cpu.contains("Higher"), "{cpu}");
}

#[test]
fn report_states_that_a_run_measured_nothing() {
    let mut run = fixture::run();
    run.cells.clear();
    let report = Report::new(&run);
    assert!(report.is_void());
    assert_eq!(report.answer(), ["Nothing was measured."]);
    assert!(texts(&report).iter().all(|text| !text.is_empty()));
}

#[test]
fn predictions_are_shown_beside_measurements() {
    let run = fixture::run();
    let report = Report::new(&run);
    let result = report.points[0].result(Transport::ShortPolling).unwrap();
    assert_eq!(result.predicted(&figures::LATENCY_MEAN), Some(0.54));
    assert!(report.html().contains("theory 540\u{a0}ms"));
}

#[test]
fn html_and_markdown_render_the_same_document() {
    let run = fixture::run();
    let report = Report::new(&run);
    let (html, markdown) = (report.html(), report.markdown());
    for section in sections::all(&report) {
        assert!(html.contains(&format!("id=\"{}\"", section.id)), "{}", section.title);
        let has_text = section.blocks.iter().any(|b| !matches!(b, document::Block::Charts(_)));
        assert_eq!(markdown.contains(&format!("## {}\n", section.title)), has_text);
        for block in &section.blocks {
            let document::Block::Paragraph(_, text) = block else { continue };
            let start: String = text.chars().take_while(|c| c.is_alphanumeric()).collect();
            assert!(html.contains(&start) && markdown.contains(&start), "{text}");
        }
    }
}

#[test]
fn control_characters_of_a_run_are_made_visible() {
    let mut run = fixture::run();
    run.scenario.title = "title\u{1b}[2J\u{202e}".to_owned();
    run.scenario.description = "lead\u{1b}[2J\u{202e}".to_owned();
    run.machine.cpu = "cpu\u{1b}[2J\u{202e}".to_owned();
    run.scenario.name = "name\u{1b}[2J\u{202e}".to_owned();
    for text in texts(&Report::new(&run)) {
        assert!(!text.contains(['\u{1b}', '\u{202e}']));
    }
}

/// Names and texts of a run, which may come from a stranger's file, are text in every output: no
/// markup, no link, no formula of a spreadsheet.
#[test]
fn markup_and_formulas_of_a_run_are_inert() {
    const MARKUP: &str = "<img src=x onerror=alert(1)> [link](javascript:alert(1)) `code` |";
    let mut run = fixture::run();
    for formula in ["=cmd|' /C calc'!A0", "+1+cmd", "-2+3+cmd", "@SUM(1)", "\t=1+1"] {
        let foreign = format!("{formula} {MARKUP}");
        run.scenario.title.clone_from(&foreign);
        run.scenario.description.clone_from(&foreign);
        run.scenario.name.clone_from(&foreign);
        run.machine.cpu.clone_from(&foreign);
        run.server.version.clone_from(&foreign);
        for cell in &mut run.cells {
            cell.case.clone_from(&foreign);
        }
        run.stopped_early = Some(stopped(&foreign));
        let report = Report::new(&run);
        let (html, markdown, csv) = (report.html(), report.markdown(), report.csv());
        assert!(!html.contains("<img src=x") && !html.contains("href=\"javascript:"));
        let has_link = markdown.replace("\\]", "").contains("](javascript:");
        assert!(!markdown.contains("<img") && !has_link, "{markdown}");
        for field in csv.lines().flat_map(|line| line.split(',')) {
            let field = field.trim_start_matches('"');
            let is_formula = field.starts_with(['=', '+', '-', '@', '\t']);
            assert!(!is_formula || field.parse::<f64>().is_ok(), "{field}");
        }
    }
}
