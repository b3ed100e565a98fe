//! The puzzles for `advise`: each is unsolved as it is, and solved by its solution.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/exercises/puzzles")
}

fn judge(name: &str, file: &Path) -> Output {
    Command::new("bash")
        .arg(folder().join("judge.sh"))
        .arg(name)
        .arg(file)
        .env("POLL_VS_PUSH", env!("CARGO_BIN_EXE_poll-vs-push"))
        .output()
        .expect("bash starts")
}

/// The files of a folder that end in `.args`.
fn puzzles(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder exists");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "args"));
    files.sort();
    files
}

#[test]
fn puzzles_are_unsolved_and_their_solutions_solve_them() {
    let files = puzzles(&folder());
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let name = file.file_stem().expect("a name").to_str().expect("UTF-8");
        let unsolved = judge(name, &file);
        let said = String::from_utf8_lossy(&unsolved.stderr);
        assert_eq!(unsolved.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains("not yet"), "{name}: {said}");
        let solution = folder().join("solutions").join(file.file_name().expect("a name"));
        let solved = judge(name, &solution);
        assert!(solved.status.success(), "{name}: {}", String::from_utf8_lossy(&solved.stderr));
    }
}

#[test]
fn what_a_puzzle_fixes_may_not_be_changed() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let cases = [
        "--subscribers 1000\n--staleness 60s\n--rtt 40ms\n--rate 1\n",
        "--subscribers 1000\n--rtt 40ms\n--rate 10\n",
        "--subscribers 1000\n--staleness 2s\n--rtt 40ms\n--rate 1\n--cost requests\n",
    ];
    for text in cases {
        std::fs::write(file.path(), text).expect("writes");
        let judged = judge("polling-wins", file.path());
        assert_eq!(judged.status.code(), Some(1), "{text}");
        let said = String::from_utf8_lossy(&judged.stderr);
        assert!(said.contains("must stay") || said.contains("may not be"), "{said}");
    }
}
