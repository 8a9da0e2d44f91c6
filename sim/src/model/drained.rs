//! The model of a job that is drained: its data ends where it was stopped.

use tidegate::pipeline::SourceKind;

use super::{Cut, Model, ModelError, layout};

impl Model {
    /// What the pipeline must do if its sources end at a cut: what comes after it was never there.
    ///
    /// # Errors
    /// If the cut does not fit the sources, or there is no model of what is left.
    pub fn drained_at(&self, cut: &Cut) -> Result<Self, ModelError> {
        if self.script.is_none() {
            let mut sources = self.sources.clone();
            for (source, splits) in self.plan.sources.iter().zip(&mut sources) {
                for (split, records) in (0..).zip(splits) {
                    let position = cut.sources.get(&layout::uid(&source.name)).and_then(|splits| splits.get(&split));
                    let position = position.and_then(|position| usize::try_from(*position).ok());
                    let position = position.filter(|position| *position <= records.len()).ok_or_else(|| {
                        ModelError::NoSuchCut(format!("split {split} of {} is at {position:?}", source.name))
                    })?;
                    records.truncate(position);
                }
            }
            return Self::of_records(self.plan.clone(), self.config.clone(), self.key_groups, sources);
        }
        let mut plan = self.plan.clone();
        for source in &mut plan.sources {
            let positions = cut.sources.get(&layout::uid(&source.name));
            let position = positions.and_then(|positions| positions.get(&0)).ok_or_else(|| {
                ModelError::NoSuchCut(format!("there is no position of the script of {}", source.name))
            })?;
            if let SourceKind::Script(script) = &mut source.kind {
                script.steps.truncate(usize::try_from(*position).unwrap_or(usize::MAX));
            }
        }
        Self::of_scripts(plan, self.config.clone(), self.key_groups)
    }
}
