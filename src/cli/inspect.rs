//! `inspect`: what a feed's directory holds, without a server.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;

use crate::feed::ReadLimit;
use crate::feed::store::{Archive, Kept, StoreError};
use crate::message::{Epoch, Message, TopicName};

/// List the topics and messages that a server has kept
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  poll-vs-push inspect ./feed
  poll-vs-push inspect ./feed --topic room --after 100
  poll-vs-push inspect ./feed --json | jq -r .text

The directory must not be in use. To look into that of a running server, stop it for the moment of
a copy, and inspect the copy. A feed whose server was killed is repaired, as the server would do.")]
pub struct Args {
    /// Directory that a server was given with --data
    directory: PathBuf,
    /// Show the messages of this topic; without it, the topics
    #[arg(long, value_name = "TOPIC")]
    topic: Option<TopicName>,
    /// Show messages after this offset only
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    after: u64,
    /// Write JSON lines: every message of every topic, or of the one that --topic names
    #[arg(long)]
    json: bool,
}

/// Messages that are read at a time.
const PORTION: ReadLimit = ReadLimit { messages: 1_000, bytes: 4 << 20 };

/// Writes to standard output.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let archive = Archive::open_existing(&args.directory)?;
    let epoch = archive.epoch()?;
    let all = archive.rows()?;
    // The topics of a file in which some are mixed up can still be listed, and the others read.
    let mixed = match archive.check(&all) {
        Err(error @ StoreError::Mixed { .. }) => {
            eprintln!("warning: {error}");
            all.sharing_a_number()
        }
        checked => checked.map(|()| Vec::new())?,
    };
    let mut rows: Vec<_> = all.iter().collect();
    rows.sort_by_key(|(name, _)| *name);
    if let Some(topic) = &args.topic {
        anyhow::ensure!(!mixed.contains(&topic), "the messages of '{topic}' were overwritten");
        rows.retain(|(name, _)| *name == topic);
        anyhow::ensure!(!rows.is_empty(), "there is no topic '{topic}' in this feed");
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if args.json || args.topic.is_some() {
        rows.retain(|(name, _)| !mixed.contains(name));
        rows.iter()
            .try_for_each(|(name, kept)| messages(&mut out, &archive, epoch, name, kept, args))
    } else {
        topics(&mut out, epoch, &rows)
    };
    match written.and_then(|()| Ok(out.flush()?)) {
        // Whoever reads has had enough: `inspect | head`.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

fn topics(out: &mut impl Write, epoch: Epoch, rows: &[(&TopicName, &Kept)]) -> anyhow::Result<()> {
    writeln!(out, "epoch {epoch}, {} topics", rows.len())?;
    writeln!(out, "{:>12} {:>12} {:>12} {:>12}  topic", "oldest", "head", "messages", "bytes")?;
    for (name, kept) in rows {
        let Kept { oldest, head, bytes, .. } = kept;
        writeln!(out, "{oldest:>12} {head:>12} {:>12} {bytes:>12}  {name}", kept.messages())?;
    }
    Ok(())
}

fn messages(
    out: &mut impl Write,
    archive: &Archive,
    epoch: Epoch,
    topic: &TopicName,
    kept: &Kept,
    args: &Args,
) -> anyhow::Result<()> {
    let mut after = args.after.max(kept.oldest - 1);
    while after < kept.head {
        let read = archive.read(topic, after, kept.head, PORTION)?;
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
                // Quoted, so that a message cannot write to the terminal in its own ways.
                writeln!(out, "{offset:>8}  {time:.6}  {sender:?}: {text:?}")?;
            }
        }
        anyhow::ensure!(
            !read.messages.is_empty(),
            "'{topic}' ends at {after}, not at {}",
            kept.head
        );
    }
    Ok(())
}
