//! `inspect`: lists the topics and messages in a data directory, without a server.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;

use super::output::{self, note, usage};
use crate::feed::ReadLimit;
use crate::feed::store::{Archive, StoreError, TopicRow};
use crate::message::{Epoch, Message, TopicName};
use crate::report::document::{Block, Field, Row, Section, Table};
use crate::report::{TableStyle, terminal};
use crate::text::causes;
use crate::units::whole_number;

/// List the stored topics and messages of a server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  poll-vs-push inspect ./feed
  poll-vs-push inspect ./feed --topic room --after 100
  poll-vs-push inspect ./feed --json | jq -r .text

The directory must not be in use. To inspect that of a running server, stop the server, copy the
directory, and inspect the copy. If the server was killed, the file is repaired, as at a server start.")]
pub struct Args {
    /// Data directory of a server (--data)
    directory: PathBuf,
    /// Show the messages of this topic; without it, the topics
    #[arg(long, value_name = "TOPIC")]
    topic: Option<TopicName>,
    /// Show only messages after this offset
    #[arg(long, value_name = "OFFSET", default_value_t = 0, value_parser = whole_number::<u64>)]
    after: u64,
    /// Print JSON lines: the messages of all topics, or of --topic
    #[arg(long)]
    json: bool,
}

/// Messages read in one call.
const READ_LIMIT: ReadLimit = ReadLimit { messages: 1_000, bytes: 4 << 20 };

/// Prints the topics or messages.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.after > 0 && args.topic.is_none() && !args.json {
        let text = "lists messages, but the topics are listed; add --topic or --json";
        return Err(usage(format!("--after {}: {text}", args.after)));
    }
    let archive =
        Archive::open_existing(&args.directory).map_err(|error| usage(causes(&error.into())))?;
    let epoch = archive.epoch()?;
    let all = archive.rows()?;
    // If some topics share a number, list all topics, and read only the others.
    let mixed = match archive.check(&all) {
        Err(error @ StoreError::Mixed { .. }) => {
            note(format!("warning: {error}"));
            all.sharing_a_number()
        }
        checked => checked.map(|()| Vec::new())?,
    };
    let mut rows: Vec<_> = all.iter().collect();
    rows.sort_by_key(|(name, _)| *name);
    if let Some(topic) = &args.topic {
        anyhow::ensure!(!mixed.contains(&topic), "--topic {topic}: its messages were overwritten");
        rows.retain(|(name, _)| *name == topic);
        anyhow::ensure!(!rows.is_empty(), "--topic {topic}: no such topic in this directory");
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if args.json || args.topic.is_some() {
        rows.retain(|(name, _)| !mixed.contains(name));
        rows.iter()
            .try_for_each(|(name, kept)| messages(&mut out, &archive, epoch, name, kept, args))
    } else {
        topics(&mut out, epoch, &rows)
    };
    let result = written.and_then(|()| Ok(out.flush()?));
    // Only writes fail with this type.
    result.or_else(|error| output::written(Err(error.downcast()?)))?;
    Ok(ExitCode::SUCCESS)
}

fn topics(
    out: &mut impl Write,
    epoch: Epoch,
    rows: &[(&TopicName, &TopicRow)],
) -> anyhow::Result<()> {
    let number = |number: u64| Field::new(number.to_string());
    let row = |(name, kept): &(&TopicName, &TopicRow)| {
        let name = Field::new(name.to_string());
        let TopicRow { oldest, head, bytes, .. } = kept;
        Row::Fields(vec![
            name,
            number(*oldest),
            number(*head),
            number(kept.messages()),
            number(*bytes),
        ])
    };
    let table = Table {
        head: ["topic", "oldest", "head", "messages", "bytes"].map(Field::new).into(),
        names: 1,
        is_numeric: true,
        rows: rows.iter().map(row).collect(),
    };
    let title = format!("epoch {epoch}, {} topics", rows.len());
    let section = Section::new("topics", title, vec![Block::Table(table)]);
    write!(out, "{}", terminal::render(&[section], TableStyle::of_stdout()))?;
    Ok(())
}

fn messages(
    out: &mut impl Write,
    archive: &Archive,
    epoch: Epoch,
    topic: &TopicName,
    kept: &TopicRow,
    args: &Args,
) -> anyhow::Result<()> {
    let mut after = args.after.max(kept.oldest - 1);
    while after < kept.head {
        let read = archive.read(topic, after, kept.head, READ_LIMIT)?;
        for bytes in &read.messages {
            let message: Message = serde_json::from_slice(bytes)
                .with_context(|| format!("message after {after} of '{topic}'"))?;
            after = message.offset;
            if args.json {
                let object = std::str::from_utf8(bytes)?;
                let rest = object.strip_prefix('{').unwrap_or(object);
                writeln!(out, r#"{{"topic":"{topic}","epoch":"{epoch}",{rest}"#)?;
            } else {
                let Message { offset, published_at, sender, text } = message;
                let time = Timestamp::from_microsecond(published_at as i64)?;
                // Quoted, so that a message cannot contain terminal escape sequences.
                writeln!(out, "{offset:>8}  {time:.6}  {sender:?}: {text:?}")?;
            }
        }
        anyhow::ensure!(
            !read.messages.is_empty(),
            "topic '{topic}' ends at offset {after}, but its head is {}",
            kept.head
        );
    }
    Ok(())
}
