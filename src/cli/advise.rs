//! `advise`: recommends a transport for one workload and explains the recommendation.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use clap::ArgAction;
use serde_json::json;

use super::output::{parse_file, print, usage};
use crate::advise::prices::PriceList;
use crate::advise::{Cost, Costs, Need, Parameter, advise};
use crate::report::TableStyle;
use crate::report::{advice, bills, terminal};
use crate::scenario::Headers;
use crate::units::{as_given, parse_duration, parse_rate, show_duration, whole_number};

/// The values of flags that are not given.
const DEFAULT: Need = Need::DEFAULT;
static RTT: LazyLock<String> =
    LazyLock::new(|| show_duration(Duration::from_secs_f64(DEFAULT.rtt_s)));

/// Recommend the cheapest transport that is fast enough
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  poll-vs-push advise --subscribers 10000 --rate 0.5 --staleness 2s --rtt 80ms
  poll-vs-push advise --subscribers 50000 --topics 50000 --rate 2/h --staleness 60s
  poll-vs-push advise --subscribers 2000 --topics 50 --rate 1/20s --staleness 5s
  poll-vs-push advise --subscribers 10000000 --topics 1000 --rate 0.1 --staleness 1s --cost bytes
  poll-vs-push advise --subscribers 200 --rate 20 --staleness 100ms --two-way
  poll-vs-push advise --subscribers 300 --rate 5 --staleness 1s --browser=false --tls=false
  poll-vs-push advise --subscribers 10000 --rate 0.5 --staleness 2s --costs reports/latest/run.json
  poll-vs-push advise --subscribers 10000 --rate 0.5 --staleness 2s \
      --prices load-tests/prices/virtual-machine.toml

Without other flags the subscribers are browsers that connect over TLS, as on the page /model, which
opens with the same defaults. The CPU and memory cost of one request, message and subscriber comes from a reference that is built
in, or from the run given with --costs. The output names the machine.")]
pub struct Args {
    /// Number of subscribers
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>,
        required_unless_present = "print_costs")]
    subscribers: Option<u32>,
    /// Messages that each subscriber receives: 0.5 per second, or such as 5/min, 2/h, 10/d or 1/20s
    #[arg(long, value_name = "RATE", value_parser = parse_rate,
        required_unless_present = "print_costs")]
    rate: Option<f64>,
    /// Oldest that a message may be when a subscriber receives it: the maximum from publication to
    /// receipt, not the mean. 100ms is felt as instant; a dashboard may take 2s, a notification 30s
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = parse_duration,
        required_unless_present = "print_costs"
    )]
    staleness: Option<Duration>,
    /// Round trip between subscriber and server
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = &**RTT)]
    rtt: Duration,
    /// Number of topics over which the subscribers are distributed: 1 if all receive the same
    /// messages, as many as subscribers if each receives its own
    #[arg(long, value_name = "N", default_value_t = DEFAULT.topics, value_parser = whole_number::<u32>)]
    topics: u32,
    /// Bytes of a message's text
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT.message_bytes, value_parser = whole_number::<u32>)]
    message_bytes: u32,
    /// Cost to minimise; money requires --prices
    #[arg(long, value_enum, default_value_t = DEFAULT.cost)]
    cost: Cost,
    /// Headers of each request [default: browser, or minimal with --browser=false]
    #[arg(long, value_enum)]
    headers: Option<Headers>,
    /// Count the bytes of TLS 1.3 records (the CPU cost of TLS is not included)
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_value_t = DEFAULT.is_tls, default_missing_value = "true",
        action = ArgAction::Set, hide_possible_values = true)]
    tls: bool,
    /// Consider only transports that have a ready-made client for browsers
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_value_t = DEFAULT.browser_only, default_missing_value = "true",
        action = ArgAction::Set, hide_possible_values = true)]
    browser: bool,
    /// Consider only transports that carry messages in both directions on one connection, for
    /// subscribers that send about as often as they receive
    #[arg(long)]
    two_way: bool,
    /// Take costs from this run instead of the built-in reference
    #[arg(long, value_name = "RUN.JSON")]
    costs: Option<PathBuf>,
    /// Pause of short polling after each response [default: the longest that --staleness allows,
    /// which is --staleness less one and a half round trips]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    interval: Option<Duration>,
    /// Add the monthly bill of each transport under this price list
    #[arg(long, value_name = "FILE.TOML")]
    prices: Option<PathBuf>,
    /// Print the costs as TOML, and no advice
    #[arg(long, conflicts_with_all = ["subscribers", "rate", "staleness", "rtt", "topics",
        "message_bytes", "cost", "headers", "tls", "browser", "two_way", "interval", "prices",
        "json"])]
    print_costs: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the advice.
///
/// # Errors
/// If a value is out of range, or the run cannot be read.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let prices = args.prices.as_deref().map(price_list).transpose()?;
    if args.cost == Cost::Money && prices.is_none() {
        return Err(usage("--cost money: requires a price list, given with --prices".to_owned()));
    }
    let costs = Costs { prices: prices.clone(), ..costs(args.costs.as_deref())? };
    let text = if args.print_costs {
        costs.to_toml()
    } else {
        let advice = advise(&need(&args)?, &costs);
        match args.json {
            true => {
                let mut json = json!({ "advice": advice, "costs": costs });
                if let Some(list) = &prices {
                    let bill = |estimate| list.bill(estimate, &advice.need);
                    json["prices"] = json!(list);
                    json["bills"] = json!(advice.estimates.iter().map(bill).collect::<Vec<_>>());
                }
                serde_json::to_string_pretty(&json)?
            }
            false => {
                let mut sections = advice::sections(&advice, &costs);
                sections.extend(prices.map(|list| bills::section(&list, &advice)));
                terminal::render(&sections, TableStyle::of_stdout())
            }
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn costs(given: Option<&Path>) -> anyhow::Result<Costs> {
    match given {
        None => Ok(Costs::reference()),
        Some(path) => Ok(Costs::from_run(&super::read_run("--costs", path)?)),
    }
}

fn price_list(path: &Path) -> anyhow::Result<PriceList> {
    parse_file("--prices", path, PriceList::parse)
}

fn need(args: &Args) -> anyhow::Result<Need> {
    let Args { topics, rtt, message_bytes, .. } = args;
    // Present, or only the costs are printed.
    let subscribers = args.subscribers.unwrap_or_default();
    let rate = args.rate.unwrap_or_default();
    let staleness = args.staleness.unwrap_or_default();
    let checks = [
        (subscribers >= 1, "subscribers", subscribers.to_string(), "must be at least 1"),
        (
            (1..=subscribers).contains(topics),
            "topics",
            topics.to_string(),
            "must be at least 1 and at most the number of subscribers",
        ),
        (
            Parameter::Rate.bounds().contains(&rate),
            "rate",
            as_given(rate),
            "must be between 0.000001 and 10,000 (messages per second)",
        ),
        (
            Parameter::Staleness.bounds().contains(&staleness.as_secs_f64()),
            "staleness",
            show_duration(staleness),
            "must be between 1us and 24h",
        ),
        (
            Parameter::Rtt.bounds().contains(&rtt.as_secs_f64()),
            "rtt",
            show_duration(*rtt),
            "must be between 0s and 10s",
        ),
        (
            args.interval.is_none_or(|interval| !interval.is_zero() && interval <= DAY),
            "interval",
            show_duration(args.interval.unwrap_or_default()),
            "must be above 0s and at most 24h",
        ),
        (
            Parameter::MessageBytes.bounds().contains(&f64::from(*message_bytes)),
            "message-bytes",
            message_bytes.to_string(),
            "must be between 0 and 1,000,000",
        ),
    ];
    for (holds, flag, value, rule) in checks {
        if !holds {
            return Err(usage(format!("--{flag} {value}: {rule}")));
        }
    }
    let default_headers = if args.browser { DEFAULT.headers } else { Headers::Minimal };
    Ok(Need {
        subscribers,
        topics: args.topics,
        rate,
        staleness_s: staleness.as_secs_f64(),
        rtt_s: args.rtt.as_secs_f64(),
        poll_interval_s: args.interval.map(|interval| interval.as_secs_f64()),
        message_bytes: args.message_bytes,
        headers: args.headers.unwrap_or(default_headers),
        is_tls: args.tls,
        browser_only: args.browser,
        two_way: args.two_way,
        cost: args.cost,
    })
}

const DAY: Duration = Duration::from_secs(86_400);
