//! The transactions of one sink subtask.
//!
//! ```text
//!            begin                 pre_commit(n)                 complete(m ≥ n)
//!   (none) ─────────► current ───────────────────► pending[n] ────────────────────► to be committed
//!                        │                              │
//!                        │ close, recovery              │ never aborted once n is complete
//!                        ▼                              ▼
//!                     aborted                     recover_and_commit
//! ```
//! Flink `TwoPhaseCommitSinkFunction`: `pendingCommitTransactions`, `currentTransactionHolder`.

use serde::{Deserialize, Serialize};

use crate::{id::CheckpointId, planted};

/// What a sink subtask keeps in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerState<T> {
    /// The transaction that was open after the snapshot: to be aborted on recovery.
    pub current: Option<T>,
    /// Those that were pre-committed, up to and including this checkpoint's: to be committed on recovery.
    pub pending: Vec<(CheckpointId, T)>,
}

/// What recovery has to settle, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery<T> {
    /// To be committed first, oldest first.
    pub commit: Vec<(CheckpointId, T)>,
    /// To be aborted then.
    pub abort: Vec<T>,
}

/// The bookkeeping of one sink subtask.
///
/// ```
/// use tidegate::{id::CheckpointId, sink::TransactionLedger};
/// let mut ledger = TransactionLedger::default();
/// ledger.begin("t1");
/// ledger.pre_committed(CheckpointId(1));
/// ledger.begin("t2");
/// assert_eq!(ledger.completed(CheckpointId(1)), vec![(CheckpointId(1), "t1")]);
/// assert_eq!(ledger.current(), Some(&mut "t2"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionLedger<T> {
    current: Option<T>,
    pending: Vec<(CheckpointId, T)>,
}

impl<T> Default for TransactionLedger<T> {
    fn default() -> Self {
        Self { current: None, pending: Vec::new() }
    }
}

impl<T: Clone> TransactionLedger<T> {
    /// A transaction was opened.
    pub fn begin(&mut self, transaction: T) {
        assert!(self.current.is_none(), "a sink has one open transaction at a time");
        self.current = Some(transaction);
    }

    /// The open transaction.
    pub fn current(&mut self) -> Option<&mut T> {
        self.current.as_mut()
    }

    /// The open transaction is durable and belongs to this checkpoint now.
    pub fn pre_committed(&mut self, checkpoint_id: CheckpointId) {
        let Some(transaction) = self.current.take() else { return };
        let newest = self.pending.last().map(|(newest, _)| *newest);
        assert!(newest < Some(checkpoint_id), "checkpoints reach a sink in the order of their ids");
        self.pending.push((checkpoint_id, transaction));
    }

    /// What the checkpoint being taken keeps.
    pub fn state(&self) -> LedgerState<T> {
        LedgerState { current: self.current.clone(), pending: self.pending.clone() }
    }

    /// A checkpoint is complete: takes out all transactions up to it, oldest first. They must be committed.
    pub fn completed(&mut self, checkpoint_id: CheckpointId) -> Vec<(CheckpointId, T)> {
        let all = planted!("notice_commits_whatever_is_pending");
        let later = self.pending.partition_point(|(id, _)| all || *id <= checkpoint_id);
        self.pending.drain(..later).collect()
    }

    /// The sink closes: takes out the open transaction, which must be aborted. Pending ones stay as they are; recovery
    /// decides about them.
    pub fn close(&mut self) -> Option<T> {
        self.current.take()
    }

    /// What restored states (several after rescaling) ask for.
    pub fn recover(states: Vec<LedgerState<T>>) -> Recovery<T> {
        let mut recovery = Recovery { commit: Vec::new(), abort: Vec::new() };
        for state in states {
            recovery.commit.extend(state.pending);
            recovery.abort.extend(state.current);
        }
        recovery.commit.sort_by_key(|(checkpoint_id, _)| *checkpoint_id);
        recovery
    }
}

#[cfg(test)]
mod tests;
