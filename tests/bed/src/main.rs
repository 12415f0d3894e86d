//! The command `bed`: starts a bed that lives in the background, looks into it, breaks it.
//!
//! `bed up` starts itself again as `bed serve`, which owns the bed; the other commands find it in the process table.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
