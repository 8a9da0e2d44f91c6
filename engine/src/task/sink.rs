//! A sink inside a task: what its record type is, is erased; when it commits, is decided here.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use crate::{
    codec,
    connector::{PlainSink, SinkContext, TwoPhaseCommitSink},
    error::{Error, ErrorKind, Result},
    event::{InjectedFailure, Moment, Reporter, Step},
    id::CheckpointId,
    operator::{
        AsyncSnapshot, CheckpointedFunction, FunctionState, FunctionStateSetup, ListMode, ListSnapshot,
        OperatorSnapshot,
    },
    planted,
    record::AnyBatch,
    sink::{LedgerState, TransactionLedger},
    state::ParallelInstance,
    time::Timestamp,
};

/// A sink whose record type is erased.
#[async_trait]
pub trait ErasedSink: Send {
    /// Starts the sink and settles what the restored state holds.
    async fn open(&mut self, context: &SinkContext, restored: Option<OperatorSnapshot>) -> Result<()>;
    /// Writes records.
    async fn write(&mut self, batch: AnyBatch) -> Result<()>;
    /// The watermark has reached the sink.
    async fn write_watermark(&mut self, watermark: Timestamp) -> Result<()> {
        let _ = watermark;
        Ok(())
    }
    /// The cut of a checkpoint: everything written before it is durable when this returns.
    async fn snapshot(&mut self, checkpoint_id: CheckpointId) -> Result<AsyncSnapshot>;
    /// Nothing more will be written: the next cut is the last that has anything.
    fn end_of_input(&mut self) {}
    /// A checkpoint is complete: what belongs to it becomes visible.
    async fn notify_complete(&mut self, checkpoint_id: CheckpointId) -> Result<()>;
    /// A job without checkpoints has ended: everything becomes visible now.
    async fn commit_without_checkpoint(&mut self) -> Result<()>;
    /// Everything that was written is visible: what an older attempt has left behind since this one was opened, a zombie
    /// of it, is dropped.
    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }
    /// Ends the sink; what is open is dropped, what is pending stays.
    async fn close(&mut self) -> Result<()>;
}

/// Makes the sink of one subtask.
pub type SinkFactory = Arc<dyn Fn() -> Box<dyn ErasedSink> + Send + Sync>;

/// The state name under which a sink keeps its transactions.
pub const TRANSACTIONS: &str = "transactions";

/// Erases the type of a transactional sink; `make` is called once per subtask and attempt.
pub fn two_phase_commit_sink<S: TwoPhaseCommitSink>(make: impl Fn() -> S + Send + Sync + 'static) -> SinkFactory {
    Arc::new(move || {
        Box::new(TwoPhaseCommit {
            sink: make(),
            ledger: TransactionLedger::default(),
            reporter: None,
            input_ended: false,
        })
    })
}

/// Erases the type of a sink without transactions.
pub fn plain_sink<S: PlainSink>(make: impl Fn() -> S + Send + Sync + 'static) -> SinkFactory {
    Arc::new(move || Box::new(Plain(make())))
}

/// Erases the type of a sink without transactions that keeps operator state.
pub fn checkpointed_sink<S>(make: impl Fn() -> S + Send + Sync + 'static) -> SinkFactory
where
    S: PlainSink + CheckpointedFunction,
{
    Arc::new(move || Box::new(Checkpointed { sink: make(), state: None }))
}

struct TwoPhaseCommit<S: TwoPhaseCommitSink> {
    sink: S,
    ledger: TransactionLedger<S::Transaction>,
    reporter: Option<Reporter>,
    /// There will be no further transaction.
    input_ended: bool,
}

fn failed(failure: InjectedFailure) -> Error {
    Error::new(ErrorKind::Unavailable, "the sink's external system refused").with_source(failure)
}

impl<S: TwoPhaseCommitSink> TwoPhaseCommit<S> {
    async fn fact(
        &mut self,
        moment: Moment,
        step: Step,
        checkpoint_id: Option<CheckpointId>,
        transaction: &S::Transaction,
    ) -> Result<()> {
        let reporter = self.reporter.as_ref().expect("a sink is opened before it is used");
        reporter.state(moment, step, checkpoint_id, &self.sink.describe(transaction)).await.map_err(failed)
    }

    async fn begin(&mut self) -> Result<()> {
        let transaction = self.sink.begin_transaction().await?;
        self.fact(Moment::After, Step::BeginTransaction, None, &transaction).await?;
        self.ledger.begin(transaction);
        Ok(())
    }

    async fn commit(&mut self, step: Step, checkpoint_id: CheckpointId, transaction: &S::Transaction) -> Result<()> {
        self.fact(Moment::Before, step, Some(checkpoint_id), transaction).await?;
        if step == Step::RecoverAndCommit {
            self.sink.recover_and_commit(transaction).await?;
        } else {
            self.sink.commit(transaction).await?;
        }
        self.fact(Moment::After, step, Some(checkpoint_id), transaction).await
    }

    async fn recover(&mut self, restored: OperatorSnapshot) -> Result<()> {
        let mut ledgers = decode_ledgers::<S::Transaction>(&restored)?;
        if planted!("recovery_commits_for_one_old_subtask_only") {
            ledgers.truncate(1);
        }
        let mut recovery = TransactionLedger::recover(ledgers);
        if planted!("pre_committed_transaction_aborted_on_recovery") {
            recovery.abort.extend(recovery.commit.drain(..).map(|(_, transaction)| transaction));
        }
        if planted!("only_the_newest_recovered_transaction_committed") {
            recovery.commit.drain(..recovery.commit.len().saturating_sub(1));
        }
        for (checkpoint_id, transaction) in &recovery.commit {
            self.commit(Step::RecoverAndCommit, *checkpoint_id, transaction).await?;
        }
        for transaction in &recovery.abort {
            self.fact(Moment::Before, Step::RecoverAndAbort, None, transaction).await?;
            self.sink.recover_and_abort(transaction).await?;
            self.fact(Moment::After, Step::RecoverAndAbort, None, transaction).await?;
        }
        Ok(())
    }

    async fn pre_commit(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        let Some(mut transaction) = self.ledger.current().map(|current| current.clone()) else { return Ok(()) };
        self.fact(Moment::Before, Step::PreCommit, Some(checkpoint_id), &transaction).await?;
        self.sink.pre_commit(&mut transaction, checkpoint_id).await?;
        self.fact(Moment::After, Step::PreCommit, Some(checkpoint_id), &transaction).await?;
        if let Some(current) = self.ledger.current() {
            *current = transaction;
        }
        let constant = self.input_ended && planted!("end_of_input_pre_committed_under_a_constant_id");
        self.ledger.pre_committed(if constant { CheckpointId(u64::MAX) } else { checkpoint_id });
        Ok(())
    }

    async fn commit_up_to(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        // All are tried; the first error is the one to report. What failed is in the checkpoint and will be recovered.
        let mut first_error = Ok(());
        let mut completed = self.ledger.completed(checkpoint_id);
        if planted!("transactions_of_earlier_checkpoints_stranded") {
            completed.retain(|(pre_committed_for, _)| *pre_committed_for == checkpoint_id);
        }
        for (pre_committed_for, transaction) in completed {
            let committed = self.commit(Step::Commit, pre_committed_for, &transaction).await;
            first_error = first_error.and(committed);
        }
        if first_error.is_err() && planted!("failed_commit_forgotten") {
            return Ok(());
        }
        first_error
    }
}

#[async_trait]
impl<S: TwoPhaseCommitSink> ErasedSink for TwoPhaseCommit<S> {
    async fn open(&mut self, context: &SinkContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        self.reporter = Some(context.reporter.clone());
        self.sink.open(context).await?;
        if let Some(restored) = restored {
            self.recover(restored).await?;
        }
        self.sink.abort_lingering().await?;
        self.begin().await
    }

    async fn write(&mut self, batch: AnyBatch) -> Result<()> {
        if self.ledger.current().is_none() {
            self.begin().await?;
        }
        let transaction = self.ledger.current().expect("a transaction was just opened");
        self.sink.invoke(transaction, batch.into_typed()).await
    }

    async fn write_watermark(&mut self, watermark: Timestamp) -> Result<()> {
        match self.ledger.current() {
            Some(transaction) => self.sink.write_watermark(transaction, watermark).await,
            None => Ok(()),
        }
    }

    async fn snapshot(&mut self, checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        self.pre_commit(checkpoint_id).await?;
        if planted!("commit_on_pre_commit") {
            let state = self.ledger.state();
            self.commit_up_to(checkpoint_id).await?;
            if !self.input_ended {
                self.begin().await?;
            }
            return Ok(snapshot_of(state));
        }
        if !self.input_ended {
            self.begin().await?;
        }
        Ok(snapshot_of(self.ledger.state()))
    }

    fn end_of_input(&mut self) {
        self.input_ended = true;
    }

    async fn notify_complete(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        self.commit_up_to(checkpoint_id).await
    }

    async fn commit_without_checkpoint(&mut self) -> Result<()> {
        let checkpoint_id = CheckpointId::default();
        self.pre_commit(checkpoint_id).await?;
        self.commit_up_to(checkpoint_id).await
    }

    async fn finish(&mut self) -> Result<()> {
        self.sink.abort_lingering().await
    }

    async fn close(&mut self) -> Result<()> {
        if planted!("zombie_commits_after_failover") {
            self.commit_up_to(CheckpointId(u64::MAX)).await?;
        }
        let Some(transaction) = self.ledger.close() else { return Ok(()) };
        self.fact(Moment::Before, Step::Abort, None, &transaction).await?;
        self.sink.abort(&transaction).await?;
        self.fact(Moment::After, Step::Abort, None, &transaction).await
    }
}

fn snapshot_of<T: codec::Data>(state: LedgerState<T>) -> AsyncSnapshot {
    Box::new(move || {
        // What lingers is found by the number of its subtask (`abort_lingering`): so must be what is pending.
        let mode = if planted!("pending_transactions_dealt_out_apart_from_lingering_ones") {
            ListMode::Split
        } else {
            ListMode::PerSubtask
        };
        let list = ListSnapshot { mode, entries: vec![codec::encode(&state)] };
        Ok(OperatorSnapshot { lists: BTreeMap::from([(TRANSACTIONS.to_owned(), list)]), ..Default::default() })
    })
}

fn decode_ledgers<T: codec::Data>(snapshot: &OperatorSnapshot) -> Result<Vec<LedgerState<T>>> {
    let Some(list) = snapshot.lists.get(TRANSACTIONS) else { return Ok(Vec::new()) };
    let decoded: Result<Vec<_>, _> = list.entries.iter().map(|entry| codec::decode(entry)).collect();
    decoded.map_err(|error| {
        Error::new(ErrorKind::CorruptState, "the sink's transactions cannot be read").with_source(error)
    })
}

struct Plain<S>(S);

#[async_trait]
impl<S: PlainSink> ErasedSink for Plain<S> {
    async fn open(&mut self, context: &SinkContext, _restored: Option<OperatorSnapshot>) -> Result<()> {
        self.0.open(context).await
    }

    async fn write(&mut self, batch: AnyBatch) -> Result<()> {
        self.0.write(batch.into_typed()).await
    }

    async fn write_watermark(&mut self, watermark: Timestamp) -> Result<()> {
        self.0.write_watermark(watermark).await
    }

    async fn snapshot(&mut self, _checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        self.0.flush().await?;
        Ok(Box::new(|| Ok(OperatorSnapshot::default())))
    }

    async fn notify_complete(&mut self, _checkpoint_id: CheckpointId) -> Result<()> {
        Ok(())
    }

    async fn commit_without_checkpoint(&mut self) -> Result<()> {
        self.0.flush().await
    }

    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A sink whose operator state is kept: what it holds back at a barrier, say.
struct Checkpointed<S> {
    sink: S,
    state: Option<FunctionState>,
}

#[async_trait]
impl<S: PlainSink + CheckpointedFunction> ErasedSink for Checkpointed<S> {
    async fn open(&mut self, context: &SinkContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        let setup = FunctionStateSetup {
            operator: context.uid.clone(),
            instance: ParallelInstance { index: context.subtask_index, parallelism: context.parallelism },
            max_parallelism: context.max_parallelism,
            restored_checkpoint_id: context.restored_checkpoint_id,
        };
        self.state = Some(FunctionState::initialize(setup, restored, &mut self.sink)?);
        self.sink.open(context).await
    }

    async fn write(&mut self, batch: AnyBatch) -> Result<()> {
        self.sink.write(batch.into_typed()).await
    }

    async fn snapshot(&mut self, checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        self.sink.flush().await?;
        let state = self.state.as_mut().expect("a sink is opened before it is used");
        state.snapshot(checkpoint_id, &mut self.sink)
    }

    async fn notify_complete(&mut self, _checkpoint_id: CheckpointId) -> Result<()> {
        Ok(())
    }

    async fn commit_without_checkpoint(&mut self) -> Result<()> {
        self.sink.flush().await
    }

    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
