//! Step 2, wrong: keep what was pre-committed in the memory of the process.
//!
//! *Why it looks right.* Nothing is posted before `commit`, so step 1's mistake is mended; and `commit` is called in the
//! process that wrote the transaction, which has the payments at hand.
//!
//! *When it goes wrong.* The checkpoint completes, and the process dies before its `commit`. The job restarts from that
//! checkpoint, so the source does not send those payments again; the engine calls `recover_and_commit` with what the
//! checkpoint holds, the transaction's key. The process that is called never saw the payments: its map is empty, it
//! posts nothing and says that all is well.
//!
//! *The rule.* When `pre_commit` has returned, any process must be able to commit with what is in the transaction: stage
//! the data in the outside world (step 4), or keep it in the transaction itself (step 3). And a commit that finds nothing
//! to commit must know that this is because it was committed already; otherwise it has lost data and must fail.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use tidegate::{
    Result,
    connector::{SinkContext, TwoPhaseCommitSink},
    id::CheckpointId,
    record::Batch,
};

use crate::bank::{Bank, Payment};

/// Forgets what it promised.
pub struct ForgetfulSink {
    bank: Arc<Bank>,
    context: Option<SinkContext>,
    payments: BTreeMap<u64, Vec<Payment>>,
}

impl ForgetfulSink {
    /// A sink into a bank.
    pub fn new(bank: Arc<Bank>) -> Self {
        Self { bank, context: None, payments: BTreeMap::new() }
    }
}

#[async_trait]
impl TwoPhaseCommitSink for ForgetfulSink {
    type In = Payment;
    type Transaction = u64;

    async fn open(&mut self, context: &SinkContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn describe(&self, key: &u64) -> String {
        format!("{key:016x}")
    }

    async fn begin_transaction(&mut self) -> Result<u64> {
        Ok(self.context.as_ref().unwrap().env.entropy())
    }

    async fn invoke(&mut self, key: &mut u64, batch: Batch<Payment>) -> Result<()> {
        self.payments.entry(*key).or_default().extend(batch.into_iter().map(|record| record.value));
        Ok(())
    }

    async fn pre_commit(&mut self, _key: &mut u64, _checkpoint_id: CheckpointId) -> Result<()> {
        Ok(()) // Here is the mistake: nothing is durable.
    }

    async fn commit(&mut self, key: &u64) -> Result<()> {
        let payments = self.payments.remove(key).unwrap_or_default();
        self.bank.post(&payments);
        Ok(())
    }

    async fn abort(&mut self, key: &u64) -> Result<()> {
        self.payments.remove(key);
        Ok(())
    }
}
