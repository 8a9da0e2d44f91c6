//! Records fall into the windows that Flink's assigners give them.

use std::time::Duration;

use serde_json::Value;
use tidegate::{
    time::Timestamp,
    window::{
        AssignerContext, SessionWindows, SlidingWindows, Stagger, TimeWindow, TumblingWindows, WindowAssigner,
        WindowPeriod, window_start,
    },
};
use tidegate_tests::vectors::{expect, known, list, number, numbers, run, text};

#[test]
fn every_vector_of_the_window_assigners_holds() {
    run(include_str!("../data/vectors/01_window_assign.json"), &[], |vector| match vector["assigner"].as_str() {
        Some("tumbling_event" | "tumbling_processing") => {
            let assigner = TumblingWindows::of_period(WindowPeriod {
                size_ms: number(vector, "size"),
                offset_ms: number(vector, "offset"),
            });
            assigned(vector, assigner.map_err(|error| error.to_string())?, TumblingWindows::in_processing_time)
        }
        Some("sliding_event" | "sliding_processing") => {
            let slides = WindowPeriod { size_ms: number(vector, "slide"), offset_ms: number(vector, "offset") };
            let assigner = SlidingWindows::of(duration(number(vector, "size"))?, slides);
            assigned(vector, assigner.map_err(|error| error.to_string())?, SlidingWindows::in_processing_time)
        }
        Some("session_event" | "session_processing") => {
            let assigner = SessionWindows::with_gap(duration(number(vector, "gap"))?);
            assigned(vector, assigner.map_err(|error| error.to_string())?, SessionWindows::in_processing_time)
        }
        Some("stagger") => staggered(vector),
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

/// Windows are compared as sets. Those in processing time see no event time.
fn assigned<A>(vector: &Value, assigner: A, in_processing_time: impl Fn(A) -> A) -> Result<(), String>
where
    A: WindowAssigner<(), Window = TimeWindow>,
{
    let by_clock = text(vector, "assigner").ends_with("processing");
    let mut assigner = if by_clock { in_processing_time(assigner) } else { assigner };
    known(vector, &["assigner", "size", "slide", "offset", "gap", "cases"])?;
    for case in list(vector, "cases") {
        known(case, &["ts", "windows"])?;
        let (now, never) = (Timestamp(number(case, "ts")), Timestamp::MIN);
        let context = match by_clock {
            true => AssignerContext { timestamp: never, processing_time: now },
            false => AssignerContext { timestamp: now, processing_time: never },
        };
        let mut windows: Vec<_> = assigner.assign(&(), context).map(|window| [window.start.0, window.end.0]).collect();
        windows.sort_unstable();
        let mut expected: Vec<[i64; 2]> = serde_json::from_value(case["windows"].clone()).expect("pairs");
        expected.sort_unstable();
        expect(case, &windows, &expected)?;
    }
    Ok(())
}

fn staggered(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases") {
        let stagger = match text(case, "stagger") {
            "ALIGNED" => Stagger::Aligned,
            "NATURAL" => Stagger::Natural,
            "RANDOM" => Stagger::Random,
            other => return Err(format!("no stagger {other}")),
        };
        for subtask in 0..100 {
            let now = Timestamp(number(case, "processing_time"));
            let offset = stagger.offset_ms(now, number(vector, "size"), subtask);
            match numbers(case, "offset_range_inclusive_exclusive")[..] {
                [from, to] => expect(case, &(from..to).contains(&offset), &true)?,
                _ => expect(case, &offset, &number(case, "offset"))?,
            }
        }
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
            "session" => duration(number(case, "gap")).is_ok_and(|gap| SessionWindows::with_gap(gap).is_ok()),
            other => return Err(format!("no assigner {other}")),
        };
        expect(case, &accepted, &false)?;
    }
    Ok(())
}
