//! `causeway check` as a person runs it, and its findings. I/O.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use causeway_bed::Bed;
use serde_json::Value;

/// The exit status of `causeway check`, and its findings by what they are about.
pub struct Checked {
    pub status: Option<i32>,
    pub findings: Vec<Value>,
}

impl Checked {
    /// For bare metal, with these arguments more.
    pub fn run(bed: &Bed, more: &[&str]) -> Result<Checked> {
        Checked::run_with(bed, more, &[])
    }

    /// With these arguments and variables.
    pub fn run_with(bed: &Bed, more: &[&str], environment: &[(&str, &str)]) -> Result<Checked> {
        let output = Command::new(env!("CARGO_BIN_EXE_causeway"))
            .args(["check", "-o", "json"])
            .args(more)
            .env("KUBECONFIG", bed.kubeconfig())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let findings = report["findings"].as_array().cloned().unwrap_or_default();
        Ok(Checked { status: output.status.code(), findings })
    }

    /// That there is a finding of this level about this, whose message holds the part.
    pub fn says(&self, level: &str, about: &str, part: &str) -> Result<()> {
        let fits = |f: &Value| {
            f["level"] == level
                && f["about"].as_str().is_some_and(|a| a.contains(about))
                && f["message"].as_str().is_some_and(|m| m.contains(part))
        };
        ensure!(self.findings.iter().any(fits), "no {level} about {about} with {part:?} in\n{self}");
        Ok(())
    }
}

impl std::fmt::Display for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))
    }
}
