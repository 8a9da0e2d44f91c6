//! What a test asks for, and what the person who runs it asks for: the seeds.

use std::ffi::OsStr;

/// The environment variable that selects one seed, decimal or `0x…`, and turns on the printed trace.
pub const SEED_VARIABLE: &str = "TIDEGATE_SEED";

/// What a test asks for. `#[tidegate_sim::test(seeds = 200, faults = 2, task_managers = 2)]` makes one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    package: String,
    name: String,
    seeds: u32,
    faults: u32,
    task_managers: u32,
}

impl Options {
    /// The default options of a test: `package` as cargo calls it, `path` with or without the crate in front of it.
    pub fn new(package: &str, path: &str) -> Self {
        let name = path.split_once("::").map_or(path, |(_, in_crate)| in_crate);
        Self { package: package.into(), name: name.into(), seeds: 100, faults: 2, task_managers: 2 }
    }

    /// Runs the seeds `0..seeds`; at least one.
    #[must_use]
    pub fn with_seeds(self, seeds: u32) -> Self {
        Self { seeds: seeds.max(1), ..self }
    }

    /// Draws at most this many faults per run; at least one.
    #[must_use]
    pub fn with_faults(self, faults: u32) -> Self {
        Self { faults: faults.max(1), ..self }
    }

    /// Runs the job on this many task managers and a spare one; at least one.
    #[must_use]
    pub fn with_task_managers(self, task_managers: u32) -> Self {
        Self { task_managers: task_managers.max(1), ..self }
    }

    /// The test's name within its crate, as `cargo test` filters by it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Seeds that are run: `0..seeds`.
    pub fn seeds(&self) -> u32 {
        self.seeds
    }

    /// Most faults in a run.
    pub fn faults(&self) -> u32 {
        self.faults
    }

    /// Task managers, without the spare one.
    pub fn task_managers(&self) -> u32 {
        self.task_managers
    }

    /// The command that runs one seed again and prints its trace.
    pub fn replay_command(&self, seed: u64) -> String {
        format!("{SEED_VARIABLE}={seed} cargo test -p {} {} -- --exact", self.package, self.name)
    }
}

/// Which seeds are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// All that the test asks for.
    All,
    /// This one, with its trace.
    One(u64),
}

/// The variable does not hold a seed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{SEED_VARIABLE}={value:?} is not a seed: give a number such as 17 or 0x11, or unset the variable")]
pub struct MalformedSeed {
    /// What it holds.
    pub value: String,
}

impl Selection {
    /// What the value of [`SEED_VARIABLE`] selects; an empty one counts as unset.
    ///
    /// # Errors
    /// [`MalformedSeed`] if it is not a number of 64 bits.
    ///
    /// ```
    /// use tidegate_sim::testing::Selection;
    /// assert_eq!(Selection::parse(None), Ok(Selection::All));
    /// assert_eq!(Selection::parse(Some("17".as_ref())), Ok(Selection::One(17)));
    /// ```
    pub fn parse(value: Option<&OsStr>) -> Result<Self, MalformedSeed> {
        let text = value.unwrap_or_default().to_string_lossy();
        let digits = text.trim();
        if digits.is_empty() {
            return Ok(Self::All);
        }
        let seed = match digits.strip_prefix("0x") {
            Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
            None => digits.parse(),
        };
        seed.map(Self::One).map_err(|_| MalformedSeed { value: text.clone().into_owned() })
    }

    /// What the environment of this process selects.
    ///
    /// # Errors
    /// See [`Selection::parse`].
    pub fn from_environment() -> Result<Self, MalformedSeed> {
        Self::parse(std::env::var_os(SEED_VARIABLE).as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(value: &str) -> Result<Selection, MalformedSeed> {
        Selection::parse(Some(OsStr::new(value)))
    }

    #[test]
    fn an_unset_or_empty_variable_selects_every_seed() {
        assert_eq!(Selection::parse(None), Ok(Selection::All));
        assert_eq!(selection(""), Ok(Selection::All));
        assert_eq!(selection("  "), Ok(Selection::All));
    }

    #[test]
    fn a_seed_is_decimal_or_hexadecimal() {
        assert_eq!(selection("0"), Ok(Selection::One(0)));
        assert_eq!(selection(" 17 "), Ok(Selection::One(17)));
        assert_eq!(selection("0x11"), Ok(Selection::One(17)));
        assert_eq!(selection("18446744073709551615"), Ok(Selection::One(u64::MAX)));
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for value in ["-1", "seventeen", "0x", "1.5", "18446744073709551616", "1 2"] {
            let refused = selection(value).expect_err(value);
            assert_eq!(
                refused.to_string(),
                format!(
                    "TIDEGATE_SEED={value:?} is not a seed: give a number such as 17 or 0x11, or unset the variable"
                )
            );
        }
    }

    #[test]
    fn the_replay_command_names_seed_package_and_test() {
        let options = Options::new("my-job", "my_job::sinks::bank");
        assert_eq!(options.replay_command(17), "TIDEGATE_SEED=17 cargo test -p my-job sinks::bank -- --exact");
        assert_eq!(Options::new("my-job", "bank").name(), "bank");
    }
}
