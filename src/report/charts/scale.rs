//! Scales: convert figures to coordinates, and place ticks.

/// Maps figures to coordinates.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    kind: ScaleKind,
    /// In the kind's own terms (logarithms, nines).
    domain: (f64, f64),
    range: (f64, f64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum ScaleKind {
    Linear,
    Log,
    Root,
    Nines,
}

impl ScaleKind {
    fn apply(self, value: f64) -> f64 {
        match self {
            ScaleKind::Linear => value,
            ScaleKind::Log => value.log10(),
            ScaleKind::Root => value.sqrt(),
            ScaleKind::Nines => -(1.0 - value).log10(),
        }
    }
}

impl Scale {
    /// Equal steps for equal differences.
    pub fn linear(domain: (f64, f64), range: (f64, f64)) -> Self {
        Scale::new(ScaleKind::Linear, domain, range)
    }

    /// Steps that grow with the value, for a domain that begins at 0 and has most of its points
    /// there.
    pub fn root(domain: (f64, f64), range: (f64, f64)) -> Self {
        Scale::new(ScaleKind::Root, domain, range)
    }

    /// Equal steps for equal factors; the domain must be above zero.
    pub fn log(domain: (f64, f64), range: (f64, f64)) -> Self {
        Scale::new(ScaleKind::Log, domain, range)
    }

    /// Equal steps for each further nine of a quantile: 0, 0.9, 0.99, 0.999.
    pub fn nines(highest: f64, range: (f64, f64)) -> Self {
        Scale::new(ScaleKind::Nines, (0.0, highest), range)
    }

    fn new(kind: ScaleKind, (from, to): (f64, f64), range: (f64, f64)) -> Self {
        let (from, mut to) = (kind.apply(from), kind.apply(to));
        if to == from {
            to += 1.0;
        }
        Scale { kind, domain: (from, to), range }
    }

    /// The coordinate of `value`.
    pub fn at(&self, value: f64) -> f64 {
        let share = (self.kind.apply(value) - self.domain.0) / (self.domain.1 - self.domain.0);
        self.range.0 + share * (self.range.1 - self.range.0)
    }

    /// Round values within the domain, about as many as wanted.
    pub fn ticks(&self, wanted: usize) -> Vec<f64> {
        match self.kind {
            ScaleKind::Linear => linear_ticks(self.domain, wanted),
            ScaleKind::Log => log_ticks(self.domain, wanted),
            ScaleKind::Root => linear_ticks((self.domain.0.powi(2), self.domain.1.powi(2)), wanted),
            ScaleKind::Nines => nines_ticks(self.domain.1),
        }
    }
}

fn linear_ticks((from, to): (f64, f64), wanted: usize) -> Vec<f64> {
    let rough = (to - from) / wanted.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = step.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(power * 10.0);
    let first = (from / step).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    (first..=last).map(|n| n as f64 * step).collect()
}

fn log_ticks((from, to): (f64, f64), wanted: usize) -> Vec<f64> {
    let within = |factors: &[f64]| -> Vec<f64> {
        let decades = from.floor() as i32..=to.ceil() as i32;
        decades
            .flat_map(|decade| factors.iter().map(move |factor| factor * 10f64.powi(decade)))
            .filter(|tick| (from - 1e-9..=to + 1e-9).contains(&tick.log10()))
            .collect()
    };
    let dense = within(&[1.0, 2.0, 5.0]);
    match dense.len() {
        0..=2 => linear_ticks((10f64.powf(from), 10f64.powf(to)), wanted.min(5)),
        n if n <= wanted => dense,
        _ => within(&[1.0]),
    }
}

fn nines_ticks(highest: f64) -> Vec<f64> {
    let known = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
    known.into_iter().filter(|p| ScaleKind::Nines.apply(*p) <= highest + 1e-9).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(Scale::linear((0.0, 4.2), (0.0, 1.0)).ticks(5), [0.0, 1.0, 2.0, 3.0, 4.0]);
        let log = Scale::log((0.015, 1.2), (0.0, 1.0)).ticks(6);
        assert_eq!(log, [0.02, 0.05, 0.1, 0.2, 0.5, 1.0]);
        assert_eq!(Scale::log((16.0, 62.0), (0.0, 1.0)).ticks(8), [20.0, 30.0, 40.0, 50.0, 60.0]);
        assert_eq!(Scale::nines(0.995, (0.0, 1.0)).ticks(9), [0.0, 0.5, 0.9, 0.99]);
    }

    #[test]
    fn each_further_nine_is_one_step() {
        let scale = Scale::nines(0.999, (0.0, 300.0));
        assert!((scale.at(0.9) - 100.0).abs() < 1e-6);
        assert!((scale.at(0.99) - 200.0).abs() < 1e-6);
    }

    #[test]
    fn scale_of_a_single_value_is_finite() {
        assert!(Scale::log((5.0, 5.0), (0.0, 10.0)).at(5.0).is_finite());
    }
}
