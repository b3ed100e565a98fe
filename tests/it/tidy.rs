//! Invariants of the code base that a test can check by reading the sources as text.

mod layers;

use std::fs;
use std::path::{Path, PathBuf};

use poll_vs_push::app::ServerConfig;

/// A longer file has more than one role.
const LINES_MAX: usize = 500;
/// So that two files fit side by side.
const COLUMNS_MAX: usize = 100;

/// A source file.
struct Source {
    /// Path from the root of the repository: `src/feed/mod.rs`.
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file in `folder` with this extension, sorted; none if the folder does not exist.
fn files(folder: &str, extension: &str) -> Vec<Source> {
    fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries {
            let path = entry.expect("readable").path();
            match path.is_dir() {
                // Default build directory of the fuzz targets.
                true if path.ends_with("fuzz/target") => {}
                true => visit(&path, found),
                false => found.push(path),
            }
        }
    }
    let mut paths = Vec::new();
    visit(&root().join(folder), &mut paths);
    paths.retain(|path| path.extension().is_some_and(|it| it == extension));
    paths.sort();
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).expect("text"),
        path: path.strip_prefix(root()).expect("below the root").display().to_string(),
    };
    paths.into_iter().map(read).collect()
}

fn all_rust() -> Vec<Source> {
    let found: Vec<_> = ["src", "tests", "benches", "examples"]
        .iter()
        .flat_map(|folder| files(folder, "rs"))
        .collect();
    assert!(found.len() > 20, "the sources are not where this test looks");
    found
}

/// Panics with all complaints, if there are any.
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The text without comments and contents of string literals, with its lines kept.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(inside) = rest.strip_prefix("r#\"") {
            inside.find("\"#").map_or(rest.len(), |end| end + 5)
        } else if rest.starts_with("'\"'") {
            3
        } else if next == '"' {
            string_length(rest)
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        };
        code.extend(rest[..skipped].chars().filter(|&char| char == '\n'));
        rest = &rest[skipped..];
    }
    code
}

/// Length in bytes of the literal at the start of `text`, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The identifiers and keywords of a piece of code.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|char: char| !char.is_alphanumeric() && char != '_').filter(|word| !word.is_empty())
}

#[test]
fn source_reader_skips_comments_and_strings() {
    let text =
        "let a = \"b \\\" c\"; // d\nlet e = '\"'; let f = r#\"g \"h\" i\"#; /// j\nk(\"l\nm\");";
    let code = code(text);
    assert_eq!(code, "let a = ; \nlet e = ; let f = ; \nk(\n);");
    assert_eq!(words("use super::{Update, SubscribeOptions};").collect::<Vec<_>>().len(), 4);
}

#[test]
fn every_file_documents_its_role() {
    let is_silent = |source: &Source| !source.text.starts_with("//! ");
    let complaint =
        |source: Source| format!("{}: begin with `//!` and the file's role", source.path);
    none(all_rust().into_iter().filter(is_silent).map(complaint).collect());
}

#[test]
fn files_and_lines_are_short() {
    let mut complaints = Vec::new();
    for Source { path, text } in all_rust() {
        let count = text.lines().count();
        if count > LINES_MAX {
            complaints.push(format!("{path}: {count} lines, at most {LINES_MAX}: split it"));
        }
        // rustfmt limits the lines of code, except for string literals, which may be tables.
        for (index, line) in text.lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            if is_comment && line.chars().count() > COLUMNS_MAX {
                complaints.push(format!("{path}:{}: more than {COLUMNS_MAX} columns", index + 1));
            }
        }
    }
    none(complaints);
}

#[test]
fn there_are_no_todos() {
    // Assembled here, so that this file passes its own test.
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let macros = [concat!("to", "do!"), concat!("db", "g!"), concat!("unimple", "mented!")];
    let mut complaints = Vec::new();
    for Source { path, text } in all_rust() {
        for (index, line) in text.lines().enumerate() {
            let left = notes.iter().chain(&macros).find(|what| line.contains(**what));
            complaints.extend(left.map(|what| format!("{path}:{}: {what}", index + 1)));
        }
    }
    none(complaints);
}

/// Reports every file in `folder` whose code contains one of `forbidden`.
fn keep_out(folder: &str, forbidden: &[&str], why: &str) {
    let mut complaints = Vec::new();
    for Source { path, text } in files(folder, "rs") {
        let code = code(&text);
        for (index, line) in code.lines().enumerate() {
            let named = forbidden.iter().find(|what| match what.contains("::") {
                true => line.contains(**what),
                false => words(line).any(|word| word == **what),
            });
            complaints.extend(named.map(|what| format!("{path}:{}: {what}: {why}", index + 1)));
        }
    }
    none(complaints);
}

#[test]
fn feed_does_not_use_http() {
    assert!(!files("src/feed", "rs").is_empty());
    let http = ["hyper", "hyper_util", "warp", "http", "tokio_tungstenite", "server", "transport"];
    keep_out("src/feed", &http, "the feed knows no HTTP");
}

#[test]
fn load_test_does_not_use_the_feed() {
    assert!(!files("src/load", "rs").is_empty());
    keep_out("src/load", &["feed", "Feed"], "the load test knows only the wire");
}

#[test]
fn report_uses_no_socket_and_no_clock() {
    assert!(!files("src/report", "rs").is_empty());
    let world = ["std::net", "tokio", "hyper", "Instant::now", "SystemTime::now", "Timestamp::now"];
    keep_out("src/report", &world, "a report is made of run.json alone");
}

#[test]
fn output_is_written_without_macros_that_panic() {
    keep_out("src", &["println", "eprintln", "eprint"], "panics if it fails; use cli::output");
}

#[test]
fn transports_do_not_import_each_other() {
    const SHARED: [&str; 3] = ["mod", "poll_response", "stream_response"];
    /// The transport a file belongs to: `websocket` for `src/transport/websocket/handshake.rs`.
    fn transport(path: &str) -> &str {
        let inside = path.strip_prefix("src/transport/").expect("below it");
        inside.split('/').next().expect("a name").trim_end_matches(".rs")
    }
    let sources = files("src/transport", "rs");
    let mut names: Vec<&str> = sources.iter().map(|source| transport(&source.path)).collect();
    names.retain(|name| !SHARED.contains(name));
    names.dedup();
    assert!(names.len() >= 3, "{names:?}");
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| !SHARED.contains(&transport(&source.path))) {
        let own = transport(&source.path);
        for (index, line) in code(&source.text).lines().enumerate() {
            let is_other = |word: &&str| names.contains(word) && *word != own;
            let other = words(line).find(is_other);
            let complain = |other| format!("{}:{}: names {other}", source.path, index + 1);
            complaints.extend(other.map(complain));
        }
    }
    none(complaints);
}

#[test]
fn halves_of_a_transport_fit_on_one_screen_and_mark_the_wait() {
    const SCREEN_LINES: usize = 50;
    let mut complaints = Vec::new();
    for name in ["short_polling", "long_polling", "sse", "websocket"] {
        let path = format!("src/transport/{name}.rs");
        let text = fs::read_to_string(root().join(&path)).expect("the file exists");
        let (_, halves) = text.split_once("/// The server half.").expect("a server half");
        let (server, client) = halves.split_once("/// The client half.").expect("a client half");
        for (half, text) in [("server", server), ("client", client)] {
            let lines = text.lines().count();
            if lines > SCREEN_LINES {
                complaints.push(format!("{path}: the {half} half has {lines} lines"));
            }
        }
        if halves.matches("// WAIT: ").count() != 1 {
            complaints.push(format!("{path}: must mark the line that waits, once"));
        }
    }
    none(complaints);
}

#[test]
fn every_server_flag_is_documented() {
    let command = <ServerConfig as clap::Args>::augment_args(clap::Command::new("serve"));
    let flags: Vec<_> = command.get_arguments().collect();
    assert!(flags.len() >= 10);
    for flag in flags {
        assert!(flag.get_help().is_some(), "--{} has no help", flag.get_id());
        let is_optional = !flag.get_default_values().is_empty() || !flag.is_required_set();
        assert!(is_optional, "--{} has no default", flag.get_id());
    }
}

/// The targets of a page's links, except for other sites and anchors within the page.
fn relative_links(text: &str) -> impl Iterator<Item = &str> {
    let ends = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let is_relative = |link: &&str| !link.contains("://") && !link.starts_with("mailto:");
    ends.filter(is_relative)
        .filter_map(|link| link.split([' ', '#']).next())
        .filter(|path| !path.is_empty())
}

#[test]
fn links_between_pages_are_valid() {
    let text = "[a](b.md#c) [d](https://e) ![f](g.png \"h\") [i](#j)";
    assert_eq!(relative_links(text).collect::<Vec<_>>(), ["b.md", "g.png"]);
    let mut pages = files("docs", "md");
    pages.extend(files("load-tests", "md"));
    let readme = fs::read_to_string(root().join("README.md"));
    pages.extend(readme.map(|text| Source { path: "README.md".into(), text }));
    let mut complaints = Vec::new();
    for Source { path, text } in pages {
        let folder = root().join(&path).parent().expect("a folder").to_owned();
        for link in relative_links(&text).filter(|link| !folder.join(link).exists()) {
            complaints.push(format!("{path}: nothing at {link}"));
        }
    }
    none(complaints);
}
