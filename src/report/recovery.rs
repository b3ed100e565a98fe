//! What a restart of the server meant, in sentences made from the numbers.

use super::Point;
use super::figures;
use crate::units::Unit;

/// How long the server was away and how soon each way was back; nothing if it was not restarted.
/// Ways that lost or doubled a message are void, and so not among them.
pub fn sentences(point: &Point) -> Vec<String> {
    let ranked = point.ranked(&figures::RECOVERY_BACK_MEAN);
    let down = point.ranked(&figures::RECOVERY_DOWN);
    let (Some((_, shortest)), Some((_, longest))) = (down.first(), down.last()) else {
        return Vec::new();
    };
    let [shortest, longest] = [shortest, longest].map(|summary| Unit::Seconds.show(summary.value));
    let away = if shortest == longest { longest } else { format!("{shortest} to {longest}") };
    let back = ranked.iter().map(|(way, summary)| {
        let last = way.summary(&figures::RECOVERY_BACK_MAX).unwrap_or(summary).value;
        let [mean, last] = [summary.value, last].map(|seconds| Unit::Seconds.show(seconds));
        let noticed = way.summary(&figures::RECOVERY_NOTICED).map_or(1.0, |share| share.value);
        let others = match noticed < 1.0 {
            true => format!("; {} did not notice", Unit::Share.show(1.0 - noticed)),
            false => String::new(),
        };
        format!("{} {mean} (the last {last}{others})", way.variant.label())
    });
    let back: Vec<String> = back.collect();
    let mut sentences = vec![format!(
        "Then the server was restarted, and was away for {away}. By no way that has a result was a \
         message lost, doubled or out of order."
    )];
    if !back.is_empty() {
        let back = back.join(", ");
        sentences.push(format!("Subscribers were back, after it listened again: {back}."));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Report, fixture};

    #[test]
    fn a_restart_is_told_of_and_only_where_there_was_one() {
        let scenario = fixture::scenario(
            "name = 'r'\ntitle = 'Restart'\ndescription = ''\nworkload = { restart = '5s' }",
        );
        let run = fixture::run_of(&scenario);
        let report = Report::new(&run);
        insta::assert_snapshot!(sentences(&report.points[0]).join("\n"), @"
        Then the server was restarted, and was away for 1.2 s. By no way that has a result was a message lost, doubled or out of order.
        Subscribers were back, after it listened again: short polling 80 ms (the last 80.1 ms; 50 % did not notice), long polling 80 ms (the last 80.1 ms; 50 % did not notice), WebSocket 80 ms (the last 80.1 ms; 50 % did not notice).
        ");
        assert!(report.markdown().contains("After a restart of the server"));

        let run = fixture::run();
        let report = Report::new(&run);
        assert!(sentences(&report.points[0]).is_empty());
        assert!(!report.markdown().contains("After a restart of the server"));
    }
}
