//! Step 5, right: stage in the bank under a key, settle the key once, and let the bank turn zombies away.
//!
//! - `open` signs on at the bank with subtask and attempt: from now on the bank refuses earlier attempts.
//! - `begin_transaction` draws a key from the world's entropy: no two transactions share one, and in the simulation the
//!   seed decides it.
//! - `invoke` gathers in memory: what is lost with the process before `pre_commit` is sent again.
//! - `pre_commit` stages everything in the bank. From here on the key is enough to commit, for any process.
//! - `commit` settles the key; the bank ignores the second time.
//! - `abort` discards what is staged under the key. The engine never aborts a transaction of a completed checkpoint.
//! - `abort_lingering` drops what earlier attempts staged for checkpoints that never completed: no state knows their
//!   keys, only the bank does, so it keeps them under the subtask.
//!
//! Step 4 is the same sink at a bank that does not fence. All payments are right there, but not the staging area: a
//! process stands still before `pre_commit` for longer than the failure detector waits, the job goes on elsewhere, and
//! the new attempt drops what lingers; then the old process wakes up, does not know that it was replaced, and stages
//! payments under a key that nobody will ever settle or discard. No order of calls within the sink mends that: whoever
//! keeps the data has to compare attempts.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tidegate::{
    Result,
    connector::{SinkContext, TwoPhaseCommitSink},
    id::CheckpointId,
    record::Batch,
};

use crate::bank::{Bank, Payment, Teller};

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

    fn teller(&self) -> Teller {
        Teller { subtask_index: self.context().subtask_index, attempt: self.context().attempt }
    }
}

#[async_trait]
impl TwoPhaseCommitSink for BankSink {
    type In = Payment;
    type Transaction = Transfer;

    async fn open(&mut self, context: &SinkContext) -> Result<()> {
        self.context = Some(context.clone());
        self.bank.sign_on(self.teller());
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
        let payments = std::mem::take(&mut self.gathered);
        self.bank.stage(self.teller(), transfer.key, payments)
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
