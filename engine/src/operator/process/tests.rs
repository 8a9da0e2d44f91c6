//! Functions with operator state over snapshots, restores and other numbers of subtasks.

use std::collections::BTreeMap;

use super::*;
use crate::{
    id::CheckpointId,
    operator::{
        FunctionInitializationContext, FunctionSnapshotContext, OperatorListState,
        test_harness::{context, open, process, record, snapshot},
    },
    state::{KeyGroups, ParallelInstance, redistribution::redistribute_lists},
};

/// Emits what it got two by two: the example of a sink that must not forget half a pair (tutorial, 1.4).
#[derive(Clone)]
struct TwoByTwo {
    held: Vec<String>,
    state: OperatorListState<String>,
    seen: u64,
    seen_by_all: OperatorListState<u64>,
}

impl TwoByTwo {
    fn new() -> Self {
        let (state, seen_by_all) = (OperatorListState::new("held"), OperatorListState::new("seen"));
        Self { held: Vec::new(), state, seen: 0, seen_by_all }
    }
}

impl CheckpointedFunction for TwoByTwo {
    fn initialize_state(&mut self, context: &mut FunctionInitializationContext<'_>) -> Result<()> {
        context.list_state(&mut self.state)?;
        context.union_list_state(&mut self.seen_by_all)?;
        self.held = self.state.get(context)?.to_vec();
        self.seen = self.seen_by_all.get(context)?.iter().sum();
        if self.seen > 0 {
            assert_eq!(context.raw(), [b"raw".to_vec(), vec![u8::try_from(self.held.len()).unwrap()]]);
            assert_eq!(context.raw_keyed(), &BTreeMap::from([(1, vec![7, 8])]));
        }
        Ok(())
    }

    fn snapshot_state(&mut self, context: &mut FunctionSnapshotContext<'_>) -> Result<()> {
        self.state.update(context, self.held.clone())?;
        self.seen_by_all.update(context, vec![self.seen])?;
        context.write_raw(b"raw".to_vec());
        context.write_raw(vec![u8::try_from(self.held.len()).unwrap()]);
        context.write_raw_keyed(1, &[7])?;
        context.write_raw_keyed(1, &[8])
    }
}

impl ProcessFunction for TwoByTwo {
    type In = String;
    type Out = Vec<String>;

    fn process_element(&mut self, value: String, context: &mut FunctionContext<'_, Vec<String>>) -> Result<()> {
        self.seen += 1;
        self.held.push(value);
        if self.held.len() == 2 {
            context.collect(std::mem::take(&mut self.held));
        }
        Ok(())
    }

    fn finish(&mut self, context: &mut FunctionContext<'_, Vec<String>>) -> Result<()> {
        context.collect(vec![format!("{} in all", self.seen)]);
        Ok(())
    }
}

fn pairs(operator: &mut ProcessOperator<TwoByTwo>, words: &[&str]) -> Vec<Vec<String>> {
    let batch = words.iter().map(|word| record((*word).to_owned(), 5)).collect();
    process(operator, batch).into_iter().map(|record| record.value).collect()
}

#[test]
fn half_a_pair_survives_a_failure() {
    let mut operator = open(ProcessOperator::new(TwoByTwo::new()), None);
    assert_eq!(pairs(&mut operator, &["spark", "hadoop", "hive"]), [["spark", "hadoop"]]);
    let kept = snapshot(&mut operator);
    assert_eq!(pairs(&mut operator, &["lost"]), [["hive", "lost"]], "what comes later is not in the snapshot");
    let mut operator = open(ProcessOperator::new(TwoByTwo::new()), Some(kept().unwrap()));
    assert_eq!(pairs(&mut operator, &["flume"]), [["hive", "flume"]]);
    let mut out = Collector::default();
    operator.finish(&mut out).unwrap();
    assert_eq!(out.take(), [record(vec!["4 in all".to_owned()], i64::MAX)]);
}

#[test]
fn lists_that_nobody_asks_for_stay_and_those_of_another_mode_are_refused() {
    let mut operator = open(ProcessOperator::new(TwoByTwo::new()), None);
    pairs(&mut operator, &["spark"]);
    let kept = snapshot(&mut operator)().unwrap();

    #[derive(Clone)]
    struct Idle;
    impl CheckpointedFunction for Idle {}
    impl ProcessFunction for Idle {
        type In = String;
        type Out = String;
        fn process_element(&mut self, _: String, _: &mut FunctionContext<'_, String>) -> Result<()> {
            Ok(())
        }
    }
    let mut idle = open(ProcessOperator::new(Idle), Some(kept.clone()));
    assert_eq!(snapshot(&mut idle)().unwrap().lists, kept.lists);

    struct Confused(OperatorListState<String>);
    impl CheckpointedFunction for Confused {
        fn initialize_state(&mut self, context: &mut FunctionInitializationContext<'_>) -> Result<()> {
            context.union_list_state(&mut self.0)
        }
    }
    let setup = (&context(ParallelInstance { index: 0, parallelism: 1 })).into();
    let refused = FunctionState::initialize(setup, Some(kept), &mut Confused(OperatorListState::new("held")));
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("`held`") && error.contains("`under-test`") && error.contains("Split"), "{error}");
}

#[test]
fn a_list_that_is_not_registered_says_so_and_a_foreign_key_group_is_refused() {
    struct Wrong(OperatorListState<u8>);
    impl CheckpointedFunction for Wrong {
        fn initialize_state(&mut self, context: &mut FunctionInitializationContext<'_>) -> Result<()> {
            assert_eq!((context.is_restored(), context.restored_checkpoint_id()), (true, Some(CheckpointId(3))));
            self.0.add(context, 1)
        }
        fn snapshot_state(&mut self, context: &mut FunctionSnapshotContext<'_>) -> Result<()> {
            assert_eq!(context.checkpoint_id(), CheckpointId(4));
            context.write_raw_keyed(0, &[])
        }
    }
    let mut context = context(ParallelInstance { index: 1, parallelism: 2 });
    context.restored_checkpoint_id = Some(CheckpointId(3));
    let error = FunctionState::initialize((&context).into(), None, &mut Wrong(OperatorListState::new("x"))).err();
    assert!(error.unwrap().to_string().contains("before it is registered"));

    struct Idle;
    impl CheckpointedFunction for Idle {}
    let mut state = FunctionState::initialize((&context).into(), None, &mut Idle).unwrap();
    let error = state.snapshot(CheckpointId(4), &mut Wrong(OperatorListState::new("x"))).err().unwrap();
    assert!(error.to_string().contains("key group 0"), "{error}");
    assert!(
        !KeyGroups::new(context.max_parallelism)
            .unwrap()
            .range(ParallelInstance { index: 1, parallelism: 2 })
            .contains(0)
    );
}

#[test]
fn over_other_numbers_of_subtasks_nothing_is_lost_and_all_know_the_union() {
    let keep = |words: &[&str]| {
        let mut operator = open(ProcessOperator::new(TwoByTwo::new()), None);
        pairs(&mut operator, words);
        snapshot(&mut operator)().unwrap()
    };
    let old = [keep(&["a"]), keep(&["b", "c", "d"]), keep(&["e"])];
    let lists: Vec<_> = old.iter().map(|snapshot| snapshot.lists.clone()).collect();
    for parallelism in 1..5 {
        let mut held = Vec::new();
        for lists in redistribute_lists(&lists, parallelism) {
            let one = OperatorSnapshot {
                lists,
                raw: old[0].raw.clone(),
                raw_keyed: old[0].raw_keyed.clone(),
                ..OperatorSnapshot::default()
            };
            let mut function = TwoByTwoHeld::default();
            let setup = (&context(ParallelInstance { index: 0, parallelism: 1 })).into();
            FunctionState::initialize(setup, Some(one), &mut function).unwrap();
            assert_eq!(function.seen, [1, 3, 1]);
            held.extend(function.held);
        }
        assert_eq!(held, ["a", "d", "e"]);
    }
}

/// Looks at what was kept.
#[derive(Default)]
struct TwoByTwoHeld {
    held: Vec<String>,
    seen: Vec<u64>,
}

impl CheckpointedFunction for TwoByTwoHeld {
    fn initialize_state(&mut self, context: &mut FunctionInitializationContext<'_>) -> Result<()> {
        let (mut held, mut seen) = (OperatorListState::new("held"), OperatorListState::new("seen"));
        context.list_state(&mut held)?;
        context.union_list_state(&mut seen)?;
        self.held = held.take(context)?;
        self.seen = seen.take(context)?;
        Ok(())
    }
}
