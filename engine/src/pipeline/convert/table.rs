//! Tables whose options depend on their kind.

use crate::pipeline::{
    nearest,
    problem::{Place, Problem},
};

/// A table whose options depend on its kind.
pub(super) struct Table<'a> {
    place: &'a Place,
    /// What the table is, for messages: "source", "stage" …
    what: &'static str,
    /// The key that tells its kind.
    kind_key: &'static str,
    pub(super) kind: &'a str,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        place: &'a Place,
        what: &'static str,
        kind_key: &'static str,
        kind: Option<&'a str>,
        kinds: &[&str],
    ) -> Result<Self, Problem> {
        let Some(kind) = kind else {
            let problem = Problem::new(place.clone(), format!("this {what} lacks `{kind_key}`"));
            return Err(problem.with_hint(format!("`{kind_key}` is one of: {}", kinds.join(", "))));
        };
        if !kinds.contains(&kind) {
            let known = nearest::hint(kind, "known", kinds.iter().copied());
            let label = if kind_key == "op" { "operator".to_owned() } else { format!("{what} {kind_key}") };
            let problem = Problem::new(place.key(kind_key), format!("unknown {label} `{kind}`"));
            return Err(problem.with_hint(known));
        }
        Ok(Self { place, what, kind_key, kind })
    }

    /// Refuses options that this kind does not have.
    pub(super) fn only(&self, present: Vec<&'static str>, common: &[&str], own: &[&str]) -> Result<(), Problem> {
        for option in present {
            if option != self.kind_key && !common.contains(&option) && !own.contains(&option) {
                let message = format!("a {} {} has no `{option}`", self.kind, self.what);
                let problem = Problem::new(self.place.key(option), message);
                return Err(if own.is_empty() {
                    problem
                } else {
                    problem.with_hint(format!("its options: {}", own.join(", ")))
                });
            }
        }
        Ok(())
    }

    pub(super) fn need<T>(&self, option: Option<T>, name: &str) -> Result<T, Problem> {
        option
            .ok_or_else(|| Problem::new(self.place.clone(), format!("this {} {} lacks `{name}`", self.kind, self.what)))
    }
}
