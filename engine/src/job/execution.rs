//! One job on a changing set of task managers.
//!
//! The job is divided into regions: tasks that exchange data, and so fail together. Each goes its own way, which is drawn in
//! the module of `Region`, under attempts that are its alone:
//!
//! ```text
//!   all have slots ──► each is restored, deployed, started ──► all run ──► checkpoints ──► all data ended ──► final checkpoint
//!                          ▲                                      │                                                 │
//!                          └── what failed: cancelled, pause ◄────┘ what did not fail runs on        all finished ◄─┘
//! ```
//! A subtask whose data ended may finish while others run on (FLIP-147); when the last one has, the job has.
//! Of a region at most one attempt runs: the next one is deployed only after every task manager that is left has said that
//! nothing of the last one runs. Those that are lost are fenced by attempt and epoch. With the strategy `full`, and after a
//! failure that is nobody's in particular, all regions restart (Flink `DefaultScheduler`, `ExecutionGraph`,
//! `RestartPipelinedRegionFailoverStrategy`).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    failover::FailoverRegions,
    placement::{Placement, place_beside},
};
use crate::{
    config::FailoverStrategy,
    error::Recoverability,
    graph::JobGraph,
    id::{Attempt, ExecutionAttempt, SubtaskId, TaskManagerId},
    planted,
    restart::{RestartDecision, RestartStrategy},
    time::Timestamp,
};

mod message;
mod region;

pub use message::{Culprit, ExecutionAction, ExecutionInput, JobOutcome, JobState};
use region::{AfterCancel, Progress, Region, State};

/// Whether the job takes checkpoints, and so ends with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FinalCheckpoint {
    Needed,
    NotNeeded,
}

/// Whether a failure concerns all tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    /// No: those of its region.
    No,
    /// Yes: they stop with a savepoint, and stand still.
    WithSavepoint,
}

/// The execution of one job.
#[derive(Debug)]
pub struct ExecutionGraph {
    graph: JobGraph,
    restart: RestartStrategy,
    final_checkpoint: FinalCheckpoint,
    slots: BTreeMap<TaskManagerId, u32>,
    /// Where subtasks ran before, if they go back there.
    prior: Option<Placement>,
    regions: Vec<Region>,
    region_of: BTreeMap<SubtaskId, usize>,
    /// The highest attempt that was given out.
    newest: Attempt,
    has_failed: bool,
    stopping: Stopping,
    /// How the job ends as soon as nothing of it runs.
    ending: Option<JobOutcome>,
    ended: Option<JobOutcome>,
}

impl ExecutionGraph {
    /// A job that waits for slots, all of which restarts after a failure. Attempts are numbered from `first_attempt` on;
    /// checkpointing decides how it ends.
    pub fn new(graph: JobGraph, restart: RestartStrategy, checkpointing: bool, first_attempt: Attempt) -> Self {
        let final_checkpoint = if checkpointing { FinalCheckpoint::Needed } else { FinalCheckpoint::NotNeeded };
        let all: BTreeSet<SubtaskId> = graph.subtasks().collect();
        let mut this = Self {
            graph,
            restart,
            final_checkpoint,
            slots: BTreeMap::new(),
            prior: None,
            regions: Vec::new(),
            region_of: BTreeMap::new(),
            newest: first_attempt,
            has_failed: false,
            stopping: Stopping::No,
            ending: None,
            ended: None,
        };
        this.divide(vec![all], first_attempt);
        this
    }

    /// What restarts after a failure.
    #[must_use]
    pub fn with_failover(mut self, strategy: FailoverStrategy) -> Self {
        if strategy == FailoverStrategy::Region {
            let first_attempt = self.newest;
            self.divide(FailoverRegions::of(&self.graph).regions(), first_attempt);
        }
        self
    }

    /// Each subtask goes back to where it ran before, as far as there is room.
    #[must_use]
    pub fn with_prior_locations(self) -> Self {
        Self { prior: Some(Placement::new()), ..self }
    }

    fn divide(&mut self, regions: Vec<BTreeSet<SubtaskId>>, first_attempt: Attempt) {
        let numbers = (0..).map(|number| Attempt(first_attempt.0 + number));
        self.regions = regions.into_iter().zip(numbers).map(|(tasks, attempt)| Region::new(tasks, attempt)).collect();
        let of_regions = self.regions.iter().enumerate();
        self.region_of =
            of_regions.flat_map(|(index, region)| region.tasks.iter().map(move |task| (*task, index))).collect();
        self.newest = self.regions.last().map_or(first_attempt, |region| region.attempt);
    }

    /// The highest attempt that was given out.
    pub fn attempt(&self) -> Attempt {
        self.newest
    }

    /// The attempt in which a subtask runs or ran last; `None` if the job has no such subtask.
    pub fn attempt_of(&self, subtask: SubtaskId) -> Option<Attempt> {
        self.region_of.get(&subtask).map(|index| self.regions[*index].attempt)
    }

    /// Whether this is what runs of a subtask, and not an earlier attempt of it.
    pub fn is_current(&self, execution: ExecutionAttempt) -> bool {
        self.attempt_of(execution.subtask) == Some(execution.attempt)
    }

    /// The subtasks that an attempt is about; none if it is over.
    pub fn subtasks_of(&self, attempt: Attempt) -> impl Iterator<Item = SubtaskId> + '_ {
        let region = self.regions.iter().find(|region| region.attempt == attempt);
        region.into_iter().flat_map(|region| region.tasks.iter().copied())
    }

    /// The attempts of which tasks may run.
    pub fn live_attempts(&self) -> BTreeSet<Attempt> {
        self.regions.iter().filter(|region| region.is_live()).map(|region| region.attempt).collect()
    }

    /// Whether a failure can leave tasks running.
    pub fn has_several_regions(&self) -> bool {
        self.regions.len() > 1
    }

    /// The subtasks that have finished.
    pub fn finished_subtasks(&self) -> BTreeSet<SubtaskId> {
        self.regions.iter().flat_map(Region::finished).collect()
    }

    /// The subtasks of running attempts that have seen the end of their data.
    pub fn ended_subtasks(&self) -> BTreeSet<SubtaskId> {
        self.regions.iter().flat_map(Region::ended).collect()
    }

    /// What the job does, in a word.
    pub fn job_state(&self) -> JobState {
        if let Some(outcome) = &self.ended {
            return match outcome {
                JobOutcome::Finished => JobState::Finished,
                JobOutcome::Cancelled => JobState::Cancelled,
                JobOutcome::Failed { .. } | JobOutcome::CannotRestore { .. } => JobState::Failed,
            };
        }
        if let Some(outcome) = &self.ending {
            return match outcome {
                JobOutcome::Failed { .. } | JobOutcome::CannotRestore { .. } => JobState::Failing,
                JobOutcome::Cancelled | JobOutcome::Finished => JobState::Cancelling,
            };
        }
        let any = |is: fn(&State) -> bool| self.regions.iter().any(|region| is(&region.state));
        if any(|state| matches!(state, State::BackingOff { .. } | State::Cancelling { .. } | State::Stopped)) {
            JobState::Restarting
        } else if any(|state| matches!(state, State::Waiting)) {
            if self.has_failed { JobState::Restarting } else { JobState::Created }
        } else {
            JobState::Running
        }
    }

    /// When `Tick` is wanted.
    pub fn deadline(&self) -> Option<Timestamp> {
        let pauses = self.regions.iter().filter_map(|region| match region.state {
            State::BackingOff { until } => Some(until),
            State::Waiting
            | State::Restoring { .. }
            | State::Deploying { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Finishing { .. }
            | State::Finished { .. }
            | State::Cancelling { .. }
            | State::Stopped => None,
        });
        pauses.min()
    }

    /// Takes an input; `random_unit` in [0, 1) spreads restart pauses.
    pub fn handle(
        &mut self,
        now: Timestamp,
        random_unit: f64,
        input: ExecutionInput,
        actions: &mut Vec<ExecutionAction>,
    ) {
        if self.ended.is_some() {
            return;
        }
        match input {
            ExecutionInput::TaskManagerRegistered { task_manager, slots } => {
                self.slots.insert(task_manager, slots);
                self.try_placing(actions);
            }
            ExecutionInput::TaskManagerLost { task_manager, reason } => {
                self.task_manager_lost(now, random_unit, &task_manager, &reason, actions);
            }
            ExecutionInput::RestoreReady { attempt } => self.deploy(attempt, actions),
            ExecutionInput::Deployed { task_manager, attempt } => self.deployed(&task_manager, attempt, actions),
            ExecutionInput::Running(execution) => self.running(execution, actions),
            ExecutionInput::EndOfData(execution) => self.end_of_data(execution, actions),
            ExecutionInput::FinalCheckpointCompleted(_) => self.finish(actions),
            ExecutionInput::StoppingWithSavepoint => self.stopping = Stopping::WithSavepoint,
            ExecutionInput::StoppedWithSavepoint(_) => {
                if self.regions.iter().all(Region::is_up) {
                    self.regions.iter_mut().for_each(Region::finishing);
                }
            }
            ExecutionInput::Cancel => self.cancel(now, actions),
            ExecutionInput::Finished(execution) => self.finished(execution, actions),
            ExecutionInput::Failed { culprit, reason, recoverability } => match recoverability {
                Recoverability::Recoverable => self.failed(now, random_unit, &culprit, &reason, actions),
                Recoverability::NonRecoverable => self.fail_for_good(now, &culprit, reason, actions),
            },
            ExecutionInput::Cancelled { task_manager, attempt } => {
                self.cancelled(now, &task_manager, |region| region.attempt == attempt, actions);
            }
            ExecutionInput::Tick => self.tick(now, actions),
        }
    }

    fn tick(&mut self, now: Timestamp, actions: &mut Vec<ExecutionAction>) {
        let mut waits = false;
        for region in &mut self.regions {
            let State::BackingOff { until } = region.state else { continue };
            if until <= now {
                region.state = State::Waiting;
                if !planted!("attempt_not_counted_at_a_restart") {
                    self.newest = self.newest.next();
                    region.attempt = self.newest;
                }
                waits = true;
            }
        }
        if waits {
            self.try_placing(actions);
        }
    }

    /// The job begins when there is room for all of it; after that each region begins again when there is room for it.
    fn try_placing(&mut self, actions: &mut Vec<ExecutionAction>) {
        let waits = |region: &Region| matches!(region.state, State::Waiting);
        if self.ending.is_some() || !self.regions.iter().any(waits) {
            return;
        }
        let all_wait = self.regions.iter().all(waits);
        let nowhere = Placement::new();
        let prior = self.prior.as_ref().unwrap_or(&nowhere);
        for group in self.waiting_groups(all_wait) {
            let tasks = group.iter().flat_map(|index| self.regions[*index].tasks.iter().copied()).collect();
            let occupied: Placement =
                self.regions.iter().flat_map(Region::occupied).map(|(task, host)| (task, host.clone())).collect();
            let Some(placement) = place_beside(&tasks, &self.slots, &occupied, prior) else { continue };
            for index in group {
                let region = &mut self.regions[index];
                let here = placement.iter().filter(|(task, _)| region.tasks.contains(task));
                let placement = here.map(|(task, host)| (*task, host.clone())).collect();
                region.state = State::Restoring { placement };
                actions.push(ExecutionAction::PrepareRestore(region.attempt));
            }
        }
    }

    fn waiting_groups(&self, all_wait: bool) -> Vec<Vec<usize>> {
        let waiting = (0..self.regions.len()).filter(|index| matches!(self.regions[*index].state, State::Waiting));
        if all_wait { vec![waiting.collect()] } else { waiting.map(|index| vec![index]).collect() }
    }

    /// The regions of which tasks can fail, or can be stopped.
    fn placed(&self) -> Vec<usize> {
        (0..self.regions.len()).filter(|index| self.regions[*index].placement().is_some()).collect()
    }

    fn region(&mut self, attempt: Attempt) -> Option<&mut Region> {
        self.regions.iter_mut().find(|region| region.attempt == attempt)
    }

    /// The region of what runs; `None` if it is of an attempt that is over.
    fn region_of(&mut self, execution: ExecutionAttempt) -> Option<&mut Region> {
        let index = *self.region_of.get(&execution.subtask)?;
        Some(&mut self.regions[index]).filter(|region| region.attempt == execution.attempt)
    }

    fn deploy(&mut self, attempt: Attempt, actions: &mut Vec<ExecutionAction>) {
        let Some(region) = self.region(attempt) else { return };
        let State::Restoring { placement } = &region.state else { return };
        let placement = placement.clone();
        actions.push(ExecutionAction::Deploy { attempt, placement: placement.clone() });
        region.state =
            State::Deploying { missing: placement.values().cloned().collect(), placement: placement.clone() };
        if let Some(prior) = &mut self.prior {
            prior.extend(placement);
        }
    }

    fn deployed(&mut self, task_manager: &TaskManagerId, attempt: Attempt, actions: &mut Vec<ExecutionAction>) {
        let Some(region) = self.region(attempt) else { return };
        let State::Deploying { placement, missing } = &mut region.state else { return };
        missing.remove(task_manager);
        if missing.is_empty() {
            let placement = std::mem::take(placement);
            let all = region.tasks.clone();
            let progress = Progress { data_not_ended: all.clone(), not_finished: all.clone() };
            region.state = State::Starting { placement, missing: all, progress };
            actions.push(ExecutionAction::Start(attempt));
        }
    }

    fn running(&mut self, execution: ExecutionAttempt, actions: &mut Vec<ExecutionAction>) {
        let Some(region) = self.region_of(execution) else { return };
        let State::Starting { placement, missing, progress } = &mut region.state else { return };
        missing.remove(&execution.subtask);
        if !missing.is_empty() {
            return;
        }
        let (placement, progress) = (std::mem::take(placement), std::mem::take(progress));
        region.state = State::Running { placement, progress };
        if self.regions.iter().all(Region::is_up) {
            actions.push(ExecutionAction::AllRunning(self.newest));
        }
        self.end_if_all_data_ended(actions);
    }

    fn end_of_data(&mut self, execution: ExecutionAttempt, actions: &mut Vec<ExecutionAction>) {
        let Some(region) = self.region_of(execution) else { return };
        match &mut region.state {
            // A short input can end before the last subtask has started.
            State::Starting { progress, .. } | State::Running { progress, .. } => {
                progress.data_not_ended.remove(&execution.subtask);
            }
            State::Waiting
            | State::Restoring { .. }
            | State::Deploying { .. }
            | State::Finishing { .. }
            | State::Finished { .. }
            | State::Cancelling { .. }
            | State::BackingOff { .. }
            | State::Stopped => return,
        }
        self.end_if_all_data_ended(actions);
    }

    fn end_if_all_data_ended(&mut self, actions: &mut Vec<ExecutionAction>) {
        for region in &mut self.regions {
            if let State::Running { placement, progress } = &mut region.state
                && progress.not_finished.is_empty()
            {
                region.state = State::Finished { placement: std::mem::take(placement) };
            }
        }
        if self.end_if_all_finished(actions) || !self.regions.iter().all(Region::is_up) {
            return;
        }
        let mut running = self.regions.iter().filter_map(Region::progress).peekable();
        if running.peek().is_some() && running.all(|progress| progress.data_not_ended.is_empty()) {
            match self.final_checkpoint {
                FinalCheckpoint::Needed if planted!("job_ends_without_its_final_checkpoint") => self.finish(actions),
                FinalCheckpoint::Needed => actions.push(ExecutionAction::TriggerFinalCheckpoint(self.newest)),
                FinalCheckpoint::NotNeeded => self.finish(actions),
            }
        }
    }

    fn end_if_all_finished(&mut self, actions: &mut Vec<ExecutionAction>) -> bool {
        let all = self.regions.iter().all(|region| matches!(region.state, State::Finished { .. }));
        if all {
            self.end(JobOutcome::Finished, actions);
        }
        all
    }

    fn finish(&mut self, actions: &mut Vec<ExecutionAction>) {
        if !self.regions.iter().all(Region::is_up) {
            return;
        }
        for region in &mut self.regions {
            if matches!(region.state, State::Running { .. }) {
                region.finishing();
                actions.push(ExecutionAction::Finish(region.attempt));
            }
        }
    }

    fn finished(&mut self, execution: ExecutionAttempt, actions: &mut Vec<ExecutionAction>) {
        let subtask = execution.subtask;
        let Some(region) = self.region_of(execution) else { return };
        match &mut region.state {
            State::Finishing { placement, missing } => {
                missing.remove(&subtask);
                if missing.is_empty() {
                    region.state = State::Finished { placement: std::mem::take(placement) };
                }
            }
            State::Starting { progress, .. } => {
                progress.not_finished.remove(&subtask);
                progress.data_not_ended.remove(&subtask);
            }
            State::Running { placement, progress } => {
                progress.not_finished.remove(&subtask);
                progress.data_not_ended.remove(&subtask);
                if progress.not_finished.is_empty() {
                    region.state = State::Finished { placement: std::mem::take(placement) };
                }
            }
            State::Waiting
            | State::Restoring { .. }
            | State::Deploying { .. }
            | State::Finished { .. }
            | State::Cancelling { .. }
            | State::BackingOff { .. }
            | State::Stopped => return,
        }
        if self.end_if_all_finished(actions) {
            return;
        }
        let ends = |region: &Region| matches!(region.state, State::Finishing { .. } | State::Finished { .. });
        if !self.regions.iter().all(ends) {
            let finished = self.finished_subtasks();
            actions.push(ExecutionAction::TaskFinished { subtask, finished });
        }
        self.try_placing(actions);
    }

    fn task_manager_lost(
        &mut self,
        now: Timestamp,
        random_unit: f64,
        task_manager: &TaskManagerId,
        reason: &str,
        actions: &mut Vec<ExecutionAction>,
    ) {
        self.slots.remove(task_manager);
        let reason = format!("task manager {task_manager} is lost: {reason}");
        for index in 0..self.regions.len() {
            // A failure that concerns all has stopped this one as well.
            let lost = self.regions[index].lost_with(task_manager);
            if !lost.is_empty() {
                self.fail(now, random_unit, vec![index], &lost, &reason, actions);
            }
        }
        let awaits_it = |region: &Region| matches!(&region.state, State::Cancelling { missing, .. } if missing.contains(task_manager));
        if self.regions.iter().any(awaits_it) && planted!("lost_task_manager_awaited_for_its_cancellation") {
            return;
        }
        self.cancelled(now, task_manager, |_| true, actions);
    }

    /// Regions fail, and others with them: one failure, of which the restart strategy is asked once.
    fn failed(
        &mut self,
        now: Timestamp,
        random_unit: f64,
        culprit: &Culprit,
        reason: &str,
        actions: &mut Vec<ExecutionAction>,
    ) {
        let (regions, failed) = self.concerned(culprit);
        self.fail(now, random_unit, regions, &failed, reason, actions);
    }

    /// The regions of whatever failed, and the tasks that are said to have.
    fn concerned(&self, culprit: &Culprit) -> (Vec<usize>, BTreeSet<SubtaskId>) {
        let of_attempt = |attempt: &Attempt| self.regions.iter().position(|region| region.attempt == *attempt);
        match culprit {
            Culprit::Task(execution) => {
                let region = of_attempt(&execution.attempt);
                (region.into_iter().collect(), BTreeSet::from([execution.subtask]))
            }
            Culprit::Attempts(attempts) => {
                let regions: Vec<usize> = attempts.iter().filter_map(of_attempt).collect();
                let tasks = regions.iter().flat_map(|index| self.regions[*index].tasks.iter().copied()).collect();
                (regions, tasks)
            }
            Culprit::Job => ((0..self.regions.len()).collect(), BTreeSet::new()),
        }
    }

    fn fail(
        &mut self,
        now: Timestamp,
        random_unit: f64,
        mut regions: Vec<usize>,
        failed: &BTreeSet<SubtaskId>,
        reason: &str,
        actions: &mut Vec<ExecutionAction>,
    ) {
        // One failure of an attempt is enough.
        regions.retain(|index| self.regions[*index].placement().is_some());
        if regions.is_empty() || self.ending.is_some() {
            return;
        }
        self.has_failed = true;
        let (nobody, words);
        let (mut failed, mut reason) = (failed, reason);
        let all_stand_still = self.stopping == Stopping::WithSavepoint;
        if all_stand_still && self.has_several_regions() {
            words = format!("{reason}, while all tasks stand still for a savepoint");
            nobody = BTreeSet::new();
            (failed, reason) = (&nobody, &words);
        }
        if all_stand_still || planted!("failure_of_a_region_restarts_all") {
            regions = self.placed();
        }
        match self.restart.on_failure(now, random_unit) {
            RestartDecision::RestartAfter(delay) => {
                if all_stand_still && !planted!("a_stop_that_failed_is_never_over") {
                    self.stopping = Stopping::No;
                }
                self.give_up(now, &regions, failed, reason, AfterCancel::Restart { delay }, actions);
            }
            RestartDecision::GiveUp { reason: why } => {
                let outcome = JobOutcome::Failed { reason: format!("{why}; the last failure: {reason}") };
                self.give_job_up(now, outcome, failed, reason, actions);
            }
        }
    }

    /// A restart would fail in the same way. If the attempt is being cancelled already, no other follows.
    fn fail_for_good(&mut self, now: Timestamp, culprit: &Culprit, reason: String, actions: &mut Vec<ExecutionAction>) {
        let (regions, failed) = self.concerned(culprit);
        let is = |which: fn(&State) -> bool| regions.iter().any(|index| which(&self.regions[*index].state));
        if is(|state| matches!(state, State::Restoring { .. })) {
            let outcome = JobOutcome::CannotRestore { reason: reason.clone() };
            self.give_job_up(now, outcome, &failed, &reason, actions);
        } else if regions.iter().any(|index| self.regions[*index].placement().is_some())
            || is(|state| matches!(state, State::Cancelling { .. }))
        {
            self.give_job_up(now, JobOutcome::Failed { reason: reason.clone() }, &failed, &reason, actions);
        }
    }

    /// The job ends as soon as nothing of it runs.
    fn give_job_up(
        &mut self,
        now: Timestamp,
        outcome: JobOutcome,
        failed: &BTreeSet<SubtaskId>,
        reason: &str,
        actions: &mut Vec<ExecutionAction>,
    ) {
        self.ending = Some(outcome);
        let placed = self.placed();
        if !placed.is_empty() {
            self.give_up(now, &placed, failed, reason, AfterCancel::End, actions);
        }
        self.stop_the_rest(actions);
    }

    /// What is being stopped does not start again, and what does not run will not.
    fn stop_the_rest(&mut self, actions: &mut Vec<ExecutionAction>) {
        for region in &mut self.regions {
            match &mut region.state {
                State::Cancelling { then, .. } => *then = AfterCancel::End,
                State::Waiting | State::BackingOff { .. } => region.state = State::Stopped,
                State::Restoring { .. }
                | State::Deploying { .. }
                | State::Starting { .. }
                | State::Running { .. }
                | State::Finishing { .. }
                | State::Finished { .. }
                | State::Stopped => {}
            }
        }
        self.end_if_all_stopped(actions);
    }

    fn give_up(
        &mut self,
        now: Timestamp,
        regions: &[usize],
        failed: &BTreeSet<SubtaskId>,
        reason: &str,
        then: AfterCancel,
        actions: &mut Vec<ExecutionAction>,
    ) {
        let given_up = || regions.iter().map(|index| &self.regions[*index]);
        actions.push(ExecutionAction::StopCheckpoints {
            attempt: given_up().map(|region| region.attempt).max().unwrap_or(self.newest),
            stopped: given_up().flat_map(|region| region.tasks.iter().copied()).collect(),
            failed: failed.clone(),
            reason: reason.to_owned(),
        });
        self.stop_tasks(now, regions, then, actions);
    }

    /// Somebody cancels the job: it ends as soon as nothing of it runs.
    fn cancel(&mut self, now: Timestamp, actions: &mut Vec<ExecutionAction>) {
        self.ending = Some(JobOutcome::Cancelled);
        let placed = self.placed();
        if !placed.is_empty() {
            actions.push(ExecutionAction::AbandonCheckpoints(self.newest));
            self.stop_tasks(now, &placed, AfterCancel::End, actions);
        }
        self.stop_the_rest(actions);
    }

    fn stop_tasks(&mut self, now: Timestamp, regions: &[usize], then: AfterCancel, actions: &mut Vec<ExecutionAction>) {
        for index in regions {
            let region = &mut self.regions[*index];
            let task_managers = region.stop(&self.slots, then);
            if !task_managers.is_empty() {
                actions.push(ExecutionAction::Cancel { attempt: region.attempt, task_managers });
            }
            region.after_cancel(now);
        }
    }

    /// Nothing of these regions runs on a task manager any more.
    fn cancelled(
        &mut self,
        now: Timestamp,
        task_manager: &TaskManagerId,
        is_meant: impl Fn(&Region) -> bool,
        actions: &mut Vec<ExecutionAction>,
    ) {
        for region in self.regions.iter_mut().filter(|region| is_meant(region)) {
            if let State::Cancelling { missing, .. } = &mut region.state {
                missing.remove(task_manager);
                region.after_cancel(now);
            }
        }
        self.end_if_all_stopped(actions);
    }

    fn end_if_all_stopped(&mut self, actions: &mut Vec<ExecutionAction>) {
        if self.regions.iter().all(|region| matches!(region.state, State::Stopped))
            && let Some(outcome) = self.ending.take()
        {
            self.end(outcome, actions);
        }
    }

    fn end(&mut self, outcome: JobOutcome, actions: &mut Vec<ExecutionAction>) {
        self.ended = Some(outcome.clone());
        actions.push(ExecutionAction::End(outcome));
    }
}

#[cfg(test)]
mod tests;
