//! Real input: a week of flights, against a computation from the file that shares no code with the engine.

use std::{collections::BTreeMap, fs};

use tidegate::env::Env;

use super::{
    process::Process,
    workspace::{Flights, Workspace, flights_csv},
};

/// What the sinks of the flights pipeline must hold, sorted.
pub struct Expected {
    pub hourly: Vec<String>,
    pub carriers: Vec<String>,
}

#[derive(Default)]
struct Delays {
    count: i64,
    sum_min: i64,
    worst_min: Option<i64>,
}

impl Delays {
    fn add(&mut self, delay_min: i64) {
        self.count += 1;
        self.sum_min += delay_min;
        self.worst_min = self.worst_min.max(Some(delay_min));
    }

    fn mean_min(&self) -> f64 {
        self.sum_min as f64 / self.count as f64
    }
}

const HOUR_MS: i64 = 3_600_000;

/// Departures per airport and hour of the actual departure, delay per airline: straight from the file.
pub fn expected() -> Expected {
    let text = fs::read_to_string(flights_csv()).unwrap();
    let mut hours: BTreeMap<(&str, i64), Delays> = BTreeMap::new();
    let mut airlines: BTreeMap<&str, Delays> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let values: Vec<&str> = line.split(',').collect();
        let [sched_ms, delay_min, carrier, _flight, _tailnum, origin, _dest, _distance] = values[..] else {
            panic!("{line}");
        };
        // A cancelled flight.
        if delay_min.is_empty() {
            continue;
        }
        let (sched_ms, delay_min): (i64, i64) = (sched_ms.parse().unwrap(), delay_min.parse().unwrap());
        let departed_ms = sched_ms + delay_min * 60_000;
        hours.entry((origin, departed_ms.div_euclid(HOUR_MS))).or_default().add(delay_min);
        airlines.entry(carrier).or_default().add(delay_min);
    }
    let hourly = hours.iter().map(|((origin, hour), delays)| {
        let (start, end, count, worst) =
            (hour * HOUR_MS, (hour + 1) * HOUR_MS, delays.count, delays.worst_min.unwrap());
        format!("{origin},{start},{end},{count},{:?},{worst}", delays.mean_min())
    });
    let carriers = airlines.iter().map(|(carrier, delays)| {
        let (count, mean) = (delays.count, delays.mean_min());
        format!("{{\"carrier\":\"{carrier}\",\"flights\":{count},\"mean_delay_min\":{mean:?}}}")
    });
    let mut expected = Expected { hourly: hourly.collect(), carriers: carriers.collect() };
    expected.hourly.sort();
    expected.carriers.sort();
    expected
}

#[test]
fn a_week_of_flights_is_counted_right_at_every_parallelism_on_one_and_two_task_managers() {
    let Expected { hourly, carriers } = expected();
    assert_eq!((hourly.len(), carriers.len()), (398, 15), "the file itself");
    Env::run_on_host(2, |env| async move {
        for parallelism in 1..=3 {
            for task_managers in ["1", "2"] {
                let workspace = Workspace::new();
                let pipeline = workspace.flights(Flights { parallelism, rate: None, splits: true });
                let exit = Process::run(&env, &["run", &pipeline, "--task-managers", task_managers]).await;
                let run = format!("parallelism {parallelism}, {task_managers} task managers:\n{}", exit.said);
                assert_eq!(exit.code, Some(0), "{run}");
                assert_eq!(workspace.committed("hourly"), hourly, "{run}");
                assert_eq!(workspace.committed("carriers"), carriers, "{run}");
                workspace.assert_settled("hourly");
                workspace.assert_settled("carriers");
            }
        }
    })
    .unwrap();
}
