//! Rules that every subtask has, applied to the values of keys.

use std::collections::BTreeMap;

use super::*;
use crate::{
    backend::ValueState,
    operator::{
        BroadcastState,
        test_harness::{TwoInputHarness, record},
    },
    state::{ParallelInstance, ValueStateDescriptor},
};

/// Counts the values of a key that are at least as large as the limit of the day, and tells the count with each.
struct CountLarge {
    limits: Option<BroadcastState<String, i64>>,
    count: Option<ValueState<u32>>,
}

impl KeyedBroadcastProcessFunction for CountLarge {
    type Key = u8;
    type In = (u8, i64);
    type Broadcast = (String, Option<i64>);
    type Out = String;

    fn open(&mut self, keyed: &mut StateRegistry<'_, u8>, broadcast: &mut BroadcastStates) -> Result<()> {
        self.count = Some(keyed.value(&ValueStateDescriptor::new("count"))?);
        self.limits = Some(broadcast.register("limits")?);
        Ok(())
    }

    fn process_element(
        &mut self,
        (key, value): (u8, i64),
        context: &mut ReadOnlyContext<'_, u8, String>,
    ) -> Result<()> {
        let limit = self.limits.unwrap().entries(context).map(|(_, limit)| *limit).max();
        if limit.is_some_and(|limit| value >= limit) {
            let count = self.count.as_ref().unwrap().modify_or_insert_with(
                context,
                || 0,
                |count| {
                    *count += 1;
                    *count
                },
            )?;
            context.collect(format!("{key}: {count}"));
            let soon = context.timestamp().0 + 10;
            context.register_timer(TimeDomain::EventTime, Timestamp(soon));
        }
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        (name, limit): (String, Option<i64>),
        context: &mut BroadcastContext<'_, u8, String>,
    ) -> Result<()> {
        if name == "forget" {
            // Halves all counts.
            let count = self.count.as_ref().unwrap();
            return context.apply_to_keyed_state(count, |key| count.modify(key, |count| *count /= 2).map(drop));
        }
        let limits = self.limits.unwrap();
        match limit {
            Some(limit) => limits.put(context, name, limit),
            None => limits.remove(context, &name),
        }
        context.collect(format!("limits: {}", limits.entries(context).count()));
        Ok(())
    }

    fn on_timer(&mut self, _domain: TimeDomain, context: &mut ReadOnlyContext<'_, u8, String>) -> Result<()> {
        let limits = self.limits.unwrap().entries(context).count();
        let line = format!("{} after {limits} limits", context.key());
        context.collect(line);
        Ok(())
    }
}

type Counting = TwoInputHarness<KeyedBroadcastProcessOperator<fn(&(u8, i64)) -> u8, CountLarge>>;

fn counting(index: u32, restored: Option<OperatorSnapshot>) -> Counting {
    let operator = KeyedBroadcastProcessOperator::new(
        (|value| value.0) as fn(&(u8, i64)) -> u8,
        CountLarge { limits: None, count: None },
    );
    TwoInputHarness::open_at(ParallelInstance { index, parallelism: 2 }, operator, restored)
}

fn limit(name: &str, limit: impl Into<Option<i64>>) -> Batch<(String, Option<i64>)> {
    vec![record((name.to_owned(), limit.into()), 5)]
}

fn values(out: Batch<String>) -> Vec<String> {
    out.into_iter().map(|record| record.value).collect()
}

/// The subtask of two that a key belongs to.
fn subtask_of(key: u8) -> u32 {
    let key_groups = crate::state::KeyGroups::new(crate::operator::test_harness::MAX_PARALLELISM).unwrap();
    key_groups.subtask(key_groups.of_key(&key), 2)
}

/// A key of a subtask of two.
fn key_of(index: u32) -> u8 {
    (0..).find(|key| subtask_of(*key) == index).unwrap()
}

#[test]
fn values_are_judged_by_the_broadcast_state_as_it_is_when_they_come() {
    let (mut harness, key) = (counting(0, None), key_of(0));
    assert_eq!(values(harness.first(vec![record((key, 100), 1)])), [""; 0]);
    assert_eq!(values(harness.second(limit("low", 10))), ["limits: 1"]);
    assert_eq!(values(harness.first(vec![record((key, 9), 2), record((key, 10), 3)])), [format!("{key}: 1")]);
    harness.second(limit("high", 50));
    assert_eq!(values(harness.first(vec![record((key, 49), 4), record((key, 50), 5)])), [format!("{key}: 2")]);
    assert_eq!(values(harness.second(limit("high", None))), ["limits: 1"]);
    assert_eq!(harness.advance(13), vec![record(format!("{key} after 1 limits"), 13)]);
}

#[test]
fn every_subtask_has_the_broadcast_state_after_a_restore_and_its_own_keyed_state() {
    let subtasks = [0, 1].map(|index| {
        let mut harness = counting(index, None);
        harness.second(limit("low", 10));
        harness.first(vec![record((key_of(index), 20), 1)]);
        harness.snapshot()
    });
    assert_eq!(subtasks[0].broadcast, subtasks[1].broadcast);
    assert_ne!(subtasks[0].broadcast, BTreeMap::new());
    for (index, kept) in [0, 1].into_iter().zip(subtasks) {
        let (mut harness, key) = (counting(index, Some(kept)), key_of(index));
        assert_eq!(values(harness.first(vec![record((key, 10), 2)])), [format!("{key}: 2")]);
    }
}

#[test]
fn a_broadcast_value_can_change_the_state_of_all_keys() {
    let mut harness = counting(0, None);
    let keys: Vec<u8> = (0..200).filter(|key| subtask_of(*key) == 0).take(3).collect();
    harness.second(limit("low", 0));
    for (times, key) in keys.iter().enumerate() {
        harness.first(vec![record((*key, 1), 1); 2 * times]);
    }
    assert_eq!(values(harness.second(limit("forget", None))), [""; 0]);
    for (times, key) in keys.iter().enumerate() {
        assert_eq!(values(harness.first(vec![record((*key, 1), 1)])), [format!("{key}: {}", times + 1)]);
    }
}
