//! Keys fall into the key groups, and key groups to the subtasks, to which Flink assigns them.

use serde_json::Value;
use tidegate::state::{Key, KeyGroupRange, KeyGroups, ParallelInstance};
use tidegate_tests::vectors::{expect, known, list, number, run, text};

#[test]
fn every_vector_of_the_key_groups_holds() {
    run(include_str!("../data/vectors/08_key_groups.json"), &[], |vector| match text(vector, "id") {
        "keygroup-murmur" => hashes(vector),
        "keygroup-int-keys" => int_keys(vector),
        "keygroup-default-max-parallelism" => defaults(vector),
        "keygroup-seed-wordcount-placement" => words(vector),
        "keygroup-rescale-invariant" => rescale(vector),
        _ if vector["ranges"].is_array() => ranges(vector),
        other => Err(format!("no rule for {other}")),
    });
}

fn unsigned(value: &Value, key: &str) -> u32 {
    u32::try_from(number(value, key)).expect("an unsigned number")
}

fn key_groups(max_parallelism: u32) -> KeyGroups {
    KeyGroups::new(max_parallelism).expect("a valid maximal parallelism")
}

fn hashes(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases") {
        let hash = i32::try_from(number(case, "hash")).expect("a hash");
        for (max_parallelism, field) in [(128, "kg128"), (4096, "kg4096"), (32_768, "kg32768")] {
            expect(case, &i64::from(key_groups(max_parallelism).of_hash(hash)), &number(case, field))?;
        }
    }
    Ok(())
}

fn int_keys(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases") {
        let key = i32::try_from(number(case, "key")).expect("a key");
        let key_group = key_groups(128).of_key(&key);
        expect(case, &i64::from(key.key_hash()), &number(case, "java_hash"))?;
        expect(case, &i64::from(key_group), &number(case, "kg128"))?;
        for (parallelism, field) in [(4, "subtask_p4"), (8, "subtask_p8")] {
            expect(case, &key_groups(128).subtask(key_group, parallelism), &unsigned(case, field))?;
        }
    }
    Ok(())
}

fn ranges(vector: &Value) -> Result<(), String> {
    known(vector, &["max_parallelism", "parallelism", "ranges"])?;
    let (key_groups, parallelism) = (key_groups(unsigned(vector, "max_parallelism")), unsigned(vector, "parallelism"));
    let ranges: Vec<_> = (0..parallelism)
        .map(|index| {
            let KeyGroupRange { start, end } = key_groups.range(ParallelInstance { index, parallelism });
            [start, end]
        })
        .collect();
    expect(vector, &serde_json::json!(ranges), &vector["ranges"])
}

fn defaults(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases") {
        let default = KeyGroups::default_for(unsigned(case, "parallelism")).max_parallelism();
        expect(case, &default, &unsigned(case, "default_max"))?;
    }
    Ok(())
}

fn words(vector: &Value) -> Result<(), String> {
    let (key_groups, parallelism) = (key_groups(unsigned(vector, "max_parallelism")), unsigned(vector, "parallelism"));
    for case in list(vector, "cases") {
        // The tutorial keys by a tuple of one field.
        let key_group = key_groups.of_key(&(text(case, "key").to_owned(),));
        expect(case, &i64::from(key_group), &number(case, "key_group"))?;
        expect(case, &key_groups.subtask(key_group, parallelism), &unsigned(case, "subtask"))?;
    }
    Ok(())
}

/// Handing key groups over by the intersection of ranges gives each to its new owner, exactly once.
fn rescale(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases") {
        let key_groups = key_groups(unsigned(case, "max"));
        let ranges = |parallelism: u32| {
            (0..parallelism).map(move |index| key_groups.range(ParallelInstance { index, parallelism }))
        };
        let (source, target) = (unsigned(case, "source"), unsigned(case, "target"));
        for (index, new) in ranges(target).enumerate() {
            let handed: Vec<u16> =
                ranges(source).filter_map(|old| old.intersection(new)).flat_map(KeyGroupRange::iter).collect();
            expect(case, &handed, &new.iter().collect::<Vec<_>>())?;
            let owners: Vec<_> = handed.iter().map(|group| key_groups.subtask(*group, target) as usize).collect();
            expect(case, &owners, &vec![index; handed.len()])?;
        }
    }
    Ok(())
}
