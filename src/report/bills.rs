//! The monthly bills of a workload: in full under one price list, or the totals under all built-in
//! lists.

use crate::advise::bill::Bill;
use crate::advise::prices::{Billable, Price, PriceList};
use crate::advise::{Advice, Choice, Cost, Estimate, Need};
use crate::units::{Unit, money, sentence_case};
use crate::variant::Transport;

use super::document::{Block, Field, Row, Section, Table, Tone};
use super::prose;

/// The bill of each transport, what dominates it, and where the prices come from.
pub fn section(list: &PriceList, advice: &Advice) -> Section {
    let items = list.prices.keys().map(|billable| billable.label());
    let head = ["transport", "per month", "mostly"].into_iter().chain(items).map(Field::new);
    let rows = advice.estimates.iter().map(|estimate| row(list, estimate, advice));
    let table = Table { head: head.collect(), names: 1, is_numeric: true, rows: rows.collect() };
    let recommended = advice.choice.as_ref().map(|choice| choice.transport);
    let lowest = lowest(list, &advice.need, &advice.estimates, recommended);
    let not_offered = not_offered(list, &advice.estimates);
    let not_offered = not_offered.map(|texts| Block::text(format!("Not offered: {texts}.")));
    let rest = [Block::note(list.about.trim()), Block::list(sources(list))];
    Section::new(
        "bills",
        format!("Monthly bill: {}, prices of {}, in {}", list.title, list.date, list.currency),
        [Block::text(sentence_case(&lowest)), Block::Table(table)]
            .into_iter()
            .chain(not_offered)
            .chain(rest)
            .collect(),
    )
}

/// `WebSocket (a function cannot hold a WebSocket); SSE (...)`
fn not_offered(list: &PriceList, estimates: &[Estimate]) -> Option<String> {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for estimate in estimates {
        let Some(reason) = list.not_offered.get(&estimate.transport) else { continue };
        let name = estimate.transport.label().to_owned();
        match groups.iter_mut().find(|(known, _)| known == reason) {
            Some((_, names)) => names.push(name),
            None => groups.push((reason, vec![name])),
        }
    }
    let groups =
        groups.into_iter().map(|(reason, names)| format!("{} ({reason})", prose::list(names)));
    let groups = groups.collect::<Vec<_>>().join("; ");
    (!groups.is_empty()).then_some(groups)
}

/// The transports of `estimates` that are fast enough, with their bills.
fn billed<'a>(
    list: &PriceList,
    need: &Need,
    estimates: &'a [Estimate],
) -> Vec<(&'a Estimate, Bill)> {
    let fast_enough = estimates.iter().filter(|estimate| estimate.is_fast_enough());
    fast_enough.filter_map(|estimate| Some((estimate, list.bill(estimate, need)?))).collect()
}

/// The lowest bill of the transports that are fast enough, and how the recommended one compares.
fn lowest(
    list: &PriceList,
    need: &Need,
    estimates: &[Estimate],
    recommended: Option<Transport>,
) -> String {
    let billed = billed(list, need, estimates);
    let Some(in_short) = lowest_in_short(list, &billed, recommended) else {
        return "no transport that is fast enough is offered.".to_owned();
    };
    let by_bill = by_bill(&billed).filter(|transport| Some(*transport) != recommended);
    let by_bill = by_bill.map_or(String::new(), |other| {
        format!(
            " With the bill as the cost to minimise (`--cost money`), the recommendation is {}.",
            other.label()
        )
    });
    format!("lowest monthly bill of the transports that are fast enough: {in_short}.{by_bill}")
}

/// `WebSocket, 83.54 USD; SSE, which is recommended, 89.24 USD`. `None` if no transport
/// has a bill.
fn lowest_in_short(
    list: &PriceList,
    billed: &[(&Estimate, Bill)],
    recommended: Option<Transport>,
) -> Option<String> {
    let cheapest = lowest_of(billed)?;
    let amount = |bill: &Bill| format!("{} {}", money(bill.total), list.currency);
    let other = recommended.filter(|transport| *transport != cheapest.transport);
    let own = other.map_or(String::new(), |transport| {
        let own = match billed.iter().find(|(own, _)| own.transport == transport) {
            Some((_, bill)) => amount(bill),
            None => "is not offered".to_owned(),
        };
        format!("; {}, which is recommended, {own}", transport.label())
    });
    Some(format!("{}, {}{own}", cheapest.transport.label(), amount(cheapest)))
}

fn lowest_of<'a>(billed: &'a [(&Estimate, Bill)]) -> Option<&'a Bill> {
    billed.iter().map(|(_, bill)| bill).min_by(|a, b| a.total.total_cmp(&b.total))
}

/// The recommendation if the bill is the cost to minimise.
fn by_bill(billed: &[(&Estimate, Bill)]) -> Option<Transport> {
    let candidates = billed.iter().map(|(estimate, bill)| estimate.candidate(bill.total));
    Some(Choice::among(Cost::Money, candidates.collect())?.transport)
}

/// `lowest_in_short` on a virtual machine, which carries every transport.
pub fn on_a_machine(
    need: &Need,
    estimates: &[Estimate],
    recommended: Option<Transport>,
) -> Option<String> {
    let lists = PriceList::built_in();
    let machine = lists.iter().find(|list| list.not_offered.is_empty())?;
    let lowest = lowest_in_short(machine, &billed(machine, need, estimates), recommended)?;
    Some(format!("on a {}: {lowest}", machine.title.to_lowercase()))
}

/// The bill of each transport under each built-in list, with what dominates it, and the prices.
pub fn totals(need: &Need, estimates: &[Estimate]) -> Vec<Block> {
    let lists = PriceList::built_in();
    let titles = lists.iter().map(|list| format!("{}, {}", list.title, list.currency));
    let head = std::iter::once("transport".to_owned()).chain(titles).map(Field::new);
    let lowest: Vec<Option<Transport>> = lists
        .iter()
        .map(|list| Some(lowest_of(&billed(list, need, estimates))?.transport))
        .collect();
    let row = |estimate: &Estimate| {
        let bills = lists.iter().zip(&lowest).map(|(list, lowest)| {
            let Some(bill) = list.bill(estimate, need) else { return Field::new("not offered") };
            let text = match bill.dominant {
                Some(billable) => format!("{} ({})", money(bill.total), billable.label()),
                None => money(bill.total),
            };
            let is_lowest = *lowest == Some(estimate.transport);
            Field::toned(text, if is_lowest { Tone::Strong } else { Tone::Normal })
        });
        let bills = bills.collect::<Vec<_>>();
        Row::Fields(std::iter::once(Field::variant(estimate.transport)).chain(bills).collect())
    };
    let rows = estimates.iter().map(row).collect();
    let table = Table { head: head.collect(), names: 1, is_numeric: true, rows };
    let not_offered = lists.iter().filter_map(|list| {
        Some(format!("{}, not offered: {}.", list.title, not_offered(list, estimates)?))
    });
    let not_offered = not_offered.collect::<Vec<_>>().join(" ");
    let about = format!(
        "Bold: the lowest of a column, of those that are fast enough. In parentheses: the largest item. \
         {not_offered} Each list includes and omits other things, \
         so compare transports within a column. For your own prices: poll-vs-push advise --prices \
         FILE."
    );
    let prices = lists.iter().flat_map(|list| {
        let title = format!("{}, {}. {}", list.title, list.date, list.about.trim());
        [Block::text(title), Block::list(sources(list))]
    });
    vec![
        Block::Table(table),
        Block::note(about),
        Block::Details("Prices, each with its date and source".to_owned(), prices.collect()),
    ]
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

/// The prices of a list, each with its source and date.
fn sources(list: &PriceList) -> impl Iterator<Item = String> {
    list.prices.iter().map(|(billable, price)| source(*billable, price, list))
}

fn source(billable: Billable, price: &Price, list: &PriceList) -> String {
    let texts = [price.note.as_deref(), billable.explanation()].into_iter().flatten();
    let notes: String = texts.map(|text| format!(" {}", text.trim())).collect();
    format!(
        "{}: {} {} {} ({}, {}).{notes}",
        sentence_case(billable.label()),
        price.price,
        list.currency,
        billable.unit(),
        price.source,
        price.date,
    )
}
