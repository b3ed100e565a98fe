//! Passes commit and compiler version to the program, which records them in results.

use std::path::Path;
use std::process::Command;

fn main() {
    // Naming a missing path would make every build run this script again.
    for path in [".git/HEAD", ".git/index"].into_iter().filter(|path| Path::new(path).exists()) {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=Cargo.toml");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = output(&rustc, &["--version"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=BUILD_RUSTC={version}");
    // Absent in a source tree without git, for instance an unpacked archive.
    if let Some(commit) = output("git", &["rev-parse", "--short=12", "HEAD"]) {
        let changed = output("git", &["status", "--porcelain", "--untracked-files=no"]);
        let mark = if changed.is_some_and(|changed| !changed.is_empty()) { "-dirty" } else { "" };
        println!("cargo:rustc-env=BUILD_COMMIT={commit}{mark}");
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
