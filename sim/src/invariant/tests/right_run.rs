//! A run in which everything is right, made by hand: what the tests break.
//!
//! Records of two keys are summed in windows of 10 ms. Attempt 1 takes checkpoint 1 after three of four records, fails to
//! complete checkpoint 2, commits, and dies with a transaction open. Attempt 2 restores checkpoint 1, takes checkpoint 3
//! after the last record and ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use tidegate::{
    Timestamp, codec,
    connector::visible_file_name,
    event::{Moment, Step},
    graph::JobGraph,
    id::{Attempt, CheckpointId, SubtaskId, VertexId},
    operator::{KeyedEntry, ListMode, ListSnapshot, OperatorSnapshot},
    pipeline::{
        Accumulator, AggregateOperation, Assigner, Assignment, Checkpoint, CollectionSource, Emit, EventTime, Field,
        FieldType, FileSink, Format, Operation, Pipeline, Row, Sink, SinkKind, Source, SourceKind, Stage,
        WindowOperation,
    },
    row,
    sink::LedgerState,
    state::{KeyGroups, StateKind, StateMeta, StateSnapshot},
    storage::CheckpointMetadata,
    time::WatermarkGenerator,
    window::TimeWindow,
};

use crate::{
    history::{CompletedCapture, FactRecord, FileRecord, FileRecordKind, History, OutputFile, RunEnd},
    model::{
        Model,
        layout::{self, FileTransaction, KeptSplit, RowSplit},
    },
};

/// The four records, as (key, time, value).
pub(super) const RECORDS: [(&str, i64, i64); 4] = [("a", 1, 10), ("b", 5, 20), ("a", 12, 30), ("a", 13, 1)];
/// What the first checkpoint commits.
pub(super) const FIRST: [&str; 2] = ["a,0,10,1,10", "b,0,10,1,20"];
/// What the last checkpoint commits.
pub(super) const LAST: &str = "a,10,20,2,31";

fn source(splits: u32) -> Source {
    let columns = vec![
        Field::new("key", FieldType::Text),
        Field::new("time_ms", FieldType::Int),
        Field::new("value", FieldType::Int),
    ];
    let rows = RECORDS.map(|(key, time_ms, value)| row![key, time_ms, value]).to_vec();
    Source::new("events", SourceKind::Collection(CollectionSource { columns, rows, splits }))
        .with_event_time(EventTime::new("time_ms"))
}

fn job(source: Source, sums: Operation) -> Pipeline {
    Pipeline::new("job")
        .with_checkpoint(Checkpoint::every(Duration::from_secs(1)))
        .source(source)
        .stage(Stage::new("sums", "events", sums))
        .sink(Sink::new("out", "sums", SinkKind::File(FileSink::new("/out", Format::Csv))))
}

fn aggregates() -> Vec<Assignment> {
    vec![Assignment::new("n", "count()"), Assignment::new("total", "sum(value)")]
}

fn pipeline() -> Pipeline {
    let assigner = Assigner::Tumbling { size: Duration::from_millis(10), offset: Duration::ZERO };
    job(source(1), Operation::Window(WindowOperation::new(&["key"], assigner, aggregates())))
}

/// The same records from two splits, with updates of the sum of each key.
pub(super) fn updates_pipeline() -> Pipeline {
    let key = vec!["key".to_owned()];
    job(source(2), Operation::Aggregate(AggregateOperation { key, aggregates: aggregates(), emit: Emit::Updates }))
}

pub(super) fn model() -> Model {
    Model::new(&pipeline()).unwrap()
}

/// A history that grows event by event.
pub(super) struct Run {
    pub history: History,
    sequence: u64,
}

/// Which transaction: attempt and token, both of subtask 0.
pub(super) type Transaction = (u32, u64);

pub(super) fn staged_name((attempt, token): Transaction) -> String {
    format!("part-0-{attempt}-{token:016x}")
}

pub(super) fn visible_path(checkpoint: u64, token: u64) -> PathBuf {
    PathBuf::from("/out").join(visible_file_name(0, CheckpointId(checkpoint), token))
}

pub(super) fn staged_path(transaction: Transaction) -> PathBuf {
    PathBuf::from("/out/.staging").join(staged_name(transaction))
}

/// An open window of key `a` in a checkpoint: start, count, sum.
pub(super) type OpenWindow = (i64, i64, i128);

/// What a checkpoint holds.
pub(super) struct Held<'a> {
    pub offset: u64,
    pub windows: &'a [OpenWindow],
    pub pending: &'a [(u64, Transaction)],
}

impl Run {
    pub(super) fn new() -> Self {
        let history = History {
            graph: JobGraph::default(),
            facts: Vec::new(),
            files: Vec::new(),
            completed: BTreeMap::new(),
            runs: vec![crate::history::Run::default()],
            refused: Vec::new(),
            disturbed: true,
            named: BTreeMap::new(),
            savepoints: BTreeMap::new(),
            drained: None,
            drain_asked: false,
            savepoints_begun: BTreeMap::new(),
            completed_at_end: BTreeMap::new(),
            savepoints_left: BTreeSet::new(),
            output: BTreeMap::new(),
            staged_left: BTreeMap::new(),
            checkpoints_left: Vec::new(),
            shared_left: BTreeSet::new(),
            shared_removed: Vec::new(),
            job_ended: None,
            copies_left: Vec::new(),
            storage_lied: false,
            clocks: crate::model::Clocks::Right,
            healed_at: Timestamp(50),
            ended_at: Timestamp(100),
            end: RunEnd::Finished,
        };
        Self { history, sequence: 0 }
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub(super) fn fact(&mut self, moment: Moment, step: Step, checkpoint: Option<u64>, attempt: u64, detail: String) {
        let sequence = self.next();
        self.history.facts.push(FactRecord {
            sequence,
            at: Timestamp(sequence as i64),
            node: "taskmanager-1".into(),
            subtask: Some("out#0".into()),
            step,
            moment,
            checkpoint_id: checkpoint.map(CheckpointId),
            attempt: Attempt(attempt),
            detail,
        });
    }

    pub(super) fn deploy(&mut self, checkpoint: Option<u64>, attempt: u64) {
        self.fact(Moment::Before, Step::Deploy, checkpoint, 0, String::new());
        self.fact(Moment::Before, Step::Restore, checkpoint, attempt, String::new());
    }

    pub(super) fn begin(&mut self, transaction: Transaction) {
        self.fact(Moment::After, Step::BeginTransaction, None, transaction.0.into(), staged_name(transaction));
    }

    pub(super) fn pre_commit(&mut self, checkpoint: u64, transaction: Transaction) {
        self.fact(Moment::After, Step::PreCommit, Some(checkpoint), transaction.0.into(), staged_name(transaction));
    }

    pub(super) fn file(&mut self, path: PathBuf, kind: FileRecordKind) {
        let sequence = self.next();
        let node = Some("taskmanager-1".into());
        self.history.files.push(FileRecord { sequence, at: Timestamp(sequence as i64), node, path, kind });
    }

    pub(super) fn show(&mut self, checkpoint: u64, transaction: Transaction) {
        self.file(visible_path(checkpoint, transaction.1), FileRecordKind::Named { from: staged_path(transaction) });
    }

    pub(super) fn commit(&mut self, checkpoint: u64, transaction: Transaction) {
        let (attempt, detail) = (transaction.0, staged_name(transaction));
        self.fact(Moment::Before, Step::Commit, Some(checkpoint), attempt.into(), detail.clone());
        self.show(checkpoint, transaction);
        self.fact(Moment::After, Step::Commit, Some(checkpoint), attempt.into(), detail);
    }

    pub(super) fn abort(&mut self, step: Step, by_attempt: u64, transaction: Transaction) {
        self.fact(Moment::Before, step, None, by_attempt, staged_name(transaction));
        self.file(staged_path(transaction), FileRecordKind::Removed);
        self.fact(Moment::After, step, None, by_attempt, staged_name(transaction));
    }

    pub(super) fn complete(&mut self, checkpoint: u64, attempt: u64, held: Held<'_>) {
        let capture = CompletedCapture {
            drains: false,
            sequence: self.next(),
            metadata: Ok(CheckpointMetadata {
                checkpoint_id: CheckpointId(checkpoint),
                attempt: Attempt(attempt),
                triggered_at: Timestamp(0),
                max_parallelism: 128,
                subtasks: BTreeMap::new(),
                union: BTreeSet::new(),
                in_flight: BTreeMap::new(),
            }),
            state: BTreeMap::from([(
                SubtaskId { vertex: VertexId(0), index: 0 },
                BTreeMap::from([
                    (layout::uid("events"), Ok(splits(&[(0, held.offset)]))),
                    (layout::uid("sums"), Ok(windows(held.windows))),
                    (layout::uid("out"), Ok(ledger(held.pending))),
                ]),
            )]),
            in_flight: BTreeMap::new(),
        };
        self.history.completed.insert(CheckpointId(checkpoint), capture);
    }

    pub(super) fn output(&mut self, checkpoint: u64, token: u64, lines: &[&str]) {
        let name = visible_file_name(0, CheckpointId(checkpoint), token);
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        self.history.output.entry("out".to_owned()).or_default().push(OutputFile { name, lines });
    }
}

pub(super) fn splits(positions: &[(u32, u64)]) -> OperatorSnapshot {
    let entry = |(split, offset): &(u32, u64)| {
        let split = RowSplit::Strided { split: *split, offset: *offset };
        codec::encode(&KeptSplit { split, generator: WatermarkGenerator::ascending() })
    };
    list("splits", positions.iter().map(entry).collect())
}

fn ledger(pending: &[(u64, Transaction)]) -> OperatorSnapshot {
    let pending = pending.iter().map(|(checkpoint, transaction)| {
        let held = FileTransaction {
            staged: staged_name(*transaction),
            subtask_index: 0,
            token: transaction.1,
            checkpoint_id: Some(CheckpointId(*checkpoint)),
            bytes: 12,
        };
        (CheckpointId(*checkpoint), held)
    });
    list("transactions", vec![codec::encode(&LedgerState { current: None, pending: pending.collect() })])
}

fn list(name: &str, entries: Vec<Vec<u8>>) -> OperatorSnapshot {
    let list = ListSnapshot { mode: ListMode::Split, entries };
    OperatorSnapshot { lists: BTreeMap::from([(name.to_owned(), list)]), ..OperatorSnapshot::default() }
}

pub(super) fn windows(open: &[OpenWindow]) -> OperatorSnapshot {
    let entry = |(start, count, sum): &OpenWindow| KeyedEntry {
        key: codec::encode(&row!["a"]),
        namespace: codec::encode(&TimeWindow::new(Timestamp(*start), Timestamp(start + 10))),
        value: accumulators(*count, *sum),
    };
    keyed("window-contents", open.iter().map(entry).collect())
}

/// The state of a running aggregate: key, count, sum.
pub(super) fn totals(kept: &[(&str, i64, i128)]) -> OperatorSnapshot {
    let entry = |(key, count, sum): &(&str, i64, i128)| KeyedEntry {
        key: codec::encode(&row![*key]),
        namespace: codec::encode(&()),
        value: accumulators(*count, *sum),
    };
    keyed("aggregate", kept.iter().map(entry).collect())
}

fn accumulators(count: i64, sum: i128) -> Vec<u8> {
    codec::encode(&vec![Accumulator::Count(count), Accumulator::IntSum { sum, count }])
}

fn keyed(name: &str, entries: Vec<KeyedEntry>) -> OperatorSnapshot {
    let key_groups = KeyGroups::new(128).unwrap();
    let mut groups: BTreeMap<u16, Vec<KeyedEntry>> = BTreeMap::new();
    for entry in entries {
        let key: Row = codec::decode(&entry.key).unwrap();
        groups.entry(key_groups.of_key(&key)).or_default().push(entry);
    }
    let state = StateSnapshot { meta: StateMeta::new(StateKind::Value), groups };
    let keyed = BTreeMap::from([(name.to_owned(), state)]);
    OperatorSnapshot { keyed, ..OperatorSnapshot::default() }
}

pub(super) const T1: Transaction = (1, 0x11);
/// Pre-committed for checkpoint 2, which failed; checkpoint 3 does not hold it.
pub(super) const T2: Transaction = (1, 0x22);
/// Open when attempt 1 died.
pub(super) const T3: Transaction = (1, 0x33);
pub(super) const T4: Transaction = (2, 0x44);
/// Open at the end, and aborted.
pub(super) const T5: Transaction = (2, 0x55);

/// The whole run up to a point at which a test wants to do something else.
pub(super) fn until_first_completion() -> Run {
    let mut run = Run::new();
    run.deploy(None, 1);
    run.begin(T1);
    run.pre_commit(1, T1);
    run.begin(T2);
    run
}

pub(super) fn right_run() -> Run {
    let mut run = until_first_completion();
    run.complete(1, 1, Held { offset: 3, windows: &[(10, 1, 30)], pending: &[(1, T1)] });
    run.commit(1, T1);
    run.pre_commit(2, T2);
    run.begin(T3);
    run.deploy(Some(1), 2);
    run.abort(Step::RecoverAndAbort, 2, T2);
    run.file(staged_path(T3), FileRecordKind::Removed);
    run.begin(T4);
    run.pre_commit(3, T4);
    run.begin(T5);
    run.complete(3, 2, Held { offset: 4, windows: &[], pending: &[(3, T4)] });
    run.commit(3, T4);
    run.abort(Step::Abort, 2, T5);
    run.output(1, T1.1, &FIRST);
    run.output(3, T4.1, &[LAST]);
    run
}
