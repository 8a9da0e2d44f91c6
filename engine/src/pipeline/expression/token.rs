//! The words of an expression.

use std::{fmt, ops::Range};

use super::error::ExpressionError;

/// A word.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A whole number, without sign.
    Integer(u64),
    /// A number with a point or an exponent.
    Float(f64),
    /// Text in single quotes.
    Text(String),
    /// A name that is no keyword.
    Name(String),
    /// A name in back quotes: never a keyword or a function.
    QuotedName(String),
    /// A keyword, in lower case.
    Keyword(&'static str),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "`{number}`"),
            Self::Float(number) => write!(f, "`{number}`"),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Name(name) | Self::QuotedName(name) => write!(f, "`{name}`"),
            Self::Keyword(word) | Self::Symbol(word) => write!(f, "`{word}`"),
            Self::End => f.write_str("the end"),
        }
    }
}

const KEYWORDS: [&str; 7] = ["and", "or", "not", "is", "null", "true", "false"];
/// Longer ones first.
const SYMBOLS: [&str; 14] = ["<>", "!=", "<=", ">=", "<", ">", "=", "+", "-", "*", "/", "%", "(", ")"];

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn continues_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Splits a text into words with their places; the last is [`Token::End`].
pub(crate) fn tokenize(text: &str) -> Result<Vec<(Token, Range<usize>)>, ExpressionError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, length) = next_token(text, at, first)?;
        tokens.push((token, at..at + length));
        at += length;
    }
    tokens.push((Token::End, text.len()..text.len()));
    Ok(tokens)
}

fn next_token(text: &str, at: usize, first: char) -> Result<(Token, usize), ExpressionError> {
    let rest = &text[at..];
    if first.is_ascii_digit() {
        return number(text, at);
    }
    if starts_name(first) {
        let length = name_length(rest);
        let word = &rest[..length];
        let keyword = KEYWORDS.iter().find(|keyword| keyword.eq_ignore_ascii_case(word));
        return Ok((keyword.map_or_else(|| Token::Name(word.to_owned()), |keyword| Token::Keyword(keyword)), length));
    }
    match first {
        '\'' => quoted(text, at, '\'').map(|(content, length)| (Token::Text(content), length)),
        '`' => quoted(text, at, '`').map(|(content, length)| (Token::QuotedName(content), length)),
        ',' => Ok((Token::Symbol(","), 1)),
        _ => symbol(text, at, first),
    }
}

/// Parts of a name are joined by dots: `a.total`.
fn name_length(rest: &str) -> usize {
    let part = |from: usize| rest[from..].find(|c| !continues_name(c)).map_or(rest.len(), |length| from + length);
    let mut length = part(0);
    while rest[length..].starts_with('.') && rest[length + 1..].starts_with(starts_name) {
        length = part(length + 1);
    }
    length
}

fn symbol(text: &str, at: usize, first: char) -> Result<(Token, usize), ExpressionError> {
    let rest = &text[at..];
    for (wrong, right) in [("==", "="), ("&&", "and"), ("||", "or")] {
        if rest.starts_with(wrong) {
            let hint = if wrong == "||" {
                "use `or`, or concat(a, b) to join text".to_owned()
            } else {
                format!("use `{right}`")
            };
            return Err(
                ExpressionError::new(text, at..at + wrong.len(), format!("unknown operator `{wrong}`")).with_hint(hint)
            );
        }
    }
    if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        return Ok((Token::Symbol(symbol), symbol.len()));
    }
    let error = ExpressionError::new(text, at..at + first.len_utf8(), format!("unexpected character `{first}`"));
    Err(match first {
        '"' => error.with_hint("text stands in single quotes, field names in back quotes"),
        '!' => error.with_hint("use `not`"),
        _ => error,
    })
}

fn number(text: &str, at: usize) -> Result<(Token, usize), ExpressionError> {
    let rest = &text[at..];
    let digits = |from: usize| from + rest[from..].bytes().take_while(u8::is_ascii_digit).count();
    let mut end = digits(0);
    let integer_end = end;
    if rest[end..].starts_with('.') {
        end = digits(end + 1);
    }
    if rest[end..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
        end = digits(end + 1 + sign);
    }
    let error = |message: &str| ExpressionError::new(text, at..at + end, message);
    if rest[end..].starts_with(continues_name) {
        return Err(error("a name cannot start with a digit").with_hint("put a field's name in back quotes"));
    }
    let word = &rest[..end];
    let token = if end == integer_end {
        Token::Integer(word.parse().map_err(|_| error("the number does not fit into 64 bits"))?)
    } else {
        Token::Float(word.parse().map_err(|_| error("not a number"))?)
    };
    Ok((token, end))
}

/// The content between two quotes; a doubled quote stands for one.
fn quoted(text: &str, at: usize, quote: char) -> Result<(String, usize), ExpressionError> {
    let mut content = String::new();
    let mut chars = text[at + 1..].char_indices().peekable();
    while let Some((offset, c)) = chars.next() {
        if c != quote {
            content.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            content.push(quote);
        } else {
            return Ok((content, offset + 2));
        }
    }
    Err(ExpressionError::new(text, at..text.len(), format!("the quote {quote} is not closed")))
}
