//! `causeway check`: is the set-up sound? Reads the cluster, and the cloud where there is one, and says of each thing that must be there whether it is, and what to do if not.
//!
//! | module | is |
//! |---|---|
//! | [`live`] | I/O: what every provider has is read here, and the provider's own asked for |
//! | [`rules`] | pure: that, judged |
//! | [`rights`] | pure: the rights that deploy/ gives, as questions to the API server |
//! | `aws` | I/O: nodes and the account; what AWS holds is judged by `causeway_aws::check` |
//! | `openstack` | I/O: configuration, nodes, what objects ask for, and the project, which is judged by `causeway_openstack::check` |
//! | `metal` | I/O: speakers, pools, kube-proxy; its rules are pure |

#[cfg(feature = "aws")]
mod aws;
pub mod live;
#[cfg(feature = "metal")]
pub mod metal;
#[cfg(feature = "openstack")]
mod openstack;
pub mod rights;
pub mod rules;

use std::fmt::Write as _;

pub use causeway_api::{Finding, Level};
use serde::Serialize;

use super::args::OutputFormat;

/// All findings, in the order in which they were looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
}

impl Report {
    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|f| f.level == level).count()
    }

    /// 0, or 2 if anything is an error.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        if self.count(Level::Error) == 0 { 0 } else { 2 }
    }

    /// As text or JSON, with a line feed at the end.
    #[must_use]
    pub fn render(&self, format: OutputFormat) -> String {
        if format == OutputFormat::Json {
            // Plain data with string keys: it always becomes JSON.
            return serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        }
        let mut out = String::new();
        for finding in &self.findings {
            let sign = match finding.level {
                Level::Ok => "ok     ",
                Level::Warning => "WARNING",
                Level::Error => "ERROR  ",
            };
            let _ = writeln!(out, "{sign} {}: {}", finding.about, finding.message);
        }
        let (errors, warnings) = (self.count(Level::Error), self.count(Level::Warning));
        let _ = match (errors, warnings) {
            (0, 0) => writeln!(out, "\nThe set-up is sound."),
            (0, n) => writeln!(out, "\nThe set-up is sound, with {n} warning{}.", plural(n)),
            (n, w) => writeln!(out, "\n{n} error{} and {w} warning{}.", plural(n), plural(w)),
        };
        out
    }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        let of = |findings: Vec<Finding>| Report { findings };
        let sound = of(vec![Finding::ok("a", "b")]);
        assert_eq!(sound.exit_status(), 0);
        assert_eq!(sound.render(OutputFormat::Text), "ok      a: b\n\nThe set-up is sound.\n");
        let warned = of(vec![Finding::warning("a", "b")]);
        assert_eq!(warned.exit_status(), 0);
        assert!(warned.render(OutputFormat::Text).contains("with 1 warning."));
        let broken = of(vec![Finding::error("a", "b"), Finding::warning("c", "d")]);
        assert_eq!(broken.exit_status(), 2);
        assert!(broken.render(OutputFormat::Text).ends_with("1 error and 1 warning.\n"));
        let json: serde_json::Value = serde_json::from_str(&broken.render(OutputFormat::Json)).expect("JSON");
        assert_eq!(json["findings"][0], serde_json::json!({"level": "error", "about": "a", "message": "b"}));
    }
}
