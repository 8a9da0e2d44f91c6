//! The coordinator's guarantees under random inputs, judged by an observer that keeps its own record.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use super::{
    tests::{config, plan, task},
    *,
};

/// What a naive observer remembers of one checkpoint.
#[derive(Debug, Default)]
struct Seen {
    tasks: BTreeSet<SubtaskId>,
    acknowledged: BTreeSet<SubtaskId>,
    triggered: u32,
    stores: u32,
    stored: u32,
    doubtful: u32,
    completions: u32,
    abortions: u32,
    discards: u32,
    drops: u32,
}

/// Plays shell, tasks and clients at random, and checks every action against what it remembers.
struct Observer {
    coordinator: CheckpointCoordinator,
    config: CheckpointConfig,
    now: Timestamp,
    running: BTreeSet<SubtaskId>,
    seen: BTreeMap<CheckpointId, Seen>,
    preparing: Vec<CheckpointId>,
    storing: Option<CheckpointId>,
    cleaning: Vec<CheckpointId>,
    requests: u64,
    answers: BTreeMap<RequestId, u32>,
}

impl Observer {
    fn new(config: CheckpointConfig) -> Self {
        Self {
            coordinator: CheckpointCoordinator::new(&config, CoordinatorStart::first(Duration::from_millis(10))),
            config,
            now: Timestamp(0),
            running: BTreeSet::new(),
            seen: BTreeMap::new(),
            preparing: Vec::new(),
            storing: None,
            cleaning: Vec::new(),
            requests: 0,
            answers: BTreeMap::new(),
        }
    }

    /// One random step: `choice` says which, `a` and `b` with what.
    fn step(&mut self, choice: u8, a: u8, b: u8) {
        let some_id = CheckpointId(self.seen.len() as u64 + 1).0.saturating_sub(u64::from(a % 4));
        let checkpoint_id = CheckpointId(some_id);
        let task = task(u32::from(b % 4));
        match choice {
            0..=2 => {
                self.now = Timestamp(self.now.0 + i64::from(a));
                self.feed(CoordinatorInput::Tick);
            }
            3 => {
                let kinds =
                    [TriggerKind::Manual, TriggerKind::Savepoint, TriggerKind::Final, TriggerKind::StopWithSavepoint];
                self.requests += 1;
                let request = TriggerRequest::new(RequestId(self.requests), kinds[usize::from(b % 4)]);
                self.answers.insert(RequestId(self.requests), 0);
                self.feed(CoordinatorInput::TriggerRequested(request));
            }
            4..=6 => {
                if let Some(checkpoint_id) = self.preparing.pop() {
                    self.feed(match b % 5 {
                        0 => CoordinatorInput::LocationFailed {
                            checkpoint_id,
                            reason: CheckpointFailureReason::IoException,
                        },
                        _ => CoordinatorInput::LocationReady { checkpoint_id },
                    });
                }
            }
            7..=15 => {
                // A task acknowledges only what it was told of; bogus ids come from the future.
                let told = self.seen.get(&checkpoint_id).is_none_or(|seen| seen.triggered > 0);
                if told {
                    self.feed(CoordinatorInput::Acknowledge { checkpoint_id, task });
                }
            }
            16 => {
                let reason = CheckpointFailureReason::CheckpointDeclined;
                self.feed(CoordinatorInput::Decline { checkpoint_id, task, reason });
            }
            17..=19 => {
                if let Some(checkpoint_id) = self.storing.take() {
                    self.feed(match b % 6 {
                        0 => CoordinatorInput::StoreFailed { checkpoint_id, outcome: StoreOutcome::NotStored },
                        1 => CoordinatorInput::StoreFailed { checkpoint_id, outcome: StoreOutcome::Unknown },
                        _ => CoordinatorInput::Stored { checkpoint_id },
                    });
                }
            }
            20 => {
                if let Some(checkpoint_id) = self.cleaning.pop() {
                    self.feed(CoordinatorInput::Cleaned { checkpoint_id });
                }
            }
            21 if b.is_multiple_of(4) => {
                self.running.clear();
                self.feed(CoordinatorInput::TasksStopped);
            }
            22 => {
                self.running.remove(&task);
                let to_trigger = self.running.iter().copied().take(1).collect();
                self.feed(CoordinatorInput::TasksFinished { finished: vec![task], to_trigger });
            }
            _ => {
                if self.storing.is_none() && self.coordinator.pending().next().is_none() {
                    let plan = plan(3);
                    self.running.clone_from(&plan.tasks);
                    self.feed(CoordinatorInput::TasksRunning(plan));
                }
            }
        }
    }

    fn feed(&mut self, input: CoordinatorInput) {
        let mut expected_state = None;
        match &input {
            CoordinatorInput::Acknowledge { checkpoint_id, task } => {
                let is_pending = self.coordinator.pending().any(|pending| pending.checkpoint_id == *checkpoint_id);
                let seen = self.seen.get_mut(checkpoint_id);
                // An id below the first one is of an earlier leader.
                let findable = *checkpoint_id < CheckpointId(1)
                    || seen.as_ref().is_some_and(|seen| seen.stored + seen.doubtful > seen.drops);
                let is_part = seen.as_ref().is_some_and(|seen| seen.tasks.contains(task));
                expected_state = Some(match seen {
                    Some(seen) if is_pending && is_part => (seen.acknowledged.insert(*task), false),
                    _ => (false, !findable),
                });
            }
            CoordinatorInput::Stored { checkpoint_id } => self.of(*checkpoint_id).stored += 1,
            CoordinatorInput::StoreFailed { checkpoint_id, outcome: StoreOutcome::Unknown } => {
                self.of(*checkpoint_id).doubtful += 1;
            }
            _ => {}
        }
        let mut actions = Vec::new();
        self.coordinator.handle(self.now, input, &mut actions);
        if let Some(expected) = expected_state {
            let kept = actions.iter().any(|action| matches!(action, CoordinatorAction::KeepState { .. }));
            let discarded = actions.iter().any(|action| matches!(action, CoordinatorAction::DiscardState { .. }));
            assert_eq!((kept, discarded), expected, "each state is kept once, or discarded unless it may be needed");
        }
        for action in actions {
            self.check(action);
        }
        self.check_state();
    }

    fn of(&mut self, checkpoint_id: CheckpointId) -> &mut Seen {
        self.seen.get_mut(&checkpoint_id).expect("only what was begun is acted upon")
    }

    fn check(&mut self, action: CoordinatorAction) {
        match action {
            CoordinatorAction::PrepareLocation { checkpoint_id } => {
                let next = self.seen.last_key_value().map_or(CheckpointId(1), |(id, _)| id.next());
                assert_eq!(checkpoint_id, next, "ids rise by one");
                self.seen.insert(checkpoint_id, Seen { tasks: self.running.clone(), ..Seen::default() });
                self.preparing.push(checkpoint_id);
            }
            CoordinatorAction::TriggerTasks { checkpoint_id, .. } => self.of(checkpoint_id).triggered += 1,
            CoordinatorAction::KeepState { .. } | CoordinatorAction::DiscardState { .. } => {}
            CoordinatorAction::Store { checkpoint_id } => {
                assert_eq!(self.storing.replace(checkpoint_id), None, "one is stored at a time");
                let seen = self.of(checkpoint_id);
                seen.stores += 1;
                assert_eq!((seen.stores, &seen.tasks), (1, &seen.acknowledged), "stored once, when all acknowledged");
            }
            CoordinatorAction::NotifyComplete { permit, .. } => {
                let seen = self.of(permit.checkpoint_id());
                seen.completions += 1;
                assert_eq!(
                    (seen.stored, seen.completions, seen.abortions),
                    (1, 1, 0),
                    "complete once, after it is stored"
                );
            }
            CoordinatorAction::NotifyAborted { checkpoint_id, latest_completed, tasks } => {
                let latest = self.coordinator.completed().latest();
                assert_eq!(latest_completed, latest);
                assert!(tasks.iter().all(|task| self.running.contains(task)), "only who is there is told");
                let seen = self.of(checkpoint_id);
                seen.abortions += 1;
                assert_eq!(
                    (seen.stored, seen.abortions, seen.triggered),
                    (0, 1, 1),
                    "aborted once, and never complete"
                );
            }
            CoordinatorAction::Discard { checkpoint_id } => {
                assert_ne!(self.storing, Some(checkpoint_id), "the fate of what is being stored is open");
                let seen = self.of(checkpoint_id);
                seen.discards += 1;
                assert_eq!(seen.stored + seen.doubtful, 0, "what a recovery may find is not discarded");
                self.cleaning.push(checkpoint_id);
            }
            CoordinatorAction::DropCompleted { checkpoint_id, .. } => {
                let seen = self.of(checkpoint_id);
                seen.drops += 1;
                assert_eq!((seen.stored + seen.doubtful, seen.drops), (1, 1), "only what is in the store leaves it");
                self.cleaning.push(checkpoint_id);
            }
            CoordinatorAction::FailJob { .. } => self.running.clear(),
            CoordinatorAction::NotifySubsumed { .. } => {}
            CoordinatorAction::CompleteRequest { request, checkpoint_id } => {
                assert_eq!(self.of(checkpoint_id).stored, 1);
                *self.answers.entry(request).or_default() += 1;
            }
            CoordinatorAction::RejectRequest { request, .. } => *self.answers.entry(request).or_default() += 1,
        }
    }

    fn check_state(&self) {
        let unforced = self.coordinator.pending().filter(|pending| !pending.kind.is_savepoint()).count();
        assert!(unforced <= self.config.max_concurrent, "no more checkpoints at once than allowed");
        assert!(self.answers.values().all(|answers| *answers <= 1), "a request is answered once");
        let certain =
            self.coordinator.completed().entries().filter(|entry| self.seen[&entry.checkpoint_id].stored == 1);
        assert!(certain.count() <= self.config.retained + 1, "one more than retained, for a savepoint at the end");
        let newest = self.seen.iter().rev().find(|(_, seen)| seen.completions == 1).map(|(id, _)| *id);
        assert!(self.coordinator.completed().latest() >= newest, "nothing newer than the latest was announced");
        let subsumed =
            |pending: &&PendingCheckpoint| Some(pending.checkpoint_id) < newest && !pending.kind.is_savepoint();
        assert_eq!(self.coordinator.pending().filter(subsumed).count(), 0, "a newer one ends the older ones");
        assert_eq!(self.coordinator.storing(), self.storing);
    }

    /// Ends the job: whatever is open must be resolved then.
    fn finish(mut self) {
        self.feed(CoordinatorInput::TasksStopped);
        if let Some(checkpoint_id) = self.storing.take() {
            self.feed(CoordinatorInput::Stored { checkpoint_id });
        }
        assert_eq!((self.coordinator.pending().count(), self.coordinator.deadline()), (0, None));
        assert!(self.answers.values().all(|answers| *answers == 1), "every request is answered");
        for (checkpoint_id, seen) in &self.seen {
            let ended_well = seen.stored + seen.doubtful;
            assert_eq!(ended_well + seen.discards.min(1), 1, "complete or discarded, never both: {checkpoint_id}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_sequence_of_inputs_breaks_a_guarantee(
        steps in prop::collection::vec((0u8..25, any::<u8>(), any::<u8>()), 0..150),
        max_concurrent in 1usize..4,
        retained in 1usize..3,
        tolerable_failures in prop::sample::select(vec![0, 3, 1000]),
    ) {
        let mut observer = Observer::new(CheckpointConfig { max_concurrent, retained, tolerable_failures, ..config() });
        observer.step(24, 0, 0);
        for (choice, a, b) in steps {
            observer.step(choice, a, b);
        }
        observer.finish();
    }
}
