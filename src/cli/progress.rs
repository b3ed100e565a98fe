//! Shows the current step of a run and the remaining time: as one updated line on a terminal, as
//! occasional lines of text otherwise.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::note;
use crate::load::{CellPhase, Progress};

/// Time between two redraws.
const TICK: Duration = Duration::from_millis(200);

/// Longest time without output if standard error is not a terminal. Lines are printed only at the
/// start of a phase.
const QUIET_MAX: Duration = Duration::from_secs(30);

/// The progress display.
#[derive(Debug)]
pub struct ProgressLine {
    bar: ProgressBar,
    is_terminal: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    whole: Duration,
    /// Estimated end of the run.
    end: Instant,
    cell: String,
    /// When the last line was printed, if standard error is not a terminal.
    printed_at: Instant,
}

impl ProgressLine {
    /// A display for a run that takes about `whole`.
    pub fn new(whole: Duration) -> ProgressLine {
        let style = ProgressStyle::with_template("{bar:24} {msg}").expect("a valid template");
        let bar = ProgressBar::new(1_000).with_style(style);
        bar.enable_steady_tick(TICK);
        let now = Instant::now();
        let state = State { whole, end: now + whole, cell: String::new(), printed_at: now };
        let is_terminal = std::io::stderr().is_terminal();
        ProgressLine { bar, is_terminal, state: Mutex::new(state) }
    }

    /// Shows the current step.
    pub fn show(&self, progress: &Progress<'_>) {
        let mut state = self.state.lock().expect("no panic under this lock");
        let phase = match progress {
            Progress::Calibrating { left } => {
                state.end = Instant::now() + *left;
                state.cell = "before the first cell".to_owned();
                "measuring the machine's processing time"
            }
            Progress::Cell { number, of, variant, case, repeat, left } => {
                let case = if case.is_empty() { String::new() } else { format!(", {case}") };
                let label = variant.label();
                state.end = Instant::now() + *left;
                state.cell = format!("{number}/{of} {label}{case}, repeat {}", repeat + 1);
                "starting"
            }
            Progress::Phase(phase) => phase_name(*phase),
            Progress::Done(..) => "done",
            Progress::Failed(failed, _) => {
                let (label, repeat) = (failed.variant.label(), failed.repeat + 1);
                let warning =
                    format!("warning: {label}, repeat {repeat}: not measured: {}", failed.error);
                self.bar.suspend(|| note(warning));
                "failed"
            }
        };
        let left = state.end.saturating_duration_since(Instant::now());
        let done = 1.0 - left.as_secs_f64() / state.whole.as_secs_f64().max(1e-9);
        let begins = matches!(progress, Progress::Calibrating { .. } | Progress::Cell { .. });
        if !self.is_terminal && (begins || state.printed_at.elapsed() >= QUIET_MAX) {
            state.printed_at = Instant::now();
            note(format!("{}: {phase}; about {} s left", state.cell, left.as_secs()));
        }
        self.bar.set_position((done.clamp(0.0, 1.0) * 1_000.0) as u64);
        self.bar.set_message(format!("{}: {phase}; {} s left", state.cell, left.as_secs()));
    }

    /// Removes the line.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A short description of a phase.
pub fn phase_name(phase: CellPhase) -> &'static str {
    match phase {
        CellPhase::Connecting => "connecting",
        CellPhase::Idle => "idle",
        CellPhase::WarmUp => "warming up",
        CellPhase::Steady => "measuring",
        CellPhase::Restarting => "restarting the server",
        CellPhase::Draining => "draining",
    }
}
