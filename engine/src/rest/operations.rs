//! Operations that take longer than a request: each has an id by which its end is asked for (Flink
//! `AbstractAsynchronousOperationHandlers`, `CompletedOperationCache`).

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

use crate::error::Error;

/// How many operations are remembered.
const REMEMBERED: usize = 100;

/// How far an operation is.
#[derive(Debug, Clone)]
enum Progress {
    InProgress,
    /// What became of it, and whether anybody has asked.
    Ended {
        outcome: Value,
        told: bool,
    },
}

/// The operations of this process.
#[derive(Debug, Default)]
pub(super) struct Operations(Mutex<BTreeMap<String, (u64, Progress)>>);

impl Operations {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, (u64, Progress)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation begins; false if there is one of this id.
    pub fn begin(&self, id: &str) -> bool {
        let mut all = self.all();
        if all.contains_key(id) {
            return false;
        }
        let number = all.values().map(|(number, _)| number + 1).max().unwrap_or(0);
        all.insert(id.to_owned(), (number, Progress::InProgress));
        if all.len() > REMEMBERED {
            let ended = all.iter().filter(|(_, (_, progress))| matches!(progress, Progress::Ended { .. }));
            if let Some(oldest) = ended.min_by_key(|(_, (number, _))| *number).map(|(id, _)| id.clone()) {
                all.remove(&oldest);
            }
        }
        true
    }

    /// It has ended: with what it led to, or with a reason.
    pub fn end(&self, id: &str, outcome: Result<Value, Error>) {
        let outcome = outcome.unwrap_or_else(|error| json!({ "failure-cause": failure_cause(&error) }));
        if let Some((_, progress)) = self.all().get_mut(id) {
            *progress = Progress::Ended { outcome, told: false };
        }
    }

    /// What is said of it; nothing if there is none of this id.
    pub fn tell(&self, id: &str) -> Option<Value> {
        match &mut self.all().get_mut(id)?.1 {
            Progress::InProgress => Some(json!({ "status": { "id": "IN_PROGRESS" } })),
            Progress::Ended { outcome, told } => {
                *told = true;
                Some(json!({ "status": { "id": "COMPLETED" }, "operation": outcome }))
            }
        }
    }

    /// Whether somebody may still come for an answer.
    pub fn any_untold(&self) -> bool {
        let untold = |progress: &Progress| match progress {
            Progress::InProgress => true,
            Progress::Ended { told, .. } => !told,
        };
        self.all().values().any(|(_, progress)| untold(progress))
    }
}

/// As Flink writes an exception (`SerializedThrowable`).
fn failure_cause(error: &Error) -> Value {
    json!({
        "class": "tidegate.Error",
        "kind": error.kind(),
        "stack-trace": error.to_string(),
        "serialized-throwable": "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_operation_is_told_until_nobody_waits_for_it() {
        let operations = Operations::default();
        assert!(operations.begin("a") && !operations.begin("a"));
        assert_eq!(operations.tell("a"), Some(json!({ "status": { "id": "IN_PROGRESS" } })));
        operations.end("a", Ok(json!({ "location": "/x" })));
        assert!(operations.any_untold());
        let told = json!({ "status": { "id": "COMPLETED" }, "operation": { "location": "/x" } });
        assert_eq!((operations.tell("a"), operations.any_untold()), (Some(told.clone()), false));
        assert_eq!((operations.tell("a"), operations.tell("b")), (Some(told), None));
    }

    #[test]
    fn a_failed_operation_says_why() {
        let operations = Operations::default();
        operations.begin("a");
        operations.end("a", Err(Error::new(ErrorKind::Unavailable, "no disk")));
        let told = operations.tell("a").expect("it was begun");
        let text = told["operation"]["failure-cause"]["stack-trace"].as_str().expect("a text");
        assert!(text.contains("no disk"), "{text}");
    }

    #[test]
    fn of_many_operations_the_oldest_that_have_ended_are_forgotten() {
        let operations = Operations::default();
        for id in 0..REMEMBERED {
            operations.begin(&id.to_string());
            if id > 0 {
                operations.end(&id.to_string(), Ok(json!({})));
            }
        }
        assert!(operations.tell("0").is_some() && operations.tell("1").is_some());
        operations.begin("more");
        assert!(operations.tell("0").is_some() && operations.tell("1").is_none());
    }
}
