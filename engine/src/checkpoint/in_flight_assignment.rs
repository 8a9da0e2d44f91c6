//! Which data under way goes to whom when a job is restored with another parallelism.
//!
//! Flink's rules, which its vectors check: each end of an edge has a mapper, from a new subtask to the old ones whose data it
//! takes over, and where several new subtasks take over the data of one old one, each takes only the records that belong to
//! it now. Flink `SubtaskStateMapper`, `RescaleMappings`, `RecordFilter`. A restore here comes to the same for keyed edges in
//! another way: every receiver reads what lay around its inputs, and the edge's own partitioner says what of it is its share
//! (`task/in_flight.rs`).

use crate::state::{KeyGroups, ParallelInstance};

/// How the data under way at old subtasks is dealt to new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubtaskStateMapper {
    /// To any: as [`SubtaskStateMapper::RoundRobin`].
    Arbitrary,
    /// All of it to the first.
    First,
    /// All of it to each.
    Full,
    /// To those whose key groups it may concern.
    Range,
    /// To each in turn.
    RoundRobin,
    /// It cannot be dealt.
    Unsupported,
}

/// From one parallelism to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rescaling {
    /// Subtasks that there were.
    pub old: u32,
    /// Subtasks that there are.
    pub new: u32,
    /// The key groups of the job, which a restore does not change.
    pub key_groups: KeyGroups,
}

/// Data under way cannot be dealt to another number of subtasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("data under way on this edge belongs to certain subtasks, and cannot go to {new} in the place of {old}")]
pub struct UnsupportedRescaling {
    /// Subtasks that there were.
    pub old: u32,
    /// Subtasks that there are.
    pub new: u32,
}

impl SubtaskStateMapper {
    /// The old subtasks whose data a new one takes over, in rising order.
    ///
    /// # Errors
    /// If there is no way to deal it; equal parallelism is no reason to ask.
    pub fn old_subtasks(self, new_subtask: u32, rescaling: &Rescaling) -> Result<Vec<u32>, UnsupportedRescaling> {
        let Rescaling { old, new, key_groups } = *rescaling;
        Ok(match self {
            Self::Arbitrary | Self::RoundRobin => (new_subtask..old).step_by(new as usize).collect(),
            Self::First if new_subtask == 0 => (0..old).collect(),
            Self::First => Vec::new(),
            Self::Full => (0..old).collect(),
            Self::Range => {
                let range = key_groups.range(ParallelInstance { index: new_subtask, parallelism: new });
                (key_groups.subtask(range.start, old)..=key_groups.subtask(range.end, old)).collect()
            }
            Self::Unsupported => return Err(UnsupportedRescaling { old, new }),
        })
    }

    /// The old subtasks whose data several new ones take over: each must leave out what is not its own.
    ///
    /// # Errors
    /// As [`SubtaskStateMapper::old_subtasks`].
    pub fn ambiguous(self, rescaling: &Rescaling) -> Result<Vec<u32>, UnsupportedRescaling> {
        let mut takers = vec![0; rescaling.old as usize];
        for new_subtask in 0..rescaling.new {
            for old_subtask in self.old_subtasks(new_subtask, rescaling)? {
                takers[old_subtask as usize] += 1;
            }
        }
        Ok((0..rescaling.old).filter(|old_subtask| takers[*old_subtask as usize] > 1).collect())
    }
}
