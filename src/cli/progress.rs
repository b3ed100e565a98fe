//! Shows the current step of a run and the remaining time: as one updated line on a terminal, as a
//! line every few seconds otherwise.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::sleep_until;
use tokio_util::task::AbortOnDropHandle;

use super::output::note;
use crate::load::{CellPhase, Progress};

/// Time between two redraws.
const TICK: Duration = Duration::from_millis(200);

/// Longest time without a line if standard error is not a terminal.
const QUIET_MAX: Duration = Duration::from_secs(5);

/// The progress display.
#[derive(Debug)]
pub struct ProgressLine {
    bar: ProgressBar,
    state: Arc<Mutex<State>>,
    /// Prints lines during long phases; `None` on a terminal.
    printing: Option<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct State {
    whole: Duration,
    /// Estimated end of the run.
    end: Instant,
    cell: String,
    phase: &'static str,
    /// When the last line was printed, if standard error is not a terminal.
    printed_at: Instant,
}

impl ProgressLine {
    /// A display for a run that takes about `whole`. Needs a Tokio runtime.
    pub fn new(whole: Duration) -> ProgressLine {
        let style = ProgressStyle::with_template("{bar:24} {msg}").expect("a valid template");
        let bar = ProgressBar::new(1_000).with_style(style);
        bar.enable_steady_tick(TICK);
        let now = Instant::now();
        let (cell, phase) = (String::new(), "starting");
        let state = State { whole, end: now + whole, cell, phase, printed_at: now };
        let state = Arc::new(Mutex::new(state));
        let printing = (!std::io::stderr().is_terminal())
            .then(|| AbortOnDropHandle::new(tokio::spawn(print_during_phases(state.clone()))));
        ProgressLine { bar, state, printing }
    }

    /// Shows the current step.
    pub fn show(&self, progress: &Progress<'_>) {
        let mut state = lock(&self.state);
        state.phase = match progress {
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
        let begins = matches!(progress, Progress::Calibrating { .. } | Progress::Cell { .. });
        if begins && self.printing.is_some() {
            state.print();
        }
        let left = state.left();
        let done = 1.0 - left.as_secs_f64() / state.whole.as_secs_f64().max(1e-9);
        self.bar.set_position((done.clamp(0.0, 1.0) * 1_000.0) as u64);
        self.bar.set_message(format!("{}: {}; {} s left", state.cell, state.phase, left.as_secs()));
    }

    /// Removes the line.
    pub fn finish(&self) {
        if let Some(printing) = &self.printing {
            printing.abort();
        }
        self.bar.finish_and_clear();
    }
}

impl State {
    fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    fn print(&mut self) {
        self.printed_at = Instant::now();
        note(format!("{}: {}; about {} s left", self.cell, self.phase, self.left().as_secs()));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic under this lock")
}

/// Prints a line whenever none was printed for [`QUIET_MAX`].
async fn print_during_phases(state: Arc<Mutex<State>>) {
    loop {
        let due = lock(&state).printed_at + QUIET_MAX;
        sleep_until(due.into()).await;
        let mut state = lock(&state);
        if state.printed_at.elapsed() >= QUIET_MAX {
            state.print();
        }
    }
}

/// A short description of a phase.
pub fn phase_name(phase: CellPhase) -> &'static str {
    match phase {
        CellPhase::Waiting => "waiting for the other segments",
        CellPhase::Connecting => "connecting",
        CellPhase::Idle => "idle",
        CellPhase::WarmUp => "warming up",
        CellPhase::Steady => "measuring",
        CellPhase::Restarting => "restarting the server",
        CellPhase::Draining => "draining",
    }
}
