//! From chunks of bytes to the records of a split.
//!
//! ```text
//!            resume                        start > 0
//!               |                              |
//!               v          line break          v
//!   +----> BETWEEN RECORDS <------------ INSIDE A FOREIGN LINE <--+
//!   |        |        |                        |                  |
//!   |        |        | next record starts     | the file ends    |
//!   |        |        | after the split, or    v                  |
//!   |        |        | the file ends -----> FINISHED             |
//!   |        v                                                    |
//!   +---- IN A RECORD --------------------------------------------+
//!     it ends          too long, or the file ends inside a quote
//! ```

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use super::{
    bad_record::{BadRecord, Defect},
    split::FileSplit,
};

/// How records stand in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Between two values: an ASCII character other than a quote or line break.
    pub delimiter: u8,
    /// Whether the first line holds the names of the columns.
    pub has_header: bool,
    /// Bytes that a record may have, line break included.
    pub max_record_bytes: usize,
}

impl Default for Layout {
    fn default() -> Self {
        Self { delimiter: b',', has_header: false, max_record_bytes: 1 << 20 }
    }
}

/// The values of one record, unquoted.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Fields<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The value at a position.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, index: usize) -> &'a [u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}

/// A value that is not what its column wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldDefect {
    /// It is not UTF-8.
    InvalidUtf8,
    /// It is not of the column's type.
    Expected(&'static str),
}

/// Turns the values of a record into something typed.
pub trait FromFields {
    /// What a record becomes.
    type Record;

    /// The names of the columns, in order.
    fn columns(&self) -> Vec<&str>;

    /// Makes a record of as many values as there are columns.
    ///
    /// # Errors
    /// The position of the value that does not fit, with what is wrong.
    fn record(&self, fields: &Fields<'_>) -> Result<Self::Record, (usize, FieldDefect)>;
}

impl<F: FromFields> FromFields for std::sync::Arc<F> {
    type Record = F::Record;

    fn columns(&self) -> Vec<&str> {
        self.as_ref().columns()
    }

    fn record(&self, fields: &Fields<'_>) -> Result<F::Record, (usize, FieldDefect)> {
        self.as_ref().record(fields)
    }
}

/// A record with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<R> {
    /// The record.
    pub record: R,
    /// The byte at which it starts.
    pub offset: u64,
    /// The byte at which the next one is looked for: what a source keeps in state once this record is emitted.
    pub next_offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    BetweenRecords,
    InRecord,
    InForeignLine,
    Finished,
}

/// The end of the input, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    More,
    Ended,
}

/// What became of an attempt to finish a record.
enum Attempt {
    Complete,
    Defective(Defect),
    NeedsInput,
}

/// Decodes the records of one split.
///
/// Push the bytes of the file from [`RecordDecoder::offset`] on, also those behind the split's end, and take records until
/// [`RecordDecoder::is_finished`].
pub struct RecordDecoder<F> {
    split: FileSplit,
    layout: Layout,
    from_fields: F,
    column_count: usize,
    reader: Reader,
    state: State,
    input: Input,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are done with; the others belong to the record under way or wait.
    front: usize,
    /// Byte of the file at `front`.
    base: u64,
    /// How much of the record under way was read.
    consumed: usize,
    /// A record without end whose line is being skipped.
    unfinished: Option<BadRecord>,
    /// Length of the byte order mark at the start of the file, once it was seen.
    mark_bytes: u64,
    /// Line at `base`, if it is known.
    line: Option<u64>,
    header_awaited: bool,
    output: Vec<u8>,
    output_length: usize,
    ends: Vec<usize>,
    ends_length: usize,
}

impl<F: FromFields> RecordDecoder<F> {
    /// A decoder at the start of a split.
    pub fn new(split: FileSplit, layout: Layout, from_fields: F) -> Self {
        let first = split.start == 0;
        let state = if first { State::BetweenRecords } else { State::InForeignLine };
        let header_awaited = first && layout.has_header;
        let offset = split.start;
        Self::at(split, layout, from_fields, state, offset, header_awaited)
    }

    /// A decoder that goes on at the offset of a record: one that was kept in state.
    pub fn resume(split: FileSplit, layout: Layout, from_fields: F, next_offset: u64) -> Self {
        if next_offset == split.start {
            return Self::new(split, layout, from_fields);
        }
        Self::at(split, layout, from_fields, State::BetweenRecords, next_offset, false)
    }

    fn at(split: FileSplit, layout: Layout, from_fields: F, state: State, base: u64, header_awaited: bool) -> Self {
        let column_count = from_fields.columns().len();
        let reader = ReaderBuilder::new().delimiter(layout.delimiter).terminator(Terminator::Any(b'\n')).build();
        Self {
            split,
            layout,
            from_fields,
            column_count,
            reader,
            state,
            input: Input::More,
            buffer: Vec::new(),
            front: 0,
            base,
            consumed: 0,
            unfinished: None,
            mark_bytes: 0,
            line: (base == 0).then_some(1),
            header_awaited,
            output: vec![0; 256],
            output_length: 0,
            ends: vec![0; column_count + 1],
            ends_length: 0,
        }
    }

    /// The byte of the file at which the first pushed chunk must start, and after that the one after the last chunk.
    pub fn offset(&self) -> u64 {
        self.base + self.waiting().len() as u64
    }

    /// Adds the bytes that follow those pushed before.
    pub fn push(&mut self, bytes: &[u8]) {
        assert!(self.input == Input::More, "no bytes follow the end of the file");
        self.buffer.drain(..self.front);
        self.front = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The bytes that are not done with.
    fn waiting(&self) -> &[u8] {
        &self.buffer[self.front..]
    }

    /// Says that the file ends here.
    pub fn end_of_file(&mut self) {
        self.input = Input::Ended;
    }

    /// Whether all records of the split were taken; no more bytes are needed.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// The next record, good or bad; `None` if more bytes are needed or the split is finished.
    #[expect(clippy::should_implement_trait, reason = "None is not the end: more may follow after `push`")]
    pub fn next(&mut self) -> Option<Result<Decoded<F::Record>, BadRecord>> {
        loop {
            match self.state {
                State::Finished => return None,
                State::InForeignLine => {
                    self.skip_line()?;
                    if let Some(bad) = self.unfinished.take() {
                        return Some(Err(BadRecord { next_offset: self.base, ..bad }));
                    }
                }
                State::BetweenRecords => self.find_record()?,
                State::InRecord => match self.read_record() {
                    Attempt::NeedsInput => return None,
                    Attempt::Defective(defect) => self.give_up_record(defect),
                    Attempt::Complete => {
                        if let Some(result) = self.take_record() {
                            return Some(result);
                        }
                    }
                },
            }
        }
    }

    /// Is done with the first bytes that wait.
    fn drop_front(&mut self, count: usize) {
        let end = self.front + count;
        if let Some(line) = &mut self.line {
            *line += self.buffer[self.front..end].iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        self.front = end;
        self.base += count as u64;
        self.consumed = 0;
    }

    /// `None` if more bytes are needed.
    fn skip_line(&mut self) -> Option<()> {
        let line_break = self.waiting().iter().position(|byte| *byte == b'\n');
        self.drop_front(line_break.map_or(self.waiting().len(), |at| at + 1));
        match (line_break, self.input) {
            (Some(_), _) => self.state = State::BetweenRecords,
            (None, Input::Ended) => self.state = State::Finished,
            (None, Input::More) => return None,
        }
        Some(())
    }

    /// `None` if more bytes are needed.
    fn find_record(&mut self) -> Option<()> {
        const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];
        if self.base == 0 && self.waiting().len() < BYTE_ORDER_MARK.len() && self.input == Input::More {
            return None;
        }
        if self.base == 0 && self.waiting().starts_with(&BYTE_ORDER_MARK) {
            self.drop_front(BYTE_ORDER_MARK.len());
            self.mark_bytes = BYTE_ORDER_MARK.len() as u64;
        }
        if self.header_awaited {
            // Only the first split knows of the header, so no line may come before it.
            let starts_blank = match (self.waiting(), self.input) {
                ([] | [b'\r'], Input::More) => return None,
                ([b'\n', ..] | [b'\r', b'\n', ..], _) => true,
                _ => false,
            };
            if starts_blank {
                let expected = self.from_fields.columns().join(",");
                self.give_up_record(Defect::Header { found: String::new(), expected });
                return Some(());
            }
        }
        loop {
            let blank = match (self.waiting(), self.input) {
                ([b'\n', ..], _) => 1,
                ([b'\r', b'\n', ..], _) => 2,
                ([b'\r'], Input::Ended) => 1,
                ([] | [b'\r'], Input::More) => return None,
                _ => break,
            };
            self.drop_front(blank);
        }
        // A line belongs to the split in which it starts, so a mark before its first value counts.
        let line_start = if self.base == self.mark_bytes { 0 } else { self.base };
        if line_start > self.split.end || self.waiting().is_empty() {
            self.state = State::Finished;
        } else {
            self.reader.reset();
            self.output_length = 0;
            self.ends_length = 0;
            self.state = State::InRecord;
        }
        Some(())
    }

    fn read_record(&mut self) -> Attempt {
        loop {
            let at_end = self.consumed == self.waiting().len();
            if at_end && self.input == Input::More {
                let too_long = self.consumed > self.layout.max_record_bytes;
                return if too_long { self.too_long() } else { Attempt::NeedsInput };
            }
            // At the end of the file a line break must end the record; if it does not, a quote is open.
            let input: &[u8] = if at_end { b"\n" } else { &self.buffer[self.front + self.consumed..] };
            let (result, read, written, ended) = self.reader.read_record(
                input,
                &mut self.output[self.output_length..],
                &mut self.ends[self.ends_length..],
            );
            self.output_length += written;
            self.ends_length += ended;
            if !at_end {
                self.consumed += read;
            }
            match result {
                ReadRecordResult::OutputFull => self.output.resize(self.output.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty if at_end => return Attempt::Defective(Defect::UnclosedQuote),
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record | ReadRecordResult::End => {
                    let too_long = self.consumed > self.layout.max_record_bytes;
                    return if too_long { self.too_long() } else { Attempt::Complete };
                }
            }
        }
    }

    fn too_long(&self) -> Attempt {
        Attempt::Defective(Defect::TooLong { limit_bytes: self.layout.max_record_bytes })
    }

    /// The record that was read; `None` if it was the header, and right.
    fn take_record(&mut self) -> Option<Result<Decoded<F::Record>, BadRecord>> {
        self.cut_carriage_return();
        let fields = Fields { bytes: &self.output[..self.output_length], ends: &self.ends[..self.ends_length] };
        let is_header = std::mem::replace(&mut self.header_awaited, false);
        let checked =
            if is_header { self.check_header(&fields).map(|()| None) } else { self.decode(&fields).map(Some) };
        let (offset, line) = (self.base, self.line);
        self.drop_front(self.consumed);
        self.state = State::BetweenRecords;
        let next_offset = self.base;
        match checked {
            Ok(record) => record.map(|record| Ok(Decoded { record, offset, next_offset })),
            Err(defect) => {
                Some(Err(BadRecord { path: self.split.path.as_str().into(), offset, next_offset, line, defect }))
            }
        }
    }

    /// The `\r` of a `\r\n` is not part of the last value.
    fn cut_carriage_return(&mut self) {
        let line = &self.waiting()[..self.consumed];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let Some(last) = self.ends_length.checked_sub(1) else { return };
        if line.ends_with(b"\r") && self.output[..self.ends[last]].ends_with(b"\r") {
            self.ends[last] -= 1;
            self.output_length = self.ends[last];
        }
    }

    fn decode(&self, fields: &Fields<'_>) -> Result<F::Record, Defect> {
        let expected = self.column_count;
        let column = |index: usize| self.from_fields.columns()[index].to_owned();
        let found = fields.len();
        if found < expected {
            return Err(Defect::MissingColumn { column: column(found), found, expected });
        }
        if found > expected {
            return Err(Defect::SurplusColumns { found, expected });
        }
        self.from_fields.record(fields).map_err(|(index, defect)| match defect {
            FieldDefect::InvalidUtf8 => Defect::InvalidUtf8 { column: column(index) },
            FieldDefect::Expected(expected) => Defect::Value {
                column: column(index),
                value: shortened(fields.get(index)),
                expected: expected.to_owned(),
            },
        })
    }

    fn check_header(&self, fields: &Fields<'_>) -> Result<(), Defect> {
        let columns = self.from_fields.columns();
        let same = fields.len() == columns.len()
            && columns.iter().enumerate().all(|(index, column)| fields.get(index) == column.as_bytes());
        if same {
            return Ok(());
        }
        let found: Vec<String> = (0..fields.len()).map(|index| shortened(fields.get(index))).collect();
        Err(Defect::Header { found: found.join(","), expected: columns.join(",") })
    }

    /// Goes on at the line after the one on which a record without end starts: that does not depend on the chunks.
    fn give_up_record(&mut self, defect: Defect) {
        self.header_awaited = false;
        let path = self.split.path.as_str().into();
        self.unfinished = Some(BadRecord { path, offset: self.base, next_offset: self.base, line: self.line, defect });
        self.state = State::InForeignLine;
    }
}

/// A value as text, cut if it is long.
fn shortened(value: &[u8]) -> String {
    const LONGEST: usize = 60;
    let text = String::from_utf8_lossy(value);
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.into_owned(),
    }
}
