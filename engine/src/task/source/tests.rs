//! What splits say together: watermarks between records, idleness, alignment, restores.

use std::time::Duration;

use super::*;
use crate::{
    env::Env,
    event::{NoObserver, Reporter, Subject},
    id::Attempt,
    record::{StreamRecord, WatermarkStatus},
    storage::LocalFileSystem,
};

/// What a split does at a read.
#[derive(Clone, Copy)]
enum Step {
    Records(&'static [i64]),
    NothingBefore(i64),
}

/// Splits that follow scripts, one step for each read. A number is its timestamp as well.
struct Scripted(Vec<Vec<Step>>);

struct ScriptReader(Vec<Vec<Step>>);

#[async_trait]
impl Source for Scripted {
    type Item = i64;
    type Split = (usize, usize);

    async fn enumerate(&self, _context: &SourceContext) -> Result<Vec<(usize, usize)>> {
        Ok((0..self.0.len()).map(|split| (split, 0)).collect())
    }
    fn reader(&self, _context: &SourceContext) -> Box<dyn SplitReader<i64, (usize, usize)>> {
        Box::new(ScriptReader(self.0.clone()))
    }
}

#[async_trait]
impl SplitReader<i64, (usize, usize)> for ScriptReader {
    async fn read(&mut self, split: &mut (usize, usize), _limit: usize, out: &mut Batch<i64>) -> Result<ReadStatus> {
        let script = &self.0[split.0];
        let step = script.get(split.1).copied();
        split.1 += 1;
        match step {
            Some(Step::Records(numbers)) => {
                out.extend(numbers.iter().map(|number| StreamRecord::new(*number, Timestamp(*number))));
            }
            Some(Step::NothingBefore(time)) => return Ok(ReadStatus::NotBefore(Timestamp(time))),
            None => {}
        }
        Ok(if split.1 < script.len() { ReadStatus::More } else { ReadStatus::Ended })
    }
}

fn context(env: Env) -> SourceContext {
    SourceContext {
        file_system: Arc::new(LocalFileSystem::new(env.clone())),
        env,
        subtask_index: 0,
        parallelism: 1,
        reporter: Reporter::new(Subject::node("test"), Attempt(0), Arc::new(NoObserver)),
    }
}

/// A source under test, with what it has put out as text.
struct Bench {
    source: Box<dyn ErasedSource>,
    status: ReadStatus,
    out: Vec<SourceOutput>,
}

impl Bench {
    async fn open(
        env: &Env,
        script: Vec<Vec<Step>>,
        strategy: WatermarkStrategy<i64>,
        restored: Option<OperatorSnapshot>,
    ) -> Self {
        let mut opened = source(Scripted(script), strategy)();
        opened.open(&context(env.clone()), restored).await.unwrap();
        Self { source: opened, status: ReadStatus::More, out: Vec::new() }
    }

    async fn poll(&mut self, now: i64) -> Vec<String> {
        self.source.align(Timestamp(now));
        self.status = self.source.poll(Timestamp(now), 10, &mut self.out).await.unwrap();
        self.texts()
    }

    fn periodic_emit(&mut self, now: i64) -> Vec<String> {
        self.source.on_periodic_emit(Timestamp(now), &mut self.out);
        self.texts()
    }

    fn texts(&mut self) -> Vec<String> {
        let text = |output| match output {
            SourceOutput::Batch(batch) => {
                let numbers: Vec<i64> = batch.into_typed().into_iter().map(|record| record.value).collect();
                format!("{numbers:?}")
            }
            SourceOutput::Watermark(WatermarkOutput::Watermark(watermark)) => format!("watermark {watermark}"),
            SourceOutput::Watermark(WatermarkOutput::Status(WatermarkStatus::Idle)) => "idle".to_owned(),
            SourceOutput::Watermark(WatermarkOutput::Status(WatermarkStatus::Active)) => "active".to_owned(),
        };
        self.out.drain(..).map(text).collect()
    }
}

fn with_env<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Env) -> F + Send + 'static) {
    Env::run_on_host(1, test).unwrap();
}

fn tens() -> WatermarkStrategy<i64> {
    WatermarkStrategy::for_punctuated(|number: &i64, timestamp| (number % 10 == 0).then_some(timestamp))
}

const NONE: [&str; 0] = [];

#[test]
fn a_punctuated_watermark_comes_right_behind_its_record() {
    with_env(|env| async move {
        let script = vec![vec![Step::Records(&[1, 10, 11, 20])]];
        let mut bench = Bench::open(&env, script, tens(), None).await;
        assert_eq!(bench.poll(0).await, ["[1, 10]", "watermark 10", "[11, 20]", "watermark 20"]);
        assert_eq!(bench.status, ReadStatus::Ended);
    });
}

#[cfg(feature = "sim")]
#[test]
fn the_planted_bug_lets_the_watermark_overtake_its_record() {
    with_env(|env| async move {
        let mut bench = Bench::open(&env, vec![vec![Step::Records(&[1, 10, 11])]], tens(), None).await;
        crate::planted::activate(Some("punctuated_watermark_before_its_record"));
        let out = bench.poll(0).await;
        crate::planted::activate(None);
        assert_eq!(out, ["watermark 10", "[1, 10]", "[11]"]);
    });
}

#[test]
fn the_watermark_of_splits_is_the_least_and_an_ended_split_holds_nothing_back() {
    with_env(|env| async move {
        let script = vec![
            vec![Step::Records(&[30]), Step::Records(&[41, 50])],
            vec![Step::Records(&[20, 21]), Step::Records(&[])],
        ];
        let mut bench = Bench::open(&env, script, tens(), None).await;
        assert_eq!(bench.poll(0).await, ["[30]"]);
        assert_eq!(bench.poll(0).await, ["[20]", "watermark 20", "[21]"]);
        assert_eq!(bench.poll(0).await, ["[41, 50]"], "the other split is at 20");
        assert_eq!(bench.poll(0).await, NONE);
        assert_eq!(bench.status, ReadStatus::Ended);
    });
}

#[test]
fn a_quiet_split_becomes_idle_and_its_next_record_makes_it_active() {
    with_env(|env| async move {
        let script = vec![
            vec![Step::Records(&[5]), Step::NothingBefore(500), Step::Records(&[6]), Step::Records(&[])],
            vec![Step::NothingBefore(100), Step::NothingBefore(200), Step::Records(&[3]), Step::Records(&[])],
        ];
        let strategy = WatermarkStrategy::for_monotonous_timestamps().with_idleness(Duration::from_millis(50));
        let mut bench = Bench::open(&env, script, strategy, None).await;
        assert_eq!(bench.poll(0).await, ["[5]"]);
        assert_eq!(bench.poll(0).await, NONE);
        assert_eq!(bench.poll(0).await, NONE);
        assert_eq!(bench.status, ReadStatus::NotBefore(Timestamp(100)));
        assert_eq!(bench.periodic_emit(0), NONE);
        assert!(bench.source.expects_periodic_emit(), "idleness is a matter of time");
        assert_eq!(bench.periodic_emit(40), NONE);
        assert_eq!(bench.periodic_emit(51), ["watermark 4"], "split 1 is idle");
        assert_eq!(bench.periodic_emit(91), ["idle"]);
        assert!(!bench.source.expects_periodic_emit(), "nothing changes without a record");
        assert_eq!(bench.poll(100).await, NONE);
        assert_eq!(bench.poll(200).await, ["[3]"]);
        assert_eq!(bench.periodic_emit(200), ["active"]);
        assert_eq!(bench.poll(500).await, ["[6]"]);
        assert_eq!(bench.periodic_emit(500), NONE, "the clock of split 1 starts");
        assert_eq!(bench.periodic_emit(551), ["watermark 5"], "split 1 is idle again");
    });
}

#[test]
fn a_split_that_is_too_far_ahead_waits_for_the_slowest() {
    with_env(|env| async move {
        let script = vec![
            vec![Step::Records(&[100]), Step::Records(&[200]), Step::Records(&[])],
            vec![Step::Records(&[10]), Step::NothingBefore(25), Step::Records(&[90]), Step::Records(&[])],
        ];
        let strategy = WatermarkStrategy::for_monotonous_timestamps().with_watermark_alignment(
            "numbers",
            Duration::from_millis(20),
            Duration::from_millis(10),
        );
        let mut bench = Bench::open(&env, script, strategy, None).await;
        assert_eq!(bench.poll(0).await, ["[100]"]);
        assert_eq!(bench.poll(0).await, ["[10]"]);
        assert_eq!(bench.poll(10).await, NONE, "split 0 is paused, split 1 has nothing");
        assert_eq!(bench.status, ReadStatus::NotBefore(Timestamp(20)), "at the next look at the alignment");
        assert_eq!(bench.poll(20).await, NONE);
        assert_eq!(bench.poll(30).await, ["[90]"]);
        assert_eq!(bench.poll(40).await, ["[200]"], "99 is at most 20 ahead of 89");
        assert_eq!(bench.poll(40).await, NONE);
        assert_eq!(bench.poll(50).await, NONE, "the slow split is at its end and the fast one goes on");
        assert_eq!(bench.status, ReadStatus::Ended);
    });
}

#[test]
fn a_restored_source_has_the_watermark_that_it_had() {
    with_env(|env| async move {
        let script = vec![vec![Step::Records(&[10, 15]), Step::Records(&[20])]];
        for strategy in [tens(), WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_millis(4))] {
            let mut bench = Bench::open(&env, script.clone(), strategy.clone(), None).await;
            bench.poll(0).await;
            bench.periodic_emit(0);
            let kept = bench.source.snapshot();
            let mut restored = Bench::open(&env, script.clone(), strategy, Some(kept)).await;
            assert_eq!(restored.periodic_emit(0), ["watermark 10"]);
            let next = restored.poll(0).await;
            assert_eq!(next[0], "[20]");
            assert_eq!(next, bench.poll(0).await);
        }
    });
}
