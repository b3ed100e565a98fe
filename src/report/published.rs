//! Figures that somebody published, beside ours: what a scenario's cases quote, and what they got.

use super::threshold::Reference;
use super::{Point, Report};

/// One published figure beside ours.
pub struct Row<'a> {
    pub case: &'a str,
    pub source: &'a str,
    pub figure: &'a str,
    pub value: &'a str,
    pub ours: String,
    pub why: &'a str,
}

/// All of them, in the scenario's order.
pub fn rows<'a>(report: &'a Report) -> Vec<Row<'a>> {
    let cases = report.run.scenario.cases.iter();
    let rows = cases.flat_map(|case| {
        case.published.iter().map(|published| Row {
            case: &case.name,
            source: &published.source,
            figure: &published.figure,
            value: &published.value,
            ours: published
                .ours
                .as_ref()
                .map_or("—".to_owned(), |name| ours(report, &case.name, name)),
            why: &published.why,
        })
    });
    rows.collect()
}

/// Our figure at every point of the case.
fn ours(report: &Report, case: &str, name: &str) -> String {
    let Ok(reference) = name.parse::<Reference>() else {
        return format!("unknown figure: {name}");
    };
    let points: Vec<&Point> = report.points.iter().filter(|point| point.name == case).collect();
    let at = |point: &&Point| {
        let way = point.way(reference.variant)?;
        let value = match way.summary(reference.figure) {
            Some(summary) => reference.figure.unit.show(summary.value),
            None if way.is_void() => "void".to_owned(),
            None => "—".to_owned(),
        };
        Some(match points.len() {
            1 => value,
            _ => format!("{value} ({})", point.title(report.run)),
        })
    };
    let values: Vec<String> = points.iter().filter_map(at).collect();
    if values.is_empty() { "not measured".to_owned() } else { values.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_published_figure_stands_beside_ours() {
        let scenario = fixture::scenario(
            "name = 'papers'\ntitle = 'Papers'\ndescription = ''\n[[case]]\nname = 'quoted'\n\
             published = [\n{ source = 'A. Author', figure = 'requests', value = '15', \
             ours = 'websocket.requests.per_message', why = 'other rate' },\n\
             { source = 'B', figure = 'f', value = '1', ours = 'nothing', why = 'w' }]",
        );
        let run = fixture::run_of(&scenario);
        let report = Report::new(&run);
        let ours: Vec<String> = rows(&report).into_iter().map(|row| row.ours).collect();
        assert_eq!(ours, ["0", "unknown figure: nothing"]);
        assert!(report.html().contains("A. Author") && report.markdown().contains("A. Author"));
    }
}
