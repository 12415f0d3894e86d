//! The command line, and the file that `--config` names, to [`Arguments`]. Pure: the file comes through a function.
//!
//! A key of the file becomes the flag of that name, placed before those of the command line, so both pass through the same parser. A flag
//! that the command line (or its environment variable) gives takes the place of the key, whole, also where it is repeatable.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};
use serde_json::{Map, Value};

use super::args::{Arguments, FOREIGN_FLAGS};

/// Why there are no arguments.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// `--help`, `--version`, or a wrong command line: clap prints it and knows the exit status.
    #[error("{0}")]
    Usage(Box<clap::Error>),
    /// The file of `--config`.
    #[error("--config {path}: {message}")]
    File {
        /// Its path as given.
        path: String,
        /// What is the matter, and what to do.
        message: String,
    },
}

/// Reads arguments; `argv` begins with the name of the program.
///
/// # Errors
/// See [`ReadError`].
pub fn arguments(
    argv: impl IntoIterator<Item = OsString>,
    read_file: impl Fn(&Path) -> std::io::Result<String>,
) -> Result<Arguments, ReadError> {
    let argv: Vec<OsString> = argv.into_iter().collect();
    let matches = matches(&argv).map_err(|e| ReadError::Usage(Box::new(with_hint(e))))?;
    let from = |m: &ArgMatches| Arguments::from_arg_matches(m).map_err(|e| ReadError::Usage(Box::new(e)));
    let Some((name, given)) = matches.subcommand() else { return from(&matches) };
    let Some(path) = given.try_get_one::<std::path::PathBuf>("config").ok().flatten() else {
        return from(&matches);
    };
    let fail = |message: String| ReadError::File { path: path.display().to_string(), message };

    let text = read_file(path).map_err(|e| fail(e.to_string()))?;
    let flags = from_file(name, given, &text).map_err(fail)?;
    let program = argv.first().cloned().unwrap_or_default();
    let head = [program, OsString::from(name)];
    // Once alone, so that what is wrong with the file is said of the file.
    let alone: Vec<OsString> = head.iter().cloned().chain(flags.iter().cloned()).collect();
    self::matches(&alone).map_err(|e| fail(one_line(&e)))?;
    let all: Vec<OsString> = head.into_iter().chain(flags).chain(argv.into_iter().skip(2)).collect();
    let matches = self::matches(&all).map_err(|e| fail(one_line(&e)))?;
    from(&matches)
}

fn matches(argv: &[OsString]) -> Result<ArgMatches, clap::Error> {
    Arguments::command().try_get_matches_from(argv)
}

/// The flags that a file stands for, but for those that are given already.
fn from_file(command: &str, given: &ArgMatches, text: &str) -> Result<Vec<OsString>, String> {
    // An empty file, or one with comments only, is an empty mapping.
    let value: Option<Value> = serde_saphyr::from_str(text).map_err(|e| format!("not YAML: {e}"))?;
    let keys: Map<String, Value> = match value {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(keys)) => keys,
        Some(_) => return Err("not a mapping: write one line `flag: value` for each flag".to_owned()),
    };
    let root = Arguments::command();
    let known = root.find_subcommand(command).ok_or_else(|| format!("no command {command}"))?;
    let mut flags = Vec::new();
    for (key, value) in keys {
        let arg = known
            .get_arguments()
            .find(|a| a.get_long() == Some(key.as_str()) && !["config", "help"].contains(&key.as_str()))
            .ok_or_else(|| {
                format!("unknown key {key:?}: keys are the flags of `causeway {command}` without the dashes")
            })?;
        if is_given(given, arg) {
            continue;
        }
        for text in texts(&value).map_err(|what| format!("key {key:?}: {what}"))? {
            flags.push(OsString::from(format!("--{key}={text}")));
        }
    }
    Ok(flags)
}

fn is_given(given: &ArgMatches, arg: &Arg) -> bool {
    matches!(
        given.value_source(arg.get_id().as_str()),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Bool(_) | Value::Number(_) => Ok(vec![value.to_string()]),
        Value::Array(items) => {
            let mut all = Vec::new();
            for item in items {
                match item {
                    Value::Array(_) | Value::Object(_) => {
                        return Err("a list of plain values, please".to_owned());
                    }
                    item => all.extend(texts(item)?),
                }
            }
            Ok(all)
        }
        Value::Null => Err("has no value: give it one, or take the key away".to_owned()),
        Value::Object(_) => Err("a plain value or a list, please; not a mapping".to_owned()),
    }
}

/// clap's message without its usage.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    first.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Says what to do about a flag that other cloud-controller-managers have.
fn with_hint(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let hint = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => {
            FOREIGN_FLAGS.iter().find(|(name, _)| name == flag).map(|(_, hint)| *hint)
        }
        _ => None,
    };
    if let Some(hint) = hint {
        error.remove(ContextKind::SuggestedArg);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    }
    error
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::cli::args::Command;

    fn read(line: &str, file: &str) -> Result<Arguments, ReadError> {
        let argv = std::iter::once("causeway").chain(line.split_whitespace()).map(OsString::from);
        arguments(argv, |path| {
            assert_eq!(path, Path::new("f.yaml"));
            Ok(file.to_owned())
        })
    }

    fn controller(line: &str, file: &str) -> crate::cli::args::ControllerArgs {
        match read(line, file).expect("good arguments").command {
            Command::Controller(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_table_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_file_gives_flags_and_the_command_line_wins() {
        let file = "cloud-provider: metal\nconcurrent-service-syncs: 7\ndry-run: true\nnode-max-wait: 9s\n\
                    load-balancer-class: [a/b, a/c]\nkube-api-qps: 12.5\n";
        let args = controller("controller --config f.yaml --node-max-wait=3s", file);
        assert_eq!(args.provider.cloud_provider.as_deref(), Some("metal"));
        assert_eq!(args.engine.concurrent_service_syncs, 7);
        assert!(args.engine.dry_run);
        assert_eq!(args.engine.node_max_wait.as_secs(), 3);
        assert_eq!(args.provider.load_balancer_class, ["a/b", "a/c"]);
        assert!((args.kube.kube_api_qps - 12.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_repeatable_flag_takes_the_place_of_the_whole_list() {
        let args = controller(
            "controller --config=f.yaml --load-balancer-class x/y",
            "load-balancer-class: [a/b, a/c]\ncloud-provider: metal",
        );
        assert_eq!(args.provider.load_balancer_class, ["x/y"]);
    }

    #[rstest]
    #[case::empty("")]
    #[case::comments("# nothing yet\n")]
    fn an_empty_file_is_fine(#[case] file: &str) {
        assert_eq!(controller("controller --config f.yaml", file).engine.concurrent_service_syncs, 32);
    }

    #[rstest]
    #[case::unknown("cloud-provder: metal", "\"cloud-provder\"")]
    #[case::flag_of_another_command("membership-port: 1", "\"membership-port\"")]
    #[case::nested("leader-elect: {a: 1}", "\"leader-elect\"")]
    #[case::null("cluster-id:", "\"cluster-id\"")]
    #[case::not_a_mapping("- a", "mapping")]
    #[case::itself("config: x", "\"config\"")]
    #[case::bad_value("node-max-wait: fast", "--node-max-wait")]
    #[case::bad_bool("dry-run: maybe", "--dry-run")]
    #[case::not_yaml("a: [", "YAML")]
    fn a_bad_file_is_named_with_its_key(#[case] file: &str, #[case] says: &str) {
        let error = read("controller --config f.yaml", file).expect_err("a bad file").to_string();
        assert!(error.starts_with("--config f.yaml: ") && error.contains(says), "{error}");
        assert!(!error.contains('\n') || says == "YAML", "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_read() {
        let argv = ["causeway", "controller", "--config", "x"].map(OsString::from);
        let error = arguments(argv, |_| Err(std::io::ErrorKind::NotFound.into())).expect_err("no file");
        assert!(error.to_string().starts_with("--config x: "), "{error}");
    }

    #[test]
    fn booleans_in_the_forms_of_go() {
        assert!(!controller("controller --leader-elect=false", "").leader.leader_elect);
        assert!(controller("controller --leader-elect", "").leader.leader_elect);
        assert!(controller("controller --dry-run=true", "").engine.dry_run);
        assert!(controller("controller --dry-run=false --dry-run", "").engine.dry_run);
    }

    #[test]
    fn verbosity_as_kubernetes_has_it() {
        assert_eq!(controller("controller -v=4", "").common.verbosity, Some(4));
        assert_eq!(controller("controller --v=4", "").common.verbosity, Some(4));
        assert_eq!(controller("controller -v 4", "").common.verbosity, Some(4));
        assert_eq!(
            controller("controller --config f.yaml -v 4", "log-level: warn").common.verbosity,
            Some(4)
        );
        assert_eq!(controller("controller --config f.yaml --log-level warn", "v: 4").common.verbosity, None);
    }

    #[test]
    fn a_flag_of_other_controllers_says_what_to_do() {
        let error = read("controller --secure-port=10258", "").expect_err("not ours").to_string();
        assert!(error.contains("--admin-port"), "{error}");
    }

    #[test]
    fn plan_takes_several_files() {
        let Command::Plan(args) = read("plan -f a b -f c -o json", "").expect("good").command else {
            panic!()
        };
        assert_eq!(args.files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(read("plan --inventory x", "").is_err(), "an inventory without files is no use");
    }
}
