//! A strict parser of the OpenMetrics text format: text that it accepts is accepted by any scraper.

use std::collections::HashMap;

/// The samples of one scrape.
#[derive(Debug)]
pub struct Scrape(HashMap<String, f64>);

impl Scrape {
    /// Panics at the first line that violates the specification.
    pub fn parse(text: &str) -> Scrape {
        let body = text.strip_suffix("# EOF\n").expect("the end is marked");
        let mut kinds = HashMap::new();
        let mut samples = HashMap::new();
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let words: Vec<&str> = comment.splitn(3, ' ').collect();
                match words[..] {
                    ["TYPE", family, kind] => {
                        assert!(["counter", "gauge"].contains(&kind), "{line}");
                        assert!(kinds.insert(family, kind).is_none(), "declared again: {line}");
                    }
                    ["HELP", _, text] => assert!(!text.is_empty(), "{line}"),
                    ["UNIT", family, unit] => assert!(family.ends_with(unit), "{line}"),
                    _ => panic!("not a comment of the format: {line}"),
                }
                continue;
            }
            let (key, value) = line.rsplit_once(' ').expect("a sample has a value");
            let name = key.split('{').next().expect("a name");
            let family = name.strip_suffix("_total").unwrap_or(name);
            let wanted = if name.ends_with("_total") { "counter" } else { "gauge" };
            assert_eq!(kinds.get(family), Some(&wanted), "the family of: {line}");
            let value = value.parse().expect("a number");
            assert!(samples.insert(key.to_owned(), value).is_none(), "sampled twice: {line}");
        }
        Scrape(samples)
    }

    /// The value of a sample, named with its labels.
    pub fn get(&self, key: &str) -> f64 {
        *self.0.get(key).unwrap_or_else(|| panic!("no {key} in {:?}", self.0))
    }

    /// The value of one of our samples for a transport.
    pub fn of(&self, name: &str, transport: &str) -> f64 {
        self.get(&format!("poll_vs_push_{name}{{transport=\"{transport}\"}}"))
    }
}
