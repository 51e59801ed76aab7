//! The command `latchkey`: sets the allocator. The program itself is in the library (`program.rs`).

use std::process::ExitCode;

/// mimalloc: a request allocates and frees some dozens of times, mostly on another thread than the request before it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    latchkey::program::main()
}
