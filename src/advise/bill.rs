//! The monthly bill of a transport: the cost of its traffic and machines under a price list.

use serde::Serialize;

use super::prices::{Billable, Price, PriceList};
use super::{Estimate, Need};
use crate::variant::Transport;

/// A month: 365 days of 24 hours divided by 12.
pub const HOURS_PER_MONTH: f64 = 730.0;

/// The monthly bill of one transport.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bill {
    pub transport: Transport,
    pub items: Vec<Item>,
    /// In the list's currency.
    pub total: f64,
    /// The largest item; absent if the total is zero.
    pub dominant: Option<Billable>,
}

impl Bill {
    /// The share of the total that the dominant item has, 0 to 1.
    pub fn dominant_share(&self) -> f64 {
        let most = self.items.iter().map(|item| item.amount).fold(0.0, f64::max);
        if self.total > 0.0 { most / self.total } else { 0.0 }
    }
}

/// One line of a bill.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Item {
    pub billable: Billable,
    /// The quantity in its base unit: requests, bytes, minutes, hours, messages.
    pub quantity: f64,
    pub amount: f64,
}

impl PriceList {
    /// What a month of a transport costs; absent for a transport that the platform cannot carry.
    pub fn bill(&self, estimate: &Estimate, need: &Need) -> Option<Bill> {
        if self.not_offered.contains_key(&estimate.transport) {
            return None;
        }
        let item = |(billable, price): (&Billable, &Price)| {
            let quantity = billable.monthly(estimate, need, price.counted_bytes);
            Item { billable: *billable, quantity, amount: quantity / billable.per() * price.price }
        };
        let items: Vec<Item> = self.prices.iter().map(item).collect();
        let total = items.iter().map(|item| item.amount).sum();
        let most = items.iter().max_by(|a, b| a.amount.total_cmp(&b.amount)).copied();
        let dominant = most.filter(|item| item.amount > 0.0).map(|item| item.billable);
        Some(Bill { transport: estimate.transport, items, total, dominant })
    }
}

impl Billable {
    /// The quantity to which the price applies.
    fn per(self) -> f64 {
        match self {
            Billable::Requests | Billable::ConnectionMinutes | Billable::Messages => 1e6,
            Billable::GbOut => 1e9,
            Billable::CoreHours => 1.0,
        }
    }

    /// The quantity that one transport uses in a month.
    fn monthly(self, estimate: &Estimate, need: &Need, counted_bytes: Option<f64>) -> f64 {
        const SECONDS: f64 = HOURS_PER_MONTH * 3_600.0;
        match self {
            Billable::Requests => estimate.requests_s * SECONDS,
            Billable::GbOut => estimate.bytes_down_s * SECONDS,
            Billable::ConnectionMinutes => estimate.open_requests * SECONDS / 60.0,
            Billable::CoreHours => estimate.cores * HOURS_PER_MONTH,
            Billable::Messages => {
                let of_each = counted_bytes
                    .map_or(1.0, |bytes| (estimate.message_bytes / bytes).ceil().max(1.0));
                f64::from(need.subscribers) * need.rate * of_each * SECONDS
            }
        }
    }
}
