//! The value of a typed tree for a row.

use super::{
    check::{Arithmetic, Comparison, Typed},
    error::ArithmeticProblem,
};
use crate::pipeline::row::{Datum, Row};

/// What went wrong, and at which byte of the text.
pub(crate) struct Failure {
    pub(crate) problem: ArithmeticProblem,
    pub(crate) position: usize,
}

type Result<T> = std::result::Result<T, Failure>;

pub(crate) fn evaluate(node: &Typed, row: &Row) -> Result<Datum> {
    Ok(match node {
        Typed::Literal(value) => value.clone(),
        Typed::Field(index) => row.get(*index).clone(),
        Typed::Not(operand) => match evaluate(operand, row)? {
            Datum::Bool(value) => Datum::Bool(!value),
            other => other,
        },
        Typed::And(operands) => logic(operands, row, false)?,
        Typed::Or(operands) => logic(operands, row, true)?,
        Typed::IsNull(operand) => Datum::Bool(evaluate(operand, row)?.is_null()),
        Typed::IsNotNull(operand) => Datum::Bool(!evaluate(operand, row)?.is_null()),
        Typed::Compare(comparison, operands) => compare(*comparison, operands, row)?,
        Typed::Arithmetic { operator, operands, position } => {
            let [left, right] = operands.as_ref();
            let (left, right) = (evaluate(left, row)?, evaluate(right, row)?);
            arithmetic(*operator, &left, &right).map_err(at(*position))?
        }
        Typed::Negate { operand, position } => {
            arithmetic_on_one(evaluate(operand, row)?, i64::checked_neg, |number| -number).map_err(at(*position))?
        }
        Typed::Absolute { operand, position } => {
            arithmetic_on_one(evaluate(operand, row)?, i64::checked_abs, f64::abs).map_err(at(*position))?
        }
        Typed::Coalesce(operands) => coalesce(operands, row)?,
        Typed::NullIf(operands) => {
            let (value, null) = (evaluate(&operands[0], row)?, evaluate(&operands[1], row)?);
            if value == null { Datum::Null } else { value }
        }
        Typed::Least(operands) => extreme(operands, row, |next, best| next < best)?,
        Typed::Greatest(operands) => extreme(operands, row, |next, best| next > best)?,
        Typed::Concat(operands) => concat(operands, row)?,
        Typed::ToText(operand) => to_text(evaluate(operand, row)?),
        Typed::ToInt { operand, position } => to_int(&evaluate(operand, row)?).map_err(at(*position))?,
        Typed::ToFloat { operand, position } => to_float(&evaluate(operand, row)?).map_err(at(*position))?,
    })
}

fn at(position: usize) -> impl Fn(ArithmeticProblem) -> Failure {
    move |problem| Failure { problem, position }
}

/// Three-valued: `decisive` on either side decides; otherwise null on either side makes null.
fn logic(operands: &[Typed; 2], row: &Row, decisive: bool) -> Result<Datum> {
    let left = evaluate(&operands[0], row)?;
    if left == Datum::Bool(decisive) {
        return Ok(left);
    }
    let right = evaluate(&operands[1], row)?;
    Ok(if right == Datum::Bool(decisive) || right.is_null() { right } else { left })
}

fn compare(comparison: Comparison, operands: &[Typed; 2], row: &Row) -> Result<Datum> {
    let (left, right) = (evaluate(&operands[0], row)?, evaluate(&operands[1], row)?);
    if left.is_null() || right.is_null() {
        return Ok(Datum::Null);
    }
    Ok(Datum::Bool(match comparison {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
    }))
}

fn arithmetic(operator: Arithmetic, left: &Datum, right: &Datum) -> std::result::Result<Datum, ArithmeticProblem> {
    match (left, right) {
        (Datum::Int(left), Datum::Int(right)) => integer_arithmetic(operator, *left, *right).map(Datum::Int),
        (Datum::Float(left), Datum::Float(right)) => {
            let (left, right) = (left.get(), right.get());
            Ok(Datum::float(match operator {
                Arithmetic::Add => left + right,
                Arithmetic::Subtract => left - right,
                Arithmetic::Multiply => left * right,
                Arithmetic::Divide => left / right,
                Arithmetic::Remainder => left % right,
                Arithmetic::FloorMod => left.rem_euclid(right),
            }))
        }
        _ => Ok(Datum::Null),
    }
}

fn integer_arithmetic(operator: Arithmetic, left: i64, right: i64) -> std::result::Result<i64, ArithmeticProblem> {
    let divides = matches!(operator, Arithmetic::Divide | Arithmetic::Remainder | Arithmetic::FloorMod);
    if divides && right == 0 {
        return Err(ArithmeticProblem::DivisionByZero);
    }
    let result = match operator {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Subtract => left.checked_sub(right),
        Arithmetic::Multiply => left.checked_mul(right),
        Arithmetic::Divide => left.checked_div(right),
        // The one overflow of the machine's instruction, MIN by -1, has the mathematical result 0.
        Arithmetic::Remainder => Some(left.wrapping_rem(right)),
        Arithmetic::FloorMod => {
            let remainder = left.wrapping_rem(right);
            Some(if remainder != 0 && (remainder < 0) != (right < 0) { remainder + right } else { remainder })
        }
    };
    result.ok_or(ArithmeticProblem::Overflow)
}

fn arithmetic_on_one(
    operand: Datum,
    integer: fn(i64) -> Option<i64>,
    float: fn(f64) -> f64,
) -> std::result::Result<Datum, ArithmeticProblem> {
    match operand {
        Datum::Int(number) => integer(number).map(Datum::Int).ok_or(ArithmeticProblem::Overflow),
        Datum::Float(number) => Ok(Datum::float(float(number.get()))),
        other => Ok(other),
    }
}

fn coalesce(operands: &[Typed], row: &Row) -> Result<Datum> {
    for operand in operands {
        let value = evaluate(operand, row)?;
        if !value.is_null() {
            return Ok(value);
        }
    }
    Ok(Datum::Null)
}

fn extreme(operands: &[Typed], row: &Row, better: fn(&Datum, &Datum) -> bool) -> Result<Datum> {
    let mut best: Option<Datum> = None;
    for operand in operands {
        let value = evaluate(operand, row)?;
        if value.is_null() {
            return Ok(value);
        }
        if best.as_ref().is_none_or(|best| better(&value, best)) {
            best = Some(value);
        }
    }
    Ok(best.unwrap_or_default())
}

fn concat(operands: &[Typed], row: &Row) -> Result<Datum> {
    let mut text = String::new();
    for operand in operands {
        match evaluate(operand, row)? {
            Datum::Text(part) => text.push_str(&part),
            other => return Ok(other),
        }
    }
    Ok(Datum::text(text))
}

fn to_text(value: Datum) -> Datum {
    match value {
        Datum::Null | Datum::Text(_) => value,
        Datum::Bool(_) | Datum::Int(_) | Datum::Float(_) => Datum::text(value.to_string()),
    }
}

fn to_int(value: &Datum) -> std::result::Result<Datum, ArithmeticProblem> {
    match value {
        Datum::Float(float) => {
            // 2^63 is a float, the largest i64 is not: the upper bound is exclusive.
            let number = float.get().trunc();
            if number.is_nan() {
                Err(ArithmeticProblem::NotANumber)
            } else if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
                Ok(Datum::Int(number as i64))
            } else {
                Err(ArithmeticProblem::Overflow)
            }
        }
        Datum::Text(text) => text.trim().parse().map(Datum::Int).map_err(|_| ArithmeticProblem::NotANumber),
        Datum::Null | Datum::Bool(_) | Datum::Int(_) => Ok(value.clone()),
    }
}

fn to_float(value: &Datum) -> std::result::Result<Datum, ArithmeticProblem> {
    match value {
        Datum::Int(number) => Ok(Datum::float(*number as f64)),
        Datum::Text(text) => text.trim().parse().map(Datum::float).map_err(|_| ArithmeticProblem::NotANumber),
        Datum::Null | Datum::Bool(_) | Datum::Float(_) => Ok(value.clone()),
    }
}
