//! Operator state is spread over the subtasks of a restored job as Flink spreads it.

use serde_json::{Value, json};
use tidegate::state::redistribution::{broadcast, split, union};
use tidegate_tests::vectors::{DenyList, expect, list, run, text};

const DENIED: DenyList<'_> = &[];

#[test]
fn every_vector_of_operator_state_redistribution_holds() {
    run(include_str!("../data/vectors/09_operator_state_redistribution.json"), DENIED, |vector| {
        if text(vector, "id") == "opstate-combined-invariants" {
            return combined(vector);
        }
        match vector["cases"].as_array() {
            Some(cases) => cases.iter().try_for_each(|case| redistributed(vector, case)),
            None => redistributed(vector, vector),
        }
    });
}

/// What each old subtask kept; those that kept nothing at all are `None`.
fn old_lists(vector: &Value) -> Vec<Option<Vec<String>>> {
    list(vector, "old").iter().map(|kept| serde_json::from_value(kept.clone()).expect("texts")).collect()
}

fn redistributed(vector: &Value, case: &Value) -> Result<(), String> {
    let old = old_lists(vector);
    let parallelism = usize::try_from(case["new_parallelism"].as_u64().expect("a number")).expect("fits");
    let lists: Vec<&[String]> = old.iter().map(|kept| kept.as_deref().unwrap_or_default()).collect();
    let new = match text(vector, "mode") {
        "SPLIT_DISTRIBUTE" => split(&lists, parallelism, &mut 0),
        "UNION" => union(&lists, parallelism),
        "BROADCAST" => {
            let copies: Vec<Vec<String>> = old.iter().flatten().cloned().collect();
            broadcast(&copies, parallelism).into_iter().map(Option::unwrap_or_default).collect()
        }
        other => return Err(format!("no mode is called {other}")),
    };
    expect(case, &json!(new), &case["new"])
}

/// Counts, over the new subtasks, from how many old ones each has something.
fn combined(vector: &Value) -> Result<(), String> {
    // Entries name the old subtask that they are of.
    let kept = |subtask: &str, entries: usize| vec![subtask.to_owned(); entries];
    for case in list(vector, "cases") {
        let parallelism = usize::try_from(case["new_parallelism"].as_u64().expect("a number")).expect("fits");
        let count = |new: Vec<Vec<String>>| -> usize {
            new.into_iter()
                .map(|mut entries| {
                    entries.dedup();
                    entries.len()
                })
                .sum()
        };
        let copies = [kept("0", 3), kept("1", 3)];
        let found = json!({
            "t1": count(union(&[&kept("0", 1), &kept("1", 1)], parallelism)),
            "t2": count(union(&[&kept("0", 2), &[]], parallelism)),
            "t3": count(split(&[&kept("0", 2), &[]], parallelism, &mut 0)),
            "t4": count(broadcast(&copies, parallelism).into_iter().flatten().collect()),
            "t5": count(broadcast(&copies, parallelism).into_iter().flatten().collect()),
            "t6": count(broadcast(&copies, parallelism).into_iter().flatten().collect()),
        });
        expect(case, &found, &case["total_handles_with_state"])?;
    }
    Ok(())
}
