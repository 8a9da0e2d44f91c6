//! From a syntax tree to a typed one: fields become positions, types are checked, integers that meet floats are converted.

use std::ops::Range;

use super::{
    error::ExpressionError,
    parse::{Binary, Syntax, SyntaxNode},
};
use crate::pipeline::{
    nearest,
    row::Datum,
    schema::{FieldType, Nullability, Schema},
};

/// A typed tree: operands have the types that their operator works on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Typed {
    Literal(Datum),
    Field(usize),
    Not(Box<Typed>),
    And(Box<[Typed; 2]>),
    Or(Box<[Typed; 2]>),
    IsNull(Box<Typed>),
    IsNotNull(Box<Typed>),
    Compare(Comparison, Box<[Typed; 2]>),
    Arithmetic { operator: Arithmetic, operands: Box<[Typed; 2]>, position: usize },
    Negate { operand: Box<Typed>, position: usize },
    Absolute { operand: Box<Typed>, position: usize },
    Coalesce(Box<[Typed]>),
    NullIf(Box<[Typed; 2]>),
    Least(Box<[Typed]>),
    Greatest(Box<[Typed]>),
    Concat(Box<[Typed]>),
    ToText(Box<Typed>),
    ToInt { operand: Box<Typed>, position: usize },
    ToFloat { operand: Box<Typed>, position: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    FloorMod,
}

/// A typed tree with the type of its value.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) typed: Typed,
    pub(crate) field_type: FieldType,
    pub(crate) nullability: Nullability,
}

const FUNCTIONS: [&str; 10] =
    ["coalesce", "nullif", "min", "max", "abs", "floor_mod", "concat", "text", "int", "float"];

/// Binds a syntax tree to a schema.
pub(crate) fn check(text: &str, node: &SyntaxNode, schema: &Schema) -> Result<Checked, ExpressionError> {
    Checker { text, schema }.check(node)
}

struct Checker<'a> {
    text: &'a str,
    schema: &'a Schema,
}

type Result<T, E = ExpressionError> = std::result::Result<T, E>;

impl Checker<'_> {
    fn error(&self, span: &Range<usize>, message: impl Into<String>) -> ExpressionError {
        ExpressionError::new(self.text, span.clone(), message)
    }

    fn check(&self, node: &SyntaxNode) -> Result<Checked> {
        match &node.syntax {
            Syntax::Literal(value) => Ok(literal(value.clone())),
            Syntax::Field(name) => self.field(name, &node.span),
            Syntax::Not(operand) => {
                let operand = self.expect(operand, FieldType::Bool, "not")?;
                Ok(Checked { typed: Typed::Not(Box::new(operand.typed)), ..operand })
            }
            Syntax::Negate(operand) => {
                let checked = self.number(operand, "-")?;
                let typed = Typed::Negate { operand: Box::new(checked.typed), position: node.span.start };
                Ok(Checked { typed, ..checked })
            }
            Syntax::IsNull(operand) => Ok(truth(Typed::IsNull(Box::new(self.check(operand)?.typed)))),
            Syntax::IsNotNull(operand) => Ok(truth(Typed::IsNotNull(Box::new(self.check(operand)?.typed)))),
            Syntax::Binary { operator, left, right, operator_span } => {
                self.binary(*operator, left, right, operator_span)
            }
            Syntax::Call { function, function_span, arguments } => {
                self.call(function, function_span, arguments, &node.span)
            }
        }
    }

    fn field(&self, name: &str, span: &Range<usize>) -> Result<Checked> {
        let Some(index) = self.schema.index_of(name) else {
            return Err(self.error(span, format!("unknown field `{name}`")).with_hint(nearest::hint(
                name,
                "fields",
                self.schema.names(),
            )));
        };
        let field = &self.schema.fields[index];
        Ok(Checked { typed: Typed::Field(index), field_type: field.field_type, nullability: field.nullability })
    }

    fn expect(&self, node: &SyntaxNode, expected: FieldType, user: &str) -> Result<Checked> {
        let checked = self.check(node)?;
        if checked.field_type == expected {
            return Ok(checked);
        }
        let error = self.error(&node.span, format!("`{user}` needs {expected}, this is {}", checked.field_type));
        Err(if expected == FieldType::Text { error.with_hint("text(x) turns a value into text") } else { error })
    }

    fn number(&self, node: &SyntaxNode, user: &str) -> Result<Checked> {
        self.is_number(self.check(node)?, node, user)
    }

    fn is_number(&self, checked: Checked, node: &SyntaxNode, user: &str) -> Result<Checked> {
        if checked.field_type.is_number() {
            return Ok(checked);
        }
        Err(self.error(&node.span, format!("`{user}` needs a number, this is {}", checked.field_type)))
    }

    fn binary(
        &self,
        operator: Binary,
        left: &SyntaxNode,
        right: &SyntaxNode,
        operator_span: &Range<usize>,
    ) -> Result<Checked> {
        let user = &self.text[operator_span.clone()];
        let comparison = match operator {
            Binary::Or | Binary::And => return self.logic(operator, left, right, user),
            Binary::Add => return self.arithmetic(Arithmetic::Add, left, right, operator_span),
            Binary::Subtract => return self.arithmetic(Arithmetic::Subtract, left, right, operator_span),
            Binary::Multiply => return self.arithmetic(Arithmetic::Multiply, left, right, operator_span),
            Binary::Divide => return self.arithmetic(Arithmetic::Divide, left, right, operator_span),
            Binary::Remainder => return self.arithmetic(Arithmetic::Remainder, left, right, operator_span),
            Binary::Equal => Comparison::Equal,
            Binary::NotEqual => Comparison::NotEqual,
            Binary::Less => Comparison::Less,
            Binary::LessOrEqual => Comparison::LessOrEqual,
            Binary::Greater => Comparison::Greater,
            Binary::GreaterOrEqual => Comparison::GreaterOrEqual,
        };
        let (operands, _, nullability) = self.alike(self.check_all(&[left, right])?, user)?;
        let typed = Typed::Compare(comparison, pair(operands));
        Ok(Checked { typed, field_type: FieldType::Bool, nullability })
    }

    fn logic(&self, operator: Binary, left: &SyntaxNode, right: &SyntaxNode, user: &str) -> Result<Checked> {
        let left = self.expect(left, FieldType::Bool, user)?;
        let right = self.expect(right, FieldType::Bool, user)?;
        let nullability = left.nullability.or(right.nullability);
        let operands = Box::new([left.typed, right.typed]);
        let typed = if operator == Binary::Or { Typed::Or(operands) } else { Typed::And(operands) };
        Ok(Checked { typed, field_type: FieldType::Bool, nullability })
    }

    fn arithmetic(
        &self,
        operator: Arithmetic,
        left: &SyntaxNode,
        right: &SyntaxNode,
        operator_span: &Range<usize>,
    ) -> Result<Checked> {
        let user = &self.text[operator_span.clone()];
        let mut operands = Vec::with_capacity(2);
        for node in [left, right] {
            let operand = self.check(node)?;
            if operator == Arithmetic::Add && operand.field_type == FieldType::Text {
                let error = self.error(operator_span, "`+` adds numbers");
                return Err(error.with_hint("concat(a, b) joins text"));
            }
            operands.push((self.is_number(operand, node, user)?, node));
        }
        let (operands, field_type, nullability) = self.alike(operands, user)?;
        let typed = Typed::Arithmetic { operator, operands: pair(operands), position: operator_span.start };
        Ok(Checked { typed, field_type, nullability })
    }

    fn check_all<'n>(&self, nodes: &[&'n SyntaxNode]) -> Result<Vec<(Checked, &'n SyntaxNode)>> {
        nodes.iter().map(|node| Ok((self.check(node)?, *node))).collect()
    }

    /// Operands of one type; integers become floats if a float is among them. Nullable if any of them is.
    fn alike(&self, checked: Vec<(Checked, &SyntaxNode)>, user: &str) -> Result<(Vec<Typed>, FieldType, Nullability)> {
        let float = checked.iter().any(|(operand, _)| operand.field_type == FieldType::Float);
        let common = if float { FieldType::Float } else { checked[0].0.field_type };
        let mut nullability = Nullability::NotNull;
        let mut operands = Vec::with_capacity(checked.len());
        for (operand, node) in checked {
            nullability = nullability.or(operand.nullability);
            operands.push(if operand.field_type == common {
                operand.typed
            } else if common == FieldType::Float && operand.field_type == FieldType::Int {
                Typed::ToFloat { operand: Box::new(operand.typed), position: node.span.start }
            } else {
                let message = format!("`{user}` needs values of one type, found {common} and {}", operand.field_type);
                return Err(self.error(&node.span, message));
            });
        }
        Ok((operands, common, nullability))
    }

    fn call(
        &self,
        function: &str,
        function_span: &Range<usize>,
        arguments: &[SyntaxNode],
        span: &Range<usize>,
    ) -> Result<Checked> {
        let nodes: Vec<&SyntaxNode> = arguments.iter().collect();
        let position = function_span.start;
        match (function, nodes.as_slice()) {
            ("coalesce", [_, ..]) => {
                let checked = self.check_all(&nodes)?;
                let some = checked.iter().any(|(operand, _)| operand.nullability == Nullability::NotNull);
                let nullability = if some { Nullability::NotNull } else { Nullability::Nullable };
                let (operands, field_type, _) = self.alike(checked, function)?;
                Ok(Checked { typed: Typed::Coalesce(operands.into()), field_type, nullability })
            }
            ("nullif", [_, _]) => {
                let (operands, field_type, _) = self.alike(self.check_all(&nodes)?, function)?;
                let typed = Typed::NullIf(pair(operands));
                Ok(Checked { typed, field_type, nullability: Nullability::Nullable })
            }
            ("min" | "max", [_, _, ..]) => {
                let (operands, field_type, nullability) = self.alike(self.check_all(&nodes)?, function)?;
                let operands = operands.into();
                let typed = if function == "min" { Typed::Least(operands) } else { Typed::Greatest(operands) };
                Ok(Checked { typed, field_type, nullability })
            }
            ("min" | "max", [_]) => Err(self
                .error(span, format!("`{function}` takes at least 2 arguments, found 1"))
                .with_hint(format!("to fold many records, use `{function}(x)` in `aggregate`"))),
            ("abs", [operand]) => {
                let checked = self.number(operand, function)?;
                Ok(Checked { typed: Typed::Absolute { operand: Box::new(checked.typed), position }, ..checked })
            }
            ("floor_mod", [left, right]) => {
                let left = self.expect(left, FieldType::Int, function)?;
                let right = self.expect(right, FieldType::Int, function)?;
                let operands = Box::new([left.typed, right.typed]);
                let typed = Typed::Arithmetic { operator: Arithmetic::FloorMod, operands, position };
                Ok(Checked { typed, field_type: FieldType::Int, nullability: left.nullability.or(right.nullability) })
            }
            ("concat", [_, ..]) => {
                let mut parts = Vec::with_capacity(nodes.len());
                let mut nullability = Nullability::NotNull;
                for node in &nodes {
                    let part = self.expect(node, FieldType::Text, function)?;
                    nullability = nullability.or(part.nullability);
                    parts.push(part.typed);
                }
                Ok(Checked { typed: Typed::Concat(parts.into()), field_type: FieldType::Text, nullability })
            }
            ("text" | "int" | "float", [operand]) => self.conversion(function, operand, position),
            _ if FUNCTIONS.contains(&function) => Err(self.wrong_count(function, arguments.len(), span)),
            _ => Err(self.unknown_function(function, function_span)),
        }
    }

    fn conversion(&self, function: &str, node: &SyntaxNode, position: usize) -> Result<Checked> {
        let checked = self.check(node)?;
        if function != "text" && checked.field_type == FieldType::Bool {
            return Err(self.error(&node.span, format!("`{function}` needs a number or text, this is bool")));
        }
        let operand = Box::new(checked.typed);
        let (typed, field_type) = match function {
            "text" => (Typed::ToText(operand), FieldType::Text),
            "int" => (Typed::ToInt { operand, position }, FieldType::Int),
            _ => (Typed::ToFloat { operand, position }, FieldType::Float),
        };
        Ok(Checked { typed, field_type, nullability: checked.nullability })
    }

    fn wrong_count(&self, function: &str, found: usize, span: &Range<usize>) -> ExpressionError {
        let expected = match function {
            "coalesce" | "concat" => "at least 1 argument",
            "min" | "max" => "at least 2 arguments",
            "floor_mod" | "nullif" => "2 arguments",
            _ => "1 argument",
        };
        self.error(span, format!("`{function}` takes {expected}, found {found}"))
    }

    fn unknown_function(&self, function: &str, span: &Range<usize>) -> ExpressionError {
        let error = self.error(span, format!("unknown function `{function}`"));
        if crate::pipeline::aggregate::FUNCTIONS.contains(&function) {
            return error.with_hint(format!("`{function}` folds many records: it stands alone in `aggregate`"));
        }
        error.with_hint(nearest::hint(function, "functions", FUNCTIONS))
    }
}

fn literal(value: Datum) -> Checked {
    let field_type = match &value {
        Datum::Bool(_) => FieldType::Bool,
        Datum::Int(_) => FieldType::Int,
        Datum::Float(_) => FieldType::Float,
        Datum::Text(_) => FieldType::Text,
        Datum::Null => unreachable!("the parser makes no null literal"),
    };
    Checked { typed: Typed::Literal(value), field_type, nullability: Nullability::NotNull }
}

fn truth(typed: Typed) -> Checked {
    Checked { typed, field_type: FieldType::Bool, nullability: Nullability::NotNull }
}

fn pair(operands: Vec<Typed>) -> Box<[Typed; 2]> {
    operands.into_boxed_slice().try_into().expect("a binary operator has two operands")
}
