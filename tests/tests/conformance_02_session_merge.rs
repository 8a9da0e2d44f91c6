//! Sessions merge as Flink's do; where Flink takes any state window, ours is that of the smallest.

use serde_json::Value;
use tidegate::window::{MergedWindow, MergingWindowSet, TimeWindow};
use tidegate_tests::{
    vectors::{expect, list, run, text},
    window_words::{window, windows},
};

#[test]
fn every_vector_of_the_merging_of_sessions_holds() {
    run(include_str!("../data/vectors/02_session_merge.json"), &[], |vector| match text(vector, "op") {
        "merge_windows" => merge_windows(vector),
        "merging_window_set" => merging_window_set(vector),
        "merging_window_set_restore" => {
            let pairs = list(vector, "persisted").iter().map(|pair| (window(&pair[0]), window(&pair[1]))).collect();
            state_windows(&MergingWindowSet::restore(pairs), &vector["lookup"])
        }
        other => Err(format!("no operation {other}")),
    });
}

fn merge_windows(vector: &Value) -> Result<(), String> {
    let expected: Vec<_> = list(vector, "merges")
        .iter()
        .map(|merge| MergedWindow { result: window(&merge["result"]), sources: windows(merge, "sources") })
        .collect();
    expect(vector, &TimeWindow::merge(&windows(vector, "windows")), &expected)
}

fn merging_window_set(vector: &Value) -> Result<(), String> {
    let mut set = MergingWindowSet::restore(Vec::new());
    for step in list(vector, "steps") {
        let mut merges = Vec::new();
        let result = set.add(window(&step["add"]), TimeWindow::merge, &mut merges).window;
        expect(step, &result, &window(&step["result"]))?;
        expect(step, &Some(!merges.is_empty()), &step["merged"].as_bool())?;
        let state_window = set.state_window(&result);
        if let [merge] = &merges[..] {
            expect(step, &Some(&merge.state_window), &state_window)?;
            if step["sources"].is_array() {
                expect(step, &merge.sources, &windows(step, "sources"))?;
            }
        }
        for key in ["state_window", "required_state_window"] {
            if step[key].is_array() {
                expect(step, &state_window, &Some(&window(&step[key])))?;
            }
        }
        // Where Flink leaves it open, it is the first of those that there were.
        if let Some(smallest) = windows(step, "state_window_one_of").first() {
            expect(step, &state_window, &Some(smallest))?;
        }
    }
    state_windows(&set, &vector["final_state_windows"])?;
    if vector["then_retire"].is_array() {
        set.retire(&window(&vector["then_retire"]));
        state_windows(&set, &vector["after_retire"])?;
    }
    Ok(())
}

fn state_windows(set: &MergingWindowSet<TimeWindow>, expected: &Value) -> Result<(), String> {
    for (in_flight, state_window) in expected.as_object().into_iter().flatten() {
        let in_flight = window(&serde_json::from_str(in_flight).expect("a window"));
        let expected = state_window.as_array().map(|_| window(state_window));
        expect(state_window, &set.state_window(&in_flight), &expected.as_ref())?;
    }
    Ok(())
}
