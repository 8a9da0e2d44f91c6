//! The coordinator decides as Flink's `CheckpointCoordinator` does.
//!
//! A [`Bench`] plays the shell: it answers `PrepareLocation` and `Store` at once and turns actions into the vectors'
//! words.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use tidegate::{
    checkpoint::{
        CheckpointFailureReason, SharedStateKey, SharedStateRegistry,
        coordinator::{
            Admission, CheckpointCoordinator, CheckpointPlan, CoordinatorAction, CoordinatorInput, CoordinatorStart,
            RequestId, TriggerKind, TriggerRequest,
        },
    },
    config::CheckpointConfig,
    id::{CheckpointId, SubtaskId, VertexId},
    time::Timestamp,
};
use tidegate_tests::vectors::{expect, list, number, numbers, run, text, words};

#[test]
fn every_vector_of_the_coordinator_holds() {
    run(include_str!("../data/vectors/18_checkpoint_coordinator.json"), &[], |vector| match text(vector, "id") {
        "coord-max-concurrent-1" | "coord-max-concurrent-5" => at_most_so_many_at_once(vector),
        "coord-min-pause-blocks-periodic" => pause_puts_periodic_ones_off(vector),
        "coord-min-pause-ignored-by-savepoints" => pause_does_not_concern_savepoints(vector),
        "coord-savepoint-queued-in-unaligned-mode" => unforced_savepoint_waits_but_goes_first(vector),
        "coord-some-tasks-finished" => finished_tasks_are_not_waited_for(vector),
        "coord-task-finishes-during-trigger" => a_task_that_ends_takes_the_checkpoint_with_it(vector),
        "coord-shared-state-survives-abort" => shared_files_survive_an_abortion(vector),
        "coord-inactive-task" => nothing_is_triggered_unless_all_run(vector),
        "coord-derived-parameters" => parameters(vector),
        _ => script(vector),
    });
}

/// A coordinator and the shell around it.
struct Bench {
    coordinator: CheckpointCoordinator,
    now: Timestamp,
    /// Names of the tasks in the vector, by their number.
    names: Vec<String>,
    requests: u64,
    /// The checkpoint that each request led to.
    led_to: BTreeMap<RequestId, CheckpointId>,
    kept: BTreeMap<CheckpointId, Vec<SubtaskId>>,
    triggered: Vec<i64>,
    completed: Vec<i64>,
    rejected: Vec<CheckpointFailureReason>,
    notified_of_abortion: Vec<Vec<String>>,
}

fn config(vector: &Value) -> CheckpointConfig {
    let millis = |key: &str| vector[key].as_u64().map(Duration::from_millis);
    CheckpointConfig {
        interval: millis("interval_ms"),
        min_pause: millis("min_pause_ms").unwrap_or_default(),
        timeout: millis("timeout_ms").unwrap_or(Duration::from_secs(600)),
        max_concurrent: vector["max_concurrent"].as_u64().map_or(usize::MAX, |most| most as usize),
        retained: vector["retain"].as_u64().unwrap_or(1) as usize,
        tolerable_failures: u32::MAX,
        ..CheckpointConfig::default()
    }
}

impl Bench {
    fn new(config: &CheckpointConfig, first_trigger_delay: Duration, names: &[&str], sources: &[&str]) -> Self {
        let mut bench = Self {
            coordinator: CheckpointCoordinator::new(config, CoordinatorStart::first(first_trigger_delay)),
            now: Timestamp(0),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            requests: 0,
            led_to: BTreeMap::new(),
            kept: BTreeMap::new(),
            triggered: Vec::new(),
            completed: Vec::new(),
            rejected: Vec::new(),
            notified_of_abortion: Vec::new(),
        };
        let plan = CheckpointPlan {
            tasks: names.iter().map(|name| bench.task(name)).collect(),
            to_trigger: sources.iter().map(|name| bench.task(name)).collect(),
        };
        bench.feed(CoordinatorInput::TasksRunning(plan));
        bench
    }

    fn task(&self, name: &str) -> SubtaskId {
        let place = self.names.iter().position(|known| known == name).unwrap_or(self.names.len());
        SubtaskId { vertex: VertexId(0), index: place as u32 }
    }

    fn name(&self, task: SubtaskId) -> String {
        self.names.get(task.index as usize).cloned().unwrap_or_else(|| "unknown".into())
    }

    fn names_of(&self, tasks: &[SubtaskId]) -> Vec<String> {
        tasks.iter().map(|task| self.name(*task)).collect()
    }

    fn request(&mut self, kind: TriggerKind, admission: Admission) -> Vec<Value> {
        let request = RequestId(self.requests);
        self.requests += 1;
        self.feed(CoordinatorInput::TriggerRequested(TriggerRequest { request: Some(request), kind, admission }))
    }

    fn periodic(&mut self) -> Vec<Value> {
        self.feed(CoordinatorInput::TriggerRequested(TriggerRequest::PERIODIC))
    }

    fn acknowledge(&mut self, checkpoint_id: u64, task: &str) -> Vec<Value> {
        let (checkpoint_id, task) = (CheckpointId(checkpoint_id), self.task(task));
        self.feed(CoordinatorInput::Acknowledge { checkpoint_id, task })
    }

    fn acknowledge_by_all(&mut self, checkpoint_id: u64) {
        for task in self.names.clone() {
            self.acknowledge(checkpoint_id, &task);
        }
    }

    fn decline(&mut self, checkpoint_id: u64, task: &str) -> Vec<Value> {
        let (checkpoint_id, task) = (CheckpointId(checkpoint_id), self.task(task));
        let reason = CheckpointFailureReason::CheckpointDeclined;
        self.feed(CoordinatorInput::Decline { checkpoint_id, task, reason })
    }

    /// Lets time pass and sends each tick that is wanted meanwhile.
    fn advance(&mut self, by_ms: i64) {
        let until = Timestamp(self.now.0 + by_ms);
        while let Some(deadline) = self.coordinator.deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.feed(CoordinatorInput::Tick);
        }
        self.now = until;
    }

    fn pending(&self) -> Vec<i64> {
        self.coordinator.pending().map(|pending| pending.checkpoint_id.0 as i64).collect()
    }

    fn retained(&self) -> Vec<i64> {
        self.coordinator.completed().entries().map(|entry| entry.checkpoint_id.0 as i64).collect()
    }

    /// Hands an input over, carries out what follows, and returns it in the vectors' words.
    fn feed(&mut self, input: CoordinatorInput) -> Vec<Value> {
        let mut events = Vec::new();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let stored =
                if let CoordinatorInput::Stored { checkpoint_id } = &input { Some(*checkpoint_id) } else { None };
            let mut actions = Vec::new();
            self.coordinator.handle(self.now, input, &mut actions);
            if let Some(checkpoint_id) = stored {
                self.completed.push(checkpoint_id.0 as i64);
                events.push(json!({ "event": "completed", "checkpoint": checkpoint_id }));
            }
            for action in actions {
                self.carry_out(action, &mut inputs, &mut events);
            }
        }
        events
    }

    fn carry_out(&mut self, action: CoordinatorAction, inputs: &mut Vec<CoordinatorInput>, events: &mut Vec<Value>) {
        match action {
            CoordinatorAction::PrepareLocation { checkpoint_id } => {
                let request = self.coordinator.pending().find(|pending| pending.checkpoint_id == checkpoint_id);
                if let Some(request) = request.and_then(|pending| pending.request) {
                    self.led_to.insert(request, checkpoint_id);
                }
                inputs.push(CoordinatorInput::LocationReady { checkpoint_id });
            }
            CoordinatorAction::TriggerTasks { checkpoint_id, barrier, tasks } => {
                assert_eq!(barrier.checkpoint_id, checkpoint_id);
                self.triggered.push(checkpoint_id.0 as i64);
                events
                    .push(json!({ "event": "trigger_rpc", "checkpoint": checkpoint_id, "to": self.names_of(&tasks) }));
            }
            CoordinatorAction::KeepState { checkpoint_id, task } => {
                self.kept.entry(checkpoint_id).or_default().push(task);
            }
            CoordinatorAction::DiscardState { checkpoint_id, task } => {
                events.push(discard_state(checkpoint_id, &self.name(task)));
            }
            CoordinatorAction::Store { checkpoint_id } => inputs.push(CoordinatorInput::Stored { checkpoint_id }),
            CoordinatorAction::NotifyComplete { permit, tasks } => events.push(json!({
                "event": "notify_complete", "checkpoint": permit.checkpoint_id(), "to": self.names_of(&tasks),
                "last_subsumed": null,
            })),
            CoordinatorAction::NotifyAborted { checkpoint_id, latest_completed, tasks } => {
                self.notified_of_abortion.push(self.names_of(&tasks));
                events.push(json!({
                    "event": "notify_aborted", "checkpoint": checkpoint_id, "to": self.names_of(&tasks),
                    "latest_completed": latest_completed,
                }));
            }
            CoordinatorAction::NotifySubsumed { checkpoint_id, tasks: _ } => {
                let notice = events.iter_mut().find(|event| event["event"] == "notify_complete");
                notice.expect("a checkpoint is subsumed by one that completes")["last_subsumed"] = json!(checkpoint_id);
            }
            CoordinatorAction::Discard { checkpoint_id } => {
                for task in self.kept.remove(&checkpoint_id).unwrap_or_default() {
                    events.push(discard_state(checkpoint_id, &self.name(task)));
                }
                inputs.push(CoordinatorInput::Cleaned { checkpoint_id });
            }
            CoordinatorAction::DropCompleted { checkpoint_id, files: _ } => {
                inputs.push(CoordinatorInput::Cleaned { checkpoint_id });
            }
            CoordinatorAction::FailJob { checkpoint_id, reason } => panic!("job failed by {checkpoint_id}: {reason}"),
            CoordinatorAction::CompleteRequest { request, checkpoint_id } => {
                assert_eq!(self.led_to.get(&request), Some(&checkpoint_id));
            }
            CoordinatorAction::RejectRequest { request, reason } => {
                self.rejected.push(reason);
                if let Some(checkpoint_id) = self.led_to.get(&request) {
                    events.push(json!({ "event": "aborted", "checkpoint": checkpoint_id, "reason": reason.name() }));
                }
            }
        }
    }
}

fn discard_state(checkpoint_id: CheckpointId, task: &str) -> Value {
    json!({ "event": "discard_state", "checkpoint": checkpoint_id, "of": task })
}

/// The order within a step is of no significance.
fn sorted(events: &[Value]) -> Vec<String> {
    let mut events: Vec<_> = events.iter().map(Value::to_string).collect();
    events.sort();
    events
}

fn script(vector: &Value) -> Result<(), String> {
    let mut bench = Bench::new(&config(vector), Duration::ZERO, &words(vector, "tasks"), &words(vector, "sources"));
    for step in list(vector, "steps") {
        let id = number(step, "id") as u64;
        let events = match text(step, "op") {
            "trigger" => {
                let kind = if step["kind"] == "savepoint" { TriggerKind::Savepoint } else { TriggerKind::Manual };
                let admission = if kind.is_savepoint() { Admission::Forced } else { Admission::Queued };
                bench.request(kind, admission)
            }
            "ack" => bench.acknowledge(id, text(step, "task")),
            "decline" => bench.decline(id, text(step, "task")),
            other => panic!("unknown step {other}"),
        };
        expect(step, &sorted(&events), &sorted(list(step, "expect")))?;
        expect(step, &bench.pending(), &numbers(step, "pending"))?;
        expect(step, &bench.retained(), &numbers(step, "retained"))?;
    }
    Ok(())
}

fn at_most_so_many_at_once(vector: &Value) -> Result<(), String> {
    let mut bench = Bench::new(&config(vector), Duration::ZERO, &["a", "b"], &["a"]);
    for step in list(vector, "steps") {
        let before = bench.completed.len();
        match text(step, "op") {
            "run_scheduler_long" => bench.advance(1000),
            "ack_all_tasks" => bench.acknowledge_by_all(number(step, "id") as u64),
            other => panic!("unknown step {other}"),
        }
        if let Some(total) = step["expect"]["triggered_total"].as_u64() {
            expect(step, &bench.triggered.len(), &(total as usize))?;
        }
        if let Some(pending) = step["expect"]["pending"].as_u64() {
            expect(step, &bench.pending().len(), &(pending as usize))?;
        }
        expect(step, &bench.completed[before..].to_vec(), &numbers(&step["expect"], "completed"))?;
    }
    Ok(())
}

fn pause_puts_periodic_ones_off(vector: &Value) -> Result<(), String> {
    let interval = Duration::from_millis(number(vector, "interval_ms") as u64);
    let mut bench = Bench::new(&config(vector), interval, &["a"], &["a"]);
    for step in list(vector, "steps") {
        match text(step, "op") {
            "request" => {
                bench.periodic();
                let queued = if step["expect"] == "trigger 1" { 0 } else { 1 };
                expect(step, &(bench.pending(), bench.coordinator.queued()), &(vec![1], queued))?;
            }
            "ack_all_tasks" => bench.acknowledge_by_all(number(step, "id") as u64),
            "advance_ms" => {
                bench.advance(number(step, "ms"));
                let expected = if step["expect"].is_string() { vec![2] } else { Vec::new() };
                expect(step, &bench.pending(), &expected)?;
            }
            other => panic!("unknown step {other}"),
        }
    }
    Ok(())
}

fn pause_does_not_concern_savepoints(vector: &Value) -> Result<(), String> {
    let mut bench = Bench::new(&config(vector), Duration::ZERO, &["a"], &["a"]);
    for step in list(vector, "steps") {
        bench.request(TriggerKind::Savepoint, Admission::Forced);
        expect(step, &bench.rejected, &Vec::new())?;
        bench.acknowledge_by_all(bench.triggered.len() as u64);
    }
    expect(vector, &bench.completed, &vec![1, 2])
}

fn unforced_savepoint_waits_but_goes_first(vector: &Value) -> Result<(), String> {
    let mut bench = Bench::new(&config(vector), Duration::ZERO, &["a"], &["a"]);
    for step in list(vector, "steps") {
        match text(step, "op") {
            "request_times" => (0..number(step, "n")).for_each(|_| drop(bench.periodic())),
            "request" => drop(bench.request(TriggerKind::Savepoint, Admission::Queued)),
            "decline" => drop(bench.decline(number(step, "id") as u64, "a")),
            other => panic!("unknown step {other}"),
        }
        expect(step, &(bench.coordinator.queued() as i64), &number(&step["expect"], "queued"))?;
        if step["expect"]["pending"].is_array() {
            expect(step, &bench.pending(), &numbers(&step["expect"], "pending"))?;
        }
        if step["expect"]["pending_is_savepoint"] == true {
            let kinds: Vec<_> = bench.coordinator.pending().map(|pending| pending.kind).collect();
            expect(step, &kinds, &vec![TriggerKind::Savepoint])?;
        }
    }
    Ok(())
}

fn finished_tasks_are_not_waited_for(vector: &Value) -> Result<(), String> {
    let mut names = Vec::new();
    for vertex in ["v1", "v2"] {
        names.extend((0..number(&vector["vertices"], vertex)).map(|index| format!("{vertex}/{index}")));
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::new(&config(vector), Duration::ZERO, &names, &["v1/0", "v1/1", "v1/2"]);
    let finished = words(vector, "finished").into_iter().map(|name| bench.task(name)).collect();
    let to_trigger = vec![bench.task("v1/2")];
    bench.feed(CoordinatorInput::TasksFinished { finished, to_trigger });
    bench.request(TriggerKind::Manual, Admission::Queued);

    let step = &list(vector, "steps")[0];
    expect(step, &(bench.pending().len() as i64), &number(&step["expect"], "pending"))?;
    let waited_for = bench.coordinator.pending().map(|pending| pending.tasks().len()).sum::<usize>();
    expect(step, &((names.len() - waited_for) as i64), &number(&step["expect"], "acknowledged_already"))?;
    for name in ["v1/2", "v2/0", "v2/2"] {
        bench.acknowledge(1, name);
    }
    expect(step, &bench.completed, &vec![1])
}

fn a_task_that_ends_takes_the_checkpoint_with_it(vector: &Value) -> Result<(), String> {
    let mut bench = Bench::new(&config(vector), Duration::ZERO, &words(vector, "tasks"), &["v1"]);
    bench.request(TriggerKind::Manual, Admission::Queued);
    let (finished, to_trigger) = (vec![bench.task("v1")], vec![bench.task("v2")]);
    bench.feed(CoordinatorInput::TasksFinished { finished, to_trigger });

    let expected = &list(vector, "steps")[0]["expect"];
    let aborted = if bench.pending().is_empty() && bench.completed.is_empty() { "aborted" } else { "not" };
    expect(vector, &aborted, &text(expected, "checkpoint"))?;
    let notified: Vec<_> = bench.notified_of_abortion.concat();
    expect(vector, &notified.iter().map(String::as_str).collect(), &words(expected, "notify_aborted_to"))
}

/// The shell holds the files; the coordinator says what it has to do with them, the registry with the shared ones.
fn shared_files_survive_an_abortion(vector: &Value) -> Result<(), String> {
    let mut bench = Bench::new(&config(vector), Duration::ZERO, &words(vector, "tasks"), &words(vector, "tasks"));
    let mut registry = SharedStateRegistry::new();
    let mut private: BTreeMap<(u64, String), Vec<String>> = BTreeMap::new();
    for step in list(vector, "steps") {
        let id = number(step, "id") as u64;
        let events = match text(step, "op") {
            "trigger" => bench.request(TriggerKind::Manual, Admission::Queued),
            "ack" => {
                let (task, files) = (text(step, "task"), &step["files"]);
                let shared = text(files, "shared").to_owned();
                registry.register(SharedStateKey(shared.clone()), shared, CheckpointId(id));
                let own = ["meta", "private"].map(|key| text(files, key).to_owned());
                private.insert((id, task.to_owned()), own.into());
                bench.acknowledge(id, task)
            }
            "decline" => bench.decline(id, text(step, "task")),
            other => panic!("unknown step {other}"),
        };
        let mut discarded = BTreeSet::new();
        for event in &events {
            if event["event"] == "discard_state" {
                discarded.extend(private.remove(&(id, text(event, "of").to_owned())).unwrap_or_default());
            } else if event["event"] == "completed" {
                expect(step, &event["checkpoint"], &step["expect"]["completed"])?;
                registry.completed(CheckpointId(id));
                discarded.extend(
                    registry
                        .unregister_unused(bench.coordinator.completed().oldest().ok_or("nothing is retained")?)
                        .delete,
                );
            }
        }
        let names = |key| words(&step["expect"], key).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
        expect(step, &discarded, &names("discarded"))?;
        let known: BTreeSet<_> = registry.handles().cloned().collect();
        expect(step, &names("kept").is_subset(&known), &true)?;
    }
    Ok(())
}

fn nothing_is_triggered_unless_all_run(vector: &Value) -> Result<(), String> {
    let interval = Duration::from_millis(10);
    let config = CheckpointConfig { interval: Some(interval), ..config(vector) };
    for case in list(vector, "cases") {
        let mut bench = Bench::new(&config, interval, &["a", "b"], &["a"]);
        if case["task_states"] == "all become RUNNING later" {
            bench.advance(9);
            expect(case, &bench.pending(), &Vec::new())?;
            bench.advance(1);
            expect(case, &bench.pending(), &vec![1])?;
        } else {
            // That a task does not run yet, or no longer, is for the shell to see: it reports tasks as running once
            // all are.
            bench.feed(CoordinatorInput::TasksStopped);
            bench.advance(1000);
            bench.request(TriggerKind::Manual, Admission::Queued);
            expect(case, &bench.rejected, &vec![CheckpointFailureReason::NotAllRequiredTasksRunning])?;
            expect(case, &bench.pending(), &Vec::new())?;
        }
    }
    Ok(())
}

fn parameters(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases") {
        let mut bench = Bench::new(&config(case), Duration::ZERO, &["a"], &["a"]);
        bench.advance(0);
        bench.acknowledge_by_all(1);
        let next = bench.coordinator.deadline().map(|deadline| deadline.0);
        expect(case, &next, &Some(number(case, "effective_interval_ms")))?;
        if let Some(pause) = case["effective_min_pause_ms"].as_i64() {
            bench.periodic();
            bench.advance(pause - 1);
            expect(case, &bench.pending(), &Vec::new())?;
            bench.advance(1);
            expect(case, &bench.pending(), &vec![2])?;
        }
    }
    Ok(())
}
