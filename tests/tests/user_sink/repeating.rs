//! Step 3, wrong: a commit that is not idempotent.
//!
//! *Why it looks right.* The payments travel in the transaction, which the checkpoint keeps, so any process can commit
//! them: step 2's mistake is mended. Nothing is posted before the checkpoint is complete.
//!
//! *When it goes wrong.* The process commits and dies before the next checkpoint is complete. The job restarts from the
//! checkpoint that holds the transaction; the engine cannot know whether the commit took effect before the crash, so it
//! calls `recover_and_commit`, and the payments are posted a second time.
//!
//! *The rule.* `commit` may come late, twice, or from another process. Give each transaction a key, and let the outside
//! world refuse the second use of it; a file system does it by renaming, a data base by a unique key.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate::{Result, connector::TwoPhaseCommitSink, id::CheckpointId, record::Batch};

use crate::bank::{Bank, Payment};

/// Commits as often as it is told to.
pub struct RepeatingSink {
    bank: Arc<Bank>,
}

impl RepeatingSink {
    /// A sink into a bank.
    pub fn new(bank: Arc<Bank>) -> Self {
        Self { bank }
    }
}

#[async_trait]
impl TwoPhaseCommitSink for RepeatingSink {
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

    async fn pre_commit(&mut self, _transaction: &mut Vec<Payment>, _checkpoint_id: CheckpointId) -> Result<()> {
        Ok(()) // Nothing to do: the checkpoint keeps the payments.
    }

    async fn commit(&mut self, transaction: &Vec<Payment>) -> Result<()> {
        self.bank.post(transaction); // Here is the mistake.
        Ok(())
    }

    async fn abort(&mut self, _transaction: &Vec<Payment>) -> Result<()> {
        Ok(())
    }
}
