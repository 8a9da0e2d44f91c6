//! Where a task manager finds the code of a job that it is told to run.

use std::sync::Arc;

use crate::{error::Result, task::Program};

/// Turns the program reference of a deployment into code.
pub trait ProgramSource: Send + Sync {
    /// The program that `reference` stands for.
    ///
    /// # Errors
    /// If it is not known here, or does not compile.
    fn program(&self, reference: &str) -> Result<Arc<Program>>;
}

/// A process that was built with one program: every reference means it.
pub struct SingleProgram(pub Arc<Program>);

impl ProgramSource for SingleProgram {
    fn program(&self, _reference: &str) -> Result<Arc<Program>> {
        Ok(self.0.clone())
    }
}
