//! What can be wrong with an expression: its text ([`ExpressionError`]) or a record ([`EvaluateError`]).

use std::{fmt, ops::Range, sync::Arc};

/// Why a text is no expression over the given schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// The text of the expression.
    pub text: String,
    /// The bytes of the text that are wrong; empty at the end of the text.
    pub span: Range<usize>,
    /// What is wrong with them.
    pub message: String,
    /// What would be right, if we know.
    pub hint: Option<String>,
}

impl ExpressionError {
    pub(crate) fn new(text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { text: text.to_owned(), span, message: message.into(), hint: None }
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.text[..self.span.start].chars().count();
        let marked = self.text[self.span.clone()].chars().count().max(1);
        writeln!(f, "{} (at byte {})", self.message, self.span.start)?;
        writeln!(f, "  {}", self.text)?;
        write!(f, "  {:before$}{:^<marked$}", "", "")?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ExpressionError {}

/// What a record's values can do to arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArithmeticProblem {
    /// An integer was divided by zero.
    DivisionByZero,
    /// A result does not fit into 64 bits.
    Overflow,
    /// Text or a float that is no integer or no number was converted.
    NotANumber,
}

impl fmt::Display for ArithmeticProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DivisionByZero => "division by zero",
            Self::Overflow => "integer overflow",
            Self::NotANumber => "not a number",
        })
    }
}

/// An expression failed for one record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {position} of `{expression}` for the record {row}")]
pub struct EvaluateError {
    /// What went wrong.
    pub problem: ArithmeticProblem,
    /// The text of the expression.
    pub expression: Arc<str>,
    /// The byte of the text at which the failed operator or function stands.
    pub position: usize,
    /// The record.
    pub row: String,
}
