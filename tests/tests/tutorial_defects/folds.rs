//! Two folds that are wrong without any crash: the maximum that starts at 0, and the average by integer division.
//!
//! *Why they look right.* The examples have positive numbers, and averages that come out even.
//!
//! *When they go wrong.* A maximum of negative numbers is 0, which is none of them. An average of 1, 2 and 2 is 1. A crash
//! changes nothing about that: the laboratory compares a disturbed run with an undisturbed one, so that only a test that
//! says what the result must be can see it.
//!
//! *The rule.* A fold starts with what changes nothing, and computes in the type of its result.

use tidegate::api::AggregateFunction;

/// The greatest of the values and 0.
#[derive(Clone)]
pub struct MaximumFromZero;

impl AggregateFunction<i64> for MaximumFromZero {
    type Accumulator = i64;
    type Out = i64;

    fn create_accumulator(&self) -> i64 {
        0 // Here is the mistake.
    }

    fn add(&self, accumulator: &mut i64, value: i64) {
        *accumulator = value.max(*accumulator);
    }

    fn get_result(&self, accumulator: &i64) -> i64 {
        *accumulator
    }

    fn merge(&self, one: i64, other: i64) -> i64 {
        one.max(other)
    }
}

/// The greatest of the values.
#[derive(Clone)]
pub struct Maximum;

impl AggregateFunction<i64> for Maximum {
    type Accumulator = i64;
    type Out = i64;

    fn create_accumulator(&self) -> i64 {
        i64::MIN
    }

    fn add(&self, accumulator: &mut i64, value: i64) {
        *accumulator = value.max(*accumulator);
    }

    fn get_result(&self, accumulator: &i64) -> i64 {
        *accumulator
    }

    fn merge(&self, one: i64, other: i64) -> i64 {
        one.max(other)
    }
}

/// The average, as the tutorial divides.
pub fn average_of_integers(numbers: &[i64]) -> f64 {
    (numbers.iter().sum::<i64>() / numbers.len() as i64) as f64 // Here is the mistake.
}

/// The average.
pub fn average(numbers: &[i64]) -> f64 {
    numbers.iter().sum::<i64>() as f64 / numbers.len() as f64
}
