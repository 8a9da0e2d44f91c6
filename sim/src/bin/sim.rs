//! The command `sim`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_sim::command::main()
}
