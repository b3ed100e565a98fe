//! The effects of a restart of the server on its subscribers, in sentences.

use super::PointResults;
use super::figures;
use super::prose::{list, range};
use crate::units::Unit;

/// How long the server was down and when the subscribers of each transport had recovered. Empty
/// without a restart. Transports that lost or duplicated a message are void and not included.
pub fn sentences(point: &PointResults) -> Vec<String> {
    let down = point.values(&figures::RECOVERY_DOWN);
    let (Some((_, shortest)), Some((_, longest))) = (down.first(), down.last()) else {
        return Vec::new();
    };
    let down = range(Unit::Seconds, shortest.value, longest.value);
    let ranked = point.values(&figures::RECOVERY_BACK_MEAN);
    let back = ranked.iter().map(|(result, summary)| {
        let last = result.summary(&figures::RECOVERY_BACK_MAX).unwrap_or(summary).value;
        let [mean, last] = [summary.value, last].map(|seconds| Unit::Seconds.show(seconds));
        let noticed = result.summary(&figures::RECOVERY_NOTICED).map_or(1.0, |share| share.value);
        let others = match noticed < 1.0 {
            true => format!("; {} did not notice", Unit::Share.show(1.0 - noticed)),
            false => String::new(),
        };
        format!("{} {mean} (the last {last}{others})", result.variant.label())
    });
    let back = list(back);
    let back = (!back.is_empty()).then(|| {
        format!(
            "Mean time until a subscriber had recovered, after the server listened again: {back}."
        )
    });
    let restarted = format!(
        "After the steady state the server was restarted and was down for {down}. No transport \
         with a result lost, duplicated or reordered a message."
    );
    std::iter::once(restarted).chain(back).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Report, fixture};

    #[test]
    fn a_restart_is_described_only_if_there_was_one() {
        let scenario = fixture::scenario(
            "name = 'r'\ntitle = 'Restart'\ndescription = ''\nworkload = { restart = '5s' }",
        );
        let run = fixture::run_of(&scenario);
        let report = Report::new(&run);
        insta::assert_snapshot!(sentences(&report.points[0]).join("\n"), @"
        After the steady state the server was restarted and was down for 1.2 s. No transport with a result lost, duplicated or reordered a message.
        Mean time until a subscriber had recovered, after the server listened again: short polling 80 ms (the last 80.1 ms; 50 % did not notice), long polling 80 ms (the last 80.1 ms; 50 % did not notice) and WebSocket 80 ms (the last 80.1 ms; 50 % did not notice).
        ");
        assert!(report.markdown().contains("After a restart of the server"));

        let run = fixture::run();
        let report = Report::new(&run);
        assert!(sentences(&report.points[0]).is_empty());
        assert!(!report.markdown().contains("After a restart of the server"));
    }
}
