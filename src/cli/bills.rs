//! `advise --prices`: the monthly bill of each transport under a price list, as text.

use std::path::Path;

use anyhow::Context as _;

use super::output::usage;
use crate::advise::prices::{Bill, Meter, Price, PriceList};
use crate::advise::{Advice, Estimate};
use crate::table::{self, Field, TableStyle};
use crate::units::{Unit, money, sentence_case};

/// Reads a price list.
///
/// # Errors
/// If the file cannot be read, or says something wrong: with the file, the key and the remedy.
pub fn read(path: &Path) -> anyhow::Result<PriceList> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--prices {shown}: cannot read the price list"))?;
    PriceList::parse(&text).map_err(|error| usage(format!("--prices {shown}: {error}")))
}

/// The bills as JSON has them: `null` for a transport that the platform cannot carry.
pub fn of<'a>(list: &'a PriceList, advice: &'a Advice) -> Vec<Option<Bill>> {
    advice.ways.iter().map(|way| list.bill(way, &advice.need)).collect()
}

/// A table of the bills, and where their prices come from.
pub fn text(list: &PriceList, advice: &Advice) -> String {
    let meters: Vec<Meter> = list.prices.keys().copied().collect();
    let items = meters.iter().map(|meter| meter.label());
    let header: Vec<&str> = ["transport", "per month", "mostly"].into_iter().chain(items).collect();
    let rows: Vec<Vec<Field>> =
        advice.ways.iter().map(|way| row(list, way, advice, meters.len())).collect();
    let sources = list.prices.iter().map(|(meter, price)| source(*meter, price, list));
    format!(
        "Monthly bill: {}, prices of {}, in {}\n{}\n{}\n{}",
        list.title,
        list.date,
        list.currency,
        table::render(&header, 1, &rows, TableStyle::of_stdout()),
        list.about.trim(),
        sources.collect::<Vec<_>>().join("\n"),
    )
}

fn row(list: &PriceList, way: &Estimate, advice: &Advice, meters: usize) -> Vec<Field> {
    let name = way.transport.label().to_owned();
    let Some(bill) = list.bill(way, &advice.need) else {
        let none = std::iter::repeat_n("–".to_owned(), meters + 1);
        return [name, "not offered".to_owned()].into_iter().chain(none).map(plain).collect();
    };
    let mostly = bill.dominant.map_or("–".to_owned(), |meter| {
        format!("{}, {}", meter.label(), Unit::Share.show(bill.dominant_share()))
    });
    let items = bill.items.iter().map(|item| money(item.amount));
    [name, money(bill.total), mostly].into_iter().chain(items).map(plain).collect()
}

fn plain(text: String) -> Field {
    (text, None)
}

fn source(meter: Meter, price: &Price, list: &PriceList) -> String {
    let note = price.note.as_ref().map(|note| format!(" {}", note.trim())).unwrap_or_default();
    format!(
        "- {}: {} {} {} ({}, {}).{note}",
        sentence_case(meter.label()),
        price.price,
        list.currency,
        meter.unit(),
        price.source,
        price.date,
    )
}
