//! Runs the checks of the fuzz targets on all stored inputs, as a regression test.

#[path = "../fuzz/checks.rs"]
mod checks;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(fuzz().join(folder)).expect("it is there");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("readable").path();
        path.file_stem().expect("a name").to_str().expect("plain").to_owned()
    };
    entries.map(name).collect()
}

#[test]
fn every_check_has_a_fuzz_target_and_a_corpus() {
    let checks: BTreeSet<_> = checks::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("targets"), checks);
    assert_eq!(names("corpus"), checks);
}

#[test]
fn invariants_hold_for_every_stored_input() {
    for (name, check) in checks::ALL {
        let files = fs::read_dir(fuzz().join("corpus").join(name)).expect("a corpus");
        let mut count = 0;
        for file in files {
            let path = file.expect("readable").path();
            let bytes = fs::read(&path).expect("readable");
            // The panic message itself does not name the input.
            if let Err(panic) = std::panic::catch_unwind(|| check(&bytes)) {
                eprintln!("for {}", path.display());
                std::panic::resume_unwind(panic);
            }
            count += 1;
        }
        assert!(count > 5, "{name} has {count} inputs");
    }
}
