//! Values of a state with a time to live expire as Flink's do: on each of our backends, and also if the state is restored
//! from a snapshot between any two steps.

use serde_json::{Value, json};
use tidegate::{
    backend::BackendError,
    state::{CleanupRun, StateTtlConfig, TtlUpdate, TtlVisibility},
    time::Timestamp,
};
use tidegate_tests::{
    keyed_state::{Keeper, Kind, Mode, Place, Sum, backend_error, ttl_of},
    vectors::{DenyList, expect, known, list, number, run, text},
};

const DENIED: DenyList<'_> = &[];

#[test]
fn every_vector_of_the_time_to_live_holds() {
    run(include_str!("../data/vectors/25_state_ttl.json"), DENIED, |vector| {
        Place::ALL.iter().try_for_each(|place| match text(vector, "id") {
            "ttl-incremental-cleanup" => incremental_cleanup(*place, vector),
            "ttl-merge-namespaces" => Mode::ALL.iter().try_for_each(|mode| merged_namespaces(*place, *mode, vector)),
            "ttl-migration-forbidden" => migration_is_refused(*place, vector),
            "ttl-map-per-entry" => Mode::ALL.iter().try_for_each(|mode| map_per_entry(*place, *mode, vector)),
            _ if vector["steps"].is_array() => Mode::ALL.iter().try_for_each(|mode| steps(*place, *mode, vector)),
            other => Err(format!("no rule for {other}")),
        })
    });
}

fn kind_of(name: &str) -> Kind {
    match name {
        "value" => Kind::Value(None),
        "reducing-sum" => Kind::Reducing,
        "aggregating(acc starts at 3, add, result as text)" => Kind::Aggregating(Sum { start: 3, as_text: true }),
        "list" => Kind::List,
        "map" => Kind::Map,
        other => panic!("no state is called {other}"),
    }
}

fn config_of(vector: &Value) -> StateTtlConfig {
    let ttl = match vector["ttl_override"].as_str() {
        Some("2^63-1") => i64::MAX,
        Some(other) => panic!("no time to live is {other}"),
        None => number(vector, "ttl_ms"),
    };
    // What the test is named after, where no field says it.
    let update = match vector["update_type"].as_str() {
        Some("OnCreateAndWrite") => TtlUpdate::OnCreateAndWrite,
        _ if text(vector, "id") == "ttl-exact-on-read" => TtlUpdate::OnReadAndWrite,
        Some("OnReadAndWrite") => TtlUpdate::OnReadAndWrite,
        None => TtlUpdate::OnCreateAndWrite,
        Some(other) => panic!("no update type is called {other}"),
    };
    let visibility = match vector["visibility"].as_str() {
        None | Some("NeverReturnExpired") => TtlVisibility::NeverReturnExpired,
        Some("ReturnExpiredIfNotCleanedUp") => TtlVisibility::ReturnExpiredIfNotCleanedUp,
        Some(other) => panic!("no visibility is called {other}"),
    };
    ttl_of(ttl as u64).with_update(update).with_visibility(visibility)
}

fn steps(place: Place, mode: Mode, vector: &Value) -> Result<(), String> {
    let mut keeper = Keeper::new(place, mode, &kind_of(text(vector, "state")), Some(config_of(vector)));
    let fields = ["state", "ttl_ms", "ttl_override", "update_type", "visibility", "steps", "rule"];
    known(vector, &fields)?;
    for step in list(vector, "steps") {
        known(step, &["t", "op", "id", "key", "arg", "expect"])?;
        keeper.now = Timestamp(number(step, "t"));
        match text(step, "op") {
            "snapshot" => keeper.snapshot(text(step, "id")),
            "restore" => keeper.restore_from(text(step, "id")),
            "entry_removed" => expect(step, &json!(keeper.entry_count() == 0), &step["expect"])?,
            operation => {
                let key = step["key"].as_str().unwrap_or("key");
                let read = keeper.apply(key, "", operation, &step["arg"]);
                expect(step, &read, &step.get("expect").cloned())?;
            }
        }
    }
    Ok(())
}

fn incremental_cleanup(place: Place, vector: &Value) -> Result<(), String> {
    let config = ttl_of(100).with_incremental_cleanup(5, CleanupRun::PerRecord);
    let mut keeper = Keeper::new(place, Mode::Normal, &Kind::Value(None), Some(config));
    let keys: Vec<String> = (0..97).map(|key| key.to_string()).collect();
    for key in &keys {
        keeper.apply(key, "", "update", &json!("value"));
    }
    expect(vector, &keeper.entry_count(), &keys.len())?;
    keeper.now = Timestamp(120);
    for _ in &keys {
        keeper.begin_record();
    }
    // "Heap backend only": others find what has expired in another way.
    expect(vector, &keeper.entry_count(), &if place == Place::Memory { 0 } else { keys.len() })
}

fn merged_namespaces(place: Place, mode: Mode, vector: &Value) -> Result<(), String> {
    for (kind, add, expected) in [
        (Kind::Reducing, "add", list(vector, "steps").last().expect("a step")["expect"].clone()),
        (Kind::Aggregating(Sum { start: 0, as_text: false }), "add", json!(2200)),
        (Kind::List, "add", vector["expect_list_state"].clone()),
    ] {
        let mut keeper = Keeper::new(place, mode, &kind, Some(ttl_of(100)));
        for step in list(vector, "steps") {
            keeper.now = Timestamp(number(step, "t"));
            let namespace = text(step, "ns");
            match text(step, "op") {
                "add" => list(step, "values").iter().for_each(|value| {
                    keeper.apply("key", namespace, add, value);
                }),
                "merge_namespaces" => {
                    keeper.apply("key", "another", "merge_namespaces", &json!([namespace, step["sources"]]));
                    let left: Vec<bool> = list(step, "sources")
                        .iter()
                        .map(|source| keeper.keys(source.as_str().expect("a namespace")).is_empty())
                        .collect();
                    expect(step, &left, &vec![true; left.len()])?;
                }
                "get" => expect(step, &keeper.apply("key", namespace, "get", &Value::Null), &Some(expected.clone()))?,
                other => return Err(format!("no step is called {other}")),
            }
        }
    }
    Ok(())
}

fn migration_is_refused(place: Place, vector: &Value) -> Result<(), String> {
    let kinds = [Kind::Value(None), Kind::List, Kind::Map, Kind::Reducing];
    for kind in kinds.into_iter().chain([Kind::Aggregating(Sum { start: 3, as_text: true })]) {
        for (written, read) in [(Some(ttl_of(100)), None), (None, Some(ttl_of(100)))] {
            let mut keeper = Keeper::new(place, Mode::Normal, &kind, written);
            let (operation, argument) = match kind {
                Kind::Map => ("put", json!([1, 2])),
                Kind::Value(_) => ("update", json!(1)),
                Kind::List | Kind::Reducing | Kind::Aggregating(_) => ("add", json!(1)),
            };
            keeper.apply("key", "", operation, &argument);
            let kept = keeper.canonical();
            let refused = Keeper::new(place, Mode::Normal, &kind, read).restore(place, kept);
            let refused = refused.err().ok_or("it was read as if nothing had changed")?;
            let is_loud = matches!(backend_error(&refused), Some(BackendError::TimeToLive { .. }));
            expect(vector, &is_loud, &true).map_err(|message| format!("{message}: {refused}"))?;
        }
    }
    Ok(())
}

fn map_per_entry(place: Place, mode: Mode, vector: &Value) -> Result<(), String> {
    let mut keeper = Keeper::new(place, mode, &Kind::Map, Some(ttl_of(100)));
    keeper.apply("key", "", "put", &json!(["old", "1"]));
    keeper.apply("key", "", "put", &json!(["old-null", null]));
    keeper.now = Timestamp(50);
    keeper.apply("key", "", "put", &json!(["young-null", null]));
    keeper.now = Timestamp(60);
    keeper.apply("key", "", "putAll", &json!({ "young": "2" }));
    let mut seen = |now, operation: &str, argument: Value, expected: Value| {
        keeper.now = Timestamp(now);
        expect(vector, &keeper.apply("key", "", operation, &argument), &Some(expected))
            .map_err(|message| format!("{operation} at {now}: {message}"))
    };
    seen(99, "keys", Value::Null, json!(["old", "old-null", "young", "young-null"]))?;
    seen(99, "contains", json!("old-null"), json!(true))?;
    seen(100, "contains", json!("old-null"), json!(false))?;
    seen(100, "contains", json!("old"), json!(false))?;
    seen(100, "keys", Value::Null, json!(["young", "young-null"]))?;
    seen(149, "entries", Value::Null, json!({ "young": "2", "young-null": null }))?;
    seen(150, "values", Value::Null, json!(["2"]))?;
    seen(159, "is_empty", Value::Null, json!(false))?;
    seen(160, "is_empty", Value::Null, json!(true))?;
    seen(160, "entries", Value::Null, json!({}))?;
    expect(vector, &keeper.entry_count(), &0)
}
