//! `advise`: which way to take for one workload, in words and numbers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::output::{print, usage};
use crate::advise::{
    Advice, BUSY_SHARE_MAX, Choice, Cost, Costs, Estimate, Margin, Need, Parameter, Standing,
    TOO_CLOSE, advise,
};
use crate::load::scenario::{parse_duration, show};
use crate::report::units::{Unit, significant, thousands};
use crate::table::{self, Field, TableStyle};
use crate::transport::{Transport, Waiting};

/// Say which way is the cheapest that is fast enough
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  poll-vs-push advise --subscribers 10000 --rate 0.5 --staleness 2s --rtt 80ms
  poll-vs-push advise --subscribers 200 --rate 0.0003 --staleness 60s
  poll-vs-push advise --subscribers 10000000 --topics 1000 --rate 0.1 --staleness 1s --cost bytes

What one request, message and subscriber cost comes from the newest run, reports/latest/run.json,
or from --costs; without a run, from a reference that comes with the program. The answer says which.")]
pub struct Args {
    /// How many are to hear of messages
    #[arg(long, value_name = "N")]
    subscribers: u32,
    /// Messages per second that each of them receives
    #[arg(long, value_name = "PER_SECOND")]
    rate: f64,
    /// How old a message may be when it is received
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    staleness: Duration,
    /// Round trip between them and the server
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "40ms")]
    rtt: Duration,
    /// Topics they are spread over
    #[arg(long, value_name = "N", default_value_t = 1)]
    topics: u32,
    /// Bytes of a message's text
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    message_bytes: u32,
    /// What has to be little
    #[arg(long, value_enum, default_value_t = Cost::Cpu)]
    cost: Cost,
    /// The run to take costs from [default: reports/latest/run.json, if there is one]
    #[arg(long, value_name = "RUN.JSON")]
    costs: Option<PathBuf>,
    /// Print the costs as TOML, and no advice
    #[arg(long, conflicts_with = "json")]
    print_costs: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where a run leaves its newest result.
const LATEST: &str = "reports/latest/run.json";

/// Prints the advice.
///
/// # Errors
/// If a value makes no sense, or the run cannot be read.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let costs = costs(args.costs.as_deref())?;
    let text = if args.print_costs {
        toml::to_string(&costs)?
    } else {
        let advice = advise(&need(&args)?, &costs);
        match args.json {
            true => serde_json::to_string_pretty(
                &serde_json::json!({ "advice": advice, "costs": costs }),
            )?,
            false => text(&advice, &costs),
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn costs(given: Option<&Path>) -> anyhow::Result<Costs> {
    let latest = Path::new(LATEST);
    let Some(path) = given.or_else(|| latest.exists().then_some(latest)) else {
        return Ok(Costs::reference());
    };
    Ok(Costs::from_run(&super::read_run(path)?))
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
            show(*staleness),
            "must be above 0s and at most 1d",
        ),
        (*rtt <= RTT_MAX, "rtt", show(*rtt), "must be between 0s and 10s"),
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
    Ok(Need {
        subscribers: args.subscribers,
        topics: args.topics,
        rate: args.rate,
        staleness_s: args.staleness.as_secs_f64(),
        rtt_s: args.rtt.as_secs_f64(),
        message_bytes: args.message_bytes,
        cost: args.cost,
    })
}

const DAY: Duration = Duration::from_secs(86_400);
const RTT_MAX: Duration = Duration::from_secs(10);
const MESSAGE_BYTES_MAX: u32 = 1_000_000;

fn text(advice: &Advice, costs: &Costs) -> String {
    let sections = [
        answer(advice),
        table(&advice.ways),
        list("Why", reasons(advice, costs)),
        list("What would change the answer", margins(advice)),
        list("Where the numbers come from", origins(advice, costs)),
    ];
    sections.join("\n\n")
}

fn list(title: &str, lines: Vec<String>) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("- {line}")).collect();
    format!("{title}\n{}", lines.join("\n"))
}

fn answer(advice: &Advice) -> String {
    let need = &advice.need;
    let question = format!(
        "Asked: {} subscribers ({} a topic), {} messages/s for each, at most {} old, round trip {}.",
        thousands(need.subscribers.into()),
        significant(f64::from(need.subscribers) / f64::from(need.topics)),
        significant(need.rate),
        Unit::Seconds.show(need.staleness_s),
        Unit::Seconds.show(need.rtt_s),
    );
    let chosen = advice.choice.and_then(|choice| Some((choice, advice.way(choice.transport)?)));
    let Some((choice, way)) = chosen else {
        return format!("No way is fast enough: the round trip alone forbids it.\n{question}");
    };
    let how = match (way.poll_interval_s, way.hold_s) {
        (Some(interval_s), _) => format!(", {} after each answer", Unit::Seconds.show(interval_s)),
        (_, Some(hold_s)) => format!(", held for {}", Unit::Seconds.show(hold_s)),
        _ => String::new(),
    };
    format!("Take {}{how}.\n{question}\n{}", choice.transport.label(), verdict(advice, choice))
}

/// How clear the choice is.
fn verdict(advice: &Advice, choice: Choice) -> String {
    let counted = counted(advice.need.cost);
    let able = || advice.ways.iter().filter(|way| way.too_slow_s.is_none());
    let trifle = able().all(|way| way.cpu_cores_busy < 0.05);
    let lead = match choice.lead {
        _ if able().count() == 1 => "No other way is fast enough.".to_owned(),
        None => format!("It needs no {counted} at all."),
        Some(lead) if lead < TOO_CLOSE => {
            format!("By {counted} it is too close to the next way to call.")
        }
        Some(lead) => format!("The next way needs {} times the {counted}.", significant(lead)),
    };
    match trifle {
        true => format!(
            "{lead}\nEvery way that is fast enough keeps less than a twentieth of a core busy: take \
             the one that is simplest to run."
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
        "way",
        "latency",
        "at worst",
        "requests",
        "up",
        "down",
        "open",
        "cores busy",
        "plan",
        "memory",
    ];
    let rows: Vec<Vec<Field>> = ways
        .iter()
        .map(|way| {
            let worst_s = way.too_slow_s.unwrap_or(way.latency_max_s);
            let late = if way.too_slow_s.is_some() { " too slow" } else { "" };
            let fields = [
                way.transport.label().to_owned(),
                Unit::Seconds.show(way.latency_mean_s),
                format!("{}{late}", Unit::Seconds.show(worst_s)),
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
            "{} cannot promise less than {} at this round trip.",
            way.transport.label(),
            Unit::Seconds.show(fastest_s)
        ),
        None => format!("{}: {}.", way.transport.label(), spent(way, need, costs)),
    };
    let batch = advice.ways.iter().filter_map(|way| way.messages_per_answer).fold(0.0, f64::max);
    let batches = (batch >= 2.0).then(|| {
        format!(
            "Up to {} messages share an answer on average: polling gathers.",
            significant(batch)
        )
    });
    let slow_fan_out = advice.ways.iter().filter(|way| way.fan_out_s > need.staleness_s / 10.0);
    let fan_outs = slow_fan_out.map(|way| {
        format!(
            "{}: a publication keeps all its planned cores busy for {}, since it goes to {} at once.",
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
    let subscribers = "Not the number of subscribers: the cost of every way grows in step with it.";
    let nothing = advice.margins.is_empty().then(|| {
        "No other value, as long as it changes by less than a factor of a thousand.".to_owned()
    });
    advice.margins.iter().map(margin).chain([subscribers.to_owned()]).chain(nothing).collect()
}

fn margin(margin: &Margin) -> String {
    let direction = if margin.factor > 1.0 { "above" } else { "below" };
    let at = match margin.knob {
        Parameter::Rate => format!("{direction} {} messages/s", significant(margin.at)),
        Parameter::Staleness => {
            format!("{direction} {} of staleness", Unit::Seconds.show(margin.at))
        }
        Parameter::Rtt => format!("{direction} a round trip of {}", Unit::Seconds.show(margin.at)),
        Parameter::MessageBytes => format!("{direction} {} of text", Unit::Bytes.show(margin.at)),
    };
    let becomes = margin.becomes.map_or("no way is fast enough", Transport::label);
    format!("{at} (×{}): {becomes}", significant(margin.factor))
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
    let model = [
        "Requests and latency: theory, for messages at random instants.".to_owned(),
        "Bytes: sizes of heads and messages, and a model of TCP/IP with segments of 1448 bytes."
            .to_owned(),
        format!("CPU and memory: costs of one, from {}.", costs.machine),
    ];
    let limits = [
        format!(
            "Planned cores: at most {} busy, and a fan-out within the staleness. Modelled, as if the \
             work spread over cores without loss.",
            Unit::Share.show(BUSY_SHARE_MAX)
        ),
        "Memory is the server process's; the kernel's sockets come on top. Connections are taken \
         to be kept between polls."
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
        Standing::Reference => "not measured here".to_owned(),
    }
}
