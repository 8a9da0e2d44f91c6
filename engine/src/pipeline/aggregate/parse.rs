//! From the text of a call to an aggregate that is bound to a schema.

use super::{Aggregate, AggregateFunction, AggregateScope, Separators};
use crate::pipeline::{
    expression::{self, Expression, ExpressionError, Syntax},
    nearest,
    row::Datum,
    schema::Schema,
};

pub(crate) const FUNCTIONS: [&str; 10] =
    ["count", "sum", "avg", "min", "max", "first", "last", "median", "list", "string_agg"];
/// Those of functions that see all records of a window.
const WINDOW_FUNCTIONS: [&str; 3] = ["firings", "key_firings", "watermark"];

impl Aggregate {
    /// Parses a call and binds its argument to the fields of a schema.
    ///
    /// # Errors
    /// If the text is not one call of an aggregate function, or its argument does not fit.
    pub fn parse(text: &str, schema: &Schema) -> Result<Self, ExpressionError> {
        Self::parse_in(text, schema, AggregateScope::Incremental)
    }

    /// As [`Aggregate::parse`], with the functions that a place has.
    ///
    /// # Errors
    /// As for [`Aggregate::parse`].
    pub fn parse_in(text: &str, schema: &Schema, scope: AggregateScope) -> Result<Self, ExpressionError> {
        let node = expression::parse(text)?;
        let Syntax::Call { function: name, function_span, arguments } = &node.syntax else {
            let error = ExpressionError::new(text, node.span, "an aggregate is a single call, such as sum(x)");
            return Err(error
                .with_hint(format!("functions: {}; compute with the result in a later `map`", FUNCTIONS.join(", "))));
        };
        let Some(function) = function_of(name) else {
            let error = ExpressionError::new(text, function_span.clone(), format!("unknown aggregate `{name}`"));
            let of_windows = if scope == AggregateScope::FullWindow { &WINDOW_FUNCTIONS[..] } else { &[] };
            let known = FUNCTIONS.iter().chain(of_windows).copied();
            return Err(error.with_hint(nearest::hint(name, "aggregates", known)));
        };
        if function.sees_window() && scope == AggregateScope::Incremental {
            let message = format!("`{name}` needs a function that sees the window");
            return Err(ExpressionError::new(text, function_span.clone(), message)
                .with_hint("give the window `process` in place of `aggregate`"));
        }
        let (argument, separators) = match (function, arguments.as_slice()) {
            (AggregateFunction::Count, []) => (None, &[][..]),
            (_, []) if function.sees_window() => (None, &[][..]),
            (AggregateFunction::StringAgg, [argument, separators @ ..]) if matches!(separators.len(), 1 | 2) => {
                (Some(argument), separators)
            }
            (AggregateFunction::StringAgg, arguments) => {
                let message = format!("`string_agg` takes a value and 1 or 2 separators, found {}", arguments.len());
                return Err(ExpressionError::new(text, node.span.clone(), message));
            }
            (_, [argument]) if !function.sees_window() => (Some(argument), &[][..]),
            (_, arguments) => {
                let expected = usize::from(!function.sees_window());
                let message = format!("`{name}` takes {expected} argument, found {}", arguments.len());
                return Err(ExpressionError::new(text, node.span.clone(), message));
            }
        };
        let separators = separators_of(text, separators)?;
        let argument_node = argument;
        let argument = argument.map(|argument| Expression::bind(text, argument, schema)).transpose()?;
        if let (AggregateFunction::Sum | AggregateFunction::Average, Some(argument), Some(node)) =
            (function, &argument, argument_node)
            && !argument.field_type().is_number()
        {
            let message = format!("`{name}` needs a number, this is {}", argument.field_type());
            return Err(ExpressionError::new(text, node.span.clone(), message));
        }
        Ok(Self { function, argument, separators })
    }
}

fn function_of(name: &str) -> Option<AggregateFunction> {
    Some(match name {
        "count" => AggregateFunction::Count,
        "sum" => AggregateFunction::Sum,
        "avg" => AggregateFunction::Average,
        "min" => AggregateFunction::Min,
        "max" => AggregateFunction::Max,
        "first" => AggregateFunction::First,
        "last" => AggregateFunction::Last,
        "median" => AggregateFunction::Median,
        "list" => AggregateFunction::List,
        "string_agg" => AggregateFunction::StringAgg,
        "firings" => AggregateFunction::Firings,
        "key_firings" => AggregateFunction::KeyFirings,
        "watermark" => AggregateFunction::Watermark,
        _ => return None,
    })
}

/// The separators are texts; without one of its own, merged folds are joined like values.
fn separators_of(text: &str, nodes: &[expression::SyntaxNode]) -> Result<Separators, ExpressionError> {
    let literal = |node: &expression::SyntaxNode| match &node.syntax {
        Syntax::Literal(Datum::Text(text)) => Ok(text.clone()),
        _ => Err(ExpressionError::new(text, node.span.clone(), "a separator is a text in single quotes")),
    };
    Ok(match nodes {
        [] => Separators::default(),
        [values] => Separators { values: literal(values)?, merged: literal(values)? },
        [values, merged, ..] => Separators { values: literal(values)?, merged: literal(merged)? },
    })
}
