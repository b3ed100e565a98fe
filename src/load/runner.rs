//! A load test measures all cells of a scenario, with interleaved repeats.

use std::pin::Pin;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::calibration::Calibration;
use super::cell::{CellError, MeasuredCell};
use super::plan::{CellPhase, CellPlan, CellShare, CellTimes};
use super::timetable::instant_of;
use super::{ServerSource, machine, preflight};
use crate::client::clock::sleep_until;
use crate::run::{
    Cell, FailedCell, MeasuredServer, Run, RunSegment, SCHEMA_VERSION, StopReason, StoppedEarly,
};
use crate::scenario::{CellGroup, Link, Scenario, Segment, SweepPoint};
use crate::text::causes;
use crate::theory::ProcessingTime;
use crate::variant::Variant;

/// All cells of a run, in order.
#[derive(Debug)]
pub struct LoadTest {
    run: Run,
    source: ServerSource,
    /// `None` if the machine's processing time is not measured.
    calibration: Option<Calibration>,
    plans: Vec<CellPlan>,
    /// `None` if this load generator measures the whole scenario.
    segment: Option<SegmentStart>,
}

/// The segment that a load generator measures, and when all of them start.
#[derive(Debug, Clone, Copy)]
pub struct SegmentStart {
    pub segment: Segment,
    pub start_at: Timestamp,
}

/// A progress message of a load test.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The measurement of the machine's processing time starts, before the first cell.
    Calibrating {
        left: Duration,
    },
    /// A cell starts; `left` is the approximate duration of this cell and the remaining ones.
    Cell {
        number: usize,
        of: usize,
        variant: Variant,
        case: &'a str,
        repeat: u32,
        left: Duration,
    },
    Phase(CellPhase),
    /// A cell is complete; the run includes it.
    Done(&'a Cell, &'a Run),
    /// A cell failed; the next one will be measured.
    Failed(&'a FailedCell, &'a Run),
}

/// Number of consecutive failures that ends the run.
const FAILURES_IN_A_ROW_MAX: usize = 3;

impl LoadTest {
    /// Plans a run of `scenario`. It starts with measuring the machine's processing time, except
    /// for a third-party server.
    ///
    /// # Errors
    /// If the limits of this machine are too low, or the server cannot be restarted as required.
    pub fn new(scenario: Scenario, source: ServerSource) -> anyhow::Result<LoadTest> {
        LoadTest::of_segment(scenario, source, None)
    }

    /// The same for one `segment` of the scenario.
    ///
    /// # Errors
    /// Those of [`LoadTest::new`], and if a segment would have no topic, or no server that is
    /// common to all.
    pub fn of_segment(
        scenario: Scenario,
        source: ServerSource,
        segment: Option<SegmentStart>,
    ) -> anyhow::Result<LoadTest> {
        let points = scenario.points();
        let own = |point: &SweepPoint| match segment {
            Some(SegmentStart { segment, .. }) => segment.subscribers(&point.workload),
            None => point.workload.subscribers,
        };
        preflight::check(points.iter().map(own).max().unwrap_or(0))?;
        if let Some(SegmentStart { segment, .. }) = segment {
            check_segment(segment, &scenario, &source)?;
        }
        check_ramps(&scenario, &source)?;
        let is_child = matches!(source, ServerSource::Child { .. });
        let topics = TopicNames::of(&source);
        let is_all_packets = points.iter().all(|point| point.workload.link == Link::Packets);
        let restarts = points.iter().any(|point| point.workload.restarts());
        anyhow::ensure!(
            is_child || !restarts,
            "workload.restart: only a server started by this program can be restarted; omit --target, \
             or use --restart 0s"
        );
        anyhow::ensure!(
            is_child || points.iter().all(|point| point.workload.link != Link::Packets),
            "workload.link: a packet link leads to a server that this program starts; leave out \
             --target, or set it to in-process"
        );
        let is_ours = !matches!(source, ServerSource::ThirdParty { .. });
        let link = if is_all_packets { Link::Packets } else { Link::InProcess };
        let calibration = is_ours
            .then(|| Calibration::plan(scenario.seed, &topics.of_calibration(), restarts, link));
        let plans = plan(&scenario, &topics);
        let run = Run {
            schema: SCHEMA_VERSION,
            tool: machine::tool(),
            started_at: Timestamp::now(),
            finished_at: Timestamp::now(),
            stopped_early: None,
            failed: Vec::new(),
            machine: machine::machine(),
            server: MeasuredServer { is_child, version: String::new(), is_tls: source.is_tls() },
            processing_time: None,
            scenario,
            segments: segment.iter().map(of_this_machine).collect(),
            cells: Vec::new(),
        };
        Ok(LoadTest { run, source, calibration, plans, segment })
    }

    /// Skips measuring the machine's processing time; predictions are then theory alone.
    pub fn uncalibrated(self) -> LoadTest {
        LoadTest { calibration: None, ..self }
    }

    /// Whether a cell needs the packet link, so that the process has to be in a namespace for it.
    pub fn uses_packet_link(&self) -> bool {
        self.plans.iter().any(|plan| plan.workload.link == Link::Packets)
    }

    /// Approximate duration of the run.
    pub fn expected_duration(&self) -> Duration {
        if let Some(last) = self.timetable().last() {
            return last.end.saturating_duration_since(Instant::now());
        }
        let calibrating = self.calibration.iter().map(Calibration::expected_duration);
        calibrating.chain(self.plans.iter().map(CellPlan::expected_duration)).sum()
    }

    /// When each cell starts, for a segment; empty otherwise. The cells follow the measurement of
    /// the processing time, which only the first segment carries out.
    fn timetable(&self) -> Vec<CellTimes> {
        let Some(SegmentStart { start_at, .. }) = self.segment else { return Vec::new() };
        let calibrating = self.calibration.as_ref().map(Calibration::expected_duration);
        let calibrating = calibrating.map_or(Duration::ZERO, |expected| 2 * expected);
        CellTimes::of_all(&self.plans, instant_of(start_at) + calibrating)
    }

    /// Measures the machine's processing time, unless another segment does.
    async fn processing_time(
        &self,
        calibration: &Calibration,
    ) -> anyhow::Result<Option<ProcessingTime>> {
        match self.segment {
            Some(SegmentStart { segment, .. }) if segment.number != 1 => return Ok(None),
            Some(SegmentStart { start_at, .. }) => sleep_until(instant_of(start_at)).await,
            None => {}
        }
        calibration.measure(&self.source).await.map(Some)
    }

    /// Measures all cells until `stop` completes, the server is unavailable, or several cells in a
    /// row fail. The returned run contains the reason. A single failed cell is recorded in the run,
    /// and the next one is measured.
    pub async fn measure(
        mut self,
        stop: impl Future<Output = ()>,
        on_progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Run {
        let mut stop = std::pin::pin!(stop);
        let segment = self.segment;
        for (plan, times) in self.timetable().into_iter().enumerate() {
            self.plans[plan].share =
                segment.map(|SegmentStart { segment, .. }| CellShare { segment, times });
        }
        if let Some((reason, why)) = self.calibrate(stop.as_mut(), on_progress).await {
            let text = format!("before the first cell: {why}");
            self.run.stopped_early = Some(StoppedEarly { reason, text });
            return self.run;
        }
        let plans = std::mem::take(&mut self.plans);
        let mut failures_in_a_row = 0;
        for (index, plan) in plans.iter().enumerate() {
            let left = plans[index..].iter().map(CellPlan::expected_duration).sum();
            on_progress(Progress::Cell {
                number: index + 1,
                of: plans.len(),
                variant: plan.variant,
                case: &plan.case,
                repeat: plan.repeat,
                left,
            });
            let on_phase = |phase| on_progress(Progress::Phase(phase));
            let measuring = plan.measure(&self.source, &on_phase);
            let outcome = or_interrupted(&mut stop, measuring).await;
            self.run.finished_at = Timestamp::now();
            let stopped = match outcome {
                Ok(outcome) => self.record(plan, outcome, &mut failures_in_a_row, on_progress),
                Err(Interrupted) => Some(interrupted()),
            };
            if let Some((reason, why)) = stopped {
                let text = format!("{}, repeat {}: {why}", plan.variant, plan.repeat + 1);
                self.run.stopped_early = Some(StoppedEarly { reason, text });
                break;
            }
        }
        self.run
    }

    /// Measures the machine's processing time. Returns why the run must stop, if it must.
    async fn calibrate(
        &mut self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        on_progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Option<(StopReason, String)> {
        let calibration = self.calibration.as_ref()?;
        on_progress(Progress::Calibrating { left: self.expected_duration() });
        let measuring = self.processing_time(calibration);
        match or_interrupted(&mut stop, measuring).await {
            Ok(Ok(processing_time)) => {
                self.run.processing_time = processing_time;
                None
            }
            Ok(Err(error)) => Some((StopReason::Failed, causes(&error))),
            Err(Interrupted) => Some(interrupted()),
        }
    }

    /// Adds a measured or failed cell to the run. Returns why the run must stop, if it must.
    fn record(
        &mut self,
        plan: &CellPlan,
        outcome: Result<MeasuredCell, CellError>,
        failures_in_a_row: &mut usize,
        on_progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Option<(StopReason, String)> {
        match outcome {
            Ok(MeasuredCell { cells, failed: failed_step, version }) => {
                *failures_in_a_row = 0;
                self.run.server.version = version;
                for cell in cells {
                    self.run.cells.push(cell);
                    let cell = self.run.cells.last().expect("just pushed");
                    on_progress(Progress::Done(cell, &self.run));
                }
                if let Some((workload, error)) = failed_step {
                    let failed = FailedCell { workload, ..failed(plan, causes(&error)) };
                    self.record_failed(failed, on_progress);
                }
                None
            }
            Err(CellError::Failed(error)) => {
                *failures_in_a_row += 1;
                self.record_failed(failed(plan, causes(&error)), on_progress);
                let gives_up = *failures_in_a_row >= FAILURES_IN_A_ROW_MAX;
                let why = format!("{failures_in_a_row} cells in a row failed");
                gives_up.then_some((StopReason::Failed, why))
            }
            Err(error @ CellError::NoServer(_)) => Some((StopReason::Failed, error.to_string())),
        }
    }

    fn record_failed(&mut self, cell: FailedCell, on_progress: &(dyn Fn(Progress<'_>) + Sync)) {
        self.run.failed.push(cell);
        let cell = self.run.failed.last().expect("just pushed");
        on_progress(Progress::Failed(cell, &self.run));
    }
}

fn interrupted() -> (StopReason, String) {
    (StopReason::Interrupted, "interrupted".to_owned())
}

/// Checks that the scenario can be measured in segments.
fn check_segment(
    segment: Segment,
    scenario: &Scenario,
    source: &ServerSource,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        !matches!(source, ServerSource::Child { .. }),
        "--segment {segment}: all segments measure the same server; start one and name it with \
         --target"
    );
    anyhow::ensure!(
        !scenario.cell_groups().iter().any(|group| group.steps.len() > 1),
        "--segment {segment}: a ramp cannot be measured in segments; use a sweep"
    );
    segment.check_topics(scenario).map_err(anyhow::Error::msg)
}

/// A third-party server sends everything that it has of a topic to a new subscriber, also the
/// messages of earlier steps.
fn check_ramps(scenario: &Scenario, source: &ServerSource) -> anyhow::Result<()> {
    let adds_subscribers = |group: &CellGroup| {
        group.steps.windows(2).any(|pair| pair[0].subscribers != pair[1].subscribers)
    };
    anyhow::ensure!(
        !matches!(source, ServerSource::ThirdParty { .. })
            || !scenario.cell_groups().iter().any(adds_subscribers),
        "ramp: only servers of this program can be measured with rising subscribers; use \
         `sweep` instead of `ramp`, or a ramp of the rate"
    );
    Ok(())
}

fn of_this_machine(SegmentStart { segment, start_at }: &SegmentStart) -> RunSegment {
    RunSegment {
        segment: *segment,
        start_at: *start_at,
        machine_id: machine::identity(),
        machine: machine::machine(),
    }
}

fn failed(plan: &CellPlan, error: String) -> FailedCell {
    let CellPlan { variant, case, workload, repeat, .. } = plan;
    FailedCell {
        variant: *variant,
        case: case.clone(),
        workload: workload.clone(),
        repeat: *repeat,
        error,
    }
}

/// The run was interrupted by a signal.
struct Interrupted;

/// The result of `work`, unless `stop` completes first.
async fn or_interrupted<T>(
    stop: &mut (impl Future<Output = ()> + Unpin),
    work: impl Future<Output = T>,
) -> Result<T, Interrupted> {
    tokio::select! {
        biased;
        () = stop => Err(Interrupted),
        outcome = work => Ok(outcome),
    }
}

/// The prefix of the topic names.
#[derive(Debug)]
enum TopicNames {
    /// On a server for one cell: empty.
    Plain,
    /// On a running `poll-vs-push` server: always the same on this machine. Topics are kept for as
    /// long as the server runs, so with new names for each cell a few runs would reach its limits
    /// on topics. Subscribers start at the head of a topic and do not receive its earlier messages.
    OfMachine(String),
    /// On a third-party server: a new prefix for each cell, because subscribers start at the first
    /// message of a topic.
    New(String),
}

impl TopicNames {
    fn of(source: &ServerSource) -> TopicNames {
        match source {
            ServerSource::Child { .. } => TopicNames::Plain,
            ServerSource::Target { .. } => {
                TopicNames::OfMachine(format!("load-{:08x}-", machine::identity()))
            }
            ServerSource::ThirdParty { .. } => {
                TopicNames::New(format!("{:08x}-", rand::random::<u32>()))
            }
        }
    }

    fn of_calibration(&self) -> String {
        match self {
            TopicNames::Plain => String::new(),
            TopicNames::OfMachine(prefix) | TopicNames::New(prefix) => prefix.clone(),
        }
    }

    fn of_cell(&self, number: usize) -> String {
        match self {
            TopicNames::Plain => String::new(),
            TopicNames::OfMachine(prefix) => prefix.clone(),
            TopicNames::New(prefix) => format!("{prefix}{number}-"),
        }
    }
}

/// The cells of a scenario. Each repeat rotates the order of the transports by one (A B C, B C A,
/// ...), so that slow changes of the machine affect all of them.
fn plan(scenario: &Scenario, topics: &TopicNames) -> Vec<CellPlan> {
    let mut plans = Vec::new();
    for repeat in 0..scenario.repeats {
        for group in scenario.cell_groups() {
            let mut variants = group.transports;
            let shift = repeat as usize % variants.len();
            variants.rotate_left(shift);
            for variant in variants {
                let topic_prefix = topics.of_cell(plans.len());
                plans.push(CellPlan {
                    variant,
                    case: group.case.clone(),
                    workload: group.steps[0].clone(),
                    later_steps: group.steps[1..].to_vec(),
                    repeat,
                    seed: scenario.seed.wrapping_add(u64::from(repeat)),
                    topic_prefix,
                    on_disk: group.steps[0].restarts(),
                    share: None,
                });
            }
        }
    }
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_interleaved_and_share_a_schedule() {
        let text = "name = 'x'\ntitle = 'x'\ndescription = 'x'\nrepeats = 2\nseed = 5\n\
                    transports = ['short-polling', 'long-polling', 'websocket']";
        let scenario = Scenario::from_toml(text).expect("a good scenario");
        let plans = plan(&scenario, &TopicNames::Plain);
        let order: Vec<_> =
            plans.iter().map(|plan| (plan.variant.to_string(), plan.seed)).collect();
        let wanted = [
            ("short-polling", 5),
            ("long-polling", 5),
            ("websocket", 5),
            ("long-polling", 6),
            ("websocket", 6),
            ("short-polling", 6),
        ];
        assert_eq!(order, wanted.map(|(name, seed)| (name.to_owned(), seed)));
    }
}
