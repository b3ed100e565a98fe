//! Finds the largest level that holds: doubles until one fails, then bisects.

/// The range of the search, and its precision.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The first level that is tried.
    pub start: f64,
    pub least: f64,
    pub most: f64,
    /// The search ends when the largest level that holds and the smallest that fails differ by at
    /// most this share.
    pub precision: f64,
    /// Whether levels are whole numbers.
    pub is_whole: bool,
}

/// The largest level that holds and the smallest that fails, with the reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Bracket<R> {
    /// `None` if even the smallest level fails.
    pub holds: Option<f64>,
    /// `None` if the largest level holds.
    pub fails: Option<(f64, R)>,
}

/// Searches `range`; `attempt` returns whether a level holds, and if not, why.
///
/// # Errors
/// The first error of an attempt, which ends the search.
pub async fn search<R, E>(
    range: &Range,
    mut attempt: impl AsyncFnMut(f64) -> Result<Result<(), R>, E>,
) -> Result<Bracket<R>, E> {
    let mut bracket = Bracket { holds: None, fails: None };
    let mut level = range.start.clamp(range.least, range.most);
    loop {
        match attempt(level).await? {
            Ok(()) => bracket.holds = Some(level),
            Err(reason) => bracket.fails = Some((level, reason)),
        }
        let next = match (bracket.holds, &bracket.fails) {
            (Some(holds), None) => (2.0 * holds).min(range.most),
            (None, Some((fails, _))) => range.rounded(fails / 2.0).max(range.least),
            (Some(holds), Some((fails, _))) if fails / holds > 1.0 + range.precision => {
                range.rounded((holds + fails) / 2.0)
            }
            _ => return Ok(bracket),
        };
        let is_known = |known: f64| next == known;
        if bracket.holds.is_some_and(is_known)
            || bracket.fails.as_ref().is_some_and(|f| is_known(f.0))
        {
            return Ok(bracket);
        }
        level = next;
    }
}

impl Range {
    fn rounded(&self, level: f64) -> f64 {
        if self.is_whole { level.floor() } else { level }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    const RANGE: Range =
        Range { start: 64.0, least: 1.0, most: 1e6, precision: 0.05, is_whole: true };

    /// The result for a server that carries `capacity`, and how many levels were tried.
    async fn found(range: Range, capacity: f64) -> (Bracket<&'static str>, u32) {
        let mut attempts = 0;
        let attempt = async |level: f64| {
            attempts += 1;
            assert!((range.least..=range.most).contains(&level), "{level}");
            Ok::<_, Infallible>(if level <= capacity { Ok(()) } else { Err("full") })
        };
        let bracket = search(&range, attempt).await.unwrap_or_else(|never| match never {});
        (bracket, attempts)
    }

    #[tokio::test]
    async fn capacity_is_bracketed_to_the_precision() {
        for capacity in [1.0, 2.0, 3.0, 17.0, 63.0, 64.0, 65.0, 1_000.0, 123_456.0] {
            let (bracket, attempts) = found(RANGE, capacity).await;
            let (holds, (fails, _)) = (bracket.holds.unwrap(), bracket.fails.unwrap());
            assert!(holds <= capacity && capacity < fails, "{capacity}: {holds}, {fails}");
            assert!(fails - holds <= (0.05 * holds).max(1.0), "{capacity}: {holds}, {fails}");
            assert!(attempts <= 20, "{capacity}: {attempts}");
        }
    }

    #[tokio::test]
    async fn ends_of_the_range_are_not_exceeded() {
        let (bracket, _) = found(RANGE, 0.0).await;
        assert_eq!(bracket, Bracket { holds: None, fails: Some((1.0, "full")) });
        let (bracket, _) = found(RANGE, f64::MAX).await;
        assert_eq!(bracket, Bracket { holds: Some(1e6), fails: None });
        let one = Range { start: 5.0, least: 5.0, most: 5.0, ..RANGE };
        assert_eq!(found(one, 9.0).await, (Bracket { holds: Some(5.0), fails: None }, 1));
    }

    #[tokio::test]
    async fn rates_need_not_be_whole() {
        let range = Range { start: 1.0, least: 1e-3, is_whole: false, ..RANGE };
        let (bracket, _) = found(range, 0.3).await;
        let (holds, (fails, _)) = (bracket.holds.unwrap(), bracket.fails.unwrap());
        assert!(holds <= 0.3 && 0.3 < fails && fails / holds <= 1.05);
    }
}
