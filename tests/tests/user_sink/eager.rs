//! Step 1, wrong: post in `pre_commit`.
//!
//! *Why it looks right.* `pre_commit` is called once per checkpoint, with everything that was written since the one
//! before; after it nothing is written to the transaction. Without failures each payment passes through it once.
//!
//! *When it goes wrong.* The checkpoint is not complete yet: other subtasks have not acknowledged it, its metadata is
//! not written. If anything fails now, the job goes back to the checkpoint before, the source sends the same payments
//! again, and they are posted a second time.
//!
//! *The rule.* What becomes visible becomes visible in `commit`: the engine calls it only when the checkpoint that holds
//! the transaction is complete, so that no restart can go back behind it. `pre_commit` makes durable, not visible.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate::{Result, connector::TwoPhaseCommitSink, id::CheckpointId, record::Batch};

use crate::bank::{Bank, Payment};

/// Posts too early.
pub struct EagerSink {
    bank: Arc<Bank>,
}

impl EagerSink {
    /// A sink into a bank.
    pub fn new(bank: Arc<Bank>) -> Self {
        Self { bank }
    }
}

#[async_trait]
impl TwoPhaseCommitSink for EagerSink {
    type In = Payment;
    type Transaction = Vec<Payment>;

    fn describe(&self, transaction: &Vec<Payment>) -> String {
        format!("{} payments", transaction.len())
    }

    async fn begin_transaction(&mut self) -> Result<Vec<Payment>> {
        Ok(Vec::new())
    }

    async fn invoke(&mut self, transaction: &mut Vec<Payment>, batch: Batch<Payment>) -> Result<()> {
        transaction.extend(batch.into_iter().map(|record| record.value));
        Ok(())
    }

    async fn pre_commit(&mut self, transaction: &mut Vec<Payment>, _checkpoint_id: CheckpointId) -> Result<()> {
        self.bank.post(transaction); // Here is the mistake.
        Ok(())
    }

    async fn commit(&mut self, _transaction: &Vec<Payment>) -> Result<()> {
        Ok(())
    }

    async fn abort(&mut self, _transaction: &Vec<Payment>) -> Result<()> {
        Ok(())
    }
}
