//! For each function sequences that are right, and the least that is wrong with them.

use std::time::Duration;

use tidegate::{
    pipeline::{
        AtScriptEnd, Checkpoint, Field, FieldType, FileSink, Format, Operation, Pipeline, ProcessOperation,
        ScriptSource, ScriptStep, Sink, Source, SourceKind, Stage, StateTtl, TimerPattern, TtlUpdate, TtlVisibility,
    },
    row,
};

use super::*;
use crate::model::{Model, ModelError};

const TTL_MS: u64 = 100;

/// A function over the values 1, 2, 3 … of the key `a`.
struct Case {
    function: ProcessFunction,
    ttl: Option<StateTtl>,
    values: Vec<i64>,
    clocks: Clocks,
}

fn lives(ttl_ms: u64) -> StateTtl {
    StateTtl::new(Duration::from_millis(ttl_ms))
}

fn of(function: ProcessFunction, values: &[i64]) -> Case {
    Case { function, ttl: Some(lives(TTL_MS)), values: values.to_vec(), clocks: Clocks::Right }
}

impl Case {
    fn read_is_use(mut self) -> Self {
        self.ttl = Some(StateTtl { update: TtlUpdate::OnReadAndWrite, ..lives(TTL_MS) });
        self
    }

    fn showing_expired(mut self) -> Self {
        self.ttl = Some(StateTtl { visibility: TtlVisibility::ReturnExpiredIfNotCleanedUp, ..lives(TTL_MS) });
        self
    }

    fn pipeline(&self) -> Pipeline {
        let value = self.function.reads_value().then(|| "value".to_owned());
        let operation = Operation::Process(ProcessOperation {
            value,
            ttl: self.ttl.clone(),
            processed_at: Some("at".into()),
            every_record: true,
            ..ProcessOperation::new(&["key"], self.function)
        });
        let columns = vec![Field::new("key", FieldType::Text), Field::new("value", FieldType::Int)];
        let steps: Vec<ScriptStep> =
            self.values.iter().map(|value| ScriptStep::element(row!["a", *value], 0)).collect();
        let script = ScriptSource { at_end: AtScriptEnd::Drain, ..ScriptSource::new(columns, steps) };
        Pipeline::new("lives")
            .with_checkpoint(Checkpoint::every(Duration::from_secs(1)))
            .source(Source::new("script", SourceKind::Script(script)))
            .stage(Stage::new("stage", "script", operation))
            .sink(Sink::new("sink", "stage", SinkKind::File(FileSink::new("/out", Format::Csv))))
    }

    fn difference(&self, lines: &[&str]) -> UpdatesDifference {
        let model = Model::new(&self.pipeline()).unwrap();
        assert!(model.certain().is_empty() && model.expected_output().is_empty());
        model.processed()["sink"].difference(lines.iter().copied(), self.clocks)
    }

    /// Each list of lines is right.
    #[track_caller]
    fn holds(&self, sequences: &[&[&str]]) {
        for lines in sequences {
            assert_eq!(self.difference(lines), UpdatesDifference::default(), "{lines:?}");
        }
    }

    /// The last line of each list is wrong, and should be another one.
    #[track_caller]
    fn fails(&self, sequences: &[(&[&str], &str)]) {
        for (lines, instead) in sequences {
            let difference = UpdatesDifference {
                lost: vec![(*instead).to_owned()],
                extra: vec![(*lines.last().unwrap()).to_owned()],
            };
            let whole = Self { values: self.values[..lines.len()].to_vec(), ttl: self.ttl.clone(), ..*self };
            assert_eq!(whole.difference(lines), difference, "{lines:?}");
        }
    }
}

#[test]
fn a_count_goes_on_until_its_last_write_is_as_long_ago_as_it_lives() {
    let count = of(ProcessFunction::ValueCount, &[1, 1, 1]);
    count.holds(&[&["a,1,1000", "a,2,1099", "a,3,1198"], &["a,1,1000", "a,1,1100", "a,2,1101"]]);
    count.fails(&[
        (&["a,1,1000", "a,2,1100"], "a,1,1100"),
        (&["a,1,1000", "a,1,1099"], "a,2,1099"),
        (&["a,1,1000", "a,2,1099", "a,1,1198"], "a,3,1198"),
    ]);
}

#[test]
fn state_without_a_time_to_live_or_with_one_that_is_off_is_there_for_ever() {
    let mut count = of(ProcessFunction::ValueCount, &[1, 1]);
    for ttl in [None, Some(StateTtl { update: TtlUpdate::Disabled, ..lives(TTL_MS) }), Some(lives(3_600_000))] {
        count.ttl = ttl;
        count.holds(&[&["a,1,1000", "a,2,9000"]]);
        count.fails(&[(&["a,1,1000", "a,1,9000"], "a,2,9000")]);
    }
}

#[test]
fn what_is_missing_and_what_comes_beyond_the_last_record_is_said() {
    let count = of(ProcessFunction::ValueCount, &[1, 1]);
    let missing = UpdatesDifference { lost: vec!["a result of key ('a')".to_owned()], extra: Vec::new() };
    assert_eq!(count.difference(&["a,1,1000"]), missing);
    let extra = |line: &str| UpdatesDifference { lost: Vec::new(), extra: vec![line.to_owned()] };
    assert_eq!(count.difference(&["a,1,1000", "a,2,1010", "a,3,1020"]), extra("a,3,1020"));
    assert_eq!(count.difference(&["a,1,1000", "b,1,1005", "a,2,1010"]), extra("b,1,1005"));
    assert_eq!(count.difference(&["a,1,1000", "a,2", "a,2,1010"]), extra("a,2"));
}

#[test]
fn a_wrong_result_does_not_make_the_next_one_wrong() {
    let count = of(ProcessFunction::ValueCount, &[1, 1, 1]);
    let difference = count.difference(&["a,1,1000", "a,5,1010", "a,3,1020"]);
    assert_eq!(difference, UpdatesDifference { lost: vec!["a,2,1010".into()], extra: vec!["a,5,1010".into()] });
}

#[test]
fn an_average_of_a_value_forgets_what_has_expired_and_starts_anew_when_it_was_said() {
    let average = of(ProcessFunction::ValueAvg { n: 2 }, &[1, 3, 5, 7]);
    average.holds(&[
        &["a,,,1000", "a,2,4/2,1099", "a,,,1100", "a,6,12/2,1110"],
        &["a,,,1000", "a,,,1100", "a,4,8/2,1199", "a,,,1200"],
    ]);
    average.fails(&[
        (&["a,,,1000", "a,2,4/2,1100"], "a,,,1100"),
        (&["a,,,1000", "a,,,1099"], "a,2,4/2,1099"),
        (&["a,,,1000", "a,,,1100", "a,3,9/3,1199"], "a,4,8/2,1199"),
    ]);
}

#[test]
fn what_was_passed_once_is_passed_again_when_it_has_expired_and_a_read_is_use_only_if_it_is_said_to_be() {
    let dedup = of(ProcessFunction::Dedup, &[1, 2, 3]);
    dedup.holds(&[&["a,1,1000", "a,,1099", "a,3,1100"], &["a,1,1000", "a,2,1100", "a,,1199"]]);
    dedup.fails(&[
        (&["a,1,1000", "a,,1100"], "a,2,1100"),
        (&["a,1,1000", "a,,1099", "a,,1100"], "a,3,1100"),
        (&["a,1,1000", "a,2,1099"], "a,,1099"),
    ]);
    let dedup = of(ProcessFunction::Dedup, &[1, 2, 3]).read_is_use();
    dedup.holds(&[&["a,1,1000", "a,,1099", "a,,1198"], &["a,1,1000", "a,,1099", "a,3,1199"]]);
    dedup.fails(&[(&["a,1,1000", "a,,1099", "a,3,1198"], "a,,1198")]);
}

#[test]
fn folds_lose_all_at_once_and_each_write_keeps_all_alive() {
    let sum = of(ProcessFunction::ReducingSum, &[5, 7, 6]);
    sum.holds(&[&["a,5,1000", "a,12,1099", "a,18,1198"], &["a,5,1000", "a,12,1099", "a,6,1199"]]);
    sum.fails(&[(&["a,5,1000", "a,12,1100"], "a,7,1100"), (&["a,5,1000", "a,12,1099", "a,6,1198"], "a,18,1198")]);
    let average = of(ProcessFunction::AggregatingAvg, &[5, 7, 6]);
    average.holds(&[&["a,5,5/1,1000", "a,7,12/2,1099", "a,6,6/1,1199"]]);
    average.fails(&[(&["a,5,5/1,1000", "a,7,7/1,1099"], "a,7,12/2,1099")]);
    let contains = of(ProcessFunction::AggregatingContains, &[5, 7]);
    contains.holds(&[
        &["a,5,Contains:5,1000", "a,7,Contains:5 and 7,1099"],
        &["a,5,Contains:5,1000", "a,7,Contains:7,1100"],
    ]);
    contains.fails(&[(&["a,5,Contains:5,1000", "a,7,Contains:5 and 7,1100"], "a,7,Contains:7,1100")]);
}

#[test]
fn each_element_of_a_list_has_a_time_of_its_own() {
    let average = of(ProcessFunction::ListAvg { n: 3 }, &[1, 2, 3, 4]);
    average.holds(&[
        &["a,,,1000", "a,,,1050", "a,2,\"1,2,3\",1099", "a,,,1100"],
        &["a,,,1000", "a,,,1050", "a,,,1100", "a,3,\"2,3,4\",1149"],
        &["a,,,1000", "a,,,1050", "a,,,1100", "a,,,1150"],
    ]);
    average.fails(&[
        (&["a,,,1000", "a,,,1050", "a,2,\"1,2,3\",1100"], "a,,,1100"),
        (&["a,,,1000", "a,,,1050", "a,,,1099"], "a,2,\"1,2,3\",1099"),
        (&["a,,,1000", "a,,,1050", "a,,,1100", "a,,,1149"], "a,3,\"2,3,4\",1149"),
    ]);
    let average = of(ProcessFunction::ListAvg { n: 3 }, &[1, 2, 3]).read_is_use();
    average.holds(&[&["a,,,1000", "a,,,1050", "a,2,\"1,2,3\",1149"], &["a,,,1000", "a,,,1050", "a,,,1150"]]);
    average.fails(&[(&["a,,,1000", "a,,,1050", "a,,,1149"], "a,2,\"1,2,3\",1149")]);
}

#[test]
fn each_entry_of_a_map_has_a_time_of_its_own() {
    // The second entry is alone, the third one takes its place.
    let average = of(ProcessFunction::MapAvg { n: 3 }, &[1, 2, 3, 4]);
    average.holds(&[
        &["a,,,1000", "a,,,1050", "a,2,6/3,1099", "a,,,1100"],
        &["a,,,1000", "a,,,1050", "a,,,1100", "a,,,1149"],
        &["a,,,1000", "a,,,1050", "a,,,1100", "a,,,1200"],
    ]);
    average.fails(&[
        (&["a,,,1000", "a,,,1050", "a,2,6/3,1100"], "a,,,1100"),
        (&["a,,,1000", "a,,,1050", "a,,,1099"], "a,2,6/3,1099"),
    ]);
    let times = of(ProcessFunction::MapCount { n: 3 }, &[5, 7, 5, 5]);
    times.holds(&[
        &["a,1,{5=1},1000", "a,1,\"{5=1,7=1}\",1050", "a,2,\"{5=2,7=1}\",1099", "a,3,{7=1},1149"],
        &["a,1,{5=1},1000", "a,1,\"{5=1,7=1}\",1050", "a,1,\"{5=1,7=1}\",1100", "a,2,{5=2},1150"],
    ]);
    times.fails(&[
        (&["a,1,{5=1},1000", "a,1,{7=1},1050"], "a,1,\"{5=1,7=1}\",1050"),
        (&["a,1,{5=1},1000", "a,1,\"{5=1,7=1}\",1050", "a,2,\"{5=2,7=1}\",1100"], "a,1,\"{5=1,7=1}\",1100"),
        (&["a,1,{5=1},1000", "a,1,\"{5=1,7=1}\",1050", "a,1,{5=1},1100"], "a,1,\"{5=1,7=1}\",1100"),
    ]);
    let times = of(ProcessFunction::MapCount { n: 3 }, &[5, 7, 9]).read_is_use();
    times.holds(&[&["a,1,{5=1},1000", "a,1,\"{5=1,7=1}\",1050", "a,1,\"{5=1,7=1,9=1}\",1149"]]);
    times.fails(&[(
        &["a,1,{5=1},1000", "a,1,\"{5=1,7=1}\",1050", "a,1,\"{7=1,9=1}\",1149"],
        "a,1,\"{5=1,7=1,9=1}\",1149",
    )]);
}

#[test]
fn an_expired_value_is_seen_once_or_not_at_all_if_it_may_be_seen() {
    let count = of(ProcessFunction::ValueCount, &[1, 1]).showing_expired();
    count.holds(&[&["a,1,1000", "a,2,1100"], &["a,1,1000", "a,1,1100"]]);
    count.fails(&[(&["a,1,1000", "a,1,1099"], "a,2,1099"), (&["a,1,1000", "a,3,1100"], "a,1,1100")]);
    let dedup = of(ProcessFunction::Dedup, &[1, 2, 3]).showing_expired();
    dedup.holds(&[&["a,1,1000", "a,,1100", "a,3,1100"], &["a,1,1000", "a,2,1100", "a,,1100"]]);
    dedup.fails(&[(&["a,1,1000", "a,,1100", "a,,1100"], "a,3,1100")]);
    let list = of(ProcessFunction::ListAvg { n: 3 }, &[1, 2, 3]).showing_expired();
    list.holds(&[&["a,,,1000", "a,,,1000", "a,2,\"1,2,3\",1100"], &["a,,,1000", "a,,,1000", "a,,,1100"]]);
    let times = of(ProcessFunction::MapCount { n: 3 }, &[5, 7, 9]).showing_expired();
    times.holds(&[
        &["a,1,{5=1},1000", "a,1,\"{5=1,7=1}\",1000", "a,1,\"{5=1,9=1}\",1100"],
        &["a,1,{5=1},1000", "a,1,\"{5=1,7=1}\",1100", "a,1,\"{7=1,9=1}\",1100"],
    ]);
    times.fails(&[(
        &["a,1,{5=1},1000", "a,1,\"{5=1,7=1}\",1100", "a,1,\"{5=1,7=1,9=1}\",1100"],
        "a,1,\"{7=1,9=1}\",1100",
    )]);
}

#[test]
fn a_clock_that_went_back_may_have_removed_what_has_not_expired_now() {
    let mut count = of(ProcessFunction::ValueCount, &[1, 1]);
    count.clocks = Clocks::Wrong;
    count.holds(&[&["a,1,1000", "a,2,1050"], &["a,1,1000", "a,1,1050"], &["a,1,1000", "a,2,500"]]);
    count.fails(&[(&["a,1,1000", "a,2,1100"], "a,1,1100")]);
}

fn timers(pattern: TimerPattern, records: usize) -> Case {
    let delay = Duration::from_millis(100);
    let function = ProcessFunction::Timers { pattern, delay, time: WindowTime::Processing };
    Case { function, ttl: None, values: vec![1; records], clocks: Clocks::Right }
}

#[test]
fn each_timer_fires_once_in_its_turn_and_not_before_its_time() {
    let every = timers(TimerPattern::Every, 2);
    every.holds(&[
        &["a,,,1000", "a,,,1050", "a,2,\"timer@1100,wm=7\",1101", "a,2,\"timer@1150,wm=-5\",1170"],
        &["a,,,1000", "a,1,\"timer@1100,wm=7\",1105", "a,,,1105"],
        &["a,,,1000", "a,,,1000", "a,2,\"timer@1100,wm=7\",1101"],
        &["a,,,1000", "a,,,1100", "a,2,\"timer@1100,wm=7\",1101"],
        &["a,,,1000", "a,,,1000"],
    ]);
    let wrong = |case: &Case, lines: &[&str], lost: &[&str], extra: &[&str]| {
        let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(case.difference(lines), UpdatesDifference { lost: owned(lost), extra: owned(extra) });
    };
    let early = "a,2,\"timer@1100,wm=7\",1100";
    wrong(&every, &["a,,,1000", "a,,,1050", early], &[], &[early]);
    let again = "a,2,\"timer@1100,wm=7\",1101";
    wrong(&every, &["a,,,1000", "a,,,1000", again, again], &[], &[again]);
    let late = "a,2,\"timer@1100,wm=7\",1101";
    wrong(&every, &["a,,,1000", "a,,,1101", late], &["timer@1100 of key ('a')"], &[late]);
    let before = "a,2,\"timer@1150,wm=7\",1160";
    wrong(&every, &["a,,,1000", "a,,,1050", before], &["timer@1100 of key ('a')"], &[before]);
    wrong(&every, &["a,,,1000"], &["a result of key ('a')"], &[]);
}

#[test]
fn only_the_timer_of_the_last_record_ends_a_count() {
    for (pattern, name) in [(TimerPattern::Timeout, "timeout"), (TimerPattern::Replace, "replace")] {
        let ended = |count: i64, timer_ms: i64, at_ms: i64| format!("a,{count},{name}@{timer_ms},{at_ms}");
        let case = timers(pattern, 3);
        case.holds(&[
            &["a,,,1000", "a,,,1050", &ended(2, 1150, 1151), "a,,,1200", &ended(1, 1300, 1310)],
            &["a,,,1000", &ended(1, 1100, 1150), "a,,,1150", "a,,,1249", &ended(2, 1349, 1350)],
        ]);
        let wrong = ended(1, 1100, 1101);
        let difference = case.difference(&["a,,,1000", "a,,,1050", &wrong, "a,,,1105"]);
        assert_eq!(difference, UpdatesDifference { lost: Vec::new(), extra: vec![wrong] });
    }
}

#[test]
fn results_that_reach_their_sink_out_of_order_or_do_not_tell_of_each_record_are_refused() {
    let refused = |change: &dyn Fn(&mut Pipeline)| {
        let mut pipeline = of(ProcessFunction::ValueAvg { n: 2 }, &[1, 2]).pipeline();
        pipeline.parallelism = 2;
        change(&mut pipeline);
        matches!(Model::new(&pipeline), Err(ModelError::Clock { .. }))
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|pipeline| pipeline.sinks[0].parallelism = Some(1)));
    assert!(refused(&|pipeline| {
        let Operation::Process(process) = &mut pipeline.stages[0].operation else { panic!("not a function") };
        process.every_record = false;
    }));
    assert!(refused(&|pipeline| {
        let lead = Stage::new("lead", "script", Operation::Filter { condition: "true".into() });
        pipeline.stages[0].inputs = vec!["lead".into()];
        pipeline.stages.insert(0, lead);
    }));
}

#[test]
fn the_records_of_several_keys_are_judged_apart_and_keep_their_order_in_several_subtasks() {
    let mut pipeline = of(ProcessFunction::AggregatingAvg, &[]).pipeline();
    let steps = [row!["a", 1], row!["b", 10], row!["a", 2], row!["b", 20]].map(|row| ScriptStep::element(row, 0));
    let SourceKind::Script(script) = &mut pipeline.sources[0].kind else { panic!("not a script") };
    script.steps = steps.to_vec();
    pipeline.parallelism = 3;
    let model = Model::new(&pipeline).unwrap();
    let difference = |lines: [&str; 4]| model.processed()["sink"].difference(lines, Clocks::Right);
    let right = ["b,10,10/1,1000", "a,1,1/1,1000", "a,2,3/2,1001", "b,20,20/1,1100"];
    assert_eq!(difference(right), UpdatesDifference::default());
    let swapped = ["b,10,10/1,1000", "a,2,2/1,1000", "a,1,3/2,1001", "b,20,20/1,1100"];
    assert_eq!(difference(swapped).extra, ["a,2,2/1,1000", "a,1,3/2,1001"]);
}
