//! `sim matrix`.

use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;

use super::{Outcome, Wrong, cores, write_json};
use crate::{
    matrix::{Matrix, MatrixExtent, run_matrix, scenario},
    workload::{Backend, StageKind},
};

/// Every kind of stage, in every backend, with a crash at every moment of a checkpoint.
#[derive(Args)]
pub(super) struct MatrixCommand {
    /// Kinds of stages, or the first parts of their names; all if none is named.
    kinds: Vec<String>,
    /// Runs per cell in which the crash struck.
    #[arg(long, default_value_t = 1)]
    seeds_per_cell: u64,
    /// The first seed of each cell.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Workers; one per core if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Where capsules of violations go.
    #[arg(long, default_value = "failures")]
    failures: PathBuf,
    /// Writes the cells as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl MatrixCommand {
    pub(super) fn run(&self) -> Result<Outcome, Wrong> {
        let extent = MatrixExtent {
            seeds_per_cell: self.seeds_per_cell,
            first_seed: self.first_seed,
            kinds: self.kinds()?,
            backends: Backend::available(),
            jobs: self.jobs.unwrap_or_else(cores),
        };
        super::silence_panics();
        let bar = ProgressBar::new((extent.kinds.len() * extent.backends.len() * 5) as u64);
        let matrix = run_matrix(&extent, |_| bar.inc(1));
        bar.finish_and_clear();
        println!("{}", matrix.text());
        write_json(self.json.as_ref(), &matrix)?;
        self.keep_failures(&matrix, &extent)?;
        Ok(if !matrix.violated().is_empty() {
            Outcome::Violated
        } else if !matrix.uncovered().is_empty() {
            Outcome::Unknown
        } else {
            Outcome::AsClaimed
        })
    }

    fn kinds(&self) -> Result<Vec<StageKind>, Wrong> {
        if self.kinds.is_empty() {
            return Ok(StageKind::all());
        }
        if let Some(unknown) = self.kinds.iter().find(|name| StageKind::named(name).is_empty()) {
            let names: Vec<String> = StageKind::all().into_iter().map(StageKind::name).collect();
            return Err(Wrong(format!("there is no kind of stage {unknown:?}; known are: {}", names.join(", "))));
        }
        Ok(self.kinds.iter().flat_map(|name| StageKind::named(name)).collect())
    }

    /// Writes a capsule for each violated cell: the plan as it was drawn.
    fn keep_failures(&self, matrix: &Matrix, extent: &MatrixExtent) -> Result<(), Wrong> {
        for cell in matrix.violated() {
            let Some((seed, sentence)) = &cell.first_violation else { continue };
            let Some(kind) = extent.kinds.iter().find(|kind| kind.name() == cell.kind) else { continue };
            let plan = scenario(*kind, cell.backend, cell.moment).plan(*seed);
            let name = format!("matrix-{}-{}-{}", cell.kind.replace('/', "-"), cell.backend.name(), cell.moment.name());
            let path = self.failures.join(format!("{name}.toml"));
            crate::capsule::Capsule::new(plan, sentence.clone()).write(&path)?;
            println!("replay with: cargo sim replay {}", path.display());
        }
        Ok(())
    }
}
