//! The table against an ordered map, with snapshots taken in between.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    codec,
    state::{KeyGroups, KeyedEntry},
};

type Table = CowTable<u16, u8, i64>;
type Model = BTreeMap<(u16, u8), i64>;

fn encoded(model: &Model) -> BTreeMap<u16, Vec<KeyedEntry>> {
    let mut groups: BTreeMap<u16, Vec<KeyedEntry>> = BTreeMap::new();
    for ((key, namespace), value) in model {
        let entry =
            KeyedEntry { key: codec::encode(key), namespace: codec::encode(namespace), value: codec::encode(value) };
        groups.entry(groups_of_the_test().of_key(key)).or_default().push(entry);
    }
    groups.values_mut().for_each(|entries| entries.sort());
    groups
}

fn groups_of_the_test() -> KeyGroups {
    KeyGroups::new(4).unwrap()
}

#[derive(Debug, Clone)]
enum Op {
    Insert(u16, u8, i64),
    Add(u16, u8, i64),
    Remove(u16, u8),
    Clear,
    Snapshot,
    EncodeOldest,
}

fn op() -> impl Strategy<Value = Op> {
    // More keys than a page has slots, few enough that they meet again.
    let (key, namespace) = (0..400_u16, 0..2_u8);
    prop_oneof![
        4 => (key.clone(), namespace.clone(), any::<i64>()).prop_map(|(k, n, v)| Op::Insert(k, n, v)),
        8 => (key.clone(), namespace.clone(), -9..9_i64).prop_map(|(k, n, v)| Op::Add(k, n, v)),
        4 => (key, namespace).prop_map(|(k, n)| Op::Remove(k, n)),
        1 => Just(Op::Clear),
        2 => Just(Op::Snapshot),
        1 => Just(Op::EncodeOldest),
    ]
}

fn assert_same(table: &Table, model: &Model) {
    let entries: BTreeMap<_, _> = table.iter().map(|(k, n, v)| ((*k, *n), *v)).collect();
    assert_eq!(&entries, model);
    assert_eq!(table.len(), model.len());
    assert_eq!(table.is_empty(), model.is_empty());
}

proptest! {
    #[test]
    fn the_table_is_a_map_and_its_snapshots_never_change(ops in prop::collection::vec(op(), 1..800)) {
        let mut table = Table::default();
        let mut model = Model::new();
        let mut snapshots = std::collections::VecDeque::new();
        for op in ops {
            match op {
                Op::Insert(k, n, v) => prop_assert_eq!(table.insert(k, n, v), model.insert((k, n), v)),
                Op::Add(k, n, v) => {
                    let created = !model.contains_key(&(k, n));
                    let expected = model.entry((k, n)).or_insert(100);
                    *expected = expected.wrapping_add(v);
                    let (value, was_created) = table.entry_or_insert_with(&k, &n, || 100);
                    *value = value.wrapping_add(v);
                    prop_assert_eq!((*value, was_created), (*expected, created));
                }
                Op::Remove(k, n) => prop_assert_eq!(table.remove(&k, &n), model.remove(&(k, n))),
                Op::Clear => { table.clear(); model.clear() }
                Op::Snapshot => snapshots.push_back((table.snapshot(), encoded(&model))),
                Op::EncodeOldest => if let Some((snapshot, expected)) = snapshots.pop_front() {
                    prop_assert_eq!(snapshot.encode(groups_of_the_test()), expected);
                },
            }
        }
        assert_same(&table, &model);
        for (snapshot, expected) in snapshots {
            prop_assert_eq!(snapshot.encode(groups_of_the_test()), expected);
        }
    }
}

#[test]
fn a_page_is_taken_back_when_its_snapshot_is_gone() {
    let mut table = Table::default();
    table.insert(1, 0, 1);
    let before = std::ptr::from_ref(table.get(&1, &0).unwrap());
    drop(table.snapshot());
    *table.get_mut(&1, &0).unwrap() = 2;
    assert_eq!(std::ptr::from_ref(table.get(&1, &0).unwrap()), before, "nothing was copied");
}

#[test]
fn a_snapshot_of_many_chunks_stays_while_all_of_them_change() {
    let mut table = Table::default();
    let mut model = Model::new();
    let insert = |table: &mut Table, model: &mut Model, key: u16, namespace: u8, value: i64| {
        assert_eq!(table.insert(key, namespace, value), model.insert((key, namespace), value));
    };
    // A chunk has room for 32,768.
    for key in 0..u16::MAX {
        insert(&mut table, &mut model, key, 0, 1);
    }
    let (snapshot, before) = (table.snapshot(), encoded(&model));
    for key in (0..u16::MAX).step_by(100) {
        insert(&mut table, &mut model, key, 0, 2);
        insert(&mut table, &mut model, key, 1, 3);
        assert_eq!(table.remove(&(key + 1), &0), model.remove(&(key + 1, 0)));
    }
    assert_same(&table, &model);
    assert_eq!(table.snapshot().encode(groups_of_the_test()), encoded(&model));
    assert_eq!(snapshot.encode(groups_of_the_test()), before);
}

#[test]
fn freed_slots_are_used_again() {
    let mut table = Table::default();
    for round in 0..10 {
        for key in 0..100 {
            table.insert(key, 0, round);
        }
        for key in 0..100 {
            table.remove(&key, &0);
        }
    }
    assert_eq!(table.slots.end(), 100);
}

#[cfg(feature = "sim")]
#[test]
fn the_planted_bug_lets_a_snapshot_see_later_mutations() {
    crate::planted::activate(Some("snapshot_sees_later_mutation"));
    let mut table = Table::default();
    table.insert(1, 0, 10);
    let snapshot = table.snapshot();
    table.insert(1, 0, 11);
    table.insert(2, 0, 20);
    crate::planted::activate(None);
    assert_eq!(snapshot.encode(groups_of_the_test()), encoded(&Model::from([((1, 0), 11)])));
}
