//! The programs and the configuration of the tutorial do what was computed for them; its programs are those of
//! `engine/examples/tutorial`.

#[expect(dead_code, reason = "what prints is for the example")]
#[path = "../../engine/examples/tutorial/averages.rs"]
mod averages;
#[path = "../../engine/examples/tutorial/harness.rs"]
mod harness;
#[path = "../../engine/examples/tutorial/operator_state.rs"]
mod operator_state;
#[expect(dead_code, reason = "what prints is for the example")]
#[path = "../../engine/examples/tutorial/windows.rs"]
mod windows;
#[path = "../../engine/examples/tutorial/word_count.rs"]
mod word_count;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use averages::{
    AfterEmission, AggregatingStateContains, ListStateAverage, MapStateAverage, Reading, ReducingStateAverage,
    ValueStateAverage,
};
use serde_json::{Value, json};
use tidegate::{
    Timestamp,
    checkpoint::retention::{CompletedCheckpoint, CompletedCheckpoints, CompletedKind},
    config::{CheckpointingMode, RestartConfig, StateBackend},
    event::{NoObserver, Reporter, Subject},
    id::{Attempt, CheckpointId, OperatorUid},
    operator::{
        Collector, KeyedProcessFunction, KeyedProcessOperator, Operator, OperatorContext, OperatorSnapshot,
        ProcessOperator, Reduce, WindowOperator,
    },
    pipeline::Pipeline,
    record::StreamRecord,
    restart::{RestartDecision, RestartStrategy},
    state::KeyGroups,
    window::{ProcessingTimeTrigger, TumblingWindows},
};
use tidegate_tests::vectors::{expect, list, number, run, text, words};

#[test]
fn every_vector_of_the_tutorial_holds() {
    run(include_str!("../data/vectors/27_tutorial_examples.json"), &[], |vector| match text(vector, "id") {
        "tutorial-1.1-wordcount" => word_count(vector),
        "tutorial-1.3.1-valuestate" => value_state(vector),
        "tutorial-1.3.2-liststate" => averages(vector, ListStateAverage::new()),
        "tutorial-1.3.3-mapstate" => averages(vector, MapStateAverage::new()),
        "tutorial-1.3.4-reducing-planted-bug" => reducing_state(vector),
        "tutorial-1.3.5-aggregating" => aggregating_state(vector),
        "tutorial-1.4-operator-list" => operator_list(vector),
        "tutorial-3.4-checkpoint-config" => checkpoint_config(vector),
        "tutorial-3.6-failure-rate" => failure_rate(vector),
        "tutorial-4-retained" => retained(vector),
        "tutorial-7.2.1-sliding-10s-5s" => sliding(vector),
        "tutorial-7.2.2-countwindow-max" => count_window(vector),
        "tutorial-7.3.1-reduce-5s" => processing_time_windows(vector),
        "tutorial-7.3.2-process-avg" => average_of_three(vector),
        "tutorial-9.3-kafka-window-kafka" => crash_matrix(vector),
        other => Err(format!("no rule for {other}")),
    });
}

fn ran<T>(result: tidegate::Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn word_count(vector: &Value) -> Result<(), String> {
    let parallelism = number(vector, "parallelism") as u32;
    let counts = ran(word_count::word_count(&words(vector, "input_lines"), parallelism))?;
    let mut per_key: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut prefixes: BTreeMap<String, String> = BTreeMap::new();
    for (subtask, (word, count)) in counts {
        per_key.entry(word.clone()).or_default().push(count);
        let prefix = format!("{}>", subtask + 1);
        let before = prefixes.insert(word, prefix.clone());
        expect(vector, &before.is_none_or(|before| before == prefix), &true)?;
    }
    expect(vector, &json!(per_key), &vector["output_per_key"])?;
    expect(vector, &json!(prefixes), &vector["printed_prefixes"])?;
    let key_groups = KeyGroups::new(number(vector, "max_parallelism") as u32).map_err(|error| error.to_string())?;
    let groups: BTreeMap<&String, u16> = prefixes.keys().map(|word| (word, key_groups.of_key(word))).collect();
    expect(vector, &json!(groups), &vector["key_groups"])
}

fn readings(vector: &Value, key: &str) -> Vec<Reading> {
    serde_json::from_value(vector[key].clone()).expect("pairs of key and value")
}

fn value_state(vector: &Value) -> Result<(), String> {
    let input = readings(vector, "input");
    for (expected, after) in [(vector, AfterEmission::Keep), (&vector["with_clear"], AfterEmission::Clear)] {
        expect(vector, &json!(ran(averages::run(&input, ValueStateAverage::new(after)))?), &expected["output"])?;
        // What is left shows in the average with one more reading, since a mean of n + 1 tells count and sum apart.
        let left = &expected["final_state"]["1"];
        let (count, sum) = (left["count"].as_f64().expect("a count"), left["sum"].as_f64().expect("a sum"));
        let next = [input.as_slice(), &[(1, 100.0)]].concat();
        let last = ran(averages::run(&next, ValueStateAverage::new(after)))?.pop();
        expect(vector, &last, &Some((1, (sum + 100.0) / (count + 1.0))))?;
    }
    Ok(())
}

fn averages<F>(vector: &Value, function: F) -> Result<(), String>
where
    F: KeyedProcessFunction<Key = i64, In = Reading, Out = (i64, f64)> + Clone + Sync,
{
    let mut input = readings(vector, "input");
    expect(vector, &json!(ran(averages::run(&input, function.clone()))?), &vector["output"])?;
    let next = &vector["continuation"];
    input.push(serde_json::from_value(next["next_input"].clone()).expect("a reading"));
    let last = ran(averages::run(&input, function))?.pop();
    expect(vector, &json!(last), &next["next_output"])
}

/// The corrected program: it gives what the tutorial's own gives only if no two keys share a subtask.
fn reducing_state(vector: &Value) -> Result<(), String> {
    let input = readings(vector, "input");
    let output = ran(averages::run(&input, ReducingStateAverage::new()))?;
    expect(vector, &json!(output), &vector["different_subtask_output"])?;

    let after = &vector["after_restore"];
    let processed = number(after, "crash_after_elements_of_key_1") as usize;
    let mut operator = open(keyed(ReducingStateAverage::new()), None);
    process(&mut operator, &input[..processed]);
    let kept = ran(operator.snapshot(CheckpointId(1)).and_then(|snapshot| snapshot()))?;
    let mut operator = open(keyed(ReducingStateAverage::new()), Some(kept));
    let next: Reading = serde_json::from_value(after["next_input"].clone()).expect("a reading");
    expect(vector, &json!(process(&mut operator, &[next])), &json!([after["correct_output"]]))
}

fn aggregating_state(vector: &Value) -> Result<(), String> {
    let output = ran(averages::run(&readings(vector, "input"), AggregatingStateContains::new()))?;
    expect(vector, &json!(output), &vector["output"])
}

fn operator_list(vector: &Value) -> Result<(), String> {
    let input: Vec<operator_state::Counted> = serde_json::from_value(vector["input"].clone()).expect("records");
    let shown = |pairs: Vec<Vec<operator_state::Counted>>| -> Vec<String> {
        pairs.iter().map(|pair| operator_state::shown(pair)).collect()
    };
    expect(vector, &json!(shown(ran(operator_state::pairs(input.clone()))?)), &vector["output"])?;

    let crash = &vector["crash_case"];
    let processed = number(crash, "elements_processed") as usize;
    let mut operator = open(ProcessOperator::new(operator_state::Pairs::new()), None);
    process(&mut operator, &input[..processed]);
    let kept = ran(operator.snapshot(CheckpointId(1)).and_then(|snapshot| snapshot()))?;
    let restored = &crash["restore_with_operator_state"];
    let next: operator_state::Counted = serde_json::from_value(restored["next"].clone()).expect("a record");
    let mut operator = open(ProcessOperator::new(operator_state::Pairs::new()), Some(kept));
    expect(vector, &json!(shown(process(&mut operator, std::slice::from_ref(&next)))), &restored["printed"])?;
    // Without the state the record that waited is gone: the defect of the tutorial's version.
    let mut forgetful = open(ProcessOperator::new(operator_state::Pairs::new()), None);
    let forgotten = shown(process(&mut forgetful, &[next]));
    expect(vector, &json!(forgotten), &crash["restore_without_operator_state"]["printed"])
}

fn keyed<F>(function: F) -> KeyedProcessOperator<fn(&Reading) -> i64, F>
where
    F: KeyedProcessFunction<Key = i64, In = Reading>,
{
    KeyedProcessOperator::new((|reading| reading.0) as fn(&Reading) -> i64, function)
}

fn open<O: Operator>(mut operator: O, restored: Option<OperatorSnapshot>) -> O {
    let context = OperatorContext {
        uid: OperatorUid("tutorial".into()),
        subtask_index: 0,
        parallelism: 1,
        max_parallelism: 128,
        state_backend: StateBackend::HashMap,
        processing_time: Timestamp(0),
        restored_checkpoint_id: restored.is_some().then_some(CheckpointId(1)),
        reporter: Reporter::new(Subject::node("test"), Attempt(0), Arc::new(NoObserver)),
    };
    operator.open(&context, restored).expect("opens");
    operator
}

fn process<O: Operator>(operator: &mut O, values: &[O::In]) -> Vec<O::Out> {
    let batch = values.iter().map(|value| StreamRecord::new(value.clone(), Timestamp(0))).collect();
    let mut out = Collector::default();
    operator.process(batch, &mut out).expect("processes");
    out.take().into_iter().map(|record| record.value).collect()
}

fn checkpoint_config(vector: &Value) -> Result<(), String> {
    let options = [
        ("execution.checkpointing.interval", "1000 ms"),
        ("execution.checkpointing.mode", "EXACTLY_ONCE"),
        ("execution.checkpointing.min-pause", "500 ms"),
        ("execution.checkpointing.timeout", "60000 ms"),
        ("execution.checkpointing.max-concurrent-checkpoints", "1"),
    ];
    let pipeline =
        options.iter().fold(Pipeline::new("tutorial"), |pipeline, (key, value)| pipeline.with_option(*key, *value));
    let checkpoints = pipeline.job_config().map_err(|problems| problems.to_string())?.checkpoints;
    let effective = &vector["effective"];
    let millis = |key| Duration::from_millis(number(effective, key) as u64);
    expect(vector, &checkpoints.interval, &Some(millis("interval_ms")))?;
    expect(vector, &checkpoints.mode, &CheckpointingMode::ExactlyOnce)?;
    expect(vector, &text(effective, "mode"), &"EXACTLY_ONCE")?;
    expect(vector, &checkpoints.min_pause, &millis("min_pause_ms"))?;
    expect(vector, &checkpoints.timeout, &millis("timeout_ms"))?;
    expect(vector, &(checkpoints.max_concurrent as i64), &number(effective, "max_concurrent"))?;
    expect(vector, &i64::from(checkpoints.tolerable_failures), &number(effective, "tolerable_failures"))?;
    expect(vector, &(checkpoints.retained as i64), &number(effective, "retained"))?;
    // The timeline: after 800 ms only 200 ms are left to the tick, less than the pause asks for.
    let timeline = &vector["timeline_example"];
    let next = Duration::from_millis(number(timeline, "completed_ms") as u64) + checkpoints.min_pause;
    expect(vector, &(next.as_millis() as i64), &number(timeline, "next_trigger_ms"))
}

fn failure_rate(vector: &Value) -> Result<(), String> {
    for given in ["yaml", "code"] {
        let given = &vector[given];
        let interval_ms = number(given, "interval_ms");
        let max = number(given, "max");
        let mut strategy = RestartStrategy::new(&RestartConfig::FailureRate {
            max_failures_per_interval: max as u32,
            interval: Duration::from_millis(interval_ms as u64),
            delay: Duration::from_millis(number(given, "delay_ms") as u64),
        });
        for failure in 0..=max {
            // All within the interval.
            let decision = strategy.on_failure(Timestamp(failure * interval_ms / (max + 1)), 0.0);
            let gives_up = matches!(decision, RestartDecision::GiveUp { .. });
            expect(vector, &gives_up, &(failure == max))?;
        }
    }
    Ok(())
}

fn retained(vector: &Value) -> Result<(), String> {
    let mut kept = CompletedCheckpoints::new(number(vector, "num_retained") as usize, []);
    let completed = number(vector, "completed") as u64;
    for id in 1..=completed {
        kept.add(CompletedCheckpoint { checkpoint_id: CheckpointId(id), kind: CompletedKind::Checkpoint });
    }
    let directories: Vec<String> = kept.entries().map(|entry| format!("chk-{}", entry.checkpoint_id)).collect();
    expect(vector, &directories.iter().map(String::as_str).collect(), &words(vector, "directory"))?;
    let newest = kept.latest().ok_or("no checkpoint is kept")?;
    expect(vector, &format!("chk-{newest}/_metadata").as_str(), &text(vector, "restore"))?;
    expect(vector, &(newest.0 + 1), &(number(vector, "first_checkpoint_after_restore") as u64))
}

fn sliding(vector: &Value) -> Result<(), String> {
    let said: Vec<(&str, i64)> =
        list(vector, "elements").iter().map(|element| (text(element, "word"), number(element, "ts"))).collect();
    let mut found: BTreeMap<(i64, i64), BTreeMap<String, u64>> = BTreeMap::new();
    for (start, end, word, count) in ran(windows::sliding_word_count(&said))? {
        expect(vector, &found.entry((start, end)).or_default().insert(word, count), &None)?;
    }
    let found: Vec<Value> =
        found.into_iter().map(|((start, end), counts)| json!({ "window": [start, end], "counts": counts })).collect();
    expect(vector, &json!(found), &vector["windows"])
}

fn count_window(vector: &Value) -> Result<(), String> {
    let readings = |value: &Value, key: &str| -> Vec<(String, f64)> {
        let parse = |line: &str| {
            let (key, value) = line.split_once(' ').expect("a key and a number");
            (key.to_owned(), value.parse().expect("a number"))
        };
        words(value, key).into_iter().map(parse).collect()
    };
    let greatest = |readings: Vec<(String, f64)>| {
        let borrowed: Vec<(&str, f64)> = readings.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        ran(windows::count_window_max(&borrowed))
    };
    expect(vector, &json!(greatest(readings(vector, "input"))?), &vector["output_values"])?;
    let defect = &vector["defect"];
    expect(vector, &json!(greatest(readings(defect, "input"))?), &json!([defect["correct_output"]]))
}

fn processing_time_windows(vector: &Value) -> Result<(), String> {
    type Number = (i64, i64);
    let assigner = TumblingWindows::of(Duration::from_secs(5)).map_err(|error| error.to_string())?;
    let sum = Reduce(|sum: &mut Number, next: Number| sum.1 += next.1);
    let by_key = |number: &Number| number.0;
    let windows = WindowOperator::new(by_key, assigner.in_processing_time(), ProcessingTimeTrigger, sum);
    let mut operator = open(windows, None);
    let mut out = Collector::default();
    let mut results = Vec::new();
    let mut pass = |operator: &mut dyn Operator<In = Number, Out = Number>, until: i64| {
        // As a chain does it: a timer fires when its millisecond is over, before the next record is looked at.
        while let Some(deadline) = operator.processing_time_deadline().filter(|deadline| deadline.0 < until) {
            ran(operator.advance_processing_time(deadline, &mut out))?;
            for record in out.take() {
                let end = record.timestamp.0 + 1;
                results.push(json!({ "window": [end - 5_000, end], "result": record.value }));
            }
        }
        Ok::<_, String>(())
    };
    for element in list(vector, "input_with_processing_time") {
        let at = element[0].as_i64().expect("a time");
        let number = element[1].as_str().expect("a text").parse().expect("a number");
        pass(&mut operator, at)?;
        operator.set_processing_time(Timestamp(at));
        process(&mut operator, &[(1, number)]);
    }
    pass(&mut operator, 20_000)?;
    expect(vector, &json!(results), &vector["output"])
}

fn average_of_three(vector: &Value) -> Result<(), String> {
    let numbers = |value: &Value| -> Vec<i64> { serde_json::from_value(value["input"].clone()).expect("numbers") };
    expect(vector, &json!(ran(windows::average_of_three(&numbers(vector)))?), &vector["output"])?;
    for defect in list(vector, "defect") {
        let averages = ran(windows::average_of_three(&numbers(defect)))?;
        expect(vector, &json!(averages), &json!([defect["correct_output"]]))?;
    }
    Ok(())
}

/// Each row of the matrix is a claim of the catalogue, whose outcome is in the outcome report.
fn crash_matrix(vector: &Value) -> Result<(), String> {
    let claims = [
        "sink_dies_before_pre_commit_window",
        "sink_dies_before_metadata_window",
        "sink_dies_before_commit_window",
        "sink_dies_after_commit_window",
    ];
    expect(vector, &list(vector, "crash_matrix").len(), &claims.len())?;
    let catalogue = tidegate_scenarios::scenarios().map_err(|error| error.to_string())?;
    for claim in claims {
        let known = catalogue.iter().any(|scenario| scenario.name == claim);
        expect(vector, &(claim, known), &(claim, true))?;
    }
    Ok(())
}
