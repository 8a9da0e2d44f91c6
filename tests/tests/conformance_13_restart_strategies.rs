//! Restart strategies decide as Flink's do.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use tidegate::{
    config::RestartConfig,
    restart::{Checkpointing, RestartDecision, RestartStrategy, default_exponential_delay, select},
    time::Timestamp,
};
use tidegate_tests::vectors::{expect, fraction, list, number, run, text};

#[test]
fn every_vector_of_restart_strategies_holds() {
    run(include_str!("../data/vectors/13_restart_strategies.json"), &[], |vector| match text(vector, "id") {
        "restart-exp-multiplier" => backoffs_grow(vector),
        "restart-exp-initial-and-max" => backoffs_are_bounded(vector),
        "restart-exp-jitter-ranges" => jitter_reaches_exactly_its_range(vector),
        "restart-exp-merge-concurrent-failures" => failures_before_a_restart_belong_to_it(vector),
        "restart-strategy-selection" => selection(vector),
        "restart-none" => none(vector),
        _ => timed_failures(vector, &config(&vector["config"])),
    });
}

fn millis(value: &Value, key: &str) -> Duration {
    Duration::from_millis(number(value, key) as u64)
}

fn config(config: &Value) -> RestartConfig {
    match text(config, "type") {
        "fixed-delay" => {
            RestartConfig::FixedDelay { attempts: number(config, "attempts") as u32, delay: millis(config, "delay_ms") }
        }
        "failure-rate" => RestartConfig::FailureRate {
            max_failures_per_interval: number(config, "max_failures_per_interval") as u32,
            interval: millis(config, "interval_ms"),
            delay: millis(config, "delay_ms"),
        },
        other => panic!("unknown strategy {other}"),
    }
}

fn exponential(limits: &Value, reset_threshold_ms: u64, attempts: Option<u32>) -> RestartStrategy {
    RestartStrategy::new(&RestartConfig::ExponentialDelay {
        initial_backoff: millis(limits, "initial"),
        max_backoff: millis(limits, "max"),
        backoff_multiplier: fraction(limits, "multiplier"),
        reset_backoff_threshold: Duration::from_millis(reset_threshold_ms),
        jitter_factor: fraction(limits, "jitter"),
        attempts_before_reset_backoff: attempts,
    })
}

/// The pause in milliseconds, or nothing if the job is given up.
fn pause(decision: &RestartDecision) -> Option<i64> {
    match decision {
        RestartDecision::RestartAfter(delay) => Some(delay.as_millis() as i64),
        RestartDecision::GiveUp { .. } => None,
    }
}

fn timed_failures(vector: &Value, config: &RestartConfig) -> Result<(), String> {
    let delay_ms = match config {
        RestartConfig::None => None,
        RestartConfig::FixedDelay { .. } | RestartConfig::FailureRate { .. } => {
            Some(number(&vector["config"], "delay_ms"))
        }
        RestartConfig::ExponentialDelay { .. } => panic!("has pauses of its own"),
    };
    let mut strategy = RestartStrategy::new(config);
    for step in list(vector, "steps") {
        let decision = strategy.on_failure(Timestamp(number(step, "failure_at_ms")), 0.5);
        let expected = if step["can_restart"] == true { delay_ms } else { None };
        expect(step, &pause(&decision), &expected)?;
    }
    Ok(())
}

fn none(vector: &Value) -> Result<(), String> {
    for name in ["none", "off", "disable"] {
        let config = serde_json::from_value(serde_json::json!(name)).map_err(|error| error.to_string())?;
        timed_failures(vector, &config)?;
    }
    Ok(())
}

fn backoffs_grow(vector: &Value) -> Result<(), String> {
    let limits = &vector["config"];
    let mut strategy = exponential(limits, i32::MAX as u64, Some(number(limits, "attempts") as u32));
    let mut now = 0;
    for step in list(vector, "steps") {
        now += step["advance_before"].as_i64().unwrap_or(0);
        expect(step, &pause(&strategy.on_failure(Timestamp(now), 0.5)), &Some(number(step, "backoff")))?;
    }
    Ok(())
}

fn backoffs_are_bounded(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases").iter().chain(list(vector, "steps")) {
        if let Some(first) = case["first_backoff"].as_i64() {
            let mut strategy = exponential(case, 1000, None);
            expect(case, &pause(&strategy.on_failure(Timestamp(0), 0.5)), &Some(first))?;
        } else if let Some(most) = case["any_backoff_le"].as_i64() {
            for unit in [0.0, 0.3, 0.6, 0.999] {
                let mut strategy = exponential(case, 1000, None);
                for failure in 0..20 {
                    let pause = pause(&strategy.on_failure(Timestamp(failure * (most + 1)), unit));
                    expect(case, &pause.is_some_and(|pause| pause <= most), &true)?;
                }
            }
        }
        // Asking for a pause before the first failure cannot be expressed: the failure returns it.
    }
    Ok(())
}

fn jitter_reaches_exactly_its_range(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases").iter().chain(list(vector, "steps")) {
        let mut seen = BTreeSet::new();
        for unit in 0..100 {
            let mut strategy = exponential(case, 1000, None);
            let mut last = None;
            for failure in 0..number(case, "failure_n") {
                last = pause(&strategy.on_failure(Timestamp(failure * 8), f64::from(unit) / 100.0));
            }
            seen.extend(last);
        }
        let possible = list(case, "possible").iter().filter_map(Value::as_i64).collect();
        expect(case, &seen, &possible)?;
    }
    Ok(())
}

fn failures_before_a_restart_belong_to_it(vector: &Value) -> Result<(), String> {
    let limits = &vector["config"];
    let attempts = number(limits, "attempts") as u32;
    let mut strategy = exponential(limits, number(limits, "reset_threshold") as u64, Some(attempts));
    let mut now = 0;
    for backoff in [2, 4, 6] {
        for left in (0..=backoff).rev() {
            expect(vector, &pause(&strategy.on_failure(Timestamp(now), 0.5)), &Some(left))?;
            now += 1;
        }
    }
    expect(vector, &pause(&strategy.on_failure(Timestamp(now), 0.5)), &None)
}

fn selection(vector: &Value) -> Result<(), String> {
    let fixed = config(&serde_json::json!({ "type": "fixed-delay", "attempts": 1, "delay_ms": 0 }));
    let rate = config(&serde_json::json!({
        "type": "failure-rate", "max_failures_per_interval": 1, "interval_ms": 1, "delay_ms": 0
    }));
    let named = |value: &Value| match value.as_str() {
        Some("fixed-delay") => Some(fixed.clone()),
        Some("failure-rate") => Some(rate.clone()),
        Some("none") => Some(RestartConfig::None),
        Some("none set") | None => None,
        Some(other) => panic!("unknown strategy {other}"),
    };
    for case in list(vector, "cases").iter().chain(list(vector, "steps")) {
        if case["job"] == "invalid-strategy" {
            let parsed = serde_json::from_str::<RestartConfig>(r#""invalid-strategy""#);
            expect(case, &parsed.is_err(), &true)?;
            continue;
        }
        let checkpointing = if case["checkpointing"] == true { Checkpointing::On } else { Checkpointing::Off };
        let selected = select(named(&case["job"]).as_ref(), named(&case["cluster"]).as_ref(), checkpointing);
        let key = if case["result"].is_string() { "result" } else { "result_flink_ge_1_19" };
        let expected = text(case, key);
        let expected = match expected.split_whitespace().next() {
            Some("exponential-delay") => default_exponential_delay(),
            Some(name) => named(&Value::from(name)).ok_or("no strategy")?,
            None => panic!("no result"),
        };
        expect(case, &selected, &expected)?;
    }
    Ok(())
}
