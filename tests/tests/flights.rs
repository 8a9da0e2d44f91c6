//! Real input: a week of flights through every kind of window, against plain loops over the file that share nothing with the
//! engine but the rules.
//!
//! The file is out of order in event time by up to 14 hours. Windows of event time have the same results however its parts
//! are read, so they are read by several subtasks; what depends on the order of arrival is read by one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeMap, fs, path::Path};

use tidegate::{pipeline::Pipeline, runtime::run_locally};

const FILE: &str = include_str!("../data/flights-2013-01-week1.csv");
const SESSIONS: &str = include_str!("../data/pipelines/sessions.toml");

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A flight that departed.
#[derive(Debug, Clone)]
struct Flight {
    departed_ms: i64,
    delay_min: i64,
    carrier: &'static str,
    tailnum: &'static str,
    origin: &'static str,
    dest: &'static str,
    distance_mi: i64,
}

/// All flights that departed, in the order of the file.
fn flights() -> Vec<Flight> {
    let mut flights = Vec::new();
    for line in FILE.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [sched_ms, delay_min, carrier, _flight, tailnum, origin, dest, distance_mi] = fields[..] else {
            panic!("{line}");
        };
        let Ok(delay_min) = delay_min.parse::<i64>() else { continue };
        let (departed_ms, distance_mi) =
            (sched_ms.parse::<i64>().unwrap() + delay_min * MINUTE_MS, distance_mi.parse().unwrap());
        flights.push(Flight { departed_ms, delay_min, carrier, tailnum, origin, dest, distance_mi });
    }
    assert_eq!(flights.len(), 6_064, "the file itself");
    flights
}

/// The flights of each key, in the order of the file.
fn by(key: impl Fn(&Flight) -> &'static str) -> BTreeMap<&'static str, Vec<Flight>> {
    let mut grouped: BTreeMap<&str, Vec<Flight>> = BTreeMap::new();
    for flight in flights() {
        grouped.entry(key(&flight)).or_default().push(flight);
    }
    grouped
}

/// Starts of all windows of a size, one every `slide_ms`, that hold a time.
fn starts(at_ms: i64, size_ms: i64, slide_ms: i64, offset_ms: i64) -> Vec<i64> {
    let first = (at_ms - size_ms - offset_ms).div_euclid(slide_ms) - 1;
    (first..)
        .map(|n| n * slide_ms + offset_ms)
        .take_while(|start| *start <= at_ms)
        .filter(|start| at_ms < start + size_ms)
        .collect()
}

/// `key,start,end,` and what `tell` says of the flights in each of these windows.
fn windowed(
    key: impl Fn(&Flight) -> &'static str,
    [size_ms, slide_ms, offset_ms]: [i64; 3],
    tell: impl Fn(&[Flight]) -> String,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, flights) in by(key) {
        let mut windows: BTreeMap<i64, Vec<Flight>> = BTreeMap::new();
        for flight in flights {
            for start in starts(flight.departed_ms, size_ms, slide_ms, offset_ms) {
                windows.entry(start).or_default().push(flight.clone());
            }
        }
        let told =
            windows.iter().map(|(start, flights)| format!("{key},{start},{},{}", start + size_ms, tell(flights)));
        lines.extend(told);
    }
    lines
}

/// The same, for sessions that end when there was no departure for longer than the gap.
fn sessions(key: impl Fn(&Flight) -> &'static str, gap_ms: i64, tell: impl Fn(&[Flight]) -> String) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, mut flights) in by(key) {
        flights.sort_by_key(|flight| flight.departed_ms);
        for session in flights.chunk_by(|one, next| next.departed_ms - one.departed_ms <= gap_ms) {
            let (start, end) = (session[0].departed_ms, session[session.len() - 1].departed_ms + gap_ms);
            lines.push(format!("{key},{start},{end},{}", tell(session)));
        }
    }
    lines
}

fn count(flights: &[Flight]) -> usize {
    flights.len()
}

fn delay_sum(flights: &[Flight]) -> i64 {
    flights.iter().map(|flight| flight.delay_min).sum()
}

fn worst(flights: &[Flight]) -> i64 {
    flights.iter().map(|flight| flight.delay_min).max().unwrap()
}

fn miles(flights: &[Flight]) -> i64 {
    flights.iter().map(|flight| flight.distance_mi).sum()
}

/// Whether a result depends on the order of arrival.
#[derive(Clone, Copy, PartialEq)]
enum Depends {
    OnEventTime,
    OnOrder,
}

/// A window, as a stage of a pipeline without name and input, and what it must put out.
struct Claim {
    name: &'static str,
    depends: Depends,
    stage: &'static str,
    expected: Vec<String>,
}

fn claims() -> Vec<Claim> {
    let of = |name, depends, stage, expected| Claim { name, depends, stage, expected };
    let each_three_of_a_day = |flights: &[Flight]| {
        // The last three that arrived; what is left then is what the window holds.
        let last = &flights[flights.len().saturating_sub(3)..];
        format!("{},{}", count(last), delay_sum(last))
    };
    vec![
        of(
            "tumbling",
            Depends::OnEventTime,
            r#"key = ["origin"]
            assigner = { kind = "tumbling", size = "1 h" }
            aggregate = { n = "count()", delay = "sum(dep_delay_min)", worst = "max(dep_delay_min)" }"#,
            windowed(
                |flight| flight.origin,
                [HOUR_MS, HOUR_MS, 0],
                |flights| format!("{},{},{}", count(flights), delay_sum(flights), worst(flights)),
            ),
        ),
        of(
            "tumbling_with_an_offset",
            Depends::OnEventTime,
            r#"key = ["carrier"]
            assigner = { kind = "tumbling", size = "24 h", offset = "5 h" }
            aggregate = { n = "count()", miles = "sum(distance_mi)" }"#,
            windowed(
                |flight| flight.carrier,
                [DAY_MS, DAY_MS, 5 * HOUR_MS],
                |flights| format!("{},{}", count(flights), miles(flights)),
            ),
        ),
        of(
            "sliding",
            Depends::OnEventTime,
            r#"key = ["origin"]
            assigner = { kind = "sliding", size = "3 h", slide = "45 m" }
            aggregate = { n = "count()", worst = "max(dep_delay_min)" }"#,
            windowed(
                |flight| flight.origin,
                [3 * HOUR_MS, 45 * MINUTE_MS, 0],
                |flights| format!("{},{}", count(flights), worst(flights)),
            ),
        ),
        of(
            "sliding_with_gaps",
            Depends::OnEventTime,
            r#"key = ["origin"]
            assigner = { kind = "sliding", size = "20 m", slide = "1 h" }
            aggregate = { n = "count()" }"#,
            windowed(|flight| flight.origin, [20 * MINUTE_MS, HOUR_MS, 0], |flights| count(flights).to_string()),
        ),
        of(
            "session_per_aircraft",
            Depends::OnEventTime,
            r#"key = ["tailnum"]
            assigner = { kind = "session", gap = "10 h" }
            aggregate = { n = "count()", miles = "sum(distance_mi)", worst = "max(dep_delay_min)" }"#,
            sessions(
                |flight| flight.tailnum,
                10 * HOUR_MS,
                |flights| format!("{},{},{}", count(flights), miles(flights), worst(flights)),
            ),
        ),
        of(
            "session_reduced",
            Depends::OnEventTime,
            r#"key = ["dest"]
            assigner = { kind = "session", gap = "90 m" }
            reduce = { distance_mi = "a.distance_mi + b.distance_mi", dep_delay_min = "max(a.dep_delay_min, b.dep_delay_min)" }"#,
            sessions(|flight| flight.dest, 90 * MINUTE_MS, |flights| format!("{},{}", worst(flights), miles(flights))),
        ),
        of(
            "window_all",
            Depends::OnEventTime,
            r#"key = []
            assigner = { kind = "tumbling", size = "6 h" }
            aggregate = { n = "count()", delay = "sum(dep_delay_min)" }"#,
            windowed(
                |_| "all",
                [6 * HOUR_MS, 6 * HOUR_MS, 0],
                |flights| format!("{},{}", count(flights), delay_sum(flights)),
            )
            .iter()
            .map(|line| line.strip_prefix("all,").unwrap().to_owned())
            .collect(),
        ),
        of(
            "global_with_a_count_trigger",
            Depends::OnOrder,
            r#"key = ["carrier"]
            assigner = { kind = "global" }
            trigger = { kind = "count", n = 50 }
            bounds = false
            aggregate = { n = "count()", delay = "sum(dep_delay_min)" }"#,
            by(|flight| flight.carrier)
                .iter()
                .flat_map(|(carrier, flights)| {
                    (1..=flights.len() / 50).map(move |fired| {
                        let so_far = &flights[..50 * fired];
                        format!("{carrier},{},{}", count(so_far), delay_sum(so_far))
                    })
                })
                .collect(),
        ),
        of(
            "count_window",
            Depends::OnOrder,
            r#"key = ["dest"]
            assigner = { kind = "count", n = 12 }
            bounds = false
            aggregate = { n = "count()", delay = "sum(dep_delay_min)" }"#,
            by(|flight| flight.dest)
                .iter()
                .flat_map(|(dest, flights)| {
                    flights.chunks_exact(12).map(move |dozen| format!("{dest},12,{}", delay_sum(dozen)))
                })
                .collect(),
        ),
        of(
            "count_window_that_slides",
            Depends::OnOrder,
            r#"key = ["dest"]
            assigner = { kind = "count", n = 10, every = 4 }
            bounds = false
            aggregate = { n = "count()", delay = "sum(dep_delay_min)" }"#,
            by(|flight| flight.dest)
                .iter()
                .flat_map(|(dest, flights)| {
                    (1..=flights.len() / 4).map(move |fired| {
                        let last = &flights[(4 * fired).saturating_sub(10)..4 * fired];
                        format!("{dest},{},{}", count(last), delay_sum(last))
                    })
                })
                .collect(),
        ),
        of(
            "count_evictor",
            Depends::OnOrder,
            r#"key = ["origin"]
            assigner = { kind = "tumbling", size = "24 h" }
            evictor = { kind = "count", n = 3 }
            aggregate = { n = "count()", delay = "sum(dep_delay_min)" }"#,
            windowed(|flight| flight.origin, [DAY_MS, DAY_MS, 0], each_three_of_a_day),
        ),
        of(
            "process_sees_the_list_in_the_order_of_arrival",
            Depends::OnOrder,
            r#"key = ["carrier"]
            assigner = { kind = "tumbling", size = "24 h" }
            process = { delays = "list(dep_delay_min)", middle = "median(dep_delay_min)" }"#,
            windowed(
                |flight| flight.carrier,
                [DAY_MS, DAY_MS, 0],
                |flights| {
                    let mut delays: Vec<i64> = flights.iter().map(|flight| flight.delay_min).collect();
                    let list = delays.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
                    delays.sort_unstable();
                    let list = if delays.len() > 1 { format!("\"{list}\"") } else { list };
                    format!("{list},{}", delays[(delays.len() - 1) / 2])
                },
            ),
        ),
        of(
            // The file is behind the watermark nowhere, and the watermark behind all of it until its end: the window has
            // everything when it first fires, and fires once for every two hours that are left of it then.
            "continuous_trigger",
            Depends::OnOrder,
            r#"key = ["origin"]
            assigner = { kind = "tumbling", size = "24 h" }
            trigger = { kind = "continuous_event_time", interval = "2 h" }
            aggregate = { n = "count()", delay = "sum(dep_delay_min)" }"#,
            {
                let days = windowed(
                    |flight| flight.origin,
                    [DAY_MS, DAY_MS, 0],
                    |flights| {
                        let from_first = DAY_MS - flights[0].departed_ms.rem_euclid(DAY_MS);
                        let fires = (from_first + 2 * HOUR_MS - 1) / (2 * HOUR_MS);
                        format!("{},{}*{fires}", count(flights), delay_sum(flights))
                    },
                );
                days.iter()
                    .flat_map(|line| {
                        let (line, fires) = line.rsplit_once('*').unwrap();
                        std::iter::repeat_n(line.to_owned(), fires.parse().unwrap())
                    })
                    .collect()
            },
        ),
    ]
}

/// The pipeline of a claim.
fn pipeline(claim: &Claim, parallelism: u32, directory: &Path) -> Pipeline {
    let source = SESSIONS.split("[[source]]").nth(1).unwrap().split("[[stage]]").next().unwrap();
    let source = match claim.depends {
        Depends::OnEventTime => source.to_owned(),
        Depends::OnOrder => source.replace("split_bytes = 65536", "parallelism = 1").replace("\"15 h\"", "\"30 d\""),
    };
    let source = source.replace("tests/data/", concat!(env!("CARGO_MANIFEST_DIR"), "/data/"));
    // What the reduction keeps of a record that it does not name is any of them.
    let (sunk, shown) = match claim.stage.contains("reduce") {
        true => (
            "shown",
            "[[stage]]\nname = \"shown\"\nop = \"map\"\ninput = \"window\"\nfields = { dest = \"dest\", \
             start = \"window_start\", end = \"window_end\", worst = \"dep_delay_min\", miles = \"distance_mi\" }\n",
        ),
        false => ("window", ""),
    };
    let (stage, directory) = (claim.stage, directory.display());
    let text = format!(
        "name = \"flights\"\nparallelism = {parallelism}\n\n[checkpoint]\ninterval = \"100 ms\"\n\n[[source]]{source}
[[stage]]\nname = \"window\"\nop = \"window\"\ninput = \"flights\"\n{stage}\n\n{shown}
[[sink]]\nname = \"out\"\ntype = \"file\"\ninput = \"{sunk}\"\npath = \"{directory}/out\"\nformat = \"csv\"\n"
    );
    Pipeline::from_toml(claim.name, &text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The lines that a pipeline has committed, sorted.
fn run(pipeline: &Pipeline, sink: &Path) -> Vec<String> {
    let (config, program) = pipeline.compile().unwrap_or_else(|error| panic!("{error}"));
    run_locally(2, config, program).unwrap_or_else(|error| panic!("{error}"));
    let mut lines = Vec::new();
    for entry in fs::read_dir(sink).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            lines.extend(fs::read_to_string(path).unwrap().lines().map(str::to_owned));
        }
    }
    lines.sort();
    lines
}

/// Where two sorted lists part first.
fn difference(expected: &[String], found: &[String]) -> Option<String> {
    let at = (0..expected.len().max(found.len())).find(|at| expected.get(*at) != found.get(*at))?;
    let (lines, of) = (found.len(), expected.len());
    Some(format!("{lines} lines for {of}, line {at}: expected {:?}, found {:?}", expected.get(at), found.get(at)))
}

fn check(backend: &str) {
    let mut wrong = Vec::new();
    for mut claim in claims() {
        claim.expected.sort();
        assert!(claim.expected.len() > 20, "{} claims nothing", claim.name);
        for parallelism in [1, 3] {
            let directory = tempfile::tempdir().unwrap();
            let mut pipeline =
                pipeline(&claim, parallelism, directory.path()).with_option("state.backend.type", backend);
            if backend == "rocksdb" {
                pipeline = pipeline.with_option("io.tmp.dirs", directory.path().display().to_string());
            }
            let found = run(&pipeline, &directory.path().join("out"));
            let name = claim.name;
            wrong.extend(difference(&claim.expected, &found).map(|what| format!("{name} on {parallelism}: {what}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_week_of_flights_goes_through_every_kind_of_window() {
    check("hashmap");
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_week_of_flights_goes_through_every_kind_of_window_in_rocksdb() {
    check("rocksdb");
}

#[test]
fn the_pipeline_of_sessions_per_aircraft_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let out = format!("\"{}/", directory.path().display());
    let data = concat!("\"", env!("CARGO_MANIFEST_DIR"), "/data/");
    let text = SESSIONS.replace("\"out/", &out).replace("\"tests/data/", data);
    let found = run(&Pipeline::from_toml("sessions.toml", &text).unwrap(), &directory.path().join("sessions"));
    let mut expected = sessions(
        |flight| flight.tailnum,
        10 * HOUR_MS,
        |flights| format!("{},{},{}", count(flights), miles(flights), worst(flights)),
    );
    // An aircraft that nobody wrote down is none.
    expected.retain(|line| !line.starts_with(','));
    expected.sort();
    assert_eq!(difference(&expected, &found), None);
}
