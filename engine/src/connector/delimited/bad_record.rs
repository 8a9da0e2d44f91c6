//! A record that cannot be read, and where it stands.

use std::fmt;

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Defect {
    /// It has too few values: a cut line, mostly.
    MissingColumn {
        /// The first column without a value.
        column: String,
        /// Values that it has.
        found: usize,
        /// Values that it should have.
        expected: usize,
    },
    /// It has too many values.
    SurplusColumns {
        /// Values that it has.
        found: usize,
        /// Values that it should have.
        expected: usize,
    },
    /// A value is not of its column's type.
    Value {
        /// The column.
        column: String,
        /// The value, shortened if it is long.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// A value is not UTF-8.
    InvalidUtf8 {
        /// The column.
        column: String,
    },
    /// The file ends inside a quoted value.
    UnclosedQuote,
    /// It is longer than a record may be; an unclosed quote, mostly.
    TooLong {
        /// Bytes that a record may have.
        limit_bytes: usize,
    },
    /// The first line does not hold the names of the columns. Never to be skipped: the values would be in wrong columns.
    Header {
        /// The names that it holds.
        found: String,
        /// The names that it should hold.
        expected: String,
    },
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingColumn { column, found, expected } => {
                write!(f, "column `{column}` is missing: found {found} values, expected {expected}")
            }
            Self::SurplusColumns { found, expected } => write!(f, "found {found} values, expected {expected}"),
            Self::Value { column, value, expected } => {
                write!(f, "column `{column}` holds `{value}`, expected {expected}")
            }
            Self::InvalidUtf8 { column } => write!(f, "column `{column}` is not UTF-8"),
            Self::UnclosedQuote => f.write_str("the file ends inside a quoted value"),
            Self::TooLong { limit_bytes } => write!(f, "the record is longer than {limit_bytes} bytes"),
            Self::Header { found, expected } => {
                write!(f, "the header names the columns {found}, expected {expected}")
            }
        }
    }
}

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// The file.
    pub path: Box<str>,
    /// The byte at which the record starts.
    pub offset: u64,
    /// The byte at which the next one is looked for.
    pub next_offset: u64,
    /// The line, from 1, if the file was read from its start.
    pub line: Option<u64>,
    /// What is wrong.
    pub defect: Defect,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, " at byte {}: {}", self.offset, self.defect)
    }
}

impl std::error::Error for BadRecord {}
