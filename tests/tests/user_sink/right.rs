//! Step 4, right: stage in the bank under a key, and settle the key once.
//!
//! - `begin_transaction` draws a key from the world's entropy: no two attempts share one, and in the simulation the seed
//!   decides it.
//! - `invoke` gathers in memory: what is lost with the process before `pre_commit` is sent again.
//! - `pre_commit` stages everything in the bank. From here on the key is enough to commit, for any process.
//! - `commit` settles the key; the bank refuses the second time.
//! - `abort` discards what is staged under the key. The engine never aborts a transaction of a completed checkpoint.
//! - `abort_lingering` drops what earlier attempts staged for checkpoints that never completed: nobody knows their keys
//!   any more, only the bank does, so they are staged under the subtask that made them.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tidegate::{
    Result,
    connector::{SinkContext, TwoPhaseCommitSink},
    id::CheckpointId,
    record::Batch,
};

use crate::bank::{Bank, Payment};

/// What finds a transaction again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    key: u64,
}

/// Posts each payment once.
pub struct BankSink {
    bank: Arc<Bank>,
    context: Option<SinkContext>,
    gathered: Vec<Payment>,
}

impl BankSink {
    /// A sink into a bank.
    pub fn new(bank: Arc<Bank>) -> Self {
        Self { bank, context: None, gathered: Vec::new() }
    }

    fn context(&self) -> &SinkContext {
        self.context.as_ref().unwrap()
    }
}

#[async_trait]
impl TwoPhaseCommitSink for BankSink {
    type In = Payment;
    type Transaction = Transfer;

    async fn open(&mut self, context: &SinkContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn describe(&self, transfer: &Transfer) -> String {
        format!("{:016x}", transfer.key)
    }

    async fn begin_transaction(&mut self) -> Result<Transfer> {
        self.gathered.clear();
        Ok(Transfer { key: self.context().env.entropy() })
    }

    async fn invoke(&mut self, _transfer: &mut Transfer, batch: Batch<Payment>) -> Result<()> {
        self.gathered.extend(batch.into_iter().map(|record| record.value));
        Ok(())
    }

    async fn pre_commit(&mut self, transfer: &mut Transfer, _checkpoint_id: CheckpointId) -> Result<()> {
        let subtask_index = self.context().subtask_index;
        self.bank.stage(transfer.key, subtask_index, std::mem::take(&mut self.gathered));
        Ok(())
    }

    async fn commit(&mut self, transfer: &Transfer) -> Result<()> {
        self.bank.settle(transfer.key);
        Ok(())
    }

    async fn abort(&mut self, transfer: &Transfer) -> Result<()> {
        self.bank.discard(transfer.key);
        Ok(())
    }

    async fn abort_lingering(&mut self) -> Result<()> {
        self.bank.discard_all_of(self.context().subtask_index);
        Ok(())
    }
}
