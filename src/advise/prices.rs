//! Price lists: what a platform charges per request, GB, connection minute, core hour and message.
//!
//! A list is a TOML file. It has a date, and so has each of its numbers, with the source that it
//! was taken from. Free tiers, volume discounts and taxes are not modelled.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::variant::Transport;

/// The price lists that are built into the program, in the order in which they are offered.
const BUILT_IN: [&str; 3] = [
    include_str!("../../load-tests/prices/virtual-machine.toml"),
    include_str!("../../load-tests/prices/serverless.toml"),
    include_str!("../../load-tests/prices/websocket-gateway.toml"),
];

/// A quantity that a provider charges for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Billable {
    /// HTTP requests, per million.
    Requests,
    /// Bytes from the server to the subscribers, per GB of 10^9 bytes.
    GbOut,
    /// Minutes during which a connection or a request of a subscriber is open, per million.
    ConnectionMinutes,
    /// Hours of the cores to plan with, per hour of one core.
    CoreHours,
    /// Messages delivered to subscribers, per million.
    Messages,
}

impl Billable {
    pub const ALL: [Billable; 5] = [
        Billable::Requests,
        Billable::GbOut,
        Billable::ConnectionMinutes,
        Billable::CoreHours,
        Billable::Messages,
    ];

    /// The counted quantity, for display.
    pub fn label(self) -> &'static str {
        match self {
            Billable::Requests => "requests",
            Billable::GbOut => "traffic out",
            Billable::ConnectionMinutes => "connection time",
            Billable::CoreHours => "cores",
            Billable::Messages => "messages",
        }
    }

    /// The unit of the price, for display.
    pub fn unit(self) -> &'static str {
        match self {
            Billable::Requests => "per million requests",
            Billable::GbOut => "per GB",
            Billable::ConnectionMinutes => "per million connection minutes",
            Billable::CoreHours => "per core and hour",
            Billable::Messages => "per million messages",
        }
    }

    /// How the quantity follows from the workload, where its name does not say it.
    pub fn explanation(self) -> Option<&'static str> {
        match self {
            Billable::Requests | Billable::GbOut | Billable::Messages => None,
            Billable::ConnectionMinutes => Some(
                "A short poll counts for as long as the CPU needs to answer it, a long poll or a \
                 stream for as long as it waits.",
            ),
            Billable::CoreHours => Some(
                "Billed are the cores to plan with, all 730 hours of a month; the price of one is \
                 that of a machine divided by its cores, so one core can be a part of a machine. \
                 Only CPU is counted: memory, or the connections that a machine can hold, may \
                 require more machines.",
            ),
        }
    }
}

/// The price of one [`Billable`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// In the list's currency.
    pub price: f64,
    /// The page that the number was read on.
    pub source: String,
    /// The day of the source, or the day on which it was read if it shows none.
    pub date: Date,
    /// Messages only: a message counts once for each started amount of so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_bytes: Option<f64>,
    /// How the number follows from the source, where it is not written there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The prices of one kind of platform.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PriceList {
    pub title: String,
    /// The day on which the list was put together.
    pub date: Date,
    pub currency: String,
    /// What the list covers and what it omits.
    pub about: String,
    /// The transports that the platform cannot carry, and why.
    pub not_offered: BTreeMap<Transport, String>,
    pub prices: BTreeMap<Billable, Price>,
}

/// A price list as in its file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    title: Option<String>,
    date: Option<String>,
    currency: Option<String>,
    #[serde(default)]
    about: String,
    #[serde(default)]
    not_offered: BTreeMap<Transport, String>,
    #[serde(default)]
    prices: BTreeMap<Billable, WrittenPrice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPrice {
    price: Option<f64>,
    source: Option<String>,
    date: Option<String>,
    counted_bytes: Option<f64>,
    note: Option<String>,
}

impl PriceList {
    /// Those that come with the program: a virtual machine, a serverless platform, a managed
    /// WebSocket gateway.
    pub fn built_in() -> Vec<PriceList> {
        BUILT_IN.map(|text| PriceList::parse(text).expect("a test reads these files")).to_vec()
    }

    /// Reads a list.
    ///
    /// # Errors
    /// Names the key that is missing or out of range.
    pub fn parse(text: &str) -> Result<PriceList, String> {
        let written: Written = toml::from_str(text).map_err(|error| error.to_string())?;
        let title = required(written.title, "title", "name the kind of platform")?;
        let date = required(written.date, "date", "give the day on which the numbers were read")?;
        let currency = required(written.currency, "currency", "for example \"USD\"")?;
        if written.prices.is_empty() {
            return Err(format!("no prices: add at least one of {}", keys()));
        }
        let price =
            |(billable, price): (Billable, WrittenPrice)| Ok((billable, price.check(billable)?));
        let reason = |(transport, reason): (Transport, String)| {
            let key = format!("not-offered.{}", transport.name());
            Ok((transport, required(Some(reason), &key, "say why, in a few words")?))
        };
        Ok(PriceList {
            title,
            date: parse_date(&date, "date")?,
            currency,
            about: written.about,
            not_offered: written
                .not_offered
                .into_iter()
                .map(reason)
                .collect::<Result<_, String>>()?,
            prices: written.prices.into_iter().map(price).collect::<Result<_, String>>()?,
        })
    }
}

impl WrittenPrice {
    fn check(self, billable: Billable) -> Result<Price, String> {
        let key = |name: &str| format!("prices.{}.{name}", key(billable));
        let price = self.price.ok_or_else(|| format!("{} is missing", key("price")))?;
        if !(price.is_finite() && price >= 0.0) {
            return Err(format!("{} = {price}: must be a number of at least 0", key("price")));
        }
        let source = required(self.source, &key("source"), "give the page that states the number")?;
        if !["https://", "http://"].iter().any(|scheme| source.starts_with(scheme)) {
            return Err(format!("{} = \"{source}\": must be a URL (https://...)", key("source")));
        }
        let date = required(self.date, &key("date"), "give the day of the source")?;
        let bytes = self.counted_bytes;
        let is_valid = |bytes: f64| billable == Billable::Messages && bytes >= 1.0;
        if bytes.is_some_and(|bytes| !is_valid(bytes)) {
            let given = bytes.unwrap_or_default();
            let rule = "applies to messages only, and must be at least 1";
            return Err(format!("{} = {given}: {rule}", key("counted_bytes")));
        }
        let date = parse_date(&date, &key("date"))?;
        Ok(Price { price, source, date, counted_bytes: bytes, note: self.note })
    }
}

fn required(text: Option<String>, key: &str, remedy: &str) -> Result<String, String> {
    text.filter(|text| !text.trim().is_empty()).ok_or_else(|| format!("{key} is missing: {remedy}"))
}

fn parse_date(text: &str, key: &str) -> Result<Date, String> {
    text.parse().map_err(|_| format!("{key} = \"{text}\": must be a date such as \"2026-11-25\""))
}

/// The key of a billed quantity in a file.
fn key(billable: Billable) -> &'static str {
    match billable {
        Billable::Requests => "requests",
        Billable::GbOut => "gb-out",
        Billable::ConnectionMinutes => "connection-minutes",
        Billable::CoreHours => "core-hours",
        Billable::Messages => "messages",
    }
}

fn keys() -> String {
    Billable::ALL.map(|billable| format!("[prices.{}]", key(billable))).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"
        title = "T"
        date = "2026-11-25"
        currency = "USD"
        [prices.requests]
        price = 2.0
        source = "https://example.org/"
        date = "2026-11-24"
    "#;

    #[test]
    fn built_in_lists_have_a_source_and_a_date_for_each_number() {
        let lists = PriceList::built_in();
        assert_eq!(lists.len(), 3);
        for list in &lists {
            assert!(list.prices.values().all(|price| price.date <= list.date), "{list:?}");
        }
        let billables: Vec<Billable> =
            lists.iter().flat_map(|list| list.prices.keys().copied()).collect();
        assert!(Billable::ALL.iter().all(|billable| billables.contains(billable)), "{billables:?}");
    }

    #[test]
    fn bad_lists_are_refused_with_key_and_remedy() {
        assert!(PriceList::parse(LIST).is_ok());
        let refused = |from: &str, to: &str| {
            let text = LIST.replacen(from, to, 1);
            assert_ne!(text, LIST);
            PriceList::parse(&text).expect_err(to)
        };
        for (from, to, wanted) in [
            ("date = \"2026-11-25\"", "", "date is missing: give the day"),
            ("2026-11-25", "last week", "date = \"last week\": must be a date such as"),
            ("title = \"T\"", "", "title is missing"),
            ("currency = \"USD\"", "currency = \" \"", "currency is missing"),
            ("price = 2.0", "price = -2.0", "prices.requests.price = -2: must be a number of at"),
            ("price = 2.0", "price = nan", "prices.requests.price = NaN: must be"),
            ("price = 2.0", "price = inf", "prices.requests.price = inf: must be"),
            ("price = 2.0", "", "prices.requests.price is missing"),
            ("price = 2.0", "price = \"two\"", "invalid type"),
            ("source = \"https://example.org/\"", "", "prices.requests.source is missing"),
            ("https://example.org/", "a friend", "must be a URL"),
            ("date = \"2026-11-24\"", "", "prices.requests.date is missing"),
            ("price = 2.0", "price = 2.0\ncounted_bytes = 5", "applies to messages only"),
            ("[prices.requests]", "[prices.reqests]", "unknown variant"),
            ("title", "tilte", "unknown field"),
            (
                "[prices.requests]",
                "[not-offered]\nsse = ' '\n[prices.requests]",
                "not-offered.sse is",
            ),
            ("[prices.requests]", "[not-offered]\nftp = 'x'\n[prices.requests]", "ftp"),
        ] {
            let error = refused(from, to);
            assert!(error.contains(wanted), "{to}: {error}");
        }
        let none = PriceList::parse(LIST.split("[prices").next().expect("a head"));
        assert!(none.expect_err("no prices").contains("[prices.gb-out]"));
    }
}
