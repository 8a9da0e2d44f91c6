//! The trace: a hash chain over everything that happened, in order, with its simulated time.
//!
//! Two runs are the same run exactly if their last links are equal: same seed, same hash, debug and release (I21).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The last link of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TraceHash(pub u64);

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A chain under construction.
#[derive(Debug)]
pub struct Trace {
    link: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

/// Whether the lines of a trace are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The hash alone.
    Hash,
    /// Every line.
    Lines,
}

impl Trace {
    /// An empty trace.
    pub fn new(keep: Keep) -> Self {
        Self { link: 0xcbf2_9ce4_8422_2325, events: 0, lines: (keep == Keep::Lines).then(Vec::new) }
    }

    /// Appends an event; `elapsed_ns` is the simulated time since the start of the run.
    pub fn append(&mut self, elapsed_ns: u128, event: &impl fmt::Display) {
        self.events += 1;
        let mut hasher = Fnv(self.link);
        // Writing to a hasher cannot fail.
        let _ = fmt::write(&mut hasher, format_args!("{elapsed_ns} {event}\n"));
        self.link = hasher.0;
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>14.6} {event}", elapsed_ns as f64 / 1e9));
        }
    }

    /// The last link.
    pub fn hash(&self) -> TraceHash {
        TraceHash(self.link)
    }

    /// The number of events.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The lines, if they were kept.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

/// FNV-1a over whatever is written: the same on every platform.
struct Fnv(u64);

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_every_event_and_on_their_order() {
        let hash = |events: &[(u128, &str)]| {
            let mut trace = Trace::new(Keep::Hash);
            events.iter().for_each(|(at, event)| trace.append(*at, event));
            trace.hash()
        };
        assert_eq!(hash(&[(1, "a"), (2, "b")]), hash(&[(1, "a"), (2, "b")]));
        assert_ne!(hash(&[(1, "a"), (2, "b")]), hash(&[(2, "b"), (1, "a")]));
        assert_ne!(hash(&[(1, "a")]), hash(&[(2, "a")]));
    }
}
