//! Published figures that a scenario's cases quote, beside those of the run.

use super::document::{Field, Tone};
use super::threshold::FigureReference;
use super::{PointResults, Report};

/// A row for each: case, source, figure, published value, value of the run, why they may differ.
pub fn rows(report: &Report) -> Vec<Vec<Field>> {
    let cases = report.run.scenario.cases.iter();
    let rows = cases.flat_map(|case| {
        case.published.iter().map(|published| {
            let ours = published.ours.as_ref();
            let ours = ours.map_or("—".to_owned(), |name| ours_at(report, &case.name, name));
            vec![
                Field::new(&case.name),
                Field::new(&published.source),
                Field::new(&published.figure),
                Field::new(&published.value),
                Field::toned(ours, Tone::Strong),
                Field::new(&published.why),
            ]
        })
    });
    rows.collect()
}

/// The run's figure at every point of the case.
fn ours_at(report: &Report, case: &str, name: &str) -> String {
    let Ok(reference) = name.parse::<FigureReference>() else {
        return format!("unknown figure: {name}");
    };
    let points: Vec<&PointResults> =
        report.points.iter().filter(|point| point.name == case).collect();
    let at = |point: &&PointResults| {
        let result = point.result(reference.variant)?;
        let value = match result.summary(reference.figure) {
            Some(summary) => reference.figure.unit.show(summary.value),
            None if result.is_void() => "void".to_owned(),
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
    fn a_published_figure_is_shown_beside_that_of_the_run() {
        let scenario = fixture::scenario(
            "name = 'papers'\ntitle = 'Papers'\ndescription = ''\n[[case]]\nname = 'quoted'\n\
             published = [\n{ source = 'A. Author', figure = 'requests', value = '15', \
             ours = 'websocket.requests.per_message', why = 'other rate' },\n\
             { source = 'B', figure = 'f', value = '1', ours = 'nothing', why = 'w' }]",
        );
        let run = fixture::run_of(&scenario);
        let report = Report::new(&run);
        let ours: Vec<String> = rows(&report).into_iter().map(|row| row[4].text.clone()).collect();
        assert_eq!(ours, ["0", "unknown figure: nothing"]);
        assert!(report.html().contains("A. Author") && report.markdown().contains("A. Author"));
    }
}
