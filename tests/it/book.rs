//! The book's code, output and figures: each is compared with the file that it was taken from.
//!
//! A comment before a block of a page names its source:
//!
//! - `<!-- from FILE -->`: the block of code is part of that file.
//! - `<!-- output of examples/NAME.rs -->`: the block is what the example prints, times aside.
//! - `<!-- KIND of RESULTS: TRANSPORT.. -->`: the table is made from recorded results; a sentence
//!   is in its place until there are some. Run the tests with `UPDATE_BOOK=1` to make the tables
//!   again after a new recording.
//! - `<!-- table of RESULTS.md -->`: the table of that file.
//! - `<!-- KIND of RECORD.json -->`: the block is made from a record, as `records.rs` says.
//! - `<!-- plan of N subscribers: TRANSPORT.. -->`: the table is computed by the advice.
//! - `<!-- value FIGURE of RESULTS.csv: TRANSPORT -->`, in a line: one recorded figure.
//! - `<!-- value payload of the trace -->`, in a line: the size of the first message of the page's
//!   transcript.
//! - `<!-- advice of FLAGS -->`: the block is the recommendation that `advise` prints.
//! - `<!-- session with the server -->`: the commands of the block print what follows them.
//! - `<!-- trace of TRANSPORT: MESSAGES -->`: the transcript is what `trace` prints, apart from
//!   times, random values and the number of TCP segments. `UPDATE_BOOK=1` replaces one that
//!   differs.

mod plan;
mod records;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use poll_vs_push::client::Dialer;
use poll_vs_push::trace::{self, Action, Conversation, Options, Step, render};

use super::examples;
use super::support::{TestServer, room, soon};
use tables::{KINDS, table, value};

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages of the book and the README, by their paths.
fn pages() -> Vec<(PathBuf, String)> {
    let folders = ["docs", "docs/course"].map(|folder| root().join(folder));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder"));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.push(root().join("README.md"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), read(path))).collect()
}

/// Each comment whose first word is `word`, with the text that follows it.
fn marked<'a>(text: &'a str, word: &str) -> Vec<(&'a str, &'a str)> {
    let comments = text.split("<!-- ").skip(1).filter_map(|rest| rest.split_once(" -->\n"));
    comments.filter(|(comment, _)| comment.starts_with(&format!("{word} "))).collect()
}

/// The lines of the fenced block with which `text` begins.
fn block(text: &str) -> Vec<&str> {
    let mut lines = text.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("```")), "no block: {text:.60}");
    lines.take_while(|line| !line.starts_with("```")).collect()
}

#[test]
fn code_in_the_book_is_part_of_the_file_that_it_names() {
    let mut count = 0;
    for (page, text) in pages() {
        for (comment, rest) in marked(&text, "from") {
            let file = &comment["from ".len()..];
            let code = block(rest).join("\n");
            let is_there = read(file).contains(&code);
            assert!(is_there, "{}: this is not in {file}:\n{code}", page.display());
            count += 1;
        }
    }
    assert!(count >= 6, "only {count} blocks were found");
}

#[test]
fn output_in_the_book_is_what_the_examples_print() {
    let mut count = 0;
    for (page, text) in pages() {
        for (comment, rest) in marked(&text, "output") {
            let file = &comment["output of ".len()..];
            let name = Path::new(file).file_stem().expect("a name").to_str().expect("UTF-8");
            let steps: Vec<String> = block(rest).into_iter().map(examples::step).collect();
            // The steps of two tasks at the same instant may come in either order.
            let sorted = |mut steps: Vec<String>| {
                steps.sort();
                steps
            };
            let steps = sorted(steps);
            let mut made = sorted(examples::run(name));
            for _ in 1..ATTEMPTS {
                if made == steps {
                    break;
                }
                made = sorted(examples::run(name));
            }
            assert_eq!(steps, made, "{}", page.display());
            count += 1;
        }
    }
    assert!(count >= 3, "only {count} blocks were found");
}

/// The recommendation that `advise` prints with these flags, and what would change it.
fn advice(flags: &str) -> String {
    let mut advise = Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
    let output = advise.arg("advise").args(flags.split(' ')).output().expect("it can be started");
    assert!(output.status.success(), "{flags}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (recommendation, rest) = text.split_once("\n\n").expect("a paragraph");
    let (_, changes) = rest.split_once("\nWhat would change").expect("a section");
    let changes = changes.split("\n\n").next().expect("a section");
    format!("```text\n{recommendation}\n\nWhat would change{changes}\n```\n")
}

/// Each recorded figure in the lines of a page: its comment, and the text up to the next comment.
fn values(text: &str) -> Vec<(&str, &str)> {
    let after = text.split("<!-- value ").skip(1);
    after
        .map(|rest| {
            let (comment, rest) = rest.split_once(" -->").expect("an end of the comment");
            (comment, rest.split("<!-- end -->").next().expect("a value"))
        })
        .collect()
}

/// The size of the first message in the transcripts of a page.
fn traced_payload(text: &str) -> String {
    let (_, rest) = text.split_once("\"payload\">").expect("a transcript with a message");
    let bytes = rest.split_whitespace().nth(1).expect("a size");
    format!("{bytes} bytes")
}

/// The text of a page with generated blocks, up to date, and their number.
fn regenerated(text: &str) -> (String, usize) {
    let mut updated = text.to_owned();
    let mut count = 0;
    for (comment, rest) in [&KINDS[..], &records::KINDS, &["advice"]]
        .concat()
        .iter()
        .flat_map(|kind| marked(text, kind))
    {
        let given = rest.split("<!-- end -->").next().expect("a block");
        let made = match comment.strip_prefix("advice of ") {
            Some(flags) => {
                // The reader is given the same command.
                let command = format!("    poll-vs-push advise {flags}\n");
                assert!(text.contains(&command), "not on the page: {command}");
                advice(flags)
            }
            None => match comment.split_once(" of ") {
                Some((kind, path)) if records::KINDS.contains(&kind) => records::block(kind, path),
                _ => table(comment),
            },
        };
        let [given, made] =
            [given, &made].map(|block| format!("<!-- {comment} -->\n{block}<!-- end -->"));
        assert!(updated.contains(&given), "no end: {comment}");
        updated = updated.replacen(&given, &made, 1);
        count += 1;
    }
    // An HTML block at the start of a line would end the paragraph.
    let starts = |line: &&str| line.trim_start().starts_with("<!-- value ");
    assert_eq!(text.lines().find(starts), None, "put a word before the comment");
    for (comment, given) in values(text) {
        let shown = match comment {
            "payload of the trace" => traced_payload(text),
            _ => value(comment),
        };
        let [given, made] =
            [given, &shown].map(|shown| format!("<!-- value {comment} -->{shown}<!-- end -->"));
        assert!(updated.contains(&given), "no end: {comment}");
        updated = updated.replacen(&given, &made, 1);
        count += 1;
    }
    (updated, count)
}

#[test]
fn tables_and_advice_in_the_book_are_generated() {
    let mut count = 0;
    let mut stale = Vec::new();
    for (page, text) in pages() {
        let (updated, found) = regenerated(&text);
        count += found;
        if updated == text {
            continue;
        }
        if std::env::var_os("UPDATE_BOOK").is_some() {
            fs::write(&page, &updated).expect("writes the page");
        }
        stale.push(page);
    }
    assert_eq!(stale, Vec::<PathBuf>::new(), "run the tests with UPDATE_BOOK=1, then again");
    assert!(count >= 10, "only {count} blocks were found");
}

/// Runs the commands of a session against a server, and returns the session with their output.
async fn session(lines: &[&str]) -> Vec<String> {
    let server = TestServer::start().await;
    let mut printed = Vec::new();
    for line in lines {
        let Some(command) = line.strip_prefix("$ ") else { continue };
        let command = command.replace("127.0.0.1:3030", &server.address.to_string());
        let mut shell = tokio::process::Command::new("sh");
        let output = soon(shell.args(["-c", &command]).output()).await.expect("a shell");
        printed.push((*line).to_owned());
        printed.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
    }
    server.stop().await;
    printed
}

#[tokio::test]
async fn sessions_in_the_book_print_what_curl_receives() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: there is no curl");
        return;
    }
    let mut count = 0;
    for (page, text) in pages() {
        for (_, rest) in marked(&text, "session") {
            let lines = block(rest);
            let shape = |line: &str| without_values(line);
            let given: Vec<_> = lines.iter().map(|line| shape(line)).collect();
            let made: Vec<_> = session(&lines).await.iter().map(|line| shape(line)).collect();
            assert_eq!(given, made, "{}", page.display());
            count += 1;
        }
    }
    assert!(count >= 1, "no session was found");
}

/// Columns of a transcript: what the book's pages have room for.
const TRANSCRIPT_COLUMNS: usize = 92;
/// On a busy machine a poll may come before a message that it should find.
const ATTEMPTS: usize = 5;

/// The conversation of a subscriber that receives some messages.
async fn traced(variant: &str, messages: u32) -> Conversation {
    let options = Options {
        topic: room(),
        messages,
        every: Duration::from_millis(200),
        poll_interval: Duration::from_millis(500),
        long_poll_hold: Duration::from_secs(25),
        round_trip: Duration::ZERO,
    };
    let server = TestServer::start().await;
    let dialer = Dialer::new(server.address);
    let tracing = trace::run(variant.parse().expect("a transport"), &dialer, &options);
    let trace = soon(tracing).await.expect("a trace");
    server.stop().await;
    trace
}

/// The transcript that a comment asks for: `trace of sse: 2`.
async fn transcript(comment: &str) -> String {
    let (variant, messages) = comment["trace of ".len()..].split_once(": ").expect("a number");
    let trace = traced(variant, messages.parse().expect("a number")).await;
    format!("{}\n", render::fragment(&trace, TRANSCRIPT_COLUMNS))
}

#[tokio::test]
async fn conditional_requests_save_the_bytes_that_the_book_says() {
    let mut sizes = Vec::new();
    for variant in ["short-polling", "short-polling+conditional"] {
        let trace = traced(variant, 1).await;
        let of = |is_it: fn(&Action) -> bool| {
            let steps = trace.steps.iter().filter(move |step| is_it(&step.action));
            steps.map(Step::bytes).collect::<Vec<_>>()
        };
        let sent = of(|action| matches!(action, Action::Send(_)));
        let received = of(|action| matches!(action, Action::Receive(_)));
        // The first request has neither a cursor nor a tag. The second finds nothing.
        sizes.push([sent[1], received[1]]);
    }
    let [[request, response], [tagged, not_modified]] = [sizes[0], sizes[1]];
    let more = tagged - request;
    let less = response - not_modified - more;
    let text = read("docs/variants.md");
    for part in [
        format!("with an empty response costs {less} bytes less"),
        format!("Every other poll costs {more} bytes more"),
    ] {
        assert!(text.contains(&part), "variants.md should contain '{part}'");
    }
}

/// A transcript without what differs between two runs: times, random values, dates, and the
/// segments that the kernel counted.
fn shape(transcript: &str) -> Vec<String> {
    const RANDOM: [&str; 4] = ["mask ", "date: ", "sec-websocket-key: ", "sec-websocket-accept: "];
    let tags = transcript.split('<').map(|rest| rest.split_once('>').map_or(rest, |it| it.1));
    let mut lines: Vec<String> = Vec::new();
    for line in tags.collect::<String>().lines() {
        let text = line.trim();
        // A long text continues in lines that begin below it.
        let goes_on = line.len() - line.trim_start().len() > 30;
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => *last += text,
            None => lines.push(text.to_owned()),
        }
    }
    let is_counted = |line: &String| line.starts_with("TCP/IP ") || line.starts_with("all ");
    lines.retain(|line| !line.is_empty() && !is_counted(line));
    let without_random = |line: &String| {
        let found = RANDOM.iter().find_map(|name| Some(line.find(name)? + name.len()));
        let line = without_values(&line[..found.unwrap_or(line.len())]);
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    lines.iter().map(without_random).collect()
}

/// `text` without times, and without words that are numbers of many digits.
fn without_values(text: &str) -> String {
    let is_time = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let without_time = |text: &'_ str| match text.split_once(" ms ") {
        Some((time, rest)) if is_time(time) => rest.trim_start().to_owned(),
        _ => text.to_owned(),
    };
    let text = without_time(text);
    let text = match text.strip_prefix("WAIT ") {
        Some(rest) => format!("WAIT {}", without_time(rest)),
        None => text,
    };
    let mut shape = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let value = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_hex = value.len() >= 8 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_long = value.len() >= 5 && value.bytes().all(|byte| byte.is_ascii_digit());
        shape += if is_hex || is_long { ".." } else { value };
        shape += &word[value.len()..];
    }
    shape
}

#[tokio::test]
async fn transcripts_in_the_book_are_what_trace_prints() {
    let mut count = 0;
    for (page, text) in pages() {
        let mut updated = text.clone();
        for (comment, rest) in marked(&text, "trace") {
            let given = rest.split("<!-- end -->").next().expect("a transcript");
            let mut made = String::new();
            for _ in 0..ATTEMPTS {
                made = transcript(comment).await;
                if shape(&made) == shape(given) {
                    break;
                }
            }
            if std::env::var_os("UPDATE_BOOK").is_some() && shape(&made) != shape(given) {
                updated = updated.replacen(
                    &format!("<!-- {comment} -->\n{given}"),
                    &format!("<!-- {comment} -->\n{made}"),
                    1,
                );
                continue;
            }
            assert_eq!(shape(given), shape(&made), "{}: use UPDATE_BOOK=1", page.display());
            count += 1;
        }
        if updated != text {
            fs::write(&page, &updated).expect("writes the page");
            panic!("{} has been updated; run the test again", page.display());
        }
    }
    assert!(count >= 5, "only {count} transcripts were found");
}

#[test]
fn the_glossary_is_sorted_and_has_only_terms_that_the_book_uses() {
    let (glossary, others): (Vec<_>, Vec<_>) =
        pages().into_iter().partition(|(path, _)| path.ends_with("glossary.md"));
    let terms: Vec<_> =
        glossary[0].1.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert!(terms.len() > 50, "{terms:?}");
    assert!(terms.is_sorted_by_key(|term| term.to_lowercase()), "{terms:?}");
    let text = others.into_iter().map(|(_, text)| text).collect::<String>().to_lowercase();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for term in terms {
        let word = term.split(" (").next().expect("a term").to_lowercase();
        assert!(text.contains(&word), "'{term}' is used on no other page");
    }
}

#[test]
fn the_summary_lists_every_page() {
    let summary = read("docs/SUMMARY.md");
    for folder in ["docs", "docs/course"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_page = path.extension().is_some_and(|extension| extension == "md");
            let link = path.strip_prefix(root().join("docs")).expect("inside").display();
            if is_page && link.to_string() != "SUMMARY.md" {
                assert!(summary.contains(&format!("({link})")), "{link} is not in the summary");
            }
        }
    }
}
