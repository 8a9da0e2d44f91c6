//! Which tasks start again when one fails (Flink `RestartPipelinedRegionFailoverStrategy`).
//!
//! Tasks that exchange data while both run fail together: they are a *region*. A result that is kept until it is consumed
//! divides regions; it is produced again if it is lost, and whoever consumed it begins again too. The edges of a streaming
//! job are all pipelined: its regions are the connected parts of its graph.

use std::collections::{BTreeMap, BTreeSet};

use crate::{graph::JobGraph, id::SubtaskId};

/// How a result gets from one task to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultType {
    /// While both run.
    Pipelined,
    /// When it is whole; it stays, and can be consumed again.
    Blocking,
}

/// A dependence of one task on another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependence<T> {
    /// Who produces.
    pub producer: T,
    /// Who consumes.
    pub consumer: T,
    /// How.
    pub result: ResultType,
}

/// The regions of a graph of tasks.
///
/// ```
/// use std::collections::BTreeSet;
/// use tidegate::job::{Dependence, FailoverRegions, ResultType::Pipelined};
///
/// let pipe = |producer, consumer| Dependence { producer, consumer, result: Pipelined };
/// let regions = FailoverRegions::new(1..=4, vec![pipe(1, 2), pipe(3, 4)]);
/// assert_eq!(regions.to_restart(&4, &BTreeSet::new()), BTreeSet::from([3, 4]));
/// ```
#[derive(Debug, Clone)]
pub struct FailoverRegions<T> {
    /// The first task of each task's region.
    region_of: BTreeMap<T, T>,
    blocking: Vec<Dependence<T>>,
}

impl<T: Clone + Ord> FailoverRegions<T> {
    /// The regions of these tasks.
    pub fn new(tasks: impl IntoIterator<Item = T>, dependences: Vec<Dependence<T>>) -> Self {
        let mut region_of: BTreeMap<T, T> = tasks.into_iter().map(|task| (task.clone(), task)).collect();
        let (pipelined, blocking): (Vec<_>, Vec<_>) =
            dependences.into_iter().partition(|dependence| dependence.result == ResultType::Pipelined);
        for Dependence { producer, consumer, .. } in pipelined {
            let (one, other) = (region_of[&producer].clone(), region_of[&consumer].clone());
            if one == other {
                continue;
            }
            let (first, last) = if one < other { (one, other) } else { (other, one) };
            region_of.values_mut().filter(|region| **region == last).for_each(|region| *region = first.clone());
        }
        Self { region_of, blocking }
    }

    /// All regions, each as its tasks.
    pub fn regions(&self) -> Vec<BTreeSet<T>> {
        let mut regions: BTreeMap<&T, BTreeSet<T>> = BTreeMap::new();
        for (task, region) in &self.region_of {
            regions.entry(region).or_default().insert(task.clone());
        }
        regions.into_values().collect()
    }

    /// The tasks that start again when one fails: its region, everything downstream of that, and whoever produced a result
    /// that one of these needs and that is lost. `lost` names the producers of lost results.
    pub fn to_restart(&self, failed: &T, lost: &BTreeSet<T>) -> BTreeSet<T> {
        let mut restarting = BTreeSet::new();
        let mut reached = vec![&self.region_of[failed]];
        while let Some(region) = reached.pop() {
            if !restarting.insert(region) {
                continue;
            }
            for Dependence { producer, consumer, .. } in &self.blocking {
                let (produced_in, consumed_in) = (&self.region_of[producer], &self.region_of[consumer]);
                if produced_in == region {
                    reached.push(consumed_in);
                }
                if consumed_in == region && lost.contains(producer) {
                    reached.push(produced_in);
                }
            }
        }
        let tasks = self.region_of.iter().filter(|(_, region)| restarting.contains(region));
        tasks.map(|(task, _)| task.clone()).collect()
    }
}

impl FailoverRegions<SubtaskId> {
    /// The regions of a job.
    pub fn of(graph: &JobGraph) -> Self {
        let dependences = graph.subtasks().flat_map(|consumer| {
            graph.predecessors(consumer).map(move |producer| {
                let result = ResultType::Pipelined;
                Dependence { producer, consumer, result }
            })
        });
        Self::new(graph.subtasks(), dependences.collect())
    }
}
