//! temporary
pub struct Model; impl Model { pub fn new(_: &tidegate::pipeline::Pipeline) -> Result<Self, String> { Ok(Self) } }
