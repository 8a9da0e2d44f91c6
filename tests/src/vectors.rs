//! Running conformance vectors: one test per file, which names every vector that fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde_json::Value;

/// Vectors that do not apply, each with the reason.
pub type DenyList<'a> = &'a [(&'a str, &'a str)];

/// Runs every vector of a file.
///
/// # Panics
/// With the ids and messages of all vectors that failed; if the file holds another number of vectors than it says; and
/// if the deny-list names one that is not there, or one that passes.
#[track_caller]
pub fn run(file: &str, denied: DenyList<'_>, check: impl Fn(&Value) -> Result<(), String>) {
    let file: Value = serde_json::from_str(file).expect("a vector file is JSON");
    let vectors = file["vectors"].as_array().expect("a vector file has vectors");
    assert_eq!(Some(vectors.len() as u64), file["count"].as_u64(), "the file is whole");

    let mut failed = BTreeMap::new();
    for vector in vectors {
        let outcome = catch_unwind(AssertUnwindSafe(|| check(vector))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned())
        });
        if let Err(message) = outcome {
            failed.insert(text(vector, "id"), message);
        }
    }
    let denied: BTreeSet<&str> = denied.iter().map(|(id, _reason)| *id).collect();
    let unexpected: Vec<_> = failed.iter().filter(|(id, _)| !denied.contains(**id)).collect();
    assert!(unexpected.is_empty(), "{} of {} vectors fail: {unexpected:#?}", unexpected.len(), vectors.len());
    let needless: Vec<_> = denied.iter().filter(|id| !failed.contains_key(**id)).collect();
    assert!(needless.is_empty(), "on the deny-list for no reason: {needless:?}");
}

/// Compares what happened with what a step expects.
///
/// # Errors
/// Both, with the step, if they differ.
pub fn expect<T: PartialEq + std::fmt::Debug>(step: &Value, actual: &T, expected: &T) -> Result<(), String> {
    if actual == expected {
        return Ok(());
    }
    Err(format!("at {step}: got {actual:?}, expected {expected:?}"))
}

/// Refuses fields that a runner does not know, other than those that only describe: what is not read is not tested.
///
/// # Errors
/// With the first such field.
pub fn known(value: &Value, fields: &[&str]) -> Result<(), String> {
    let known = |name: &str| fields.contains(&name) || ["id", "origin", "note"].contains(&name);
    let unknown = value.as_object().into_iter().flatten().find(|(name, _)| !known(name));
    unknown.map_or(Ok(()), |(name, _)| Err(format!("the field {name} means nothing to this runner: {value}")))
}

/// The text under a key.
#[track_caller]
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is text in {value}"))
}

/// The number under a key.
#[track_caller]
pub fn number(value: &Value, key: &str) -> i64 {
    value[key].as_i64().unwrap_or_else(|| panic!("{key} is a number in {value}"))
}

/// The list under a key; empty if there is none.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// The numbers under a key; empty if there are none.
pub fn numbers(value: &Value, key: &str) -> Vec<i64> {
    list(value, key).iter().map(|item| item.as_i64().expect("a list of numbers")).collect()
}

/// The texts under a key; empty if there are none.
pub fn words<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    list(value, key).iter().map(|item| item.as_str().expect("a list of texts")).collect()
}

/// The fraction under a key.
#[track_caller]
pub fn fraction(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is a number in {value}"))
}
