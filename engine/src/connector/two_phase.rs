//! The two-phase-commit sink seam (Flink `TwoPhaseCommitSinkFunction`, Carbone et al. 2017).

use async_trait::async_trait;

use crate::{
    codec::Data,
    env::Env,
    error::Result,
    event::Reporter,
    id::{Attempt, CheckpointId, OperatorUid},
    record::Batch,
    storage::SharedFileSystem,
    time::Timestamp,
};

/// What a sink may use of the world.
#[derive(Clone)]
pub struct SinkContext {
    /// The world.
    pub env: Env,
    /// Files.
    pub file_system: SharedFileSystem,
    /// The sink's stable identity.
    pub uid: OperatorUid,
    /// The checkpoint that the job was restored from.
    pub restored_checkpoint_id: Option<CheckpointId>,
    /// Number of key groups of the job.
    pub max_parallelism: u32,
    /// Which parallel instance this is, from 0.
    pub subtask_index: u32,
    /// How many there are.
    pub parallelism: u32,
    /// The attempt of the job.
    pub attempt: Attempt,
    /// States facts about the subtask.
    pub reporter: Reporter,
}

/// A sink whose output becomes visible exactly once, with the checkpoint that it belongs to.
///
/// The engine calls, per transaction: `begin_transaction`, `invoke` any number of times, `pre_commit` at the barrier,
/// and when the checkpoint is complete `commit`; or `abort`. After a failure: `recover_and_commit` for what a completed
/// checkpoint holds, `recover_and_abort` for what was still open in it.
///
/// The contract: after `pre_commit` returned `Ok`, the transaction can be committed for ever, by any process that has
/// the handle. `commit` may come late, twice, or from another process: it must be idempotent. `abort` of an unknown
/// transaction is harmless; a transaction of a completed checkpoint is never aborted.
#[async_trait]
pub trait TwoPhaseCommitSink: Send + 'static {
    /// Type of the records.
    type In: Data;
    /// What is needed to find a transaction again: it is kept in checkpoints.
    type Transaction: Data;

    /// Starts the sink, before anything else.
    async fn open(&mut self, context: &SinkContext) -> Result<()> {
        let _ = context;
        Ok(())
    }

    /// A short, deterministic name of a transaction, for facts and messages.
    fn describe(&self, transaction: &Self::Transaction) -> String;

    /// Opens a transaction.
    async fn begin_transaction(&mut self) -> Result<Self::Transaction>;

    /// Writes records into the open transaction.
    async fn invoke(&mut self, transaction: &mut Self::Transaction, batch: Batch<Self::In>) -> Result<()>;

    /// The watermark has reached the sink, after the records that it released (Flink `SinkWriter.writeWatermark`).
    async fn write_watermark(&mut self, transaction: &mut Self::Transaction, watermark: Timestamp) -> Result<()> {
        let _ = (transaction, watermark);
        Ok(())
    }

    /// Makes everything in the transaction durable; nothing is written to it afterwards. `checkpoint_id` is the
    /// checkpoint that it belongs to from now on.
    async fn pre_commit(&mut self, transaction: &mut Self::Transaction, checkpoint_id: CheckpointId) -> Result<()>;

    /// Makes the transaction visible. Idempotent.
    async fn commit(&mut self, transaction: &Self::Transaction) -> Result<()>;

    /// Drops the transaction. Harmless if there is none.
    async fn abort(&mut self, transaction: &Self::Transaction) -> Result<()>;

    /// Commits what a completed checkpoint holds, in a process that did not write it.
    async fn recover_and_commit(&mut self, transaction: &Self::Transaction) -> Result<()> {
        self.commit(transaction).await
    }

    /// Drops what was open in the checkpoint, in a process that did not write it.
    async fn recover_and_abort(&mut self, transaction: &Self::Transaction) -> Result<()> {
        self.abort(transaction).await
    }

    /// Drops what earlier attempts of this subtask opened after the restored checkpoint, which no state knows of, and of all
    /// subtasks whose number falls to it modulo the parallelism: a job with fewer subtasks looks after those that vanished.
    /// Comes after recovery, when nothing of these is pending; other subtasks may still be recovering theirs.
    async fn abort_lingering(&mut self) -> Result<()> {
        Ok(())
    }
}
