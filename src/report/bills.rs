//! The monthly bills of a workload under a price list, as a section of a document.

use crate::advise::prices::{Meter, Price, PriceList};
use crate::advise::{Advice, Estimate};
use crate::units::{Unit, money, sentence_case};

use super::document::{Block, Field, Row, Section, Table};

/// The bill of each transport, what dominates it, and where the prices come from.
pub fn section(list: &PriceList, advice: &Advice) -> Section {
    let items = list.prices.keys().map(|meter| meter.label());
    let head = ["transport", "per month", "mostly"].into_iter().chain(items).map(Field::new);
    let rows = advice.estimates.iter().map(|estimate| row(list, estimate, advice));
    let table = Table { head: head.collect(), names: 1, is_numeric: true, rows: rows.collect() };
    let sources = list.prices.iter().map(|(meter, price)| source(*meter, price, list));
    Section::new(
        "bills",
        format!("Monthly bill: {}, prices of {}, in {}", list.title, list.date, list.currency),
        vec![Block::Table(table), Block::note(list.about.trim()), Block::list(sources)],
    )
}

fn row(list: &PriceList, estimate: &Estimate, advice: &Advice) -> Row {
    let name = Field::new(estimate.transport.label());
    let texts = match list.bill(estimate, &advice.need) {
        None => {
            let none = list.prices.keys().map(|_| "–".to_owned());
            ["not offered".to_owned(), "–".to_owned()].into_iter().chain(none).collect()
        }
        Some(bill) => {
            let mostly = bill.dominant.map_or("–".to_owned(), |meter| {
                format!("{}, {}", meter.label(), Unit::Share.show(bill.dominant_share()))
            });
            let items = bill.items.iter().map(|item| money(item.amount));
            [money(bill.total), mostly].into_iter().chain(items).collect::<Vec<String>>()
        }
    };
    Row::Fields(std::iter::once(name).chain(texts.into_iter().map(Field::new)).collect())
}

fn source(meter: Meter, price: &Price, list: &PriceList) -> String {
    let note = price.note.as_ref().map(|note| format!(" {}", note.trim())).unwrap_or_default();
    format!(
        "{}: {} {} {} ({}, {}).{note}",
        sentence_case(meter.label()),
        price.price,
        list.currency,
        meter.unit(),
        price.source,
        price.date,
    )
}
