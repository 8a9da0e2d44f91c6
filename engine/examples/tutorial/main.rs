//! The programs of the tutorial whose system this is, each with the output that it computes.
//!
//! ```sh
//! cargo run -p tidegate --example tutorial            # all of them
//! cargo run -p tidegate --example tutorial word-count # one
//! ```
//!
//! The tests of each file hold the outputs that the tutorial gives, or that follow from its code where its comments
//! say something else. What the tutorial's own versions do wrong after a crash is shown in `tests/tests/tutorial_defects`.

mod averages;
mod harness;
mod operator_state;
mod windows;
mod word_count;

use harness::Printed;

/// Runs a program and says what it prints.
type Run = fn() -> tidegate::Result<Vec<Printed>>;

/// The programs by name, with the section of the tutorial.
const PROGRAMS: &[(&str, &str, Run)] = &[
    ("word-count", "1.1: a running count of words", word_count::printed),
    ("value-state", "1.3.1: an average in ValueState", averages::value_state_printed),
    ("list-state", "1.3.2: an average in ListState", averages::list_state_printed),
    ("map-state", "1.3.3: an average in MapState", averages::map_state_printed),
    ("reducing-state", "1.3.4: an average in ReducingState", averages::reducing_state_printed),
    ("aggregating-state", "1.3.5: all values in AggregatingState", averages::aggregating_state_printed),
    ("operator-state", "1.4: every two records, in operator ListState", operator_state::printed),
    ("sliding-window", "7.2.1: words of the last 10 s, every 5 s", windows::sliding_printed),
    ("count-window", "7.2.2: the greatest of every five", windows::count_max_printed),
    ("reduce-window", "7.3.1: the sum of every 5 s", windows::reduce_printed),
    ("process-window", "7.3.2: the average of every three", windows::process_average_printed),
];

fn main() -> std::process::ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| !PROGRAMS.iter().any(|(known, ..)| known == name)) {
        let known: Vec<&str> = PROGRAMS.iter().map(|(name, ..)| *name).collect();
        eprintln!("there is no program {unknown:?}; known are: {}", known.join(", "));
        return std::process::ExitCode::from(2);
    }
    for (name, about, run) in PROGRAMS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("{name} ({about})");
        match run() {
            Ok(lines) => lines.iter().for_each(|line| println!("  {line}")),
            Err(error) => {
                eprintln!("{error}");
                return std::process::ExitCode::FAILURE;
            }
        }
    }
    std::process::ExitCode::SUCCESS
}
