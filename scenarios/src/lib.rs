//! The catalogue: what is claimed, which bugs are planted, and which runs once failed.
//!
//! - `claims/*.toml`: one scenario per file, one claim per scenario;
//! - `zoo.toml`: the planted bugs, with the invariants that must catch them;
//! - `capsules/*.toml`: runs that once found a bug of the engine; they must hold now.

use std::path::{Path, PathBuf};

use tidegate_sim::{
    capsule::{Capsule, CapsuleError},
    scenario::{CatalogueError, Scenario, read_catalogue},
    zoo::{PlantedBug, read_zoo},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All scenarios, sorted by name.
///
/// # Errors
/// [`CatalogueError`] that names the file.
pub fn scenarios() -> Result<Vec<Scenario>, CatalogueError> {
    read_catalogue(root())
}

/// All planted bugs.
///
/// # Errors
/// [`CatalogueError`] that names the file.
pub fn zoo() -> Result<Vec<PlantedBug>, CatalogueError> {
    read_zoo(&root().join("zoo.toml"))
}

/// All runs that once failed, by file name.
///
/// # Errors
/// [`CapsuleError`] that names the file.
pub fn capsules() -> Result<Vec<(String, Capsule)>, CapsuleError> {
    let folder = root().join("capsules");
    let unreadable = |source| CapsuleError::File { path: folder.display().to_string(), source };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort();
    paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| Ok((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), Capsule::read(&path)?)))
        .collect()
}
