//! Golden cases of `causeway plan`, what providers share of them: a case is a file of objects whose comments say what to expect of the plan.
//!
//! ```text
//! #: ...                          about the inventory or the flags, in the provider's own words
//! #= errors 0                     how many errors there are
//! #= error "Service shop/web" InvalidAnnotation
//! #= Listener 443 spec.port 443   a value in a resource, by the short name of its type, its id and a path
//! #= Listener 80 spec.tags -      there is no such value
//! #= Listener 8080 -              there is no such resource
//! ```

use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

use super::commands::plan_files;
use super::config::{Config, validate};
use super::plan::PlanOutput;
use super::read;

/// Runs `causeway plan` on files, from its command line to what it would print.
pub fn plan(provider: &str, files: &[&Path], inventory: Option<&Path>, flags: &[&str]) -> PlanOutput {
    let provider = format!("--cloud-provider={provider}");
    let mut argv: Vec<OsString> = ["causeway", "plan", &provider].map(OsString::from).into();
    argv.extend(files.iter().flat_map(|file| ["-f".into(), OsString::from(file)]));
    argv.extend(inventory.iter().flat_map(|file| ["--inventory".into(), OsString::from(file)]));
    argv.extend(flags.iter().map(OsString::from));
    let arguments = read::arguments(argv, |path| std::fs::read_to_string(path)).expect("arguments");
    let Config::Plan(config) = validate(arguments).expect("flags") else { panic!("another command") };
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O or clock");
    runtime.block_on(plan_files(&config)).expect("files")
}

/// What of a plan is not as its case expects it; `kind` makes the type of a resource of its short name.
pub fn complaints(output: &PlanOutput, case: &str, kind: fn(&str) -> String) -> Vec<String> {
    let expected: Vec<&str> = case.lines().filter_map(|line| line.strip_prefix("#= ")).collect();
    assert!(!expected.is_empty(), "a case that expects nothing");
    expected.iter().filter_map(|line| Some(format!("{line}: {}", complaint(output, line, kind)?))).collect()
}

/// How many cases a folder has.
pub fn count(folder: &str) -> usize {
    let cases = std::fs::read_dir(folder).expect("the cases");
    cases.filter(|f| f.as_ref().is_ok_and(|f| f.path().extension().is_some_and(|e| e == "yaml"))).count()
}

fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, step| match step.parse::<usize>() {
        Ok(index) if value.is_array() => value.get(index),
        _ => value.get(step),
    })
}

fn complaint(output: &PlanOutput, line: &str, kind: fn(&str) -> String) -> Option<String> {
    let found =
        |kind: &str, id: &str| output.stacks.iter().find_map(|stack| stack.resources.get(kind)?.get(id));
    let mut words = line.splitn(2, ' ');
    let (first, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match first {
        "errors" => {
            let count = output.errors.len().to_string();
            (count != rest).then(|| format!("{count} errors: {:?}", output.errors))
        }
        "error" => {
            let (object, reason) = rest.trim_start_matches('"').split_once("\" ").expect("\"OBJECT\" REASON");
            let there = output.errors.iter().any(|e| e.object == object && e.reason == reason);
            let said = output.errors.iter().all(|e| !e.field.is_empty() && e.message.len() > 20);
            (!there || !said).then(|| format!("{:?}", output.errors))
        }
        short => {
            let parts: Vec<&str> = rest.splitn(3, ' ').collect();
            let resource = found(&kind(short), parts[0]);
            match parts[..] {
                [_, "-"] => resource.map(|r| format!("it is there: {r}")),
                [_, path, "-"] => match resource {
                    Some(resource) => at(resource, path).map(|v| format!("it is {v}")),
                    None => Some("there is no such resource".to_owned()),
                },
                [_, path, want] => {
                    let want: Value = serde_json::from_str(want).expect("JSON");
                    let have = resource.and_then(|r| at(r, path));
                    (have != Some(&want)).then(|| format!("it is {have:?}"))
                }
                _ => panic!("{line:?}"),
            }
        }
    }
}
