//! The outside world of the tutorial: a bank that keeps what it was told, whatever happens to those who told it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use serde::{Deserialize, Serialize};
use tidegate::{Error, ErrorKind, Result, id::Attempt};

/// What the job sends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Payment {
    /// Its number.
    pub id: u64,
    /// Its amount.
    pub cents: u64,
}

/// Who stages: one parallel instance of a sink, in one attempt of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Teller {
    /// Which parallel instance.
    pub subtask_index: u32,
    /// Which attempt of the job.
    pub attempt: Attempt,
}

/// What the bank does about a teller that another one has replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fencing {
    /// It is turned away.
    #[default]
    On,
    /// It is served.
    Off,
}

/// A bank with a staging area under keys, and an account.
#[derive(Default)]
pub struct Bank {
    fencing: Fencing,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// The newest attempt of each subtask.
    tellers: BTreeMap<u32, Attempt>,
    staged: BTreeMap<u64, Staged>,
    settled: BTreeSet<u64>,
    posted: Vec<Payment>,
}

struct Staged {
    subtask_index: u32,
    payments: Vec<Payment>,
}

impl Bank {
    /// A bank that serves everybody.
    pub fn without_fencing() -> Self {
        Self { fencing: Fencing::Off, ..Self::default() }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// A teller starts its work: earlier attempts of the same subtask are over.
    pub fn sign_on(&self, teller: Teller) {
        let mut books = self.books();
        let newest = books.tellers.entry(teller.subtask_index).or_insert(teller.attempt);
        *newest = teller.attempt.max(*newest);
    }

    /// Keeps payments under a key. Nobody sees them yet.
    ///
    /// # Errors
    /// If a newer attempt has replaced the teller.
    pub fn stage(&self, teller: Teller, key: u64, payments: Vec<Payment>) -> Result<()> {
        let mut books = self.books();
        let Teller { subtask_index, attempt } = teller;
        if self.fencing == Fencing::On && books.tellers.get(&subtask_index).is_some_and(|newest| *newest > attempt) {
            return Err(Error::new(ErrorKind::Fenced, "the bank serves a newer attempt of this sink"));
        }
        books.staged.insert(key, Staged { subtask_index, payments });
        Ok(())
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
    pub fn staged(&self) -> Vec<Payment> {
        self.books().staged.values().flat_map(|staged| staged.payments.clone()).collect()
    }
}
