//! Reading a pipeline from TOML or JSON, and telling the author exactly where it is wrong.
//!
//! Every error names file, line and column, shows the line with the wrong part underlined, and gives a hint. What
//! the formats and types refuse is reported alone; everything that [`Pipeline::plan`] finds is reported at once.

use std::ops::Range;

use serde::de::{DeserializeOwned, IgnoredAny};

use super::{
    case::Case,
    file::PipelineFile,
    locate,
    model::Pipeline,
    nearest,
    problem::{Problem, Problems},
};
use crate::error::{Error, ErrorKind, Result};

impl Pipeline {
    /// Reads and checks a pipeline; a file whose name ends in `.json` is JSON, any other is TOML.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] with the places of everything that is wrong.
    pub fn from_text(file_name: &str, text: &str) -> Result<Self> {
        if file_name.ends_with(".json") { Self::from_json(file_name, text) } else { Self::from_toml(file_name, text) }
    }

    /// Reads and checks a pipeline in TOML. `file_name` is for messages.
    ///
    /// # Errors
    /// As for [`Pipeline::from_text`].
    pub fn from_toml(file_name: &str, text: &str) -> Result<Self> {
        let document = Document { file_name, text };
        let file: PipelineFile = toml::from_str(text).map_err(|error| {
            let (message, hint) = reword(error.message());
            document.error(&[document.mark(error.span().unwrap_or(0..0), &message, hint)])
        })?;
        checked(file).map_err(|problems| document.locate(&problems, locate::in_toml))
    }

    /// Reads and checks a pipeline in JSON, or the pipeline that a [`Case`] means. `file_name` is for messages.
    ///
    /// # Errors
    /// As for [`Pipeline::from_text`].
    pub fn from_json(file_name: &str, text: &str) -> Result<Self> {
        if Case::is_case(text) {
            let case = Case::from_json(file_name, text)?;
            if !case.resumed.is_empty() {
                let message =
                    format!("the case `{}` has a savepoint, which a single run does not take", case.pipeline.name);
                return Err(Error::new(ErrorKind::Configuration, message));
            }
            return Ok(case.pipeline);
        }
        let file: PipelineFile = json(file_name, text)?;
        checked(file).map_err(|problems| Document { file_name, text }.locate(&problems, locate::in_json))
    }

    /// Writes the pipeline as TOML with nothing left out.
    ///
    /// # Panics
    /// If the pipeline is not valid: it holds a number that TOML cannot express.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a valid pipeline can be written as TOML")
    }

    /// Writes the pipeline as JSON with nothing left out.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a pipeline can be written as JSON")
    }
}

/// Reads JSON. That it ends too early is said before what is wrong with what is there.
pub(super) fn json<T: DeserializeOwned>(file_name: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let cut_off = serde_json::from_str::<IgnoredAny>(text).err().filter(serde_json::Error::is_eof);
        let error = cut_off.unwrap_or(error);
        let document = Document { file_name, text };
        let full = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let (message, hint) = reword(full.strip_suffix(&place).unwrap_or(&full));
        let at = document.byte_at(error.line(), error.column());
        document.error(&[document.mark(at..at, &message, hint)])
    })
}

fn checked(file: PipelineFile) -> std::result::Result<Pipeline, Problems> {
    let pipeline = Pipeline::try_from(file)?;
    pipeline.validate()?;
    Ok(pipeline)
}

/// A problem as the author sees it.
struct Marked {
    /// `file:line:column: message`, the line, the underlining.
    text: String,
    hint: Option<String>,
}

/// Characters of a line that are shown on each side of what is wrong with it; some files are one line.
const SHOWN: usize = 100;

struct Document<'a> {
    file_name: &'a str,
    text: &'a str,
}

impl Document<'_> {
    fn locate(&self, problems: &Problems, find: fn(&str, &Problem) -> Range<usize>) -> Error {
        let mut found: Vec<_> = problems.0.iter().map(|problem| (find(self.text, problem), problem)).collect();
        found.sort_by_key(|(span, _)| span.start);
        let marked = found.into_iter().map(|(span, problem)| self.mark(span, &problem.message, problem.hint.clone()));
        self.error(&marked.collect::<Vec<_>>())
    }

    fn error(&self, marked: &[Marked]) -> Error {
        if let [only] = marked {
            let error = Error::new(ErrorKind::Configuration, &only.text);
            return match &only.hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            };
        }
        let mut message = format!("{} problems in {}", marked.len(), self.file_name);
        for Marked { text, hint } in marked {
            message.push_str("\n\n");
            message.push_str(text);
            if let Some(hint) = hint {
                message.push_str("\n  hint: ");
                message.push_str(hint);
            }
        }
        Error::new(ErrorKind::Configuration, message)
    }

    fn mark(&self, span: Range<usize>, message: &str, hint: Option<String>) -> Marked {
        let start = self.text.floor_char_boundary(span.start.min(self.text.len()));
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |newline| start + newline);
        let line = self.text[line_start..line_end].trim_end_matches('\r');
        let end = self.text.floor_char_boundary(span.end.clamp(start, line_start + line.len().max(start - line_start)));
        let number = self.text[..start].matches('\n').count() + 1;
        let column = self.text[line_start..start].chars().count() + 1;
        let underline = "^".repeat(self.text[start..end].chars().count().clamp(1, SHOWN));
        let (before, after) = (&self.text[line_start..start], &self.text[start..line_start + line.len()]);
        let (before, after) = (shortened(before.chars().rev()), shortened(after.chars()));
        let before: String = before.chars().rev().collect();
        // Tabs keep their width in the line of the mark.
        let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let gutter = " ".repeat(number.to_string().len());
        let text = format!(
            "{}:{number}:{column}: {message}\n  {number} | {before}{after}\n  {gutter} | {indent}{underline}",
            self.file_name
        );
        Marked { text, hint }
    }

    /// The byte at a line and column (from 1, in bytes) as serde_json counts them.
    fn byte_at(&self, line: usize, column: usize) -> usize {
        let line_start: usize = self.text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        (line_start + column.saturating_sub(1)).min(self.text.len())
    }
}

/// As much of a line as is shown.
fn shortened(mut characters: impl Iterator<Item = char>) -> String {
    let mut shown: String = characters.by_ref().take(SHOWN).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Puts what serde says into the words of the format: message and hint.
fn reword(message: &str) -> (String, Option<String>) {
    let message = message.trim();
    let Some((what, expected)) = message.split_once(", expected ") else { return (message.to_owned(), None) };
    let unknown = what.strip_prefix("unknown field `").or_else(|| what.strip_prefix("unknown variant `"));
    if let Some(name) = unknown.and_then(|rest| rest.strip_suffix('`')) {
        let what = what.replace("unknown variant", "unknown value");
        let names: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        return (what, Some(nearest::hint(name, "known", names)));
    }
    let mut found = what.to_owned();
    for (rust, plain) in [
        ("invalid type: ", "found "),
        ("invalid value: ", "found "),
        ("found string ", "found text "),
        ("found sequence", "found a list"),
        ("found map", "found a table"),
        ("found boolean ", "found "),
        ("found integer ", "found "),
        ("found floating point ", "found "),
        ("found null", "found null"),
    ] {
        found = found.replacen(rust, plain, 1);
    }
    let expected = match expected {
        "u32" | "u64" | "usize" => "a whole number of at least 0",
        "i64" => "a whole number",
        "a string" => "text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        _ if expected.starts_with("struct ") => "a table",
        other => other,
    };
    (format!("expected {expected}, {found}"), None)
}

#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;
