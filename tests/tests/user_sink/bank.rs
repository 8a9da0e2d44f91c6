//! The outside world of the tutorial: a bank that keeps what it was told, whatever happens to those who told it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use serde::{Deserialize, Serialize};

/// What the job sends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Payment {
    /// Its number.
    pub id: u64,
    /// Its amount.
    pub cents: u64,
}

/// A bank with a staging area under keys, and an account.
#[derive(Default)]
pub struct Bank(Mutex<Books>);

#[derive(Default)]
struct Books {
    staged: BTreeMap<u64, Staged>,
    settled: BTreeSet<u64>,
    posted: Vec<Payment>,
}

struct Staged {
    subtask_index: u32,
    payments: Vec<Payment>,
}

impl Bank {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    /// Keeps payments of a subtask under a key. Nobody sees them yet.
    pub fn stage(&self, key: u64, subtask_index: u32, payments: Vec<Payment>) {
        self.books().staged.insert(key, Staged { subtask_index, payments });
    }

    /// Posts what is staged under a key. A key is settled once: later calls with it change nothing.
    pub fn settle(&self, key: u64) {
        let mut books = self.books();
        if books.settled.insert(key)
            && let Some(staged) = books.staged.remove(&key)
        {
            books.posted.extend(staged.payments);
        }
    }

    /// Posts payments at once; the same call again posts them again.
    pub fn post(&self, payments: &[Payment]) {
        self.books().posted.extend_from_slice(payments);
    }

    /// Forgets what is staged under a key.
    pub fn discard(&self, key: u64) {
        self.books().staged.remove(&key);
    }

    /// Forgets everything that a subtask has staged.
    pub fn discard_all_of(&self, subtask_index: u32) {
        self.books().staged.retain(|_, staged| staged.subtask_index != subtask_index);
    }

    /// What is on the account.
    pub fn posted(&self) -> Vec<Payment> {
        self.books().posted.clone()
    }

    /// Payments that are staged and neither posted nor discarded.
    pub fn staged(&self) -> usize {
        self.books().staged.values().map(|staged| staged.payments.len()).sum()
    }
}
