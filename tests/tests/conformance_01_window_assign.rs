//! Records fall into the windows that Flink's assigners give them.

use std::time::Duration;

use serde_json::Value;
use tidegate::{
    time::Timestamp,
    window::{SlidingWindows, TimeWindow, TumblingWindows, WindowAssigner, WindowPeriod, window_start},
};
use tidegate_tests::vectors::{DenyList, expect, list, number, numbers, run, text};

const DENIED: DenyList<'_> = &[
    ("assign-stagger-offsets", "windows are not staggered"),
    ("assign-invalid-params", "there are no session windows yet"),
];

#[test]
fn every_vector_of_the_window_assigners_holds() {
    run(include_str!("../data/vectors/01_window_assign.json"), DENIED, |vector| match vector["assigner"].as_str() {
        Some("tumbling_event" | "tumbling_processing") => {
            let assigner = TumblingWindows::of_period(WindowPeriod {
                size_ms: number(vector, "size"),
                offset_ms: number(vector, "offset"),
            });
            assigned(vector, assigner.map_err(|error| error.to_string())?)
        }
        Some("sliding_event" | "sliding_processing") => {
            let slides = WindowPeriod { size_ms: number(vector, "slide"), offset_ms: number(vector, "offset") };
            let assigner = SlidingWindows::of(duration(number(vector, "size"))?, slides);
            assigned(vector, assigner.map_err(|error| error.to_string())?)
        }
        Some(other) => Err(format!("no assigner {other}")),
        None => match text(vector, "id") {
            "window-start-formula" => starts(vector),
            "window-intersects" => intersects(vector),
            "assign-invalid-params" => rejected(vector),
            other => Err(format!("no rule for {other}")),
        },
    });
}

fn duration(ms: i64) -> Result<Duration, String> {
    u64::try_from(ms).map(Duration::from_millis).map_err(|_| "a duration cannot be negative".to_owned())
}

/// Windows are compared as sets.
fn assigned(vector: &Value, mut assigner: impl WindowAssigner<(), Window = TimeWindow>) -> Result<(), String> {
    for case in list(vector, "cases") {
        let windows = assigner.assign(Timestamp(number(case, "ts")));
        let mut windows: Vec<_> = windows.map(|window| [window.start.0, window.end.0]).collect();
        windows.sort_unstable();
        let mut expected: Vec<[i64; 2]> = serde_json::from_value(case["windows"].clone()).expect("pairs");
        expected.sort_unstable();
        expect(case, &windows, &expected)?;
    }
    Ok(())
}

fn starts(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases") {
        let period = WindowPeriod { size_ms: number(case, "size"), offset_ms: number(case, "offset") };
        expect(case, &window_start(Timestamp(number(case, "ts")), period).0, &number(case, "start"))?;
    }
    Ok(())
}

fn intersects(vector: &Value) -> Result<(), String> {
    let window = |case: &Value, name| {
        let bounds = numbers(case, name);
        TimeWindow::new(Timestamp(bounds[0]), Timestamp(bounds[1]))
    };
    for case in list(vector, "cases") {
        let (a, b) = (window(case, "a"), window(case, "b"));
        let expected = case["result"].as_bool().expect("a result");
        expect(case, &(a.intersects(&b), b.intersects(&a)), &(expected, expected))?;
    }
    Ok(())
}

fn rejected(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases") {
        let accepted = match text(case, "assigner") {
            "tumbling" => {
                let period = WindowPeriod { size_ms: number(case, "size"), offset_ms: number(case, "offset") };
                TumblingWindows::of_period(period).is_ok()
            }
            "sliding" => duration(number(case, "size")).is_ok_and(|size| {
                let slides = WindowPeriod { size_ms: number(case, "slide"), offset_ms: number(case, "offset") };
                SlidingWindows::of(size, slides).is_ok()
            }),
            other => return Err(format!("no assigner {other}")),
        };
        expect(case, &accepted, &false)?;
    }
    Ok(())
}
