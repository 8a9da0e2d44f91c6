//! A two-phase-commit sink that writes down what is asked of it, and one subtask that drives it as a task does.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use tidegate::{
    Error, ErrorKind, Result, Timestamp, codec,
    connector::{SinkContext, TwoPhaseCommitSink},
    env::Env,
    event::{NoObserver, Reporter, Subject},
    id::{Attempt, CheckpointId, OperatorUid},
    operator::OperatorSnapshot,
    record::{AnyBatch, Batch, StreamRecord},
    sink::LedgerState,
    storage::LocalFileSystem,
    task::{ErasedSink, SinkFactory, two_phase_commit_sink},
};

/// The external system: what was asked of it, what it holds, what of that a reader sees.
#[derive(Default)]
pub struct Outside {
    opened: u32,
    calls: Vec<String>,
    contents: BTreeMap<String, Vec<String>>,
    committed: Vec<String>,
    /// Whether it refuses commits.
    pub commits_fail: bool,
}

impl Outside {
    fn commit(&mut self, transaction: &str) -> Result<()> {
        if self.commits_fail {
            return Err(Error::new(ErrorKind::Unavailable, "the external system is away"));
        }
        if !self.committed.iter().any(|committed| committed == transaction) {
            self.committed.push(transaction.to_owned());
        }
        Ok(())
    }

    fn visible(&self) -> Vec<&str> {
        let contents = self.committed.iter().filter_map(|transaction| self.contents.get(transaction));
        contents.flatten().map(String::as_str).collect()
    }
}

/// Writes down each call, in the words of the vectors.
pub struct RecordingSink(Arc<Mutex<Outside>>);

impl RecordingSink {
    fn outside(&self) -> MutexGuard<'_, Outside> {
        self.0.lock().expect("no test panics while it holds this")
    }

    fn called(&self, hook: &str, transaction: &str) {
        self.outside().calls.push(format!("{hook} {transaction}"));
    }
}

#[async_trait]
impl TwoPhaseCommitSink for RecordingSink {
    type In = String;
    type Transaction = String;

    fn describe(&self, transaction: &String) -> String {
        transaction.clone()
    }

    async fn begin_transaction(&mut self) -> Result<String> {
        let mut outside = self.outside();
        outside.opened += 1;
        let transaction = format!("t{}", outside.opened);
        outside.calls.push(format!("begin {transaction}"));
        Ok(transaction)
    }

    async fn invoke(&mut self, transaction: &mut String, batch: Batch<String>) -> Result<()> {
        for record in batch {
            self.called("invoke", &format!("{transaction} {}", record.value));
            self.outside().contents.entry(transaction.clone()).or_default().push(record.value);
        }
        Ok(())
    }

    async fn pre_commit(&mut self, transaction: &mut String, _checkpoint_id: CheckpointId) -> Result<()> {
        self.called("preCommit", transaction);
        Ok(())
    }

    async fn commit(&mut self, transaction: &String) -> Result<()> {
        self.called("commit", transaction);
        self.outside().commit(transaction)
    }

    async fn abort(&mut self, transaction: &String) -> Result<()> {
        self.called("abort", transaction);
        Ok(())
    }

    async fn recover_and_commit(&mut self, transaction: &String) -> Result<()> {
        self.called("recoverAndCommit", transaction);
        self.outside().commit(transaction)
    }

    async fn recover_and_abort(&mut self, transaction: &String) -> Result<()> {
        self.called("recoverAndAbort", transaction);
        Ok(())
    }
}

/// One sink subtask over its external system, as the task's shell drives it.
pub struct Subtask {
    /// Its external system.
    pub outside: Arc<Mutex<Outside>>,
    factory: SinkFactory,
    /// The engine's side.
    pub sink: Box<dyn ErasedSink>,
    /// Who it is.
    pub context: SinkContext,
    /// What it kept, by checkpoint.
    pub snapshots: BTreeMap<i64, OperatorSnapshot>,
}

impl Subtask {
    /// One of one, not opened yet.
    pub fn new(env: &Env) -> Self {
        let outside = Arc::new(Mutex::new(Outside::default()));
        let factory = two_phase_commit_sink({
            let outside = outside.clone();
            move || RecordingSink(outside.clone())
        });
        let context = SinkContext {
            env: env.clone(),
            file_system: Arc::new(LocalFileSystem::new(env.clone())),
            uid: OperatorUid("sink".into()),
            restored_checkpoint_id: None,
            max_parallelism: 128,
            subtask_index: 0,
            parallelism: 1,
            attempt: Attempt(1),
            reporter: Reporter::new(Subject::node("taskmanager-1"), Attempt(1), Arc::new(NoObserver)),
        };
        Self { outside, sink: factory(), factory, context, snapshots: BTreeMap::new() }
    }

    /// Starts it with nothing.
    ///
    /// # Errors
    /// Those of the sink, as of all that follow.
    pub async fn open(&mut self) -> Result<()> {
        self.sink.open(&self.context, None).await
    }

    /// Writes a record.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub async fn write(&mut self, value: &str) -> Result<()> {
        let record = StreamRecord::new(value.to_owned(), Timestamp(0));
        self.sink.write(AnyBatch::new(vec![record])).await
    }

    /// Takes its part of a checkpoint.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub async fn snapshot(&mut self, checkpoint: i64) -> Result<LedgerState<String>> {
        let snapshot = self.sink.snapshot(CheckpointId(checkpoint as u64)).await?()?;
        let state = ledgers(&snapshot).remove(0);
        self.snapshots.insert(checkpoint, snapshot);
        Ok(state)
    }

    /// The checkpoint is complete.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub async fn notify_complete(&mut self, checkpoint: i64) -> Result<()> {
        self.sink.notify_complete(CheckpointId(checkpoint as u64)).await
    }

    /// The process dies without a word, and another one restores the checkpoint.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub async fn crash_and_restore(&mut self, checkpoint: i64) -> Result<()> {
        self.sink = (self.factory)();
        self.sink.open(&self.context, self.snapshots.get(&checkpoint).cloned()).await
    }

    /// What was asked of the external system since the last call.
    ///
    /// # Panics
    /// If a test panicked while it held the external system.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.outside.lock().expect("no test panics while it holds this").calls)
    }

    /// What a reader of the external system sees.
    ///
    /// # Panics
    /// As for [`take_calls`](Self::take_calls).
    pub fn visible(&self) -> Vec<String> {
        self.outside
            .lock()
            .expect("no test panics while it holds this")
            .visible()
            .into_iter()
            .map(str::to_owned)
            .collect()
    }
}

/// The ledgers that a snapshot holds.
///
/// # Panics
/// If it is not the snapshot of a sink with such transactions.
pub fn ledgers(snapshot: &OperatorSnapshot) -> Vec<LedgerState<String>> {
    let lists = snapshot.lists.values().flat_map(|list| &list.entries);
    lists.map(|entry| codec::decode(entry).expect("a sink keeps the state of its ledger")).collect()
}

/// Runs `main` to its end in the host world.
///
/// # Panics
/// If the host grants no thread.
pub fn on_host<T, F: Future<Output = T>>(main: impl FnOnce(Env) -> F) -> T {
    Env::run_on_host(1, main).expect("the host grants a thread")
}

impl Subtask {
    /// The records in a transaction.
    ///
    /// # Panics
    /// If a test panicked while it held the external system.
    pub fn contents(&self, transaction: &str) -> Vec<String> {
        let outside = self.outside.lock().expect("no test panics while it holds this");
        outside.contents.get(transaction).cloned().unwrap_or_default()
    }

    /// Something is in the external system that another process put there.
    ///
    /// # Panics
    /// As for [`contents`](Self::contents).
    pub fn stage(&self, transaction: &str, value: &str) {
        let mut outside = self.outside.lock().expect("no test panics while it holds this");
        outside.contents.entry(transaction.to_owned()).or_default().push(value.to_owned());
    }
}
