//! Who gets which operator state on a restore, when the job may have another parallelism than the one that kept it.
//!
//! ```text
//!   split      unchanged parallelism: each its own. Otherwise all lists in a row, cut into runs of almost equal length
//!   union      everybody gets all lists in a row, also when the parallelism is unchanged
//!   subtask    the whole list of an old subtask goes to the new one of its number, modulo the parallelism
//!   watermark  everybody gets the least one; none if any old subtask had none
//!   broadcast  everybody gets one whole copy: that of the old subtask of the same number, modulo those that kept one
//! ```
//! Guarantees: of a split list each entry goes to exactly one subtask, and lengths differ by at most one; the order is
//! that of the old subtasks, then that of their lists. Flink: `RoundRobinOperatorStateRepartitioner`,
//! `StateAssignmentOperation`.

use std::collections::{BTreeMap, BTreeSet};

use super::{ListMode, ListSnapshot};
use crate::{planted, time::Timestamp};

/// The lists of one subtask by name.
pub type Lists = BTreeMap<String, ListSnapshot>;

/// Spreads the lists of all old subtasks, in their order, over so many new ones.
///
/// The parallelism is unchanged if there are as many old subtasks as new ones.
///
/// # Panics
/// If there shall be no new subtask.
pub fn redistribute_lists(old: &[Lists], parallelism: usize) -> Vec<Lists> {
    let mut new = vec![Lists::new(); parallelism];
    let names: BTreeSet<&String> = old.iter().flat_map(BTreeMap::keys).collect();
    // The subtask that gets the first of what cannot be divided: another one for each state.
    let mut first = 0;
    for name in names {
        let kept: Vec<Option<&ListSnapshot>> = old.iter().map(|lists| lists.get(name)).collect();
        let Some(mode) = kept.iter().flatten().next().map(|list| list.mode) else { continue };
        let old_entries = kept.iter().map(|list| list.map_or(&[][..], |list| list.entries.as_slice()));
        let spread = match mode {
            ListMode::Split => split(&old_entries.collect::<Vec<_>>(), parallelism, &mut first),
            ListMode::Union => union(&old_entries.collect::<Vec<_>>(), parallelism),
            ListMode::PerSubtask => per_subtask(&old_entries.collect::<Vec<_>>(), parallelism),
        };
        for (lists, entries) in new.iter_mut().zip(spread) {
            lists.insert(name.clone(), ListSnapshot { mode, entries });
        }
    }
    new
}

/// Each entry to one subtask. `first` is the one that gets the first run; it becomes the one behind the last that got
/// one entry more than others.
///
/// # Panics
/// If there shall be no new subtask.
pub fn split<T: Clone>(old: &[&[T]], parallelism: usize, first: &mut usize) -> Vec<Vec<T>> {
    assert!(parallelism > 0, "a list is split over at least one subtask");
    if old.len() == parallelism {
        return old.iter().map(|entries| entries.to_vec()).collect();
    }
    let mut all = old.concat();
    if planted!("split_list_loses_its_last_entry_on_rescale") {
        all.pop();
    }
    let (each, longer) = (all.len() / parallelism, all.len() % parallelism);
    let mut new = vec![Vec::new(); parallelism];
    let mut rest = all.as_slice();
    for turn in 0..parallelism {
        let (run, behind) = rest.split_at(each + usize::from(turn < longer));
        new[(*first + turn) % parallelism] = run.to_vec();
        rest = behind;
    }
    *first = (*first + longer) % parallelism;
    if planted!("split_list_entries_have_two_owners_after_rescale") {
        new.iter_mut().zip(old).for_each(|(new, old)| new.extend_from_slice(old));
    }
    new
}

/// All entries to everybody.
pub fn union<T: Clone>(old: &[&[T]], parallelism: usize) -> Vec<Vec<T>> {
    vec![old.concat(); parallelism]
}

/// The entries of old subtask i to new subtask i modulo `parallelism`.
pub fn per_subtask<T: Clone>(old: &[&[T]], parallelism: usize) -> Vec<Vec<T>> {
    let mut new = vec![Vec::new(); parallelism];
    for (index, entries) in old.iter().enumerate() {
        new[index % parallelism].extend_from_slice(entries);
    }
    new
}

/// The watermark that subtasks begin with that take over key groups of several: behind it nothing is due for any of
/// them that has not fired. `old` are those of all old subtasks.
pub fn least_watermark(old: impl IntoIterator<Item = Option<Timestamp>>) -> Option<Timestamp> {
    // `None` is less than any.
    old.into_iter().min().flatten()
}

/// One whole copy to everybody; nothing to anybody if nobody kept one. `old` are the copies of those that did.
pub fn broadcast<T: Clone>(old: &[T], parallelism: usize) -> Vec<Option<T>> {
    (0..parallelism).map(|index| old.get(index % old.len().max(1)).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(mode: ListMode, entries: &[u8]) -> ListSnapshot {
        ListSnapshot { mode, entries: entries.iter().map(|entry| vec![*entry]).collect() }
    }

    #[test]
    fn what_cannot_be_divided_goes_to_another_subtask_for_each_state() {
        let kept = |name: &str| (name.to_owned(), list(ListMode::Split, &[1, 2, 3]));
        let old = [Lists::from([kept("a"), kept("b"), kept("c")])];
        let lengths: Vec<Vec<usize>> = redistribute_lists(&old, 2)
            .iter()
            .map(|lists| lists.values().map(|list| list.entries.len()).collect())
            .collect();
        assert_eq!(lengths, [[2, 1, 2], [1, 2, 1]], "the second state begins with the second subtask");
    }

    #[test]
    fn subtasks_that_kept_nothing_take_part() {
        let old = [Lists::new(), Lists::from([("u".to_owned(), list(ListMode::Union, &[7]))])];
        let new = redistribute_lists(&old, 2);
        assert_eq!(new[0]["u"].entries, [[7]]);
        assert_eq!(new[0], new[1]);
        assert_eq!(broadcast::<u8>(&[], 2), [None, None]);
    }

    #[test]
    fn the_least_watermark_counts_and_a_subtask_that_had_none_has_the_least() {
        let at = |watermark| Some(Timestamp(watermark));
        assert_eq!(least_watermark([at(7), at(5), at(9)]), at(5));
        assert_eq!(least_watermark([at(7), None]), None);
        assert_eq!(least_watermark([]), None);
    }

    proptest! {
        #[test]
        fn each_entry_of_a_split_list_goes_to_exactly_one_subtask(
            old in prop::collection::vec(prop::collection::vec(0..1000_u32, 0..6), 1..6),
            parallelism in 1..8_usize,
            first in 0..8_usize,
        ) {
            let slices: Vec<&[u32]> = old.iter().map(Vec::as_slice).collect();
            let mut first = first % parallelism;
            let start = first;
            let new = split(&slices, parallelism, &mut first);
            let in_turn = |turn: usize| new[(if old.len() == parallelism { 0 } else { start } + turn) % parallelism].clone();
            let gathered: Vec<u32> = (0..parallelism).flat_map(in_turn).collect();
            prop_assert_eq!(gathered, old.concat());
            if old.len() != parallelism {
                let lengths: Vec<usize> = new.iter().map(Vec::len).collect();
                prop_assert!(lengths.iter().max().unwrap() - lengths.iter().min().unwrap() <= 1);
            }
        }
    }
}
