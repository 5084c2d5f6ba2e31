//! The `neuronlake` command.

use std::process::ExitCode;

/// Planning a query makes and drops a great many small things, on several threads at once: a sixth of its time was the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    neuronlake::cli::main()
}
