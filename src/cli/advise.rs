//! `advise`: which way to take for one workload, in words and numbers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::bills;
use super::output::{print, usage};
use crate::advise::prices::PriceList;
use crate::advise::{
    Advice, BUSY_SHARE_MAX, Choice, Cost, Costs, Estimate, Margin, Need, Origin, Parameter,
    Standing, TOO_CLOSE, advise, simplicity,
};
use crate::scenario::Headers;
use crate::table::{self, Field, TableStyle};
use crate::units::{Unit, parse_duration, sentence_case, show_duration, significant, thousands};
use crate::variant::{Transport, Waiting};

/// Recommend the cheapest transport that is fast enough
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  poll-vs-push advise --subscribers 10000 --rate 0.5 --staleness 2s --rtt 80ms
  poll-vs-push advise --subscribers 200 --rate 0.0003 --staleness 60s
  poll-vs-push advise --subscribers 10000000 --topics 1000 --rate 0.1 --staleness 1s --cost bytes

  poll-vs-push advise --subscribers 10000 --rate 0.5 --staleness 2s --browser --tls
  poll-vs-push advise --subscribers 10000 --rate 0.5 --staleness 2s --costs reports/latest/run.json
  poll-vs-push advise --subscribers 10000 --rate 0.5 --staleness 2s \
      --prices load-tests/prices/virtual-machine.toml

The CPU and memory cost of one request, message and subscriber comes from a reference that is built
in, or from the run given with --costs. The output names the machine.")]
pub struct Args {
    /// Number of subscribers
    #[arg(long, value_name = "N")]
    subscribers: u32,
    /// Messages per second that each subscriber receives
    #[arg(long, value_name = "PER_SECOND")]
    rate: f64,
    /// Largest acceptable age of a message when it is received
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    staleness: Duration,
    /// Round trip between subscriber and server
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "40ms")]
    rtt: Duration,
    /// Number of topics that the subscribers are spread over
    #[arg(long, value_name = "N", default_value_t = 1)]
    topics: u32,
    /// Bytes of a message's text
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    message_bytes: u32,
    /// Cost to minimise
    #[arg(long, value_enum, default_value_t = Cost::Cpu)]
    cost: Cost,
    /// Headers of each request [default: browser with --browser, otherwise minimal]
    #[arg(long, value_enum)]
    headers: Option<Headers>,
    /// Count the bytes of TLS 1.3 records (the CPU cost of TLS is not included)
    #[arg(long)]
    tls: bool,
    /// Consider only transports that have a ready-made client for browsers
    #[arg(long)]
    browser: bool,
    /// Take costs from this run instead of the built-in reference
    #[arg(long, value_name = "RUN.JSON")]
    costs: Option<PathBuf>,
    /// Pause of short polling after each response [default: the longest that --staleness allows]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    interval: Option<Duration>,
    /// Add the monthly bill of each transport under this price list
    #[arg(long, value_name = "FILE.TOML")]
    prices: Option<PathBuf>,
    /// Print the costs as TOML, and no advice
    #[arg(long, conflicts_with = "json")]
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
    let costs = costs(args.costs.as_deref())?;
    let prices = args.prices.as_deref().map(bills::read).transpose()?;
    let text = if args.print_costs {
        toml::to_string(&costs)?
    } else {
        let advice = advise(&need(&args)?, &costs);
        match args.json {
            true => serde_json::to_string_pretty(&match &prices {
                None => json!({ "advice": advice, "costs": costs }),
                Some(list) => json!({ "advice": advice, "costs": costs, "prices": list,
                    "bills": bills::of(list, &advice) }),
            })?,
            false => text(&advice, &costs, prices.as_ref()),
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn costs(given: Option<&Path>) -> anyhow::Result<Costs> {
    match given {
        None => Ok(Costs::reference()),
        Some(path) => Ok(Costs::from_run(&super::read_run(path)?)),
    }
}

fn need(args: &Args) -> anyhow::Result<Need> {
    let Args { subscribers, topics, rate, staleness, rtt, message_bytes, .. } = args;
    let checks = [
        (*subscribers >= 1, "subscribers", subscribers.to_string(), "must be at least 1"),
        (
            (1..=*subscribers).contains(topics),
            "topics",
            topics.to_string(),
            "must be at least 1 and at most the number of subscribers",
        ),
        (
            *rate > 0.0 && *rate <= 10_000.0,
            "rate",
            rate.to_string(),
            "must be above 0 and at most 10,000 (messages per second)",
        ),
        (
            !staleness.is_zero() && *staleness <= DAY,
            "staleness",
            show_duration(*staleness),
            "must be above 0s and at most 1d",
        ),
        (*rtt <= RTT_MAX, "rtt", show_duration(*rtt), "must be between 0s and 10s"),
        (
            args.interval.is_none_or(|interval| !interval.is_zero() && interval <= DAY),
            "interval",
            show_duration(args.interval.unwrap_or_default()),
            "must be above 0s and at most 1d",
        ),
        (
            *message_bytes <= MESSAGE_BYTES_MAX,
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
    let default_headers = if args.browser { Headers::Browser } else { Headers::Minimal };
    Ok(Need {
        subscribers: args.subscribers,
        topics: args.topics,
        rate: args.rate,
        staleness_s: args.staleness.as_secs_f64(),
        rtt_s: args.rtt.as_secs_f64(),
        poll_interval_s: args.interval.map(|interval| interval.as_secs_f64()),
        message_bytes: args.message_bytes,
        headers: args.headers.unwrap_or(default_headers),
        is_tls: args.tls,
        browser_only: args.browser,
        cost: args.cost,
    })
}

const DAY: Duration = Duration::from_secs(86_400);
const RTT_MAX: Duration = Duration::from_secs(10);
const MESSAGE_BYTES_MAX: u32 = 1_000_000;

fn text(advice: &Advice, costs: &Costs, prices: Option<&PriceList>) -> String {
    let sections = [
        Some(answer(advice)),
        Some(table(&advice.ways)),
        prices.map(|prices| bills::text(prices, advice)),
        Some(list("Why", reasons(advice, costs))),
        Some(list("What would change the recommendation", margins(advice))),
        Some(list("Where the numbers come from", origins(advice, costs))),
    ];
    sections.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

fn list(title: &str, lines: Vec<String>) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("- {line}")).collect();
    format!("{title}\n{}", lines.join("\n"))
}

fn answer(advice: &Advice) -> String {
    let need = &advice.need;
    let headers = match need.headers {
        Headers::Minimal => "minimal request headers",
        Headers::Browser => "a browser's request headers",
    };
    let question = format!(
        "For {} subscribers ({} per topic), {} messages/s each, at most {} old, round trip {}, \
         {headers}, {}{}.",
        thousands(need.subscribers.into()),
        significant(f64::from(need.subscribers) / f64::from(need.topics)),
        significant(need.rate),
        Unit::Seconds.show(need.staleness_s),
        Unit::Seconds.show(need.rtt_s),
        if need.is_tls { "TLS" } else { "no TLS" },
        if need.browser_only { ", browsers only" } else { "" },
    );
    let chosen = advice.choice.as_ref().and_then(|c| Some((c, advice.way(c.transport)?)));
    let Some((choice, way)) = chosen else {
        return format!(
            "No transport is fast enough: one one-way delay, half of the round trip, is already \
             longer than the acceptable age.\n{question}"
        );
    };
    let how = match (way.poll_interval_s, way.hold_s) {
        (Some(interval_s), _) => {
            format!(", polling {} after each response", Unit::Seconds.show(interval_s))
        }
        (_, Some(hold_s)) => format!(", each request held for {}", Unit::Seconds.show(hold_s)),
        _ => String::new(),
    };
    let name = choice.transport.label();
    format!("Recommendation: {name}{how}.\n{question}\n{}", verdict(advice, choice))
}

/// How clear the choice is.
fn verdict(advice: &Advice, choice: &Choice) -> String {
    let counted = counted(advice.need.cost);
    let able = || advice.ways.iter().filter(|way| way.too_slow_s.is_none());
    let lead = match choice.lead {
        _ if able().count() == 1 => "No other transport is fast enough.".to_owned(),
        _ if choice.close.len() > 1 => {
            let close: Vec<&str> = choice.close.iter().map(|transport| transport.label()).collect();
            let name = sentence_case(choice.transport.label());
            format!(
                "By {counted}, {} are too close to call (within {}). {name} is the simplest of \
                 them to run: {}.",
                close.join(", "),
                Unit::Share.show(TOO_CLOSE - 1.0),
                simplicity(choice.transport).1,
            )
        }
        None => format!("It uses no {counted} at all."),
        Some(lead) => {
            format!("The next transport costs {} times the {counted}.", significant(lead))
        }
    };
    let is_small = able().all(|way| way.cpu_cores_busy < 0.05);
    match is_small {
        true => format!(
            "{lead}\nEvery transport that is fast enough uses less than 5 % of one core here, so \
             CPU hardly matters."
        ),
        false => lead,
    }
}

fn counted(cost: Cost) -> &'static str {
    match cost {
        Cost::Cpu => "server CPU",
        Cost::Bytes => "bytes",
        Cost::Requests => "requests",
        Cost::Memory => "server memory",
    }
}

fn table(ways: &[Estimate]) -> String {
    let header = [
        "transport",
        "mean latency",
        "max latency",
        "requests",
        "up",
        "down",
        "connections",
        "cores busy",
        "cores to plan",
        "memory",
    ];
    let rows: Vec<Vec<Field>> = ways
        .iter()
        .map(|way| {
            let late = if way.too_slow_s.is_some() { " too slow" } else { "" };
            let fields = [
                way.transport.label().to_owned(),
                Unit::Seconds.show(way.latency_mean_s),
                format!("{}{late}", Unit::Seconds.show(way.latency_max_s)),
                Unit::PerSecond.show(way.requests_s),
                Unit::BytesPerSecond.show(way.bytes_up_s),
                Unit::BytesPerSecond.show(way.bytes_down_s),
                thousands(way.connections.into()),
                significant(way.cpu_cores_busy),
                thousands(way.cores as i64),
                Unit::Bytes.show(way.memory_bytes),
            ];
            fields.map(|text| (text, None)).to_vec()
        })
        .collect();
    table::render(&header, 1, &rows, TableStyle::of_stdout())
}

fn reasons(advice: &Advice, costs: &Costs) -> Vec<String> {
    let need = &advice.need;
    let each = |way: &Estimate| match way.too_slow_s {
        Some(fastest_s) => format!(
            "{}: the worst case is at least {} at this round trip, which is too slow.",
            way.transport.label(),
            Unit::Seconds.show(fastest_s)
        ),
        None => format!("{}: {}.", way.transport.label(), spent(way, need, costs)),
    };
    let batch = advice.ways.iter().filter_map(|way| way.messages_per_answer).fold(0.0, f64::max);
    let batches = (batch >= 2.0).then(|| {
        format!(
            "Polling batches: a response carries up to {} messages on average.",
            significant(batch)
        )
    });
    let slow_fan_out = advice.ways.iter().filter(|way| way.fan_out_s > need.staleness_s / 10.0);
    let fan_outs = slow_fan_out.map(|way| {
        format!(
            "{}: one publication keeps the planned cores busy for {}, since {} subscribers receive it.",
            way.transport.label(),
            Unit::Seconds.show(way.fan_out_s),
            thousands(i64::from(need.subscribers / need.topics)),
        )
    });
    advice.ways.iter().map(each).chain(batches).chain(fan_outs).collect()
}

/// What one subscriber costs, by what is counted.
fn spent(way: &Estimate, need: &Need, costs: &Costs) -> String {
    let of_each = 1.0 / f64::from(need.subscribers);
    match need.cost {
        Cost::Cpu => {
            let cost = &costs.ways[&way.transport];
            let kinds = [
                (way.requests_s, "requests", cost.request_cpu_us),
                (way.messages_s, delivered(way.transport), cost.message_cpu_us),
            ];
            let dear = kinds.into_iter().filter(|(_, _, cpu_us)| *cpu_us > 0.0);
            let parts: Vec<String> = dear
                .map(|(all_s, kind, cpu_us)| {
                    let (each_s, cpu) = (all_s * of_each, Unit::Seconds.show(cpu_us / 1e6));
                    format!("{} {kind} a second, {cpu} of CPU each", significant(each_s))
                })
                .collect();
            format!("for a subscriber {}", parts.join(" and "))
        }
        Cost::Bytes => format!(
            "{} up and {} down for each subscriber",
            Unit::BytesPerSecond.show(way.bytes_up_s * of_each),
            Unit::BytesPerSecond.show(way.bytes_down_s * of_each)
        ),
        Cost::Requests => {
            format!(
                "{} requests for each subscriber",
                Unit::PerSecond.show(way.requests_s * of_each)
            )
        }
        Cost::Memory => {
            format!("{} for each subscriber", Unit::Bytes.show(way.memory_bytes * of_each))
        }
    }
}

/// What the server sends to a subscriber of this way, beside answers' heads.
fn delivered(transport: Transport) -> &'static str {
    match transport.waiting() {
        Waiting::InClient | Waiting::PerRequest => "messages",
        Waiting::PerConnection => "messages, pings and pongs",
    }
}

fn margins(advice: &Advice) -> Vec<String> {
    let subscribers =
        "Number of subscribers: no effect, the cost of every transport is proportional to it.";
    let nothing = advice
        .margins
        .is_empty()
        .then(|| "No other value, unless it changes by more than a factor of 1,000.".to_owned());
    advice.margins.iter().map(margin).chain([subscribers.to_owned()]).chain(nothing).collect()
}

fn margin(margin: &Margin) -> String {
    let direction = if margin.factor > 1.0 { "above" } else { "below" };
    let at = match margin.knob {
        Parameter::Rate => format!("Rate {direction} {} messages/s", significant(margin.at)),
        Parameter::Staleness => {
            format!("Acceptable age {direction} {}", Unit::Seconds.show(margin.at))
        }
        Parameter::Rtt => format!("Round trip {direction} {}", Unit::Seconds.show(margin.at)),
        Parameter::MessageBytes => {
            format!("Message text {direction} {}", Unit::Bytes.show(margin.at))
        }
    };
    let becomes = margin.becomes.map_or("no transport is fast enough", Transport::label);
    format!("{at} ({} times the value given): {becomes}.", significant(margin.factor))
}

fn origins(advice: &Advice, costs: &Costs) -> Vec<String> {
    let each = |way: &Estimate| {
        format!(
            "{}: CPU {}; memory {}",
            way.transport.label(),
            standing(way.cpu_standing),
            standing(way.memory_standing)
        )
    };
    let source = match costs.ways.values().any(|way| way.origin == Origin::Run) {
        true => "the run given with --costs",
        false => "the built-in reference",
    };
    let model = [
        "Requests and latency: theory, for messages at random instants (Poisson).".to_owned(),
        "Bytes: sizes of heads and messages, and a model of TCP/IP with segments of 1448 bytes."
            .to_owned(),
        format!("CPU and memory: {source}, {}.", costs.machine),
        "CPU: measured with minimal headers and without TLS, unless the run says otherwise."
            .to_owned(),
    ];
    let limits = [
        format!(
            "Cores to plan: at most {} busy, and each fan-out completed within the acceptable \
             age, assuming that the work spreads over the cores without loss.",
            Unit::Share.show(BUSY_SHARE_MAX)
        ),
        "Memory: resident memory of the server process. Kernel socket buffers are not included. \
         Polling is assumed to keep its connections open."
            .to_owned(),
    ];
    model.into_iter().chain(advice.ways.iter().map(each)).chain(limits).collect()
}

fn standing(standing: Standing) -> String {
    match standing {
        Standing::Measured => "measured, within the run's range".to_owned(),
        Standing::Extrapolated { factor } => {
            format!("extrapolated, {} times what the run measured", significant(factor))
        }
        Standing::Reference => {
            "from the built-in reference, not measured on this machine".to_owned()
        }
    }
}
