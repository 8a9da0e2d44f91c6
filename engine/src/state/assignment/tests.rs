//! What new subtasks start with, compared with what the old ones kept.

use proptest::prelude::*;

use super::*;
use crate::{
    state::{KeyGroups, KeyedEntry, ListSnapshot, StateKind, StateMeta, StateSnapshot},
    time::Timestamp,
};

const KEY_GROUPS: u32 = 16;

fn key_groups() -> KeyGroups {
    KeyGroups::new(KEY_GROUPS).unwrap()
}

fn list(mode: ListMode, entries: &[u8]) -> ListSnapshot {
    ListSnapshot { mode, entries: entries.iter().map(|entry| vec![*entry]).collect() }
}

fn state(groups: impl IntoIterator<Item = u16>) -> StateSnapshot {
    let entry = |group: u16| KeyedEntry { key: vec![group as u8], namespace: Vec::new(), value: vec![group as u8] };
    let groups = groups.into_iter().map(|group| (group, vec![entry(group)])).collect();
    StateSnapshot { meta: StateMeta::new(StateKind::Value), groups }
}

/// What each of so many subtasks keeps that has everything an operator can have.
fn kept(parallelism: u32) -> OldSubtasks {
    let snapshot = |index: u32| {
        let range = key_groups().range(ParallelInstance { index, parallelism });
        let own = index as u8 * 10;
        OperatorSnapshot {
            keyed: KeyedSnapshot::from([
                ("sums".to_owned(), state(range.iter())),
                ("_timer_event".to_owned(), state(range.iter())),
            ]),
            lists: Lists::from([
                ("split".to_owned(), list(ListMode::Split, &[own, own + 1, own + 2])),
                ("subtask".to_owned(), list(ListMode::PerSubtask, &[own])),
                ("union".to_owned(), list(ListMode::Union, &[own])),
            ]),
            raw: vec![vec![own]],
            raw_keyed: range.iter().map(|group| (group, vec![group as u8])).collect(),
            broadcast: BTreeMap::from([("rules".to_owned(), vec![(vec![1], vec![2])])]),
            watermark: Some(Timestamp(100 - i64::from(index))),
            end_of_input: EndOfInput::Handled,
            files: Vec::new(),
        }
    };
    OldSubtasks { parallelism, snapshots: (0..parallelism).map(|index| (index, snapshot(index))).collect() }
}

fn assigned(old: &OldSubtasks, parallelism: u32) -> Vec<OperatorSnapshot> {
    let instances = (0..parallelism).map(|index| ParallelInstance { index, parallelism });
    instances.map(|new| old.clone().assign_to(new, key_groups().range(new)).unwrap()).collect()
}

fn entries(new: &[OperatorSnapshot], list: &str) -> Vec<Vec<u8>> {
    new.iter().map(|snapshot| snapshot.lists.get(list).map(|list| list.entries.concat()).unwrap_or_default()).collect()
}

#[test]
fn with_the_same_parallelism_a_subtask_gets_its_own_and_the_union_lists_of_all() {
    let old = kept(2);
    let new = assigned(&old, 2);
    assert_eq!(entries(&new, "union"), [[0, 10], [0, 10]]);
    for (index, mut snapshot) in new.into_iter().enumerate() {
        let own = &old.snapshots[&(index as u32)];
        snapshot.lists.insert("union".into(), own.lists["union"].clone());
        assert_eq!(snapshot, *own);
    }
}

#[test]
fn what_belongs_to_a_subtask_as_a_whole_goes_to_the_one_that_its_number_falls_to() {
    assert_eq!(entries(&assigned(&kept(4), 2), "subtask"), [[0, 20], [10, 30]]);
    assert_eq!(entries(&assigned(&kept(2), 3), "subtask"), [vec![0], vec![10], vec![]]);
}

#[test]
fn the_end_of_the_input_is_handled_only_if_every_old_subtask_had_handled_it() {
    let mut old = kept(3);
    assert_eq!(assigned(&old, 2)[0].end_of_input, EndOfInput::Handled);
    old.snapshots.get_mut(&1).unwrap().end_of_input = EndOfInput::Pending;
    assert_eq!(assigned(&old, 2)[0].end_of_input, EndOfInput::Pending);
    assert_eq!(assigned(&old, 3)[2].end_of_input, EndOfInput::Handled, "its own");
}

#[test]
fn an_operator_that_nobody_kept_anything_of_starts_empty() {
    let old = OldSubtasks { parallelism: 2, snapshots: BTreeMap::new() };
    assert_eq!(assigned(&old, 2), vec![OperatorSnapshot::default(); 2]);
    assert_eq!(assigned(&old, 3), vec![OperatorSnapshot::default(); 3]);
}

#[test]
fn subtasks_that_contradict_each_other_are_not_restored() {
    let mut old = kept(3);
    let sums = state([0]);
    old.snapshots.get_mut(&2).unwrap().keyed.insert("sums".into(), sums.clone());
    let new = ParallelInstance { index: 0, parallelism: 1 };
    let error = old.clone().assign_to(new, key_groups().all()).unwrap_err();
    assert_eq!(error.to_string(), "key group 0 of state `sums` was kept by two subtasks");
    let lists = StateSnapshot { meta: StateMeta::new(StateKind::List), ..state([15]) };
    old.snapshots.get_mut(&2).unwrap().keyed.insert("sums".into(), lists);
    let error = old.assign_to(new, key_groups().all()).unwrap_err();
    assert_eq!(error, Contradiction::OtherState { state: "sums".into() });
}

proptest! {
    #[test]
    fn everything_is_kept_once_at_any_parallelism_and_back(old in 1..=KEY_GROUPS, new in 1..=KEY_GROUPS) {
        let before = kept(old);
        let after = assigned(&before, new);
        for (index, snapshot) in (0..new).zip(&after) {
            let range = key_groups().range(ParallelInstance { index, parallelism: new });
            let own: Vec<u16> = range.iter().collect();
            for state in ["sums", "_timer_event"] {
                prop_assert_eq!(snapshot.keyed[state].groups.keys().copied().collect::<Vec<_>>(), own.clone());
            }
            prop_assert_eq!(snapshot.raw_keyed.keys().copied().collect::<Vec<_>>(), own);
            prop_assert_eq!(&snapshot.broadcast, &before.snapshots[&0].broadcast);
            let least = if new == old { 100 - i64::from(index) } else { 101 - i64::from(old) };
            prop_assert_eq!(snapshot.watermark, Some(Timestamp(least)));
        }
        let sorted = |mut all: Vec<u8>| { all.sort_unstable(); all };
        let of_old = |list: &str| sorted(before.snapshots.values().flat_map(|kept| kept.lists[list].entries.concat()).collect());
        for name in ["split", "subtask"] {
            prop_assert_eq!(sorted(entries(&after, name).concat()), of_old(name));
        }
        prop_assert!(entries(&after, "union").into_iter().all(|all| sorted(all) == of_old("union")));
        prop_assert_eq!(sorted(after.iter().flat_map(|kept| kept.raw.concat()).collect()), of_old("subtask"));
        let back = OldSubtasks { parallelism: new, snapshots: (0..).zip(after).collect() };
        let keyed = |all: &[OperatorSnapshot]| all.iter().map(|kept| kept.keyed.clone()).collect::<Vec<_>>();
        prop_assert_eq!(keyed(&assigned(&back, old)), keyed(&before.snapshots.into_values().collect::<Vec<_>>()));
    }
}
