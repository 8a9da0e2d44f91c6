//! The source of a declarative pipeline: rows of any kind of source, with their event time.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    expression::EvaluateError,
    model::{CollectionSource, CsvSource, GeneratorSource, Header, OnBadRecord, OnMissingEventTime, SourceKind},
    plan::{PlannedEventTime, PlannedSource},
    row::{Datum, Row},
};
use crate::{
    codec::Data,
    connector::{
        Pace, ReadStatus, Source, SourceContext, SplitReader,
        delimited::{BadRecordPolicy, DelimitedSource, DelimitedSplit, Layout},
    },
    error::{Error, ErrorKind, Result},
    pipeline::schema::Schema,
    record::{Batch, StreamRecord},
    time::Timestamp,
};

/// What leaves a source in place of each row.
pub trait RowFunction: Clone + Send + Sync + 'static {
    /// Type of the records.
    type Out: Data;

    /// The record for a row. The function may take the row; what it leaves makes room for the next one.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn apply(&self, row: &mut Row) -> Result<Self::Out>;
}

/// The row itself.
#[derive(Debug, Clone, Copy)]
pub struct WholeRow;

impl RowFunction for WholeRow {
    type Out = Row;

    #[inline]
    fn apply(&self, row: &mut Row) -> Result<Row> {
        Ok(std::mem::take(row))
    }
}

/// A source of rows, or of what a function makes of them.
pub struct RowSource<F = WholeRow> {
    rows: Rows,
    finish: Finish<F>,
}

enum Rows {
    Csv { source: DelimitedSource<Schema>, options: Arc<CsvSource> },
    Generator(GeneratorSource),
    Collection(Arc<CollectionSource>),
}

impl RowSource {
    /// The source of a plan.
    pub fn new(planned: &PlannedSource) -> Self {
        Self::with_function(planned, WholeRow)
    }
}

impl<F> RowSource<F> {
    /// The source of a plan, with what leaves it in place of each row.
    pub(crate) fn with_function(planned: &PlannedSource, function: F) -> Self {
        let rows = match &planned.kind {
            SourceKind::Csv(csv) => Rows::Csv { source: delimited(csv), options: Arc::new(csv.clone()) },
            SourceKind::Generator(generator) => Rows::Generator(generator.clone()),
            SourceKind::Collection(collection) => Rows::Collection(Arc::new(collection.clone())),
            SourceKind::Script(_) => unreachable!("a script is a source of its own"),
        };
        let (source, event_time) = (planned.name.clone(), planned.event_time.clone());
        Self { rows, finish: Finish { source, event_time, function } }
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
impl<F: RowFunction> Source for RowSource<F> {
    type Item = F::Out;
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

    fn reader(&self, context: &SourceContext) -> Box<dyn SplitReader<F::Out, RowSplit>> {
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
        Box::new(RowReader { rows, finish: self.finish.clone() })
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

struct RowReader<F> {
    rows: ReadRows,
    finish: Finish<F>,
}

#[async_trait]
impl<F: RowFunction> SplitReader<F::Out, RowSplit> for RowReader<F> {
    async fn read(&mut self, split: &mut RowSplit, limit: usize, out: &mut Batch<F::Out>) -> Result<ReadStatus> {
        let mut position = split.clone();
        let finish = &self.finish;
        let status = match (&mut self.rows, &mut position) {
            (ReadRows::Csv { reader, pacing }, RowSplit::Csv(split)) => {
                let mut rows = Batch::new();
                let status = read_paced(reader.as_mut(), pacing.pace().await?, split, limit, &mut rows).await?;
                rows.into_iter().try_for_each(|record| finish.push(&mut { record.value }, out))?;
                status
            }
            (ReadRows::Generator { generator, pace }, RowSplit::Strided { split, offset }) => {
                generate(generator, pace.as_mut(), (*split, offset), limit, finish, out)?
            }
            (ReadRows::Collection(collection), RowSplit::Strided { split, offset }) => {
                read_collection(collection, (*split, offset), limit, |row| finish.push(row, out))?
            }
            (ReadRows::Csv { .. }, RowSplit::Strided { .. })
            | (ReadRows::Generator { .. } | ReadRows::Collection(_), RowSplit::Csv(_)) => return Err(foreign_split()),
        };
        *split = position;
        Ok(status)
    }
}

/// What is done with each row before it leaves the source.
#[derive(Clone)]
struct Finish<F> {
    source: String,
    event_time: Option<PlannedEventTime>,
    function: F,
}

impl<F: RowFunction> Finish<F> {
    /// Gives a row its event time and puts what is made of it into `out`.
    #[inline(always)]
    fn push(&self, row: &mut Row, out: &mut Batch<F::Out>) -> Result<()> {
        let timestamp = match &self.event_time {
            None => Timestamp::MIN,
            Some(event_time) => match event_time.expression.evaluate(row) {
                Ok(Datum::Int(time_ms)) => Timestamp(time_ms),
                Ok(_) if event_time.on_missing == OnMissingEventTime::Drop => return Ok(()),
                other => return Err(self.no_event_time(row, other.err())),
            },
        };
        out.push(StreamRecord::new(self.function.apply(row)?, timestamp));
        Ok(())
    }

    #[cold]
    fn no_event_time(&self, row: &Row, error: Option<EvaluateError>) -> Error {
        let source = &self.source;
        match error {
            Some(error) => {
                let message = format!("source `{source}` cannot compute the event time");
                Error::new(ErrorKind::BadRecord, message).with_source(error)
            }
            None => {
                let message = format!("source `{source}`: the record {row} has no event time");
                Error::new(ErrorKind::BadRecord, message)
                    .with_hint("on_missing_event_time = \"drop\" leaves such records out")
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

#[cold]
fn foreign_split() -> Error {
    Error::new(ErrorKind::CorruptState, "a restored split belongs to another kind of source")
        .with_hint("give a source of another kind another name, or start without the old checkpoint")
}

fn generate<F: RowFunction>(
    generator: &GeneratorSource,
    mut pace: Option<&mut Pace>,
    (split, offset): (u32, &mut u64),
    limit: usize,
    finish: &Finish<F>,
    out: &mut Batch<F::Out>,
) -> Result<ReadStatus> {
    let mut allowed = limit as u64;
    let left = generator.split_count(split).map_or(u64::MAX, |count| count.saturating_sub(*offset));
    if let Some(pace) = &mut pace {
        match pace.allowance(allowed) {
            Ok(granted) => allowed = granted,
            Err(wait_until) if left > 0 => return Ok(ReadStatus::NotBefore(wait_until)),
            Err(_) => return Ok(ReadStatus::Ended),
        }
    }
    let count = allowed.min(left);
    out.reserve(count as usize);
    let mut row = Row::default();
    for sequence in (*offset..*offset + count).map(|offset| generator.sequence(split, offset)) {
        generator.fill(&mut row, sequence);
        finish.push(&mut row, out)?;
    }
    if let Some(pace) = pace {
        pace.emitted += count;
    }
    *offset += count;
    Ok(if count == left { ReadStatus::Ended } else { ReadStatus::More })
}

fn read_collection(
    collection: &CollectionSource,
    (split, offset): (u32, &mut u64),
    limit: usize,
    mut push: impl FnMut(&mut Row) -> Result<()>,
) -> Result<ReadStatus> {
    for _ in 0..limit {
        let index = u64::from(split) + *offset * u64::from(collection.splits);
        let Some(row) = usize::try_from(index).ok().and_then(|index| collection.rows.get(index)) else {
            return Ok(ReadStatus::Ended);
        };
        push(&mut row.clone())?;
        *offset += 1;
    }
    Ok(ReadStatus::More)
}
