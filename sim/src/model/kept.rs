//! What stages keep in a checkpoint, as values: the same for what the model says and for what was found.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::pipeline::{Accumulator, Row};

use super::script::{Pane, Side};

/// What an entry of keyed state is about, beside its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The key alone.
    Key,
    /// A window.
    Window(Pane),
    /// One input of a join.
    Side(Side),
}

/// The place of an entry of keyed state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The name of the state.
    pub state: String,
    /// The key.
    pub key: Row,
    /// What it is about.
    pub about: About,
    /// For timers, when.
    pub time_ms: Option<i64>,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of key {}", self.state, self.key)?;
        match self.about {
            About::Key => {}
            About::Window(pane) => write!(f, " window {pane}")?,
            About::Side(side) => write!(f, " {side:?}")?,
        }
        self.time_ms.map_or(Ok(()), |time_ms| write!(f, " at {time_ms}"))
    }
}

/// A value of keyed state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// A timer: there is nothing but its place.
    Timer,
    /// Folds, one for each aggregate.
    Folds(Vec<Accumulator>),
    /// One record.
    Row(Row),
    /// Records in the order in which they came.
    Rows(Vec<Row>),
    /// Records with their event times.
    TimedRows(Vec<(Row, i64)>),
    /// Records of the two inputs of a join, each in the order in which they came.
    SidedRows {
        /// Of the first.
        left: Vec<Row>,
        /// Of the second.
        right: Vec<Row>,
    },
    /// Records by event time.
    RowsByTime(BTreeMap<i64, Vec<Row>>),
    /// A number.
    Int(i64),
    /// Two numbers.
    Pair(i64, i64),
    /// Numbers in the order in which they came.
    Ints(Vec<i64>),
    /// Numbers by number.
    IntMap(BTreeMap<i64, i64>),
    /// A text.
    Text(String),
    /// A mark.
    Flag(bool),
    /// The open sessions, each with the window under which its records lie.
    Sessions(BTreeMap<Pane, Pane>),
}

impl Kept {
    /// Records of both inputs, in whatever order these two were mixed.
    pub fn sided(rows: impl Iterator<Item = (Side, Row)>) -> Self {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for (side, row) in rows {
            match side {
                Side::Left => left.push(row),
                Side::Right => right.push(row),
            }
        }
        Self::SidedRows { left, right }
    }
}

/// What all subtasks of a stage keep.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeptByStage {
    /// Keyed state and timers.
    pub keyed: BTreeMap<Address, Kept>,
    /// The entries of operator lists, by name and subtask.
    pub lists: BTreeMap<String, Vec<Vec<Row>>>,
    /// Broadcast state by name, as each subtask has it.
    pub broadcast: BTreeMap<String, BTreeSet<BTreeMap<Row, Row>>>,
}

impl KeptByStage {
    /// Nothing that is empty counts.
    #[must_use]
    pub fn without_nothing(mut self) -> Self {
        self.lists.retain(|_, subtasks| subtasks.iter().any(|entries| !entries.is_empty()));
        self.broadcast.retain(|_, copies| copies.iter().any(|copy| !copy.is_empty()));
        self
    }

    /// What a join by windows keeps, whichever of its two inputs came first: the records of a session lie under the session
    /// itself, and have no order.
    #[must_use]
    pub fn of_join(mut self) -> Self {
        let sessions = |(address, kept): (&Address, &Kept)| match kept {
            Kept::Sessions(sessions) => Some((address.key.clone(), sessions.clone())),
            _ => None,
        };
        let sessions: BTreeMap<Row, BTreeMap<Pane, Pane>> = self.keyed.iter().filter_map(sessions).collect();
        let joined = |(mut address, mut kept): (Address, Kept)| {
            match &mut kept {
                Kept::SidedRows { left, right } => {
                    left.sort_unstable();
                    right.sort_unstable();
                    let mut of_key = sessions.get(&address.key).into_iter().flatten();
                    if let Some((session, _)) = of_key.find(|(_, under)| About::Window(**under) == address.about) {
                        address.about = About::Window(*session);
                    }
                }
                Kept::Sessions(sessions) => *sessions = sessions.keys().map(|session| (*session, *session)).collect(),
                _ => {}
            }
            (address, kept)
        };
        self.keyed = self.keyed.into_iter().map(joined).collect();
        self
    }

    /// How another differs, as lines: `-` what is missing there, `+` what is too much.
    pub fn differences(&self, found: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        let addresses: BTreeSet<&Address> = self.keyed.keys().chain(found.keyed.keys()).collect();
        for address in addresses {
            let (expected, kept) = (self.keyed.get(address), found.keyed.get(address));
            if expected != kept {
                let show = |sign, kept: Option<&Kept>| kept.map(|kept| format!("{sign} {address}: {kept:?}"));
                let lines = [show('-', expected), show('+', kept)].into_iter().flatten().collect();
                differences.push(Difference { is_timer: address.time_ms.is_some(), lines });
            }
        }
        let mut other = |name: &str, expected: Option<String>, kept: Option<String>| {
            if expected != kept {
                let show = |sign, kept: Option<String>| kept.map(|kept| format!("{sign} {name}: {kept}"));
                let lines = [show('-', expected), show('+', kept)].into_iter().flatten().collect();
                differences.push(Difference { is_timer: false, lines });
            }
        };
        let names: BTreeSet<&String> = self.lists.keys().chain(found.lists.keys()).collect();
        for name in names {
            other(name, shown(self.lists.get(name)), shown(found.lists.get(name)));
        }
        let names: BTreeSet<&String> = self.broadcast.keys().chain(found.broadcast.keys()).collect();
        for name in names {
            other(name, shown(self.broadcast.get(name)), shown(found.broadcast.get(name)));
        }
        differences
    }
}

fn shown<T: std::fmt::Debug>(value: Option<&T>) -> Option<String> {
    value.map(|value| format!("{value:?}"))
}

/// One entry that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Whether it is a timer.
    pub is_timer: bool,
    /// What is missing and what is too much.
    pub lines: Vec<String>,
}
