//! When a subtask ends (FLIP-147; Flink `StreamTask.finalCheckpointCompleted`).
//!
//! ```text
//!  data ends ──► first checkpoint taken after that: the final one ──► it is complete ──► inputs ended, outputs empty: end
//! ```
//! A checkpoint that is newer than the final one and complete covers it. From then on the subtask begins no further one.

use crate::{
    config::{AfterTasksFinish, CheckpointConfig},
    id::CheckpointId,
    planted,
};

/// What a subtask waits for at the end of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndRule {
    /// The job manager's word: there are no checkpoints.
    WhenTold,
    /// Nothing.
    WithItsData,
    /// The first checkpoint that it takes after the end of its data.
    AfterFinalCheckpoint,
}

/// The end of one subtask.
#[derive(Debug)]
pub(super) struct End {
    rule: EndRule,
    data_ended: bool,
    /// The first checkpoint that the subtask took after the end of its data.
    final_checkpoint: Option<CheckpointId>,
    is_complete: bool,
}

impl End {
    pub(super) fn new(checkpoints: &CheckpointConfig) -> Self {
        let rule = match (checkpoints.interval, checkpoints.after_tasks_finish) {
            (None, _) => EndRule::WhenTold,
            (Some(_), AfterTasksFinish::Refuse) => EndRule::WithItsData,
            (Some(_), AfterTasksFinish::Continue) => EndRule::AfterFinalCheckpoint,
        };
        Self { rule, data_ended: false, final_checkpoint: None, is_complete: false }
    }

    /// The data has ended, and what it led to has been emitted.
    pub(super) fn data_ended(&mut self) {
        self.data_ended = true;
    }

    /// The subtask takes a checkpoint.
    pub(super) fn takes(&mut self, checkpoint_id: CheckpointId) {
        if self.data_ended {
            self.final_checkpoint.get_or_insert(checkpoint_id);
        }
    }

    /// A checkpoint is complete.
    pub(super) fn completed(&mut self, checkpoint_id: CheckpointId) {
        self.is_complete |= self.final_checkpoint.is_some_and(|last| last <= checkpoint_id);
    }

    /// Whether everything of the subtask is settled.
    pub(super) fn is_settled(&self) -> bool {
        match self.rule {
            EndRule::WhenTold => false,
            EndRule::WithItsData => self.data_ended,
            EndRule::AfterFinalCheckpoint => {
                self.is_complete
                    || (self.final_checkpoint.is_some()
                        && planted!("subtask_ends_before_its_final_checkpoint_is_complete"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> End {
        let interval = Some(std::time::Duration::from_secs(1));
        End::new(&CheckpointConfig { interval, ..CheckpointConfig::default() })
    }

    #[test]
    fn the_first_checkpoint_after_the_end_of_the_data_settles_a_subtask_when_it_is_complete() {
        let mut end = end();
        end.takes(CheckpointId(1));
        end.data_ended();
        end.completed(CheckpointId(1));
        assert!(!end.is_settled(), "checkpoint 1 does not hold the end of the data");
        end.takes(CheckpointId(2));
        end.takes(CheckpointId(3));
        assert!(!end.is_settled());
        end.completed(CheckpointId(2));
        assert!(end.is_settled());
    }

    #[test]
    fn a_newer_complete_checkpoint_covers_the_final_one() {
        let mut end = end();
        end.data_ended();
        end.takes(CheckpointId(4));
        end.takes(CheckpointId(5));
        end.completed(CheckpointId(5));
        assert!(end.is_settled());
    }

    #[test]
    fn without_checkpoints_the_job_manager_says_when() {
        let mut end = End::new(&CheckpointConfig::default());
        end.data_ended();
        assert!(!end.is_settled());
    }
}
