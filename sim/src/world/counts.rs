//! How often each kind of fault really affected something.

use std::collections::BTreeMap;

/// Counters by name. A name appears when it is first counted.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    pub(crate) fn add(&mut self, name: &'static str, amount: u64) {
        if amount > 0 {
            *self.0.entry(name).or_default() += amount;
        }
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        self.0.clone()
    }
}
