//! `bindgen INPUT.wasm OUTPUT_FOLDER`: writes `latchkey.js` and `latchkey_bg.wasm`.
//!
//! Calls the library instead of the command `wasm-bindgen`. The library compiles eight times faster, and its version is
//! that of Cargo.lock, as for the `wasm-bindgen` in the module.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: bindgen INPUT.wasm OUTPUT_FOLDER");
        return ExitCode::from(2);
    };
    let result = wasm_bindgen_cli_support::Bindgen::new()
        .input_path(&input)
        .out_name("latchkey")
        .typescript(false)
        .omit_default_module_path(true)
        .web(true)
        .and_then(|bindgen| bindgen.generate(&output));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bindgen: {input}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
