//! The rows of a bench suite: printed as a table as they come, written as JSON at the end.

#![allow(dead_code, reason = "shared by several benches, each of which uses a part")]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One number, or several that belong together.
pub struct Row {
    pub id: &'static str,
    pub what: &'static str,
    /// Names and numbers; a single number has an empty name.
    pub values: Vec<(&'static str, f64)>,
    pub unit: &'static str,
    pub goal: String,
    pub pass: bool,
}

/// The rows, printed as they come.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds a row and prints it; `peer` is what the peers need.
    pub fn row(&mut self, row: Row, peer: &str) {
        let number = |n: &f64| if n.fract() == 0.0 { format!("{n}") } else { format!("{n:.2}") };
        let ours: Vec<String> = row
            .values
            .iter()
            .map(|(name, n)| if name.is_empty() { number(n) } else { format!("{name} {}", number(n)) })
            .collect();
        println!(
            "{:<16} {:<58} {:>32} {:<8} goal {:<14} {:<6} peer {peer}",
            row.id,
            row.what,
            ours.join(", "),
            row.unit,
            row.goal,
            if row.pass { "ok" } else { "MISSED" }
        );
        self.rows.push(row);
    }

    /// A row of one number of seconds that may be at most `goal`.
    pub fn seconds(&mut self, id: &'static str, what: &'static str, took: Duration, goal: f64, peer: &str) {
        let seconds = took.as_secs_f64();
        let pass = seconds <= goal;
        self.row(
            Row { id, what, values: vec![("", seconds)], unit: "s", goal: format!("<= {goal}"), pass },
            peer,
        );
    }

    /// Whether there is a row of that id.
    pub fn has(&self, id: &str) -> bool {
        self.rows.iter().any(|row| row.id == id)
    }

    fn missed(&self) -> usize {
        self.rows.iter().filter(|row| !row.pass).count()
    }

    /// `[{"id", "what", "value", "unit", "goal", "pass"}]`; numbers that belong together stay in their order.
    fn json(&self) -> String {
        let text = |s: &str| Value::from(s).to_string();
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let value = match row.values.as_slice() {
                    [("", n)] => format!("{n:.3}"),
                    many => {
                        let parts: Vec<String> = many.iter().map(|(k, n)| format!("{}: {n:.3}", text(k))).collect();
                        format!("{{{}}}", parts.join(", "))
                    }
                };
                format!(
                    "  {{\"id\": {}, \"what\": {}, \"value\": {value}, \"unit\": {}, \"goal\": {}, \"pass\": {}}}",
                    text(row.id),
                    text(row.what),
                    text(row.unit),
                    text(&row.goal),
                    row.pass
                )
            })
            .collect();
        format!("[\n{}\n]\n", rows.join(",\n"))
    }

    /// Writes `target/bench/SUITE.json`, says the score, and fails if a goal was missed.
    pub fn end(&self, suite: &str) -> Result<()> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/bench/{suite}.json"));
        std::fs::create_dir_all(file.parent().context("no folder")?)?;
        std::fs::write(&file, self.json()).with_context(|| file.display().to_string())?;
        let (rows, missed) = (self.rows.len(), self.missed());
        println!("{} of {rows} goals reached; {}", rows - missed, file.display());
        ensure!(missed == 0, "{missed} goals missed");
        Ok(())
    }
}
