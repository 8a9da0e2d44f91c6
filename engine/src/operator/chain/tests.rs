//! What passes a chain, in which order.

use std::{sync::Mutex, time::Duration};

use super::*;
use crate::{
    backend::{StateRegistry, ValueState},
    operator::{
        Collector, FilterOperator, FlatMapOperator, KeyedProcessFunction, KeyedProcessOperator, MapOperator, Operator,
        OutputTag, ProcessContext, Reduce, TimestampedCollector, TwoInputOperator, WindowOperator, erase,
        erase_two_input,
        test_harness::{context, record},
    },
    record::{Batch, StreamRecord},
    state::{ParallelInstance, ValueStateDescriptor},
    window::{EventTimeTrigger, TumblingWindows},
};

fn uid(name: &str) -> OperatorUid {
    OperatorUid(name.to_owned())
}

fn opened(
    operators: Vec<(&str, Box<dyn ErasedOperator>)>,
    restored: BTreeMap<OperatorUid, OperatorSnapshot>,
) -> OperatorChain {
    let operators = operators.into_iter().map(|(name, operator)| (uid(name), operator)).collect();
    let mut chain = OperatorChain::new(operators);
    chain.open(&context(ParallelInstance { index: 0, parallelism: 1 }), restored).unwrap();
    chain
}

/// What left the chain, as text.
fn texts<T: crate::codec::Data + std::fmt::Debug>(out: Vec<ChainOutput>) -> Vec<String> {
    let text = |output| match output {
        ChainOutput::Watermark(watermark) => vec![format!("watermark {watermark}")],
        ChainOutput::Batch(batch) => {
            let text = |record: StreamRecord<T>| format!("{:?} at {}", record.value, record.timestamp);
            batch.into_typed::<T>().into_iter().map(text).collect()
        }
        ChainOutput::Side { operator, tag, batch } => {
            let text = |record: StreamRecord<T>| format!("{tag} of {operator}: {:?}", record.value);
            batch.into_typed::<T>().into_iter().map(text).collect()
        }
    };
    out.into_iter().flat_map(text).collect()
}

fn stateless() -> Vec<(&'static str, Box<dyn ErasedOperator>)> {
    let split = |line: String, out: &mut TimestampedCollector<'_, String>| {
        line.split(' ').for_each(|word| out.collect(word.to_owned()));
        Ok(())
    };
    vec![
        ("split", erase(FlatMapOperator::new(split))),
        ("long", erase(FilterOperator::new(|word: &String| word.len() > 3))),
        ("count", erase(MapOperator::new(|word: String| (word, 1)))),
    ]
}

#[test]
fn records_pass_all_operators_in_order_and_keep_their_timestamps() {
    let (mut chain, mut out) = (opened(stateless(), BTreeMap::new()), Vec::new());
    let lines = vec![record("hadoop is hive".to_owned(), 3), record("a b".to_owned(), 4), record("spark".into(), 5)];
    chain.process(Input::First, AnyBatch::new(lines), &mut out).unwrap();
    chain.process(Input::First, AnyBatch::new(vec![record("a".to_owned(), 6)]), &mut out).unwrap();
    assert_eq!(texts::<(String, i32)>(out), [r#"("hadoop", 1) at 3"#, r#"("hive", 1) at 3"#, r#"("spark", 1) at 5"#]);
}

#[test]
fn an_empty_chain_passes_everything_on() {
    let (mut chain, mut out) = (OperatorChain::default(), Vec::new());
    chain.process(Input::First, AnyBatch::new(vec![record(1, 2)]), &mut out).unwrap();
    chain.advance_watermark(Timestamp(2), &mut out).unwrap();
    chain.finish(&mut out).unwrap();
    assert_eq!(texts::<i32>(out), ["1 at 2", "watermark 2"]);
    assert!(chain.snapshot(CheckpointId(1)).unwrap().is_empty());
}

#[test]
#[should_panic(expected = "twice")]
fn one_uid_cannot_name_two_operators() {
    let map = || erase(MapOperator::new(|value: i32| value));
    let _ = OperatorChain::new(vec![(uid("same"), map()), (uid("same"), map())]);
}

/// Counts records per key and emits the count a minute of processing time after the first.
struct CountSoon {
    count: Option<ValueState<u32>>,
}

impl KeyedProcessFunction for CountSoon {
    type Key = u8;
    type In = (u8, i64);
    type Out = (u8, u32);

    fn open(&mut self, states: &mut StateRegistry<'_, u8>) -> Result<()> {
        self.count = Some(states.value(&ValueStateDescriptor::new("count"))?);
        Ok(())
    }

    fn process_element(&mut self, _value: (u8, i64), context: &mut ProcessContext<'_, u8, Self::Out>) -> Result<()> {
        let count = self.count.as_ref().unwrap();
        if count.value(context)?.is_none() {
            let soon = Timestamp(context.processing_time().0 + 60_000);
            context.register_timer(crate::time::TimeDomain::ProcessingTime, soon);
        }
        count.modify_or_insert_with(context, || 0, |count| *count += 1)?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        domain: crate::time::TimeDomain,
        context: &mut ProcessContext<'_, u8, Self::Out>,
    ) -> Result<()> {
        assert_eq!(domain, crate::time::TimeDomain::ProcessingTime);
        let count = self.count.as_ref().unwrap();
        let (key, value) = (*context.key(), count.value(context)?.unwrap());
        count.clear(context)?;
        context.collect((key, value));
        Ok(())
    }
}

/// Sums per key and ten milliseconds, then counts the sums per key.
fn stateful() -> Vec<(&'static str, Box<dyn ErasedOperator>)> {
    let windows = TumblingWindows::of(Duration::from_millis(10)).unwrap();
    let sum = Reduce(|sum: &mut (u8, i64), value: (u8, i64)| sum.1 += value.1);
    vec![
        ("sum", erase(WindowOperator::new(|event: &(u8, i64)| event.0, windows, EventTimeTrigger, sum))),
        ("count", erase(KeyedProcessOperator::new(|sum: &(u8, i64)| sum.0, CountSoon { count: None }))),
    ]
}

fn events() -> Batch<(u8, i64)> {
    vec![record((1, 5), 1), record((1, 6), 2), record((1, 7), 12)]
}

#[test]
fn what_a_watermark_releases_passes_the_rest_of_the_chain_before_it() {
    let (mut chain, mut out) = (opened(stateful(), BTreeMap::new()), Vec::new());
    chain.advance_processing_time(Timestamp(0), &mut out).unwrap();
    chain.process(Input::First, AnyBatch::new(events()), &mut out).unwrap();
    assert_eq!(chain.processing_time_deadline(), None);
    chain.advance_watermark(Timestamp(9), &mut out).unwrap();
    assert_eq!(chain.processing_time_deadline(), Some(Timestamp(60_001)), "the sum came before the watermark");
    chain.advance_watermark(Timestamp::MAX, &mut out).unwrap();
    chain.advance_processing_time(Timestamp(60_000), &mut out).unwrap();
    assert_eq!(out.len(), 2, "a timer never fires early");
    chain.advance_processing_time(Timestamp(60_001), &mut out).unwrap();
    let no_event_time = i64::MIN;
    let expected = ["watermark 9".into(), format!("watermark {}", i64::MAX), format!("(1, 2) at {no_event_time}")];
    assert_eq!(texts::<(u8, u32)>(out), expected);
}

#[test]
fn a_restored_chain_goes_on_where_its_snapshot_was_taken() {
    let (mut chain, mut out) = (opened(stateful(), BTreeMap::new()), Vec::new());
    chain.advance_processing_time(Timestamp(0), &mut out).unwrap();
    chain.process(Input::First, AnyBatch::new(events()), &mut out).unwrap();
    chain.advance_watermark(Timestamp(9), &mut out).unwrap();
    let snapshots = chain.snapshot(CheckpointId(1)).unwrap();
    let uids: Vec<_> = snapshots.iter().map(|(uid, _)| uid.0.as_str()).collect();
    assert_eq!(uids, ["count", "sum"], "the tail first");

    chain.advance_watermark(Timestamp::MAX, &mut out).unwrap();
    let encoded = snapshots.into_iter().map(|(uid, encode)| (uid, encode().unwrap())).collect();
    let (mut chain, mut out) = (opened(stateful(), encoded), Vec::new());
    chain.advance_watermark(Timestamp::MAX, &mut out).unwrap();
    assert_eq!(chain.processing_time_deadline(), Some(Timestamp(60_001)));
    chain.advance_processing_time(Timestamp(60_001), &mut out).unwrap();
    assert_eq!(texts::<(u8, u32)>(out)[1..], [format!("(1, 2) at {}", i64::MIN)]);
}

/// Holds its input back until the end and tells what it is told.
struct HoldBack {
    name: &'static str,
    held: Batch<i32>,
    told: std::sync::Arc<Mutex<Vec<String>>>,
}

impl Operator for HoldBack {
    type In = i32;
    type Out = i32;

    fn process(&mut self, mut batch: Batch<i32>, _out: &mut Collector<i32>) -> Result<()> {
        self.held.append(&mut batch);
        Ok(())
    }
    fn notify_complete(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        self.told.lock().unwrap().push(format!("{} {checkpoint_id}", self.name));
        Ok(())
    }
    fn finish(&mut self, out: &mut Collector<i32>) -> Result<()> {
        self.told.lock().unwrap().push(format!("{} finishes with {}", self.name, self.held.len()));
        out.collect_batch(std::mem::take(&mut self.held));
        Ok(())
    }
}

#[test]
fn the_end_reaches_an_operator_after_what_the_ones_before_it_held_back() {
    let told = std::sync::Arc::new(Mutex::new(Vec::new()));
    let hold_back = |name| (name, erase(HoldBack { name, held: Vec::new(), told: told.clone() }));
    let (mut chain, mut out) = (opened(vec![hold_back("a"), hold_back("b")], BTreeMap::new()), Vec::new());
    chain.process(Input::First, AnyBatch::new(vec![record(1, 1), record(2, 2)]), &mut out).unwrap();
    chain.notify_complete(CheckpointId(7)).unwrap();
    chain.finish(&mut out).unwrap();
    assert_eq!(texts::<i32>(out), ["1 at 1", "2 at 2"]);
    assert_eq!(*told.lock().unwrap(), ["a 7", "b 7", "a finishes with 2", "b finishes with 2"]);
}

/// Passes even numbers on and puts odd ones aside; at each watermark it puts the watermark aside.
struct Even {
    aside: OutputTag<i64>,
}

impl Even {
    fn named(tag: &str) -> Box<dyn ErasedOperator> {
        erase(Self { aside: OutputTag::new(tag) })
    }
}

impl Operator for Even {
    type In = i64;
    type Out = i64;

    fn process(&mut self, batch: Batch<i64>, out: &mut Collector<i64>) -> Result<()> {
        for record in batch {
            if record.value % 2 == 0 {
                out.collect(record.with_value(record.value / 2));
            } else {
                out.side_output(&self.aside, record);
            }
        }
        Ok(())
    }
    fn advance_watermark(&mut self, watermark: Timestamp, out: &mut Collector<i64>) -> Result<()> {
        out.side_output(&self.aside, record(watermark.0, watermark.0));
        Ok(())
    }
}

#[test]
fn side_outputs_leave_every_operator_of_the_chain_before_the_watermark() {
    let operators = vec![("halve", Even::named("odd")), ("halve again", Even::named("odd"))];
    let (mut chain, mut out) = (opened(operators, BTreeMap::new()), Vec::new());
    let numbers = [1_i64, 2, 4, 6].map(|number| record(number, 0));
    chain.process(Input::First, AnyBatch::new(numbers.to_vec()), &mut out).unwrap();
    chain.advance_watermark(Timestamp(9), &mut out).unwrap();
    let expected = ["odd of 0: 1", "odd of 1: 1", "odd of 1: 3", "1 at 0", "odd of 0: 9", "odd of 1: 9", "watermark 9"];
    assert_eq!(texts::<i64>(out), expected);
}

#[test]
fn a_side_output_needs_no_main_output() {
    let (mut chain, mut out) = (opened(vec![("halve", Even::named("odd"))], BTreeMap::new()), Vec::new());
    chain.process(Input::First, AnyBatch::new(vec![record(1_i64, 0)]), &mut out).unwrap();
    assert_eq!(texts::<i64>(std::mem::take(&mut out)), ["odd of 0: 1"]);
}

#[cfg(feature = "sim")]
#[test]
fn the_planted_bug_keeps_side_outputs_over_the_snapshot() {
    crate::planted::activate(Some("side_output_kept_back_over_a_barrier"));
    let (mut chain, mut out) = (opened(vec![("halve", Even::named("odd"))], BTreeMap::new()), Vec::new());
    chain.process(Input::First, AnyBatch::new(vec![record(1_i64, 0)]), &mut out).unwrap();
    crate::planted::activate(None);
    assert!(out.is_empty());
}

/// Tells what came on which input, and the processing time.
struct Tell {
    now: Timestamp,
}

impl TwoInputOperator for Tell {
    type First = i64;
    type Second = String;
    type Out = String;

    fn open(&mut self, context: &OperatorContext, _restored: Option<OperatorSnapshot>) -> Result<()> {
        self.now = context.processing_time;
        Ok(())
    }
    fn set_processing_time(&mut self, now: Timestamp) {
        self.now = now;
    }
    fn process_first(&mut self, batch: Batch<i64>, out: &mut Collector<String>) -> Result<()> {
        batch.iter().for_each(|number| out.collect(number.with_value(format!("{} at {}", number.value, self.now))));
        Ok(())
    }
    fn process_second(&mut self, batch: Batch<String>, out: &mut Collector<String>) -> Result<()> {
        batch.iter().for_each(|text| out.collect(text.with_value(format!("{} at {}", text.value, self.now))));
        Ok(())
    }
}

#[test]
fn the_head_has_two_inputs_and_knows_the_processing_time() {
    let length = erase(MapOperator::new(|text: String| text));
    let operators = vec![("tell", erase_two_input(Tell { now: Timestamp::MIN })), ("same", length)];
    let (mut chain, mut out) = (opened(operators, BTreeMap::new()), Vec::new());
    chain.process(Input::First, AnyBatch::new(vec![record(1_i64, 5)]), &mut out).unwrap();
    chain.set_processing_time(Timestamp(7));
    chain.process(Input::Second, AnyBatch::new(vec![record("b".to_owned(), 6)]), &mut out).unwrap();
    assert_eq!(texts::<String>(out), [r#""1 at 0" at 5"#, r#""b at 7" at 6"#]);
}

/// Holds back the last record until there is no other.
struct LastAtTheEnd {
    held: Option<StreamRecord<u8>>,
}

impl Operator for LastAtTheEnd {
    type In = u8;
    type Out = u8;

    fn process(&mut self, batch: Batch<u8>, out: &mut Collector<u8>) -> Result<()> {
        for record in batch {
            if let Some(before) = self.held.replace(record) {
                out.collect(before);
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Collector<u8>) -> Result<()> {
        // It does not care whether it said so before: that is the chain's business.
        out.collect(self.held.clone().unwrap_or_else(|| record(99, 0)));
        Ok(())
    }
}

#[test]
fn an_operator_that_was_restored_from_after_its_end_does_not_end_again() {
    let start = |restored| opened(vec![("hold", erase(LastAtTheEnd { held: None }))], restored);
    let kept = |chain: &mut OperatorChain| -> BTreeMap<OperatorUid, OperatorSnapshot> {
        let parts = chain.snapshot(CheckpointId(1)).unwrap();
        parts.into_iter().map(|(uid, part)| (uid, part().unwrap())).collect()
    };
    let emitted = |out: Vec<ChainOutput>| -> usize {
        let records = |output: &ChainOutput| match output {
            ChainOutput::Batch(batch) => batch.len(),
            ChainOutput::Side { .. } | ChainOutput::Watermark(_) => 0,
        };
        out.iter().map(records).sum()
    };
    let mut chain = start(BTreeMap::new());
    let mut out = Vec::new();
    chain.process(Input::First, AnyBatch::new(vec![record(1_u8, 5)]), &mut out).unwrap();
    let before_the_end = kept(&mut chain);
    chain.finish(&mut out).unwrap();
    assert_eq!(emitted(out), 1);
    let after_the_end = kept(&mut chain);

    for (restored, expected) in [(before_the_end, 1), (after_the_end, 0)] {
        let mut chain = start(restored);
        let mut out = Vec::new();
        chain.finish(&mut out).unwrap();
        assert_eq!(emitted(out), expected);
    }
}
