//! The source over a delimited file: one reader feeds the decoders of its splits chunk by chunk.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{BadRecord, Defect, FileSplit, FromFields, Layout, RecordDecoder};
use crate::{
    codec::Data,
    connector::{ReadStatus, Source, SourceContext, SplitReader},
    error::{Error, ErrorKind, Result},
    event::{Directive, Moment, Step},
    record::{Batch, StreamRecord},
    storage::{ReadFile, SharedFileSystem},
    time::Timestamp,
};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 16;

/// What happens with a record that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRecordPolicy {
    /// The job fails.
    Fail,
    /// It is left out and stated as the fact [`Step::BadRecord`]. A wrong header still fails.
    Skip,
}

/// The records of a delimited file.
pub struct DelimitedSource<F> {
    path: String,
    layout: Layout,
    from_fields: Arc<F>,
    split_bytes: Option<u64>,
    on_bad_record: BadRecordPolicy,
}

impl<F> DelimitedSource<F> {
    /// A source that reads the file as one split and fails at the first bad record.
    pub fn new(path: impl Into<String>, layout: Layout, from_fields: F) -> Self {
        Self {
            path: path.into(),
            layout,
            from_fields: Arc::new(from_fields),
            split_bytes: None,
            on_bad_record: BadRecordPolicy::Fail,
        }
    }

    /// Cuts the file into splits of that many bytes; it must have no quoted line breaks then.
    #[must_use]
    pub fn with_split_bytes(mut self, split_bytes: Option<u64>) -> Self {
        self.split_bytes = split_bytes;
        self
    }

    /// Says what happens with bad records.
    #[must_use]
    pub fn on_bad_record(mut self, policy: BadRecordPolicy) -> Self {
        self.on_bad_record = policy;
        self
    }
}

/// A split with the byte of its next record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelimitedSplit {
    /// The range.
    pub split: FileSplit,
    /// Where the next record is looked for; the start of the range at first.
    pub next_offset: u64,
}

#[async_trait]
impl<F> Source for DelimitedSource<F>
where
    F: FromFields + Send + Sync + 'static,
    F::Record: Data,
{
    type Item = F::Record;
    type Split = DelimitedSplit;

    async fn enumerate(&self, context: &SourceContext) -> Result<Vec<DelimitedSplit>> {
        let length = context.file_system.length(Path::new(&self.path)).await;
        let length = length.map_err(|error| unreadable(&self.path, error))?;
        let splits = FileSplit::cover(&self.path, length, self.split_bytes).into_iter();
        Ok(splits.map(|split| DelimitedSplit { next_offset: split.start, split }).collect())
    }

    fn reader(&self, context: &SourceContext) -> Box<dyn SplitReader<F::Record, DelimitedSplit>> {
        Box::new(DelimitedReader {
            context: context.clone(),
            layout: self.layout.clone(),
            from_fields: self.from_fields.clone(),
            on_bad_record: self.on_bad_record,
            open: BTreeMap::new(),
        })
    }
}

struct DelimitedReader<F> {
    context: SourceContext,
    layout: Layout,
    from_fields: Arc<F>,
    on_bad_record: BadRecordPolicy,
    /// Splits under way, by their start.
    open: BTreeMap<u64, OpenSplit<F>>,
}

struct OpenSplit<F> {
    file: Box<dyn ReadFile>,
    decoder: RecordDecoder<Arc<F>>,
    /// Where the decoder stands; it is made anew if the split was moved by somebody else.
    next_offset: u64,
}

#[async_trait]
impl<F> SplitReader<F::Record, DelimitedSplit> for DelimitedReader<F>
where
    F: FromFields + Send + Sync + 'static,
    F::Record: Data,
{
    async fn read(
        &mut self,
        split: &mut DelimitedSplit,
        limit: usize,
        out: &mut Batch<F::Record>,
    ) -> Result<ReadStatus> {
        let before = out.len();
        // Taken out, so that after an error the next call starts from the split's own position.
        let mut open = self.take_open(split).await?;
        let mut next_offset = split.next_offset;
        let mut ended = false;
        while out.len() - before < limit {
            match open.decoder.next() {
                Some(Ok(decoded)) => {
                    next_offset = decoded.next_offset;
                    out.push(StreamRecord::new(decoded.record, Timestamp::MIN));
                }
                Some(Err(bad)) => {
                    next_offset = bad.next_offset;
                    if let Err(error) = self.judge(bad) {
                        out.truncate(before);
                        return Err(error);
                    }
                }
                None if open.decoder.is_finished() => {
                    ended = true;
                    break;
                }
                None => {
                    if let Err(error) = open.feed().await {
                        out.truncate(before);
                        return Err(unreadable(&split.split.path, error));
                    }
                }
            }
        }
        split.next_offset = next_offset;
        if ended {
            return Ok(ReadStatus::Ended);
        }
        open.next_offset = next_offset;
        self.open.insert(split.split.start, open);
        Ok(ReadStatus::More)
    }
}

impl<F: FromFields> DelimitedReader<F> {
    async fn take_open(&mut self, split: &DelimitedSplit) -> Result<OpenSplit<F>> {
        if let Some(open) = self.open.remove(&split.split.start)
            && open.next_offset == split.next_offset
        {
            return Ok(open);
        }
        let opened = open_file(&self.context.file_system, &split.split.path).await;
        let file = opened.map_err(|error| unreadable(&split.split.path, error))?;
        let (layout, from_fields) = (self.layout.clone(), self.from_fields.clone());
        let decoder = RecordDecoder::resume(split.split.clone(), layout, from_fields, split.next_offset);
        Ok(OpenSplit { file, decoder, next_offset: split.next_offset })
    }

    fn judge(&self, bad: BadRecord) -> Result<()> {
        let is_header = matches!(bad.defect, Defect::Header { .. });
        if self.on_bad_record == BadRecordPolicy::Fail || is_header {
            let error = Error::new(ErrorKind::BadRecord, bad.to_string());
            return Err(if is_header {
                error.with_hint("list the columns as the file has them")
            } else {
                error.with_hint("correct the file, or leave bad records out with on_bad_record = \"skip\"")
            });
        }
        tracing::warn!(record = %bad, "bad record skipped");
        match self.context.reporter.note(Moment::After, Step::BadRecord, None, &bad.to_string()) {
            // A record is in the middle of a batch: there is nothing here that could wait.
            Directive::Continue | Directive::Hold(_) => Ok(()),
            Directive::Fail(reason) => Err(Error::new(ErrorKind::Unavailable, reason)),
        }
    }
}

impl<F: FromFields> OpenSplit<F> {
    async fn feed(&mut self) -> io::Result<()> {
        let bytes = self.file.read_at(self.decoder.offset(), CHUNK_BYTES).await?;
        if bytes.is_empty() {
            self.decoder.end_of_file();
        } else {
            self.decoder.push(&bytes);
        }
        Ok(())
    }
}

async fn open_file(file_system: &SharedFileSystem, path: &str) -> io::Result<Box<dyn ReadFile>> {
    file_system.open(Path::new(path)).await
}

fn unreadable(path: &str, error: io::Error) -> Error {
    let kind = if error.kind() == io::ErrorKind::NotFound { ErrorKind::Configuration } else { ErrorKind::Unavailable };
    Error::new(kind, format!("cannot read {path}")).with_source(error)
}
