//! What a subtask starts with, made of what the subtasks of its operator kept, however many those were.
//!
//! ```text
//!   keyed state, timers, raw keyed state   the key groups of the subtask's range, from whoever had them
//!   lists, raw operator state, broadcast   as in `redistribution`
//!   watermark                              the least one
//!   end of the input                       handled, if all of them had handled it
//! ```
//! Guarantees: with the parallelism that kept it, a subtask gets its own again, and union lists of all; with another one,
//! each key group and each list entry of the old subtasks goes to exactly one new subtask. Flink:
//! `StateAssignmentOperation`.

use std::collections::BTreeMap;

use super::{
    EndOfInput, KeyGroupRange, KeyedSnapshot, ListMode, OperatorSnapshot, ParallelInstance,
    redistribution::{Lists, broadcast, least_watermark, redistribute_lists, split},
};
use crate::planted;

/// What the subtasks of an operator kept, by their numbers: all that matter to one new subtask.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OldSubtasks {
    /// How many there were.
    pub parallelism: u32,
    /// What they kept.
    pub snapshots: BTreeMap<u32, OperatorSnapshot>,
}

/// Two old subtasks say what only one of them can know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// A key group was in two subtasks.
    #[error("key group {key_group} of state `{state}` was kept by two subtasks")]
    KeyGroupTwice {
        /// The state.
        state: String,
        /// The key group.
        key_group: u16,
    },
    /// A state is one thing in one subtask, and another one in another.
    #[error("state `{state}` was kept by two subtasks as two different things")]
    OtherState {
        /// The state.
        state: String,
    },
}

impl OldSubtasks {
    /// What one of so many new subtasks starts with, which has the key groups of `range`.
    ///
    /// # Errors
    /// If what the old subtasks kept contradicts itself.
    pub fn assign_to(mut self, new: ParallelInstance, range: KeyGroupRange) -> Result<OperatorSnapshot, Contradiction> {
        if self.parallelism == new.parallelism {
            let own = self.snapshots.get(&new.index).cloned().unwrap_or_default();
            let lists = self.union_lists();
            return Ok(OperatorSnapshot { lists: own.lists.into_iter().chain(lists).collect(), ..own });
        }
        (0..self.parallelism).for_each(|old| {
            self.snapshots.entry(old).or_default();
        });
        let mut assigned = self.without_keyed_state(new);
        for (old, snapshot) in self.snapshots {
            // A subtask of the same number is not one with the same key groups.
            if planted!("rescaled_subtask_takes_keyed_state_of_its_number_only") && old != new.index {
                continue;
            }
            let mut keyed = snapshot.keyed;
            if old != new.index && planted!("timers_stay_with_their_subtask_number_on_rescale") {
                keyed.retain(|state, _| !state.starts_with("_timer_"));
            }
            merge_keyed(&mut assigned.keyed, keyed, range)?;
            for (key_group, bytes) in snapshot.raw_keyed {
                if range.contains(key_group) && assigned.raw_keyed.insert(key_group, bytes).is_some() {
                    return Err(Contradiction::KeyGroupTwice { state: "raw keyed state".into(), key_group });
                }
            }
            let of_range = |key_groups: KeyGroupRange| key_groups.intersection(range);
            assigned.files.extend(snapshot.files.into_iter().filter(|files| of_range(files.key_groups).is_some()));
        }
        // The database that brings most is the one to go on with.
        let brings = |groups: KeyGroupRange| groups.intersection(range).map_or(0, |both| both.end - both.start + 1);
        assigned.files.sort_by_key(|files| std::cmp::Reverse(brings(files.key_groups)));
        Ok(assigned)
    }

    /// The union lists of all subtasks, which everybody gets.
    fn union_lists(&mut self) -> Lists {
        if planted!("union_state_treated_as_split") {
            return Lists::new();
        }
        let of_union = |snapshot: &mut OperatorSnapshot| -> Lists {
            snapshot.lists.extract_if(.., |_, list| list.mode == ListMode::Union).collect()
        };
        let kept: Vec<Lists> = self.snapshots.values_mut().map(of_union).collect();
        redistribute_lists(&kept, 1).swap_remove(0)
    }

    fn without_keyed_state(&mut self, new: ParallelInstance) -> OperatorSnapshot {
        let ParallelInstance { index, parallelism } = new;
        let (place, parallelism) = (index as usize, parallelism as usize);
        let mut all: Vec<&mut OperatorSnapshot> = self.snapshots.values_mut().collect();
        let lists: Vec<Lists> = all.iter_mut().map(|snapshot| std::mem::take(&mut snapshot.lists)).collect();
        let raw: Vec<Vec<Vec<u8>>> = all.iter_mut().map(|snapshot| std::mem::take(&mut snapshot.raw)).collect();
        let raw: Vec<&[Vec<u8>]> = raw.iter().map(Vec::as_slice).collect();
        let mut copies: Vec<_> = all
            .iter_mut()
            .map(|snapshot| std::mem::take(&mut snapshot.broadcast))
            .filter(|states| !states.is_empty())
            .collect();
        if place >= all.len() && planted!("broadcast_state_not_given_to_new_subtasks") {
            copies.clear();
        }
        let handled = !all.is_empty() && all.iter().all(|snapshot| snapshot.end_of_input == EndOfInput::Handled);
        OperatorSnapshot {
            lists: redistribute_lists(&lists, parallelism).swap_remove(place),
            raw: split(&raw, parallelism, &mut 0).swap_remove(place),
            broadcast: broadcast(&copies, parallelism).swap_remove(place).unwrap_or_default(),
            watermark: least_watermark(all.iter().map(|snapshot| snapshot.watermark)),
            end_of_input: if handled { EndOfInput::Handled } else { EndOfInput::Pending },
            ..OperatorSnapshot::default()
        }
    }
}

/// Adds the key groups of a range.
fn merge_keyed(into: &mut KeyedSnapshot, kept: KeyedSnapshot, range: KeyGroupRange) -> Result<(), Contradiction> {
    for (state, mut kept) in kept {
        kept.groups.retain(|key_group, _| range.contains(*key_group));
        if kept.groups.is_empty() {
            continue;
        }
        let Some(known) = into.get_mut(&state) else {
            into.insert(state, kept);
            continue;
        };
        if known.meta != kept.meta {
            return Err(Contradiction::OtherState { state });
        }
        for (key_group, entries) in kept.groups {
            if known.groups.insert(key_group, entries).is_some() {
                return Err(Contradiction::KeyGroupTwice { state, key_group });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
