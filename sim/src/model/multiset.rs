//! Multisets of lines: what two outputs are compared as.

use std::collections::BTreeMap;

/// Lines with the number of times that each is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Multiset(BTreeMap<String, u64>);

impl Multiset {
    /// Puts in a line.
    pub fn insert(&mut self, line: impl Into<String>) {
        *self.0.entry(line.into()).or_default() += 1;
    }

    /// How often a line is there.
    pub fn count(&self, line: &str) -> u64 {
        self.0.get(line).copied().unwrap_or(0)
    }

    /// Number of lines, each counted as often as it is there.
    pub fn len(&self) -> u64 {
        self.0.values().sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Different lines with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(line, count)| (line.as_str(), *count))
    }

    /// What this has more of than the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let more = |(line, count): (&String, &u64)| {
            let rest = count.saturating_sub(other.count(line));
            (rest > 0).then(|| (line.clone(), rest))
        };
        Self(self.0.iter().filter_map(more).collect())
    }
}

impl<L: Into<String>> FromIterator<L> for Multiset {
    fn from_iter<I: IntoIterator<Item = L>>(lines: I) -> Self {
        let mut multiset = Self::default();
        for line in lines {
            multiset.insert(line);
        }
        multiset
    }
}
