//! Watermark alignment over the subtasks of a job: how far the slowest source subtask of a group is.
//!
//! Guarantees: what a subtask said in an earlier attempt does not count; a subtask is never compared with itself, so that what it said a
//! while ago cannot hold it back; one that has not said anything holds nobody back. A subtask asks at its own pace:
//! there is no timer here. Flink: `SourceCoordinator.WatermarkAggregator` (FLIP-182).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::{Attempt, ExecutionAttempt, SubtaskId},
    time::Timestamp,
};

/// What the subtasks of each group have said in the attempt that they run in.
#[derive(Debug, Default)]
pub struct WatermarkAggregator {
    groups: BTreeMap<String, BTreeMap<SubtaskId, (Attempt, Timestamp)>>,
}

impl WatermarkAggregator {
    /// These subtasks start again: how far they were says nothing any more.
    pub fn forget(&mut self, subtasks: &BTreeSet<SubtaskId>) {
        self.groups.values_mut().for_each(|group| group.retain(|subtask, _| !subtasks.contains(subtask)));
    }

    /// A subtask is that far; [`Timestamp::MAX`] if it is idle or at its end. How far the slowest of the others is.
    pub fn report(&mut self, execution: ExecutionAttempt, group: &str, watermark: Timestamp) -> Timestamp {
        let group = self.groups.entry(group.to_owned()).or_default();
        let said = group.entry(execution.subtask).or_insert((execution.attempt, watermark));
        if execution.attempt >= said.0 {
            *said = (execution.attempt, watermark);
        }
        let others = group.iter().filter(|(subtask, _)| **subtask != execution.subtask);
        others.map(|(_, (_, watermark))| *watermark).min().unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::VertexId;

    fn subtask(attempt: u64, index: u32) -> ExecutionAttempt {
        ExecutionAttempt { subtask: SubtaskId { vertex: VertexId(0), index }, attempt: Attempt(attempt) }
    }

    #[test]
    fn a_subtask_is_compared_with_the_slowest_of_the_others_in_its_group() {
        let mut watermarks = WatermarkAggregator::default();
        assert_eq!(watermarks.report(subtask(1, 0), "orders", Timestamp(50)), Timestamp::MAX);
        assert_eq!(watermarks.report(subtask(1, 1), "orders", Timestamp(30)), Timestamp(50));
        assert_eq!(watermarks.report(subtask(1, 2), "orders", Timestamp(90)), Timestamp(30));
        assert_eq!(watermarks.report(subtask(1, 3), "flights", Timestamp(90)), Timestamp::MAX);
        assert_eq!(watermarks.report(subtask(1, 1), "orders", Timestamp::MAX), Timestamp(50), "idle");
        assert_eq!(watermarks.report(subtask(1, 0), "orders", Timestamp(60)), Timestamp(90));
    }

    #[test]
    fn who_starts_again_is_forgotten_and_its_earlier_attempt_not_listened_to() {
        let mut watermarks = WatermarkAggregator::default();
        watermarks.report(subtask(1, 0), "orders", Timestamp(5));
        watermarks.report(subtask(2, 1), "orders", Timestamp(40));
        watermarks.forget(&BTreeSet::from([subtask(1, 0).subtask]));
        assert_eq!(watermarks.report(subtask(2, 1), "orders", Timestamp(50)), Timestamp::MAX);
        watermarks.report(subtask(3, 0), "orders", Timestamp(30));
        watermarks.report(subtask(1, 0), "orders", Timestamp(5));
        assert_eq!(watermarks.report(subtask(2, 1), "orders", Timestamp(50)), Timestamp(30));
    }
}
