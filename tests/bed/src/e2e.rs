//! Upstream's e2e suite against a bed: runs `e2e.test` from outside of the nodes' network and reads its report. I/O; the reading is pure.

use std::fmt;
use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bed::Bed;
use crate::init::STATE_DIR;
use crate::programs::Programs;

/// Folder of the state directory that the suite writes to, and its file there.
const FOLDER: &str = "e2e";
const REPORT: &str = "report.json";

/// How one spec ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its full name.
    pub name: String,
    /// Ginkgo's word: `passed`, `failed`, `timedout`, `panicked`, `interrupted`, ..., and `skipped` for one that found that it cannot be run.
    pub state: String,
    /// How long it ran, seconds.
    pub seconds: f64,
    /// Why it failed or was skipped; empty if it passed.
    pub failure: String,
}

/// What a run of the suite showed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The specs that were chosen and ran.
    pub specs: Vec<Spec>,
    /// Ginkgo's report, JSON.
    pub report: String,
}

impl Outcome {
    /// Whether at least one spec passed, and none failed: one that skipped itself has done neither.
    pub fn passed(&self) -> bool {
        let of = |state: &str| self.specs.iter().filter(|spec| spec.state == state).count();
        of("passed") > 0 && of("passed") + of("skipped") == self.specs.len()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for spec in &self.specs {
            writeln!(f, "{:<9} {:>6.0} s  {}", spec.state, spec.seconds, spec.name)?;
            if let Some(line) = spec.failure.lines().next() {
                writeln!(f, "                    {line}")?;
            }
        }
        let passed = self.specs.iter().filter(|spec| spec.state == "passed").count();
        writeln!(f, "{passed} of {} specs passed", self.specs.len())
    }
}

/// Which specs to run, and how.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    /// Regular expression of the specs to run.
    pub focus: &'a str,
    /// Regular expression of specs to leave out.
    pub skip: Option<&'a str>,
    /// How many run at a time.
    pub side_by_side: usize,
}

/// Runs specs. What the suite prints goes to this process's standard error.
pub fn run(bed: &Bed, selection: &Selection) -> Result<Outcome> {
    let Selection { focus, skip, side_by_side } = selection;
    ensure!(
        focus.trim_start_matches('^').starts_with("LoadBalancers"),
        "the focus has to begin with LoadBalancers: names of storage specs contain \"LoadBalancer\" too"
    );
    ensure!(*side_by_side > 0, "at least one spec has to run at a time");
    let programs = Programs::ensure_e2e()?;
    let report = format!("{FOLDER}/{REPORT}");
    // The suite cleans up after itself, but a report of an earlier run must not be taken for this one's.
    bed.init().write(&report, "")?;
    let mut command = bed.e2e_ns().command();
    command.arg("env").arg(format!("KUBECONFIG={}", bed.inside_kubeconfig()));
    command.arg(programs.path("ginkgo")?).args([
        &format!("--procs={side_by_side}"),
        &format!("--focus={focus}"),
        "--no-color",
        "--silence-skips",
        "--timeout=3h",
        &format!("--output-dir={STATE_DIR}/{FOLDER}"),
        &format!("--json-report={REPORT}"),
    ]);
    if let Some(skip) = skip {
        command.arg(format!("--skip={skip}"));
    }
    command.arg(programs.path("e2e.test")?).args([
        "--",
        "--provider=skeleton",
        &format!("--kubeconfig={}", bed.inside_kubeconfig()),
        &format!("--num-nodes={}", bed.nodes().len()),
        "--disable-log-dump",
    ]);
    let status =
        command.stdin(Stdio::null()).stdout(std::io::stderr()).status().context("running the suite")?;
    let text = fs::read_to_string(bed.init().state(&report)).context("reading the suite's report")?;
    ensure!(!text.is_empty(), "the suite ended ({status}) without a report");
    let specs = parse(&text)?;
    ensure!(!specs.is_empty(), "no spec matches {focus:?}");
    Ok(Outcome { specs, report: text })
}

/// The specs of a Ginkgo JSON report that ran; pure.
fn parse(text: &str) -> Result<Vec<Spec>> {
    let report: Value = serde_json::from_str(text).context("parsing the suite's report")?;
    let suites = report.as_array().context("the suite's report is not a list")?;
    let reports = suites.iter().filter_map(|suite| suite["SpecReports"].as_array()).flatten();
    Ok(reports.filter_map(spec).collect())
}

fn spec(report: &Value) -> Option<Spec> {
    let state = report["State"].as_str()?;
    let leaf = report["LeafNodeType"].as_str()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let failure = text(&report["Failure"]["Message"]);
    // One that was not chosen is skipped without a reason. Set-up of the whole suite is of interest only if it failed.
    let chosen = state != "pending" && (state != "skipped" || !failure.is_empty());
    if !chosen || leaf != "It" && state == "passed" {
        return None;
    }
    let containers = report["ContainerHierarchyTexts"].as_array().into_iter().flatten().map(text);
    let leaf_text = match text(&report["LeafNodeText"]) {
        empty if empty.is_empty() => format!("[{leaf}]"),
        some => some,
    };
    Some(Spec {
        name: containers.chain([leaf_text]).collect::<Vec<_>>().join(" "),
        state: state.to_owned(),
        seconds: report["RunTime"].as_f64().unwrap_or_default() / 1e9,
        failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"[{"SpecReports": [
        {"LeafNodeType": "SynchronizedBeforeSuite", "LeafNodeText": "", "State": "passed", "RunTime": 5},
        {"LeafNodeType": "It", "LeafNodeText": "works", "ContainerHierarchyTexts": ["LoadBalancers", "ETP"],
         "State": "failed", "RunTime": 1500000000, "Failure": {"Message": "no answer\nat all"}},
        {"LeafNodeType": "It", "LeafNodeText": "other", "State": "skipped"},
        {"LeafNodeType": "It", "LeafNodeText": "unfit", "State": "skipped", "Failure": {"Message": "not here"}},
        {"LeafNodeType": "It", "LeafNodeText": "fine", "ContainerHierarchyTexts": null, "State": "passed", "RunTime": 0}
    ]}]"#;

    #[test]
    fn a_report_is_read() {
        let specs = parse(REPORT).unwrap();
        let states: Vec<&str> = specs.iter().map(|spec| spec.state.as_str()).collect();
        assert_eq!(states, ["failed", "skipped", "passed"]);
        assert_eq!(specs[0].name, "LoadBalancers ETP works");
        assert_eq!(specs[0].seconds, 1.5);
        let outcome = Outcome { specs, report: String::new() };
        assert!(!outcome.passed());
        assert!(outcome.to_string().contains("1 of 3 specs passed"));
        let of = |range: std::ops::Range<usize>| Outcome {
            specs: outcome.specs[range].to_vec(),
            report: String::new(),
        };
        assert!(of(1..3).passed() && !of(1..2).passed());
    }

    #[test]
    fn no_spec_is_no_pass() {
        assert!(!Outcome { specs: parse("[]").unwrap(), report: String::new() }.passed());
        assert!(parse("{").is_err());
    }
}
