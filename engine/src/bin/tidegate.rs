//! The command `tidegate`; everything about it is in [`tidegate::command`].

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate::command::main()
}
