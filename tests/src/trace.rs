//! Traces of pipelines in the format of cases, so that two of them can be compared.

use std::collections::BTreeMap;

use serde_json::Value;

/// The trace of a run: for each subtask and side output what reached it, in order.
pub type Trace = BTreeMap<(i64, String), Vec<Value>>;

/// Which records may change places between two watermarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loose {
    /// Those of one event time.
    SameTime,
    /// All: one timer, or one record, has results of several times, in the order of a heap or of a hash map.
    All,
}

/// What the stages of a case leave open.
pub fn looseness(case: &Value) -> Loose {
    let stages = case["stages"].to_string();
    let loose = stages.contains("continuous_event_time") || stages.contains("interval_join");
    if loose { Loose::All } else { Loose::SameTime }
}

/// The trace that these entries make.
///
/// # Panics
/// If they are no entries of a trace.
pub fn trace_of(entries: impl IntoIterator<Item = Value>, loose: Loose) -> Trace {
    let mut trace = Trace::new();
    for mut entry in entries {
        let fields = entry.as_object_mut().expect("an entry is an object");
        // Control events have no subtask.
        let Some(subtask) = fields.remove("s") else { continue };
        let out = fields
            .remove("out")
            .map_or(String::new(), |out| out.as_str().expect("a side output has a name").to_owned());
        trace.entry((subtask.as_i64().expect("a subtask is a number"), out)).or_default().push(entry);
    }
    trace.values_mut().for_each(|entries| in_one_order(entries, loose));
    trace
}

/// Gives records that may change places one order; if only those of one event time may, each time keeps its places.
fn in_one_order(entries: &mut [Value], loose: Loose) {
    for segment in entries.split_mut(|entry| entry.get("w").is_some()) {
        if loose == Loose::All {
            segment.sort_by_key(Value::to_string);
            continue;
        }
        let mut by_time: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
        let times: Vec<i64> = segment.iter().map(|entry| entry["ts"].as_i64().expect("a record has a time")).collect();
        for (time, entry) in times.iter().zip(segment.iter()) {
            by_time.entry(*time).or_default().push(entry.clone());
        }
        by_time.values_mut().for_each(|entries| entries.sort_by_key(|entry| std::cmp::Reverse(entry.to_string())));
        for (time, entry) in times.iter().zip(segment.iter_mut()) {
            *entry = by_time.get_mut(time).and_then(Vec::pop).expect("each record has its place");
        }
    }
}

/// Where two traces part first, in a few lines; `None` if they are equal. `other` says whose the expected one is.
pub fn difference(expected: &Trace, found: &Trace, other: &str) -> Option<String> {
    for key in expected.keys().chain(found.keys()) {
        let nothing = Vec::new();
        let (expected, found) = (expected.get(key).unwrap_or(&nothing), found.get(key).unwrap_or(&nothing));
        let first = (0..expected.len().max(found.len())).find(|index| expected.get(*index) != found.get(*index));
        if let Some(index) = first {
            let show = |entries: &[Value]| {
                let shown: Vec<String> = entries.iter().skip(index).take(3).map(Value::to_string).collect();
                shown.join(" ")
            };
            let (expected, found) = (show(expected), show(found));
            return Some(format!("{key:?} at {index}\n    {other} {expected}\n    here  {found}"));
        }
    }
    None
}
