//! What can be taken from a plan, one thing at a time.

use tidegate::{
    checkpoint::SavepointFormat,
    config::{ClaimMode, JobConfig},
};

use crate::scenario::Plan;

/// A number of things in a plan.
pub(super) struct Count {
    pub name: String,
    /// The least number that makes sense.
    pub least: u64,
    get: Box<Get>,
    set: Box<Set>,
}

type Get = dyn Fn(&Plan) -> u64;
type Set = dyn Fn(&mut Plan, u64);

impl Count {
    fn new(
        name: impl Into<String>,
        least: u64,
        get: impl Fn(&Plan) -> u64 + 'static,
        set: impl Fn(&mut Plan, u64) + 'static,
    ) -> Self {
        Self { name: name.into(), least, get: Box::new(get), set: Box::new(set) }
    }

    pub(super) fn of(&self, plan: &Plan) -> u64 {
        (self.get)(plan)
    }

    pub(super) fn with(&self, plan: &Plan, number: u64) -> Plan {
        let mut plan = plan.clone();
        (self.set)(&mut plan, number);
        plan
    }
}

/// The numbers of a plan. Of a generated pipeline, records and keys stand in its script.
pub(super) fn counts(plan: &Plan) -> Vec<Count> {
    let mut counts = Vec::new();
    if plan.workload.generated.is_none() {
        counts.push(Count::new("records", 2, |plan| plan.workload.records, |plan, n| plan.workload.records = n));
        counts.push(Count::new("seconds", 1, |plan| plan.workload.seconds, |plan, n| plan.workload.seconds = n));
        counts.push(Count::new("keys", 1, |plan| plan.workload.keys, |plan, n| plan.workload.keys = n));
    }
    counts.push(Count::new(
        "parallelism",
        1,
        |plan| plan.workload.parallelism.into(),
        |plan, n| plan.workload.parallelism = n as u32,
    ));
    counts.push(Count::new(
        "task managers",
        1,
        |plan| plan.workload.task_managers.into(),
        |plan, n| plan.workload.task_managers = n as u32,
    ));
    for index in 0..plan.faults.len() {
        counts.push(Count::new(
            format!("occurrence of fault {}", index + 1),
            1,
            move |plan| plan.faults[index].at.occurrence.into(),
            move |plan, n| plan.faults[index].at.occurrence = n as u32,
        ));
    }
    counts
}

/// How long a fault lasts if it does not matter.
const SHORT_MS: u64 = 500;

/// Every single thing that can be taken from a plan, by its name, with what is left.
pub(super) fn cuts(plan: &Plan) -> Vec<(String, Plan)> {
    let mut cuts = Vec::new();
    for (index, fault) in plan.faults.iter().enumerate() {
        let mut without = plan.clone();
        without.faults.remove(index);
        cuts.push((format!("without {fault}"), without));
    }
    for count in counts(plan) {
        let now = count.of(plan);
        if now > count.least {
            cuts.push((format!("{} {now} → {}", count.name, now - 1), count.with(plan, now - 1)));
        }
    }
    for (name, simpler) in plan.workload.generated.iter().flat_map(|generated| generated.simpler()) {
        let mut candidate = plan.clone();
        candidate.workload.generated = Some(Box::new(simpler));
        cuts.push((name, candidate));
    }
    defaults(plan, &mut cuts);
    cuts
}

/// Options that could have their defaults.
fn defaults(plan: &Plan, cuts: &mut Vec<(String, Plan)>) {
    let mut option = |name: String, set: &dyn Fn(&mut Plan)| {
        let mut candidate = plan.clone();
        set(&mut candidate);
        if candidate != *plan {
            cuts.push((name, candidate));
        }
    };
    for (index, fault) in plan.faults.iter().enumerate() {
        let number = index + 1;
        option(format!("fault {number} for {SHORT_MS} ms, not {} ms", fault.lasts_ms), &|plan| {
            plan.faults[index].lasts_ms = SHORT_MS;
        });
        option(format!("fault {number} at any subject"), &|plan| plan.faults[index].at.subject = None);
        option(format!("a canonical savepoint for fault {number}"), &|plan| {
            plan.faults[index].format = SavepointFormat::default();
        });
    }
    let job = JobConfig::default();
    if plan.workload.generated.is_none() {
        option("records in order".into(), &|plan| plan.workload.disorder_ms = 0);
        option("keys equally often".into(), &|plan| plan.workload.skewed = false);
    }
    option("no copies of state on local disks".into(), &|plan| plan.workload.local_recovery = false);
    option("nothing is claimed".into(), &|plan| plan.workload.claim_mode = ClaimMode::default());
    option("state in memory".into(), &|plan| plan.workload.backend = crate::workload::Backend::default());
    option(format!("batches of {} records", job.batch_records), &|plan| {
        plan.workload.batch_records = job.batch_records;
    });
    option(format!("{} batches under way per channel", job.channel_credit), &|plan| {
        plan.workload.channel_credit = job.channel_credit;
    });
    option("all state in acknowledgements".into(), &|plan| plan.workload.inline_threshold_bytes = 4_096);
    option("a checkpoint every second".into(), &|plan| plan.workload.checkpoint_interval_ms = 1_000);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        seed::Seed,
        workload::{Fixed, Parallelism, Shape, Workload},
    };

    #[test]
    fn every_cut_leaves_another_plan_and_says_what_it_takes() {
        for shape in [Shape::Value, Shape::Generated] {
            let workload = Workload::drawn(shape, &Fixed::default(), Parallelism::Fixed, Seed(7));
            let plan = Plan {
                scenario: "s".into(),
                seed: 7,
                workload,
                faults: Vec::new(),
                demands: Vec::new(),
                planted: None,
                schedule: None,
            };
            let cuts = cuts(&plan);
            assert!(cuts.len() > 3);
            for (name, candidate) in cuts {
                assert_ne!(candidate, plan, "{name}");
            }
        }
    }
}
