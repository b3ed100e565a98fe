//! The monthly bills of a workload: in full under one price list, or the totals under all built-in
//! lists.

use crate::advise::bill::Bill;
use crate::advise::prices::{Billable, Price, PriceList};
use crate::advise::{Advice, Choice, Cost, Estimate, Need};
use crate::units::{Unit, money, sentence_case};
use crate::variant::Transport;

use super::document::{Block, Field, Row, Section, Table};

/// The bill of each transport, what dominates it, and where the prices come from.
pub fn section(list: &PriceList, advice: &Advice) -> Section {
    let items = list.prices.keys().map(|billable| billable.label());
    let head = ["transport", "per month", "mostly"].into_iter().chain(items).map(Field::new);
    let rows = advice.estimates.iter().map(|estimate| row(list, estimate, advice));
    let table = Table { head: head.collect(), names: 1, is_numeric: true, rows: rows.collect() };
    let sources = list.prices.iter().map(|(billable, price)| source(*billable, price, list));
    Section::new(
        "bills",
        format!("Monthly bill: {}, prices of {}, in {}", list.title, list.date, list.currency),
        vec![
            Block::text(lowest(list, advice)),
            Block::Table(table),
            Block::note(list.about.trim()),
            Block::list(sources),
        ],
    )
}

/// The lowest bill of the transports that are fast enough, and how the recommended one compares.
fn lowest(list: &PriceList, advice: &Advice) -> String {
    let billed = advice
        .fast_enough()
        .filter_map(|estimate| Some((estimate, list.bill(estimate, &advice.need)?)));
    let billed: Vec<(&Estimate, Bill)> = billed.collect();
    let bills = || billed.iter().map(|(_, bill)| bill);
    let Some(cheapest) = bills().min_by(|a, b| a.total.total_cmp(&b.total)) else {
        return "This platform carries no transport that is fast enough.".to_owned();
    };
    let amount = |bill: &Bill| format!("{} {}", money(bill.total), list.currency);
    let first = format!(
        "Lowest bill of the transports that are fast enough: {}, {}.",
        cheapest.transport.label(),
        amount(cheapest)
    );
    let recommended = advice.choice.as_ref().map(|choice| choice.transport);
    let own = |bill: &&Bill| Some(bill.transport) == recommended;
    let comparison = match (recommended, bills().find(own)) {
        (Some(transport), _) if transport == cheapest.transport => first,
        (Some(transport), Some(own)) => {
            format!(
                "{first} The recommended transport, {}, costs {}.",
                transport.label(),
                amount(own)
            )
        }
        (Some(transport), None) => format!(
            "{first} The platform does not carry the recommended transport, {}.",
            transport.label()
        ),
        (None, _) => first,
    };
    match by_bill(&billed).filter(|transport| Some(*transport) != recommended) {
        Some(other) => format!(
            "{comparison} With the bill as the cost to minimise (`--cost money`), the recommendation is {}.",
            other.label()
        ),
        None => comparison,
    }
}

/// The recommendation if the bill is the cost to minimise.
fn by_bill(billed: &[(&Estimate, Bill)]) -> Option<Transport> {
    let candidates = billed.iter().map(|(estimate, bill)| estimate.candidate(bill.total));
    Some(Choice::among(Cost::Money, candidates.collect())?.transport)
}

/// The bill of each transport under each built-in list, with what dominates it.
pub fn totals(need: &Need, estimates: &[Estimate]) -> Vec<Block> {
    let lists = PriceList::built_in();
    let titles = lists.iter().map(|list| format!("{}, {}", list.title, list.currency));
    let head = std::iter::once("transport".to_owned()).chain(titles).map(Field::new);
    let row = |estimate: &Estimate| {
        let bills = lists.iter().map(|list| match list.bill(estimate, need) {
            None => Field::new("not offered"),
            Some(bill) => Field::new(match bill.dominant {
                Some(billable) => format!("{} ({})", money(bill.total), billable.label()),
                None => money(bill.total),
            }),
        });
        let bills = bills.collect::<Vec<_>>();
        Row::Fields(std::iter::once(Field::variant(estimate.transport)).chain(bills).collect())
    };
    let rows = estimates.iter().map(row).collect();
    let dates = lists.iter().map(|list| list.date).max();
    let dates = dates.map_or(String::new(), |date| format!("Prices of {date}. "));
    let about = format!(
        "In parentheses: the largest item. {dates}Each list includes and omits other things, so \
         compare transports within a column. Items, sources and your own prices: poll-vs-push advise \
         --prices FILE.",
    );
    let table = Table { head: head.collect(), names: 1, is_numeric: true, rows };
    vec![Block::Table(table), Block::note(about)]
}

fn row(list: &PriceList, estimate: &Estimate, advice: &Advice) -> Row {
    let name = Field::new(estimate.transport.label());
    let texts = match list.bill(estimate, &advice.need) {
        None => {
            let none = list.prices.keys().map(|_| "–".to_owned());
            ["not offered".to_owned(), "–".to_owned()].into_iter().chain(none).collect()
        }
        Some(bill) => {
            let mostly = bill.dominant.map_or("–".to_owned(), |billable| {
                format!("{}, {}", billable.label(), Unit::Share.show(bill.dominant_share()))
            });
            let items = bill.items.iter().map(|item| money(item.amount));
            [money(bill.total), mostly].into_iter().chain(items).collect::<Vec<String>>()
        }
    };
    Row::Fields(std::iter::once(name).chain(texts.into_iter().map(Field::new)).collect())
}

fn source(billable: Billable, price: &Price, list: &PriceList) -> String {
    let note = price.note.as_ref().map(|note| format!(" {}", note.trim())).unwrap_or_default();
    format!(
        "{}: {} {} {} ({}, {}).{note}",
        sentence_case(billable.label()),
        price.price,
        list.currency,
        billable.unit(),
        price.source,
        price.date,
    )
}
