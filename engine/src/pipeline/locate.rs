//! From a place in the value to the bytes of the file: for TOML by its spans, for JSON by scanning.
//!
//! A place that the file does not have, because the value was filled in, is represented by the table around it.

use std::{borrow::Cow, ops::Range};

use toml::de::{DeArray, DeTable};

use super::problem::{Problem, Step};

/// The bytes of a TOML text that a problem is about.
pub(crate) fn in_toml(text: &str, problem: &Problem) -> Range<usize> {
    let Ok(document) = DeTable::parse(text) else { return 0..0 };
    let steps = problem.place.steps();
    // Options have dots in their names, which TOML has read as nested tables unless they were quoted.
    let found = match steps {
        [Step::Key(config), Step::Key(option)] if config == "config" => {
            let parts = option.split('.').map(|part| Step::Key(Cow::Owned(part.to_owned())));
            let dotted: Vec<Step> = [steps[0].clone()].into_iter().chain(parts).collect();
            let quoted = walk(document.get_ref(), steps);
            if quoted.whole { quoted } else { walk(document.get_ref(), &dotted) }
        }
        _ => walk(document.get_ref(), steps),
    };
    match (&problem.within, found.content) {
        (Some(within), Some((content, span))) => part(text, span, content, within).unwrap_or(found.marked),
        _ => found.marked,
    }
}

/// How far steps lead into a document.
#[derive(Default)]
struct Found<'a> {
    /// The last entry that they lead to.
    marked: Range<usize>,
    /// Its value with quotes, if it is a text.
    content: Option<(&'a str, Range<usize>)>,
    /// Whether that is where they end.
    whole: bool,
}

fn walk<'a>(document: &'a DeTable<'_>, steps: &[Step]) -> Found<'a> {
    let mut found = Found::default();
    let mut table = Some(document);
    let mut list: Option<&DeArray<'_>> = None;
    for step in steps {
        let value = match step {
            Step::Key(key) => {
                let entry = table.and_then(|table| table.iter().find(|(name, _)| *name.get_ref() == *key));
                let Some((name, value)) = entry else { return Found { content: None, ..found } };
                found.marked = assignment(name.span(), value.span());
                value
            }
            Step::Index(index) => {
                let Some(value) = list.and_then(|list| list.get(*index)) else {
                    return Found { content: None, ..found };
                };
                found.marked = value.span();
                value
            }
        };
        found.content = value.get_ref().as_str().map(|content| (content, value.span()));
        table = value.get_ref().as_table();
        list = value.get_ref().as_array();
    }
    Found { whole: true, ..found }
}

/// `key = value` if they stand in that order, else the key: the key of a table stands in its header.
fn assignment(key: Range<usize>, value: Range<usize>) -> Range<usize> {
    if key.end <= value.start { key.start..value.end } else { key }
}

/// Where a part of a text value stands, unless escapes make it stand there in other words.
fn part(text: &str, span: Range<usize>, content: &str, within: &Range<usize>) -> Option<Range<usize>> {
    let offset = text.get(span.clone())?.find(content)?;
    let start = span.start + offset + within.start;
    Some(start..start + within.len())
}

/// The bytes of a JSON text that a problem is about. The text is known to be JSON.
pub(crate) fn in_json(text: &str, problem: &Problem) -> Range<usize> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.space();
    let mut marked = scanner.at..scanner.at + 1;
    for step in problem.place.steps() {
        let found = match step {
            Step::Key(key) => scanner.enter_key(key),
            Step::Index(index) => scanner.enter_index(*index),
        };
        let Some(start) = found else { return marked };
        let mut end = Scanner { text, at: scanner.at };
        end.skip_value();
        marked = start..end.at;
    }
    let value = text.get(scanner.at..marked.end).unwrap_or_default();
    let content: Option<String> = serde_json::from_str(value).ok();
    match (&problem.within, content) {
        (Some(within), Some(content)) => part(text, scanner.at..marked.end, &content, within).unwrap_or(marked),
        _ => marked,
    }
}

/// A place in a JSON text that stands at the start of a value.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Goes to the value of a key of the object here; the result is where the key starts.
    fn enter_key(&mut self, key: &str) -> Option<usize> {
        let mut at = Self { text: self.text, at: self.at };
        if !at.take(b'{') {
            return None;
        }
        loop {
            at.space();
            let start = at.at;
            at.skip_value();
            let found: Option<String> = serde_json::from_str(self.text.get(start..at.at)?).ok();
            if !at.take(b':') {
                return None;
            }
            at.space();
            if found.as_deref() == Some(key) {
                self.at = at.at;
                return Some(start);
            }
            at.skip_value();
            if !at.take(b',') {
                return None;
            }
        }
    }

    /// Goes to an element of the array here; the result is where it starts.
    fn enter_index(&mut self, index: usize) -> Option<usize> {
        let mut at = Self { text: self.text, at: self.at };
        if !at.take(b'[') {
            return None;
        }
        for _ in 0..index {
            at.space();
            at.skip_value();
            if !at.take(b',') {
                return None;
            }
        }
        at.space();
        self.at = at.at;
        Some(at.at)
    }

    /// Passes a value: brackets are counted, so that it needs no stack.
    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => self.skip_text(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' | b',' | b':' if depth == 0 => return,
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                _ if byte.is_ascii_whitespace() && depth == 0 => return,
                _ => self.at += 1,
            }
            if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
                return;
            }
        }
    }

    fn skip_text(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return;
            }
        }
    }
}
