//! Delimited records (CSV): pure decoding of a byte range of a file, fed chunk by chunk, and the source over it.
//!
//! **Who owns a record.** A file is cut into splits at any bytes ([`FileSplit::cover`]). A split owns the records that
//! *start* in `(start, end]`; the first split owns the one at byte 0 as well. So each record has one owner, which
//! reads past its end to finish the last one, and a reader that begins inside a record skips to the next line. This
//! needs line breaks to end records: a file with quoted line breaks must be read as one split.
//!
//! **What is kept in state** is the byte offset of the next record ([`Decoded::next_offset`]); a decoder that is resumed there
//! yields exactly the records that are left.
//!
//! The header, if there is one, is the very first line.
//! Records end with `\n` or `\r\n`; blank lines between records are no records. The last record needs no line break.
//! Quotes are those of RFC 4180; a quoted empty value is an empty value.

mod bad_record;
mod decoder;
mod source;
mod split;

pub use bad_record::{BadRecord, Defect};
pub use decoder::{Decoded, FieldDefect, Fields, FromFields, Layout, RecordDecoder};
pub use source::{BadRecordPolicy, DelimitedSource, DelimitedSplit};
pub use split::FileSplit;

#[cfg(test)]
mod tests;
