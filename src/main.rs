//! The entry point; the program is in the library.

fn main() -> std::process::ExitCode {
    poll_vs_push::cli::main()
}
