//! Data under way is dealt to another number of subtasks as by Flink's `SubtaskStateMapper`.

use serde_json::Value;
use tidegate::{
    checkpoint::{Rescaling, SubtaskStateMapper},
    state::KeyGroups,
};
use tidegate_tests::vectors::{expect, known, list, number, numbers, run, text};

#[test]
fn every_vector_of_data_under_way_at_another_parallelism_holds() {
    run(include_str!("../data/vectors/10_inflight_rescale.json"), &[], |vector| {
        if vector["mapper"].is_null() {
            return check_edge(vector);
        }
        known(vector, &["mapper", "cases"])?;
        for case in list(vector, "cases") {
            known(case, &["old", "new", "new_to_old"])?;
            expect(case, &dealt(mapper(text(vector, "mapper")), case), &rows(case, "new_to_old"))?;
        }
        Ok(())
    });
}

/// Both ends of one edge.
fn check_edge(vector: &Value) -> Result<(), String> {
    const FIELDS: [&str; 6] = [
        "edge",
        "old",
        "new",
        "input_channel_state_of_old_subtasks",
        "result_subpartition_state_of_old_subtasks",
        "ambiguous_old_subtasks_on_input",
    ];
    known(vector, &FIELDS)?;
    let mapper_of = |end: &str| mapper(text(&vector["edge"], end));
    let (inputs, outputs) = (mapper_of("downstream_mapper"), mapper_of("upstream_mapper"));
    expect(vector, &dealt(inputs, vector), &rows(vector, "input_channel_state_of_old_subtasks"))?;
    expect(vector, &dealt(outputs, vector), &rows(vector, "result_subpartition_state_of_old_subtasks"))?;
    if !vector["ambiguous_old_subtasks_on_input"].is_null() {
        let ambiguous = inputs.ambiguous(&rescaling(vector)).map_err(|error| error.to_string())?;
        let ambiguous: Vec<i64> = ambiguous.into_iter().map(i64::from).collect();
        expect(vector, &ambiguous, &numbers(vector, "ambiguous_old_subtasks_on_input"))?;
    }
    Ok(())
}

fn rescaling(case: &Value) -> Rescaling {
    let key_groups = KeyGroups::new(128).expect("a valid number of key groups");
    Rescaling { old: number(case, "old") as u32, new: number(case, "new") as u32, key_groups }
}

/// The old subtasks of each new one.
fn dealt(mapper: SubtaskStateMapper, case: &Value) -> Vec<Vec<i64>> {
    let rescaling = rescaling(case);
    let old = |new| mapper.old_subtasks(new, &rescaling).expect("this mapper deals");
    (0..rescaling.new).map(|new| old(new).into_iter().map(i64::from).collect()).collect()
}

fn rows(value: &Value, key: &str) -> Vec<Vec<i64>> {
    let row = |row: &Value| row.as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
    list(value, key).iter().map(row).collect()
}

fn mapper(name: &str) -> SubtaskStateMapper {
    match name {
        "ARBITRARY" => SubtaskStateMapper::Arbitrary,
        "FIRST" => SubtaskStateMapper::First,
        "FULL" => SubtaskStateMapper::Full,
        "RANGE" => SubtaskStateMapper::Range,
        "ROUND_ROBIN" => SubtaskStateMapper::RoundRobin,
        "UNSUPPORTED" => SubtaskStateMapper::Unsupported,
        other => panic!("unknown mapper {other}"),
    }
}

/// Whatever the numbers, nobody's data is left behind, and what is dealt by key groups reaches whoever owns one.
#[test]
fn all_data_under_way_reaches_those_whom_it_may_concern() {
    let key_groups = KeyGroups::new(16).expect("a valid number of key groups");
    for (old, new) in (1..=16).flat_map(|old| (1..=16).map(move |new| (old, new))) {
        let rescaling = Rescaling { old, new, key_groups };
        for key_group in 0..16 {
            let (from, to) = (key_groups.subtask(key_group, old), key_groups.subtask(key_group, new));
            let taken = SubtaskStateMapper::Range.old_subtasks(to, &rescaling).expect("ranges are dealt");
            assert!(taken.contains(&from), "group {key_group} moves from {from} of {old} to {to} of {new}");
        }
        for mapper in [SubtaskStateMapper::Arbitrary, SubtaskStateMapper::First, SubtaskStateMapper::RoundRobin] {
            let all = (0..new).flat_map(|new| mapper.old_subtasks(new, &rescaling).expect("this mapper deals"));
            let mut all: Vec<u32> = all.collect();
            all.sort_unstable();
            assert_eq!(all, (0..old).collect::<Vec<_>>(), "{mapper:?} {old} to {new}: each once");
            assert_eq!(mapper.ambiguous(&rescaling), Ok(Vec::new()));
        }
        assert!(SubtaskStateMapper::Unsupported.old_subtasks(0, &rescaling).is_err());
    }
}
