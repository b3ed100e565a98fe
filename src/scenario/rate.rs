//! Reads a rate of a scenario: a number per second, or a text such as `"2/h"`.

use serde::{Deserialize, Deserializer};

use crate::units::parse_rate;

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a rate such as 0.5, \"2/h\" or \"1/20s\"")]
enum Written {
    PerSecond(f64),
    Text(String),
}

impl Written {
    fn read<E: serde::de::Error>(self) -> Result<f64, E> {
        match self {
            Written::PerSecond(rate) => Ok(rate),
            Written::Text(text) => {
                parse_rate(&text).map_err(|rule| E::custom(format!("rate = \"{text}\": {rule}")))
            }
        }
    }
}

pub fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Written::deserialize(deserializer)?.read()
}

pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Option::<Written>::deserialize(deserializer)?.map(Written::read).transpose()
}

pub fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    Vec::<Written>::deserialize(deserializer)?.into_iter().map(Written::read).collect()
}

#[cfg(test)]
mod tests {
    use crate::scenario::{Overrides, Ramp, Sweep, Workload};

    fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn rates_are_numbers_or_texts_wherever_a_scenario_has_one() {
        for (text, expected) in [("3", 3.0), ("0.5", 0.5), ("'1/20s'", 0.05), ("'30/min'", 0.5)] {
            let workload: Workload = read(&format!("rate = {text}")).expect(text);
            assert_eq!(workload.rate, expected);
            let given: Overrides = read(&format!("rate = {text}")).expect(text);
            assert_eq!(given.rate, Some(expected));
            let sweep: Sweep = read(&format!("rate = [1, {text}]")).expect(text);
            assert_eq!(sweep, Sweep::Rate(vec![1.0, expected]));
            let ramp: Ramp = read(&format!("rate = [1, {text}]")).expect(text);
            assert_eq!(ramp, Ramp::Rate(vec![1.0, expected]));
        }
        assert_eq!(read::<Overrides>("").expect("nothing").rate, None);
        for bad in ["'1/20'", "true", "[1]"] {
            let error = read::<Workload>(&format!("rate = {bad}")).expect_err(bad);
            assert!(error.contains("1/20s"), "{error}");
        }
    }
}
