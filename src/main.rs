//! The command `latchkey`: its allocator. The program itself is in the library (`program.rs`).

use std::process::ExitCode;

/// A request allocates and frees some dozens of times, most of it on another thread than the last one did.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    latchkey::program::main()
}
