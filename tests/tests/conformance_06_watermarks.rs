//! Watermarks are generated, multiplexed and combined over channels as in Flink.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use tidegate::{
    record::WatermarkStatus,
    time::{IdlenessTimer, StatusWatermarkValve, Timestamp, WatermarkGenerator, WatermarkMultiplexer, WatermarkOutput},
};
use tidegate_tests::vectors::{expect, known, list, number, numbers, run, text};

#[test]
fn every_vector_of_the_watermarks_holds() {
    run(include_str!("../data/vectors/06_watermarks.json"), &[], |vector| match vector["generator"].as_str() {
        None => valve(vector),
        Some("with_idleness") => idleness(vector),
        Some("per-split multiplexer") => multiplexer(vector),
        Some(name) if name == "bounded_out_of_orderness" || name.starts_with("ascending") => generator(vector),
        Some(other) => Err(format!("no generator {other}")),
    });
}

fn valve(vector: &Value) -> Result<(), String> {
    let channels = usize::try_from(number(vector, "channels")).expect("a number of channels");
    let mut valve = StatusWatermarkValve::new(channels);
    let mut all = Vec::new();
    known(vector, &["channels", "initial", "steps", "all_output"])?;
    let initial = serde_json::json!({"channel_watermark": i64::MIN, "channel_status": "ACTIVE"});
    expect(vector, &vector["initial"], &initial)?;
    for step in list(vector, "steps") {
        known(step, &["op", "channel", "ts", "status", "emit"])?;
        let channel = usize::try_from(number(step, "channel")).expect("a channel");
        let mut out = Vec::new();
        match text(step, "op") {
            "watermark" => valve.on_watermark(channel, Timestamp(number(step, "ts")), &mut out),
            "status" => valve.on_status(channel, status(text(step, "status")), &mut out),
            other => return Err(format!("no step {other}")),
        }
        expect(step, &out, &outputs(list(step, "emit")))?;
        all.extend(out);
    }
    expect(&vector["all_output"], &all, &outputs(list(vector, "all_output")))
}

fn status(name: &str) -> WatermarkStatus {
    match name {
        "IDLE" => WatermarkStatus::Idle,
        "ACTIVE" => WatermarkStatus::Active,
        other => panic!("no status {other}"),
    }
}

fn outputs(expected: &[Value]) -> Vec<WatermarkOutput> {
    let output = |value: &Value| match value.as_i64() {
        Some(watermark) => WatermarkOutput::Watermark(Timestamp(watermark)),
        None => WatermarkOutput::Status(status(value.as_str().expect("a watermark or a status"))),
    };
    expected.iter().map(output).collect()
}

fn generator(vector: &Value) -> Result<(), String> {
    known(vector, &["generator", "bound", "events", "watermark_on_periodic_emit"])?;
    let bound = u64::try_from(number(vector, "bound")).expect("a bound");
    let mut generator = WatermarkGenerator::bounded_out_of_orderness(Duration::from_millis(bound));
    for event in numbers(vector, "events") {
        generator.on_event(Timestamp(event));
    }
    let expected = Some(Timestamp(number(vector, "watermark_on_periodic_emit")));
    // Asking twice gives the same answer.
    expect(vector, &[generator.watermark(), generator.watermark()], &[expected, expected])
}

fn idleness(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases") {
        let timeout = u64::try_from(number(case, "timeout")).expect("a timeout");
        let mut timer = IdlenessTimer::new(Duration::from_millis(timeout));
        let mut now = 0;
        for step in list(case, "steps") {
            match step[0].as_str().expect("an operation") {
                "advance" => now += step[1].as_i64().expect("milliseconds"),
                "activity" => timer.activity(),
                "check" => {
                    let idle = timer.is_idle(Timestamp(now));
                    if let Some(expected) = step[1].as_bool() {
                        expect(case, &idle, &expected)?;
                    }
                }
                other => return Err(format!("no step {other}")),
            }
        }
    }
    // A negative timeout cannot be written down; zero is refused.
    let zero = std::panic::catch_unwind(|| IdlenessTimer::new(Duration::ZERO));
    expect(&vector["reject"], &zero.is_err(), &true)
}

fn multiplexer(vector: &Value) -> Result<(), String> {
    let mut multiplexer = WatermarkMultiplexer::default();
    let steps = list(vector, "steps");
    let split = |step: &Value| step[1].to_string();
    if !steps.iter().any(|step| step[0] == "register") {
        let splits: BTreeSet<String> = steps.iter().filter(|step| step[0] != "periodic").map(split).collect();
        splits.into_iter().for_each(|split| multiplexer.register(split));
    }
    let mut out = Vec::new();
    for step in steps {
        let watermark = || Timestamp(step[2].as_i64().expect("a watermark"));
        match step[0].as_str().expect("an operation") {
            "register" => multiplexer.register(split(step)),
            "unregister" => expect(step, &multiplexer.unregister(&split(step)), &true)?,
            "def" => multiplexer.set_watermark(&split(step), watermark()),
            "idle_deferred" => multiplexer.set_idle(&split(step)),
            "imm" => {
                multiplexer.set_watermark(&split(step), watermark());
                multiplexer.combine(&mut out);
            }
            "idle" => {
                multiplexer.set_idle(&split(step));
                multiplexer.combine(&mut out);
            }
            "periodic" => multiplexer.combine(&mut out),
            other => return Err(format!("no step {other}")),
        }
    }
    let expected = &vector["expect"];
    let last = out.iter().rev().find_map(|output| match output {
        WatermarkOutput::Watermark(watermark) => Some(watermark.0),
        WatermarkOutput::Status(_) => None,
    });
    expect(expected, &last, &expected["last"].as_i64())?;
    match expected["idle"].as_bool() {
        Some(idle) => expect(expected, &(multiplexer.status() == WatermarkStatus::Idle), &idle),
        None => Ok(()),
    }
}
