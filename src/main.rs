//! The binary: arguments to configuration, and run it. Status 0, 1 if it cannot run, 2 from `plan`, `check` and `release` if an object
//! has an error.

use std::process::ExitCode;

use causeway::cli::read::{self, ReadError};
use causeway::cli::{commands, config};

fn main() -> ExitCode {
    // The one TLS implementation of the process; it fails only where one is installed already, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = match read::arguments(std::env::args_os(), |path| std::fs::read_to_string(path)) {
        Ok(arguments) => arguments,
        Err(ReadError::Usage(usage)) => {
            // Nobody is left to tell if the terminal is gone.
            let _ = usage.print();
            return ExitCode::from(u8::from(usage.use_stderr()));
        }
        Err(error) => return failed(&error.into()),
    };
    match config::validate(arguments).map_err(anyhow::Error::from).and_then(commands::run) {
        Ok(status) => ExitCode::from(status),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("causeway: {error:#}");
    ExitCode::FAILURE
}
