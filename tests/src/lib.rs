//! The proof. Every test lives under `tests/`.
