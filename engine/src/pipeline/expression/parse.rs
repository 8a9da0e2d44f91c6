//! From words to a syntax tree, by precedence climbing over a fixed ladder of levels.

use std::ops::Range;

use super::{
    error::ExpressionError,
    token::{Token, tokenize},
};
use crate::pipeline::row::Datum;

/// A part of the syntax tree with its place in the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SyntaxNode {
    pub(crate) syntax: Syntax,
    pub(crate) span: Range<usize>,
}

/// What a part of an expression is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Syntax {
    Literal(Datum),
    Field(String),
    Not(Box<SyntaxNode>),
    Negate(Box<SyntaxNode>),
    IsNull(Box<SyntaxNode>),
    IsNotNull(Box<SyntaxNode>),
    Binary { operator: Binary, left: Box<SyntaxNode>, right: Box<SyntaxNode>, operator_span: Range<usize> },
    Call { function: String, function_span: Range<usize>, arguments: Vec<SyntaxNode> },
}

/// Operators with two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// How deep brackets, `not` and `-` may nest; keeps recursion off the end of the stack.
const MAX_DEPTH: usize = 100;

/// Parses a whole text.
pub(crate) fn parse(text: &str) -> Result<SyntaxNode, ExpressionError> {
    let mut parser = Parser { text, tokens: tokenize(text)?, at: 0, depth: 0 };
    let node = parser.disjunction()?;
    match parser.peek() {
        Token::End => Ok(node),
        Token::Symbol("=" | "<>" | "!=" | "<" | "<=" | ">" | ">=") => {
            Err(parser.error("comparisons do not chain").with_hint("join them with `and`"))
        }
        other => {
            let message = format!("expected an operator or the end, found {other}");
            Err(parser.error(message))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn span(&self) -> Range<usize> {
        self.tokens[self.at].1.clone()
    }

    /// The word here; the end is never passed.
    fn take(&mut self) -> (Token, Range<usize>) {
        let token = self.tokens[self.at].clone();
        if token.0 != Token::End {
            self.at += 1;
        }
        token
    }

    fn take_if(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        if found {
            self.at += 1;
        }
        found
    }

    fn error(&self, message: impl Into<String>) -> ExpressionError {
        ExpressionError::new(self.text, self.span(), message)
    }

    fn expect(&mut self, symbol: &'static str) -> Result<Range<usize>, ExpressionError> {
        if *self.peek() == Token::Symbol(symbol) {
            return Ok(self.take().1);
        }
        Err(self.error(format!("expected `{symbol}`, found {}", self.peek())))
    }

    /// A level of operators that group to the left.
    fn left_to_right(
        &mut self,
        operator_at: fn(&Token) -> Option<Binary>,
        operand: fn(&mut Self) -> Result<SyntaxNode, ExpressionError>,
    ) -> Result<SyntaxNode, ExpressionError> {
        let mut left = operand(self)?;
        while let Some(operator) = operator_at(self.peek()) {
            left = self.right_side(left, operator, operand)?;
        }
        Ok(left)
    }

    fn right_side(
        &mut self,
        left: SyntaxNode,
        operator: Binary,
        operand: fn(&mut Self) -> Result<SyntaxNode, ExpressionError>,
    ) -> Result<SyntaxNode, ExpressionError> {
        let (_, operator_span) = self.take();
        let right = operand(self)?;
        let span = left.span.start..right.span.end;
        let syntax = Syntax::Binary { operator, left: Box::new(left), right: Box::new(right), operator_span };
        Ok(SyntaxNode { syntax, span })
    }

    fn disjunction(&mut self) -> Result<SyntaxNode, ExpressionError> {
        self.left_to_right(|token| (*token == Token::Keyword("or")).then_some(Binary::Or), Self::conjunction)
    }

    fn conjunction(&mut self) -> Result<SyntaxNode, ExpressionError> {
        self.left_to_right(|token| (*token == Token::Keyword("and")).then_some(Binary::And), Self::negation)
    }

    fn negation(&mut self) -> Result<SyntaxNode, ExpressionError> {
        if *self.peek() != Token::Keyword("not") {
            return self.comparison();
        }
        let (_, start) = self.take();
        let operand = self.nested(Self::negation)?;
        let span = start.start..operand.span.end;
        Ok(SyntaxNode { syntax: Syntax::Not(Box::new(operand)), span })
    }

    fn comparison(&mut self) -> Result<SyntaxNode, ExpressionError> {
        let mut left = self.sum()?;
        if let Some(operator) = comparison_at(self.peek()) {
            left = self.right_side(left, operator, Self::sum)?;
        }
        while self.take_if(&Token::Keyword("is")) {
            let not = self.take_if(&Token::Keyword("not"));
            if *self.peek() != Token::Keyword("null") {
                return Err(self.error(format!("expected `null`, found {}", self.peek())));
            }
            let span = left.span.start..self.take().1.end;
            let operand = Box::new(left);
            left = SyntaxNode { syntax: if not { Syntax::IsNotNull(operand) } else { Syntax::IsNull(operand) }, span };
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<SyntaxNode, ExpressionError> {
        let operator_at = |token: &Token| match token {
            Token::Symbol("+") => Some(Binary::Add),
            Token::Symbol("-") => Some(Binary::Subtract),
            _ => None,
        };
        self.left_to_right(operator_at, Self::product)
    }

    fn product(&mut self) -> Result<SyntaxNode, ExpressionError> {
        let operator_at = |token: &Token| match token {
            Token::Symbol("*") => Some(Binary::Multiply),
            Token::Symbol("/") => Some(Binary::Divide),
            Token::Symbol("%") => Some(Binary::Remainder),
            _ => None,
        };
        self.left_to_right(operator_at, Self::sign)
    }

    fn sign(&mut self) -> Result<SyntaxNode, ExpressionError> {
        if *self.peek() != Token::Symbol("-") {
            return self.primary();
        }
        let (_, start) = self.take();
        // The least integer has no positive counterpart, so its sign belongs to the literal.
        if let Token::Integer(magnitude) = *self.peek() {
            let (_, end) = self.take();
            let span = start.start..end.end;
            return match 0_i64.checked_sub_unsigned(magnitude) {
                Some(number) => Ok(SyntaxNode { syntax: Syntax::Literal(Datum::Int(number)), span }),
                None => Err(ExpressionError::new(self.text, span, "the number does not fit into 64 bits")),
            };
        }
        let operand = self.nested(Self::sign)?;
        let span = start.start..operand.span.end;
        Ok(SyntaxNode { syntax: Syntax::Negate(Box::new(operand)), span })
    }

    fn nested(
        &mut self,
        parse: fn(&mut Self) -> Result<SyntaxNode, ExpressionError>,
    ) -> Result<SyntaxNode, ExpressionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("the expression is nested more than {MAX_DEPTH} levels deep")));
        }
        let node = parse(self);
        self.depth -= 1;
        node
    }

    fn primary(&mut self) -> Result<SyntaxNode, ExpressionError> {
        let span = self.span();
        let literal = |value: Datum, span| Ok(SyntaxNode { syntax: Syntax::Literal(value), span });
        match self.peek().clone() {
            Token::Integer(magnitude) => {
                let number =
                    i64::try_from(magnitude).map_err(|_| self.error("the number does not fit into 64 bits"))?;
                self.take();
                literal(Datum::Int(number), span)
            }
            Token::Float(number) => {
                self.take();
                literal(Datum::float(number), span)
            }
            Token::Text(text) => {
                self.take();
                literal(Datum::text(text), span)
            }
            Token::Keyword(word @ ("true" | "false")) => {
                self.take();
                literal(Datum::Bool(word == "true"), span)
            }
            Token::QuotedName(name) => {
                self.take();
                Ok(SyntaxNode { syntax: Syntax::Field(name), span })
            }
            Token::Name(name) => {
                self.take();
                if *self.peek() == Token::Symbol("(") {
                    return self.call(name, span);
                }
                Ok(SyntaxNode { syntax: Syntax::Field(name), span })
            }
            Token::Symbol("(") => {
                self.take();
                let inner = self.nested(Self::disjunction)?;
                let end = self.expect(")")?;
                Ok(SyntaxNode { syntax: inner.syntax, span: span.start..end.end })
            }
            Token::Keyword("null") => {
                Err(self.error("null has no type of its own").with_hint("use `x is null` or `coalesce(x, …)`"))
            }
            other => Err(self.error(format!("expected a value, found {other}"))),
        }
    }

    fn call(&mut self, function: String, function_span: Range<usize>) -> Result<SyntaxNode, ExpressionError> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        while *self.peek() != Token::Symbol(")") {
            if !arguments.is_empty() && !self.take_if(&Token::Symbol(",")) {
                return Err(self.error(format!("expected `,` or `)`, found {}", self.peek())));
            }
            arguments.push(self.nested(Self::disjunction)?);
        }
        let end = self.expect(")")?;
        let span = function_span.start..end.end;
        Ok(SyntaxNode { syntax: Syntax::Call { function, function_span, arguments }, span })
    }
}

fn comparison_at(token: &Token) -> Option<Binary> {
    match token {
        Token::Symbol("=") => Some(Binary::Equal),
        Token::Symbol("<>" | "!=") => Some(Binary::NotEqual),
        Token::Symbol("<") => Some(Binary::Less),
        Token::Symbol("<=") => Some(Binary::LessOrEqual),
        Token::Symbol(">") => Some(Binary::Greater),
        Token::Symbol(">=") => Some(Binary::GreaterOrEqual),
        _ => None,
    }
}
