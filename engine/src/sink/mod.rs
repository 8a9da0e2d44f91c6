//! Which transactions of a sink are open, waiting or to be settled: pure decisions.

mod ledger;

pub use ledger::{LedgerState, Recovery, TransactionLedger};
