//! Timers against an ordered set, through callbacks and restores.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{codec, state::KeyedEntry};

type Service = TimerService<u8, u8>;
type Model = BTreeSet<(i64, u16, u8, u8)>;
/// Timestamp, key, namespace.
type Fired = (i64, u8, u8);

fn key_groups() -> KeyGroups {
    KeyGroups::new(4).unwrap()
}

fn restored(snapshot: TimersSnapshot<u8, u8>) -> Service {
    let mut keyed = KeyedSnapshot::new();
    snapshot.encode_into(&mut keyed);
    let mut take = |name| keyed.remove(name).map(|state| state.groups).unwrap_or_default();
    let (event, processing) = (take(Service::EVENT), take(Service::PROCESSING));
    Service::restore(key_groups(), Timestamp::MIN, event, processing).unwrap()
}

/// What the callback of a timer does: registers one timer, deletes another.
fn callback((timestamp, key, namespace): Fired) -> (Option<Fired>, Fired) {
    let registered = (timestamp + i64::from(key % 2) * 3, (key * 5 + 3) % 6, namespace + 1);
    ((namespace < 2).then_some(registered), (timestamp, (key + 1) % 6, namespace))
}

fn fire(timers: &mut Service, watermark: i64) -> Vec<Fired> {
    timers.advance_watermark(Timestamp(watermark));
    let mut fired = Vec::new();
    while let Some(timer) = timers.pop_due_event_time() {
        let timer = (timer.timestamp.0, timer.key, timer.namespace);
        let (registered, deleted) = callback(timer);
        if let Some((t, k, n)) = registered {
            timers.register(TimeDomain::EventTime, Timestamp(t), &k, &n);
        }
        timers.delete(TimeDomain::EventTime, Timestamp(deleted.0), &deleted.1, &deleted.2);
        fired.push(timer);
    }
    fired
}

fn fire_model(model: &mut Model, watermark: i64) -> Vec<Fired> {
    let in_order = |(t, k, n): Fired| (t, key_groups().of_key(&k), k, n);
    let mut fired = Vec::new();
    while let Some(first) = model.first().copied().filter(|first| first.0 <= watermark) {
        model.remove(&first);
        let timer = (first.0, first.2, first.3);
        let (registered, deleted) = callback(timer);
        model.extend(registered.map(in_order));
        model.remove(&in_order(deleted));
        fired.push(timer);
    }
    fired
}

#[derive(Debug, Clone)]
enum Op {
    Register(i64, u8, u8),
    Delete(i64, u8, u8),
    Replace(u8, (i64, u8), (i64, u8)),
    Advance(i64),
    SnapshotAndRestore,
}

proptest! {
    #[test]
    fn timers_fire_in_order_and_survive_a_restore(ops in prop::collection::vec(prop_oneof![
        6 => (0..50_i64, 0..6_u8, 0..3_u8).prop_map(|(t, k, n)| Op::Register(t, k, n)),
        2 => (0..50_i64, 0..6_u8, 0..3_u8).prop_map(|(t, k, n)| Op::Delete(t, k, n)),
        4 => (0..6_u8, (0..50_i64, 0..3_u8), (0..50_i64, 0..3_u8)).prop_map(|(k, from, to)| Op::Replace(k, from, to)),
        2 => (0..50_i64).prop_map(Op::Advance),
        1 => Just(Op::SnapshotAndRestore),
    ], 1..200)) {
        let (mut timers, mut model, mut watermark) = (Service::new(key_groups()), Model::new(), i64::MIN);
        for op in ops {
            match op {
                Op::Register(t, k, n) => {
                    timers.register(TimeDomain::EventTime, Timestamp(t), &k, &n);
                    model.insert((t, key_groups().of_key(&k), k, n));
                }
                Op::Delete(t, k, n) => {
                    timers.delete(TimeDomain::EventTime, Timestamp(t), &k, &n);
                    model.remove(&(t, key_groups().of_key(&k), k, n));
                }
                Op::Replace(k, from, to) => {
                    let when = |(t, n): &'_ (i64, u8)| (Timestamp(*t), *n);
                    let ((of_from, from_n), (of_to, to_n)) = (when(&from), when(&to));
                    timers.replace(TimeDomain::EventTime, &k, (of_from, &from_n), (of_to, &to_n));
                    model.remove(&(from.0, key_groups().of_key(&k), k, from.1));
                    model.insert((to.0, key_groups().of_key(&k), k, to.1));
                }
                Op::Advance(w) => {
                    watermark = watermark.max(w);
                    prop_assert_eq!(fire(&mut timers, w), fire_model(&mut model, watermark));
                }
                Op::SnapshotAndRestore => {
                    let snapshot = timers.snapshot();
                    timers.register(TimeDomain::EventTime, Timestamp(7), &1, &1);
                    timers.advance_watermark(Timestamp(60));
                    while timers.pop_due_event_time().is_some() {}
                    timers = restored(snapshot);
                    timers.advance_watermark(Timestamp(watermark));
                }
            }
            prop_assert_eq!(timers.len(TimeDomain::EventTime), model.len());
        }
    }
}

#[test]
fn a_snapshot_between_two_timers_of_one_moment_holds_those_that_are_left() {
    let mut timers = Service::new(key_groups());
    (0..5).for_each(|key| timers.register(TimeDomain::EventTime, Timestamp(7), &key, &0));
    timers.register(TimeDomain::EventTime, Timestamp(8), &9, &0);
    timers.advance_watermark(Timestamp(7));
    timers.pop_due_event_time().unwrap();
    let mut restored = restored(timers.snapshot());
    restored.advance_watermark(Timestamp(8));
    timers.advance_watermark(Timestamp(8));
    let rest = |timers: &mut Service| std::iter::from_fn(|| timers.pop_due_event_time()).collect::<Vec<_>>();
    let left = rest(&mut timers);
    assert_eq!(left.len(), 5);
    assert_eq!(rest(&mut restored), left);
}

#[test]
fn timers_that_move_again_and_again_leave_nothing_behind() {
    let mut timers = TimerSet::<u8, u8>::new(key_groups());
    // One that stays, one that comes and goes, and one that is replaced.
    timers.insert(Timestamp(7), &0, &0);
    timers.insert(Timestamp(0), &2, &0);
    for time in 0..1_000 {
        timers.insert(Timestamp(7), &1, &0);
        timers.remove(Timestamp(7), &1, &0);
        timers.replace(&2, (Timestamp(time), &0), (Timestamp(time + 1), &0));
    }
    assert_eq!(timers.slots(), 3);
    assert_eq!(timers.pop_due(Timestamp(999)).map(|timer| timer.key), Some(0));
    assert_eq!(timers.pop_due(Timestamp(999)), None);
    assert_eq!(timers.pop_due(Timestamp(1_000)).map(|timer| timer.key), Some(2));
    assert_eq!(timers.len(), 0);
}

#[test]
fn equal_timers_of_the_two_domains_are_different_timers() {
    let mut timers = Service::new(key_groups());
    timers.register(TimeDomain::EventTime, Timestamp(1), &1, &2);
    timers.register(TimeDomain::ProcessingTime, Timestamp(1), &1, &2);
    let mut timers = restored(timers.snapshot());
    assert_eq!(fire(&mut timers, 1), [(1, 1, 2)]);
    assert_eq!(timers.processing_time_deadline(), Some(Timestamp(1)));
    assert_eq!(timers.pop_due_processing_time(Timestamp(0)), None, "a timer never fires early");
    assert!(timers.pop_due_processing_time(Timestamp(1)).is_some());
    assert!(timers.is_empty());
}

#[test]
fn a_timer_of_a_foreign_key_group_is_refused() {
    let entry =
        KeyedEntry { key: codec::encode(&1_u8), namespace: codec::encode(&1_u8), value: codec::encode(&Timestamp(1)) };
    let wrong = (key_groups().of_key(&1_u8) + 1) % 4;
    let error = Service::restore(key_groups(), Timestamp::MIN, BTreeMap::from([(wrong, vec![entry])]), BTreeMap::new())
        .unwrap_err();
    assert!(matches!(error, TimerRestoreError::WrongKeyGroup { .. }), "{error}");
}

#[cfg(feature = "sim")]
#[test]
fn the_planted_bug_loses_the_timers() {
    let mut timers = Service::new(key_groups());
    timers.register(TimeDomain::EventTime, Timestamp(1), &1, &1);
    crate::planted::activate(Some("timers_not_in_snapshot"));
    let lost = restored(timers.snapshot());
    crate::planted::activate(None);
    assert!(lost.is_empty());
}
