//! The source of a declarative pipeline: rows of any kind of source, with their event time.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    model::{CollectionSource, CsvSource, GeneratorSource, Header, OnBadRecord, OnMissingEventTime, SourceKind},
    plan::{PlannedEventTime, PlannedSource},
    row::{Datum, Row},
};
use crate::{
    connector::{
        Pace, ReadStatus, Source, SourceContext, SplitReader,
        delimited::{BadRecordPolicy, DelimitedSource, DelimitedSplit, Layout},
    },
    error::{Error, ErrorKind, Result},
    pipeline::schema::Schema,
    record::{Batch, StreamRecord},
    time::Timestamp,
};

/// A source of rows.
pub struct RowSource {
    name: String,
    rows: Rows,
    event_time: Option<PlannedEventTime>,
}

enum Rows {
    Csv { source: DelimitedSource<Schema>, options: Arc<CsvSource> },
    Generator(GeneratorSource),
    Collection(Arc<CollectionSource>),
}

impl RowSource {
    /// The source of a plan.
    pub fn new(planned: &PlannedSource) -> Self {
        let rows = match &planned.kind {
            SourceKind::Csv(csv) => Rows::Csv { source: delimited(csv), options: Arc::new(csv.clone()) },
            SourceKind::Generator(generator) => Rows::Generator(generator.clone()),
            SourceKind::Collection(collection) => Rows::Collection(Arc::new(collection.clone())),
        };
        Self { name: planned.name.clone(), rows, event_time: planned.event_time.clone() }
    }
}

fn delimited(csv: &CsvSource) -> DelimitedSource<Schema> {
    let delimiter = u8::try_from(csv.delimiter).expect("a checked delimiter is ASCII");
    let layout = Layout { delimiter, has_header: csv.header == Header::Present, ..Layout::default() };
    let policy = match csv.on_bad_record {
        OnBadRecord::Fail => BadRecordPolicy::Fail,
        OnBadRecord::Skip => BadRecordPolicy::Skip,
    };
    DelimitedSource::new(csv.path.clone(), layout, Schema::new(csv.columns.clone()))
        .with_split_bytes(csv.split_bytes)
        .on_bad_record(policy)
}

/// A split of any kind of source, with its position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowSplit {
    /// A byte range of a file.
    Csv(DelimitedSplit),
    /// The records `split`, `split + splits`, … of a generator or collection.
    Strided {
        /// Which split.
        split: u32,
        /// How many of its records were read.
        offset: u64,
    },
}

#[async_trait]
impl Source for RowSource {
    type Item = Row;
    type Split = RowSplit;

    async fn enumerate(&self, context: &SourceContext) -> Result<Vec<RowSplit>> {
        let splits = match &self.rows {
            Rows::Csv { source, .. } => {
                return Ok(source.enumerate(context).await?.into_iter().map(RowSplit::Csv).collect());
            }
            Rows::Generator(generator) => generator.splits,
            Rows::Collection(collection) => collection.splits,
        };
        Ok((0..splits).map(|split| RowSplit::Strided { split, offset: 0 }).collect())
    }

    fn reader(&self, context: &SourceContext) -> Box<dyn SplitReader<Row, RowSplit>> {
        let rows = match &self.rows {
            Rows::Csv { source, options } => {
                let pacing = match options.rate {
                    Some(rate) => FilePacing::Unmeasured { options: options.clone(), context: context.clone(), rate },
                    None => FilePacing::Unlimited,
                };
                ReadRows::Csv { reader: source.reader(context), pacing }
            }
            Rows::Generator(generator) => {
                let pace = generator.rate.and_then(|rate| pace(rate, generator.splits, context));
                ReadRows::Generator { generator: generator.clone(), pace }
            }
            Rows::Collection(collection) => ReadRows::Collection(collection.clone()),
        };
        Box::new(RowReader { name: self.name.clone(), rows, event_time: self.event_time.clone() })
    }
}

/// This reader's part of a source's rate: as many parts as it has splits.
fn pace(rate: u64, splits: u32, context: &SourceContext) -> Option<Pace> {
    let mine = (0..splits).filter(|split| split % context.parallelism == context.subtask_index).count();
    let share = mine as f64 / f64::from(splits);
    (mine > 0).then(|| Pace::new(context.env.clone(), rate as f64 * share))
}

/// How fast a file is read. This reader's part of the rate depends on the number of splits, and so on the file.
enum FilePacing {
    Unlimited,
    Unmeasured { options: Arc<CsvSource>, context: SourceContext, rate: u64 },
    Measured(Pace),
}

impl FilePacing {
    async fn pace(&mut self) -> Result<Option<&mut Pace>> {
        if let Self::Unmeasured { options, context, rate } = self {
            let splits = delimited(options).enumerate(context).await?.len();
            let splits = u32::try_from(splits).unwrap_or(u32::MAX);
            *self = pace(*rate, splits, context).map_or(Self::Unlimited, Self::Measured);
        }
        Ok(match self {
            Self::Measured(pace) => Some(pace),
            Self::Unlimited | Self::Unmeasured { .. } => None,
        })
    }
}

enum ReadRows {
    Csv { reader: Box<dyn SplitReader<Row, DelimitedSplit>>, pacing: FilePacing },
    Generator { generator: GeneratorSource, pace: Option<Pace> },
    Collection(Arc<CollectionSource>),
}

struct RowReader {
    name: String,
    rows: ReadRows,
    event_time: Option<PlannedEventTime>,
}

#[async_trait]
impl SplitReader<Row, RowSplit> for RowReader {
    async fn read(&mut self, split: &mut RowSplit, limit: usize, out: &mut Batch<Row>) -> Result<ReadStatus> {
        let mut position = split.clone();
        let mut batch = Batch::new();
        let status = self.rows.read(&mut position, limit, &mut batch).await?;
        self.assign_event_time(&mut batch)?;
        out.append(&mut batch);
        *split = position;
        Ok(status)
    }
}

impl RowReader {
    fn assign_event_time(&self, batch: &mut Batch<Row>) -> Result<()> {
        let Some(event_time) = &self.event_time else { return Ok(()) };
        let mut failed = None;
        batch.retain_mut(|record| match event_time.expression.evaluate(&record.value) {
            Ok(Datum::Int(time_ms)) => {
                record.timestamp = Timestamp(time_ms);
                true
            }
            Ok(_) if event_time.on_missing == OnMissingEventTime::Drop => false,
            Ok(_) => {
                let message = format!("source `{}`: the record {} has no event time", self.name, record.value);
                let error = Error::new(ErrorKind::BadRecord, message);
                failed.get_or_insert(error.with_hint("on_missing_event_time = \"drop\" leaves such records out"));
                false
            }
            Err(error) => {
                let message = format!("source `{}` cannot compute the event time", self.name);
                failed.get_or_insert(Error::new(ErrorKind::BadRecord, message).with_source(error));
                false
            }
        });
        failed.map_or(Ok(()), Err)
    }
}

impl ReadRows {
    async fn read(&mut self, split: &mut RowSplit, limit: usize, out: &mut Batch<Row>) -> Result<ReadStatus> {
        match (self, split) {
            (Self::Csv { reader, pacing }, RowSplit::Csv(split)) => {
                read_paced(reader.as_mut(), pacing.pace().await?, split, limit, out).await
            }
            (Self::Generator { generator, pace }, RowSplit::Strided { split, offset }) => {
                Ok(generate(generator, pace.as_mut(), *split, offset, limit, out))
            }
            (Self::Collection(collection), RowSplit::Strided { split, offset }) => {
                Ok(read_collection(collection, *split, offset, limit, out))
            }
            (Self::Csv { .. }, RowSplit::Strided { .. })
            | (Self::Generator { .. } | Self::Collection(_), RowSplit::Csv(_)) => {
                Err(Error::new(ErrorKind::CorruptState, "a restored split belongs to another kind of source")
                    .with_hint("give a source of another kind another name, or start without the old checkpoint"))
            }
        }
    }
}

async fn read_paced(
    reader: &mut dyn SplitReader<Row, DelimitedSplit>,
    pace: Option<&mut Pace>,
    split: &mut DelimitedSplit,
    limit: usize,
    out: &mut Batch<Row>,
) -> Result<ReadStatus> {
    let Some(pace) = pace else { return reader.read(split, limit, out).await };
    match pace.allowance(limit as u64) {
        Ok(granted) => {
            let before = out.len();
            let status = reader.read(split, granted as usize, out).await?;
            pace.emitted += (out.len() - before) as u64;
            Ok(status)
        }
        Err(wait_until) => Ok(ReadStatus::NotBefore(wait_until)),
    }
}

fn generate(
    generator: &GeneratorSource,
    mut pace: Option<&mut Pace>,
    split: u32,
    offset: &mut u64,
    limit: usize,
    out: &mut Batch<Row>,
) -> ReadStatus {
    let mut allowed = limit as u64;
    let left = generator.split_count(split).map_or(u64::MAX, |count| count.saturating_sub(*offset));
    if let Some(pace) = &mut pace {
        match pace.allowance(allowed) {
            Ok(granted) => allowed = granted,
            Err(wait_until) if left > 0 => return ReadStatus::NotBefore(wait_until),
            Err(_) => return ReadStatus::Ended,
        }
    }
    let count = allowed.min(left);
    for sequence in (*offset..*offset + count).map(|offset| generator.sequence(split, offset)) {
        out.push(StreamRecord::new(generator.record(sequence), Timestamp::MIN));
    }
    if let Some(pace) = pace {
        pace.emitted += count;
    }
    *offset += count;
    if count == left { ReadStatus::Ended } else { ReadStatus::More }
}

fn read_collection(
    collection: &CollectionSource,
    split: u32,
    offset: &mut u64,
    limit: usize,
    out: &mut Batch<Row>,
) -> ReadStatus {
    for _ in 0..limit {
        let index = u64::from(split) + *offset * u64::from(collection.splits);
        let Some(row) = usize::try_from(index).ok().and_then(|index| collection.rows.get(index)) else {
            return ReadStatus::Ended;
        };
        out.push(StreamRecord::new(row.clone(), Timestamp::MIN));
        *offset += 1;
    }
    ReadStatus::More
}
