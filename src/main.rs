//! Hands the command line over to the library.

fn main() -> std::process::ExitCode {
    poll_vs_push::cli::main()
}
