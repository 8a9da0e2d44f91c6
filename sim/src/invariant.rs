//! temporary
#[derive(Debug, Clone)] pub struct Violation { pub sentence: String }
pub fn judge(h: &crate::history::History, _: &crate::model::Model) -> Vec<Violation> { if h.end == crate::history::RunEnd::Finished { vec![] } else { vec![Violation { sentence: format!("{:?}", h.end) }] } }
