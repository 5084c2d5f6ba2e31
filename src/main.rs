//! The `neuronlake` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    neuronlake::cli::main()
}
