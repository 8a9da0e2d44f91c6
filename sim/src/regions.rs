//! Which subtasks of a job fail together: those that exchange data, by whatever way. Worked out from the graph a second
//! time, apart from the engine, by flooding it from each subtask.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use tidegate::{graph::JobGraph, id::SubtaskId};

/// The regions of a job. A subtask goes by the numbers of its vertex and its own, `2#0`: names may be shared.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    of: BTreeMap<String, usize>,
    named: BTreeMap<String, BTreeSet<usize>>,
}

impl Regions {
    pub(crate) fn of(graph: &JobGraph) -> Self {
        let mut neighbours: BTreeMap<SubtaskId, BTreeSet<SubtaskId>> = BTreeMap::new();
        for receiver in graph.subtasks() {
            for channel in graph.input_channels(receiver) {
                let sender = graph.sender(channel);
                neighbours.entry(receiver).or_default().insert(sender);
                neighbours.entry(sender).or_default().insert(receiver);
            }
        }
        let mut this = Self::default();
        for (number, first) in graph.subtasks().enumerate() {
            let mut reached = vec![first];
            while let Some(subtask) = reached.pop() {
                if let Entry::Vacant(entry) = this.of.entry(subtask.to_string()) {
                    entry.insert(number);
                    this.named.entry(graph.subtask_name(subtask)).or_default().insert(number);
                    reached.extend(neighbours.get(&subtask).into_iter().flatten());
                }
            }
        }
        this
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.of.values().collect::<BTreeSet<_>>().len()
    }

    /// Whether a failure of a subtask of one name may restart one of the other. Of a subtask that is not in the graph nobody
    /// knows.
    pub(crate) fn share(&self, one: &str, other: &str) -> bool {
        match (self.named.get(one), self.named.get(other)) {
            (Some(one), Some(other)) => !one.is_disjoint(other),
            (None, _) | (_, None) => true,
        }
    }

    /// The number of a subtask's region; `None` if it is not in the graph.
    pub(crate) fn number(&self, subtask: &str) -> Option<usize> {
        self.of.get(subtask).copied()
    }

    /// All subtasks that fail together with these.
    pub(crate) fn with<'a>(&self, subtasks: impl Iterator<Item = &'a str>) -> BTreeSet<&str> {
        let regions: BTreeSet<usize> = subtasks.filter_map(|name| self.number(name)).collect();
        self.of.iter().filter(|(_, region)| regions.contains(region)).map(|(name, _)| name.as_str()).collect()
    }
}
