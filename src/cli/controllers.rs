//! Which controllers run, in the words of Kubernetes' own controller managers (`--controllers`), and how often the node controllers work. Pure.

use std::time::Duration;

use clap::{ArgAction, Args};

use super::config::ConfigError;
use super::duration;
use crate::nodes::run::Settings;

/// Names of upstream's controllers, with their aliases.
const NAMES: [[&str; 2]; 4] = [
    ["service-lb-controller", "service"],
    ["cloud-node-controller", "cloud-node"],
    ["cloud-node-lifecycle-controller", "cloud-node-lifecycle"],
    ["node-route-controller", "route"],
];

/// Which controllers run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Controllers")]
pub struct ControllersArgs {
    /// What runs: service-lb-controller (Services and Ingresses), cloud-node-controller, cloud-node-lifecycle-controller; `*` is all of these,
    /// a dash before a name is all but this. The node controllers are for clusters in which Causeway replaces the cloud's own
    /// controller manager. Comma-separated or repeated [default: service-lb-controller].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', allow_hyphen_values = true, action = ArgAction::Append)]
    pub controllers: Vec<String>,
    /// How often the cloud is asked for the machines of Nodes that are not Ready.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    pub node_monitor_period: Duration,
    /// How often addresses and labels of Nodes are compared with their machines'.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration::parse)]
    pub node_status_update_frequency: Duration,
    /// Nodes written at once.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub concurrent_node_syncs: usize,
}

/// Which controllers run, validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controllers {
    /// Load balancers for Services and Ingresses.
    pub load_balancers: bool,
    /// The node controllers; `None`: neither runs.
    pub nodes: Option<Settings>,
}

impl ControllersArgs {
    /// Validates. `knows_machines`: the provider can be asked for the machines of Nodes.
    pub(super) fn validate(self, knows_machines: bool, errors: &mut Vec<ConfigError>) -> Controllers {
        let mut error = |flag, message: String| errors.push(ConfigError { flag, message });
        let said = self.controllers;
        let is_known = |name: &str| name == "*" || NAMES.iter().flatten().any(|known| *known == name);
        let names = || said.iter().map(|name| name.strip_prefix('-').unwrap_or(name));
        for name in names() {
            if !is_known(name) {
                let names: Vec<&str> = NAMES.iter().take(3).map(|[name, _]| *name).collect();
                error(
                    "--controllers",
                    format!("there is no controller {name:?}; there are: {}", names.join(", ")),
                );
            }
        }
        // As Kubernetes' own: what is named counts; of the others all with `*`, else none.
        let by_star = said.iter().any(|name| name == "*");
        let runs = |names: &[&str; 2]| {
            let word = |name: &String| names.iter().any(|known| name == known);
            let against = |name: &String| name.strip_prefix('-').is_some_and(|name| names.contains(&name));
            said.iter().any(word) || (by_star && !said.iter().any(against))
        };
        let [service, node, lifecycle, route] = NAMES.each_ref().map(runs);
        if route && !by_star {
            error(
                "--controllers",
                "routes between Nodes are not for Causeway to set: leave node-route-controller out".into(),
            );
        }
        let wanted = (node || lifecycle) && !by_star;
        if wanted && !knows_machines {
            error("--controllers", "this provider knows no machines: leave the node controllers out".into());
        }
        for (flag, time) in [
            ("--node-monitor-period", self.node_monitor_period),
            ("--node-status-update-frequency", self.node_status_update_frequency),
        ] {
            if time < Duration::from_secs(1) {
                error(flag, "must be at least 1s".into());
            }
        }
        if self.concurrent_node_syncs == 0 {
            error("--concurrent-node-syncs", "must be at least 1".into());
        }
        let settings = Settings {
            describe: node,
            lifecycle,
            monitor_period: self.node_monitor_period,
            update_frequency: self.node_status_update_frequency,
            concurrent: self.concurrent_node_syncs,
        };
        let load_balancers = said.is_empty() || service;
        if !load_balancers && !node && !lifecycle && names().all(is_known) {
            error("--controllers", "nothing is left to run: name at least one".into());
        }
        Controllers { load_balancers, nodes: ((node || lifecycle) && knows_machines).then_some(settings) }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        args: ControllersArgs,
    }

    fn validated(text: &str, knows_machines: bool) -> (Controllers, Vec<String>) {
        let argv = std::iter::once("x").chain(text.split_whitespace());
        let whole = Whole::try_parse_from(argv).expect("flags");
        let mut errors = Vec::new();
        let controllers = whole.args.validate(knows_machines, &mut errors);
        (controllers, errors.iter().map(ToString::to_string).collect())
    }

    #[rstest]
    #[case("", [true, false, false])]
    #[case("--controllers=*", [true, true, true])]
    #[case("--controllers=*,-cloud-node-lifecycle", [true, true, false])]
    #[case("--controllers=* --controllers=-cloud-node-controller", [true, false, true])]
    #[case("--controllers=*,-route", [true, true, true])]
    #[case("--controllers=service", [true, false, false])]
    #[case("--controllers=cloud-node,cloud-node-lifecycle", [false, true, true])]
    #[case("--controllers=-service,*", [false, true, true])]
    fn names_are_kubernetes_own(#[case] text: &str, #[case] want: [bool; 3]) {
        let (found, errors) = validated(text, true);
        assert_eq!(errors, Vec::<String>::new());
        let nodes = found.nodes;
        let found =
            [found.load_balancers, nodes.is_some_and(|n| n.describe), nodes.is_some_and(|n| n.lifecycle)];
        assert_eq!(found, want);
    }

    #[rstest]
    #[case("--controllers=services", true, "no controller \"services\"")]
    #[case("--controllers=-ghost", true, "no controller \"ghost\"")]
    #[case("--controllers=service,route", true, "node-route-controller")]
    #[case("--controllers=service,cloud-node", false, "knows no machines")]
    #[case("--controllers=-service", true, "nothing is left")]
    #[case("--node-monitor-period=1ms", true, "--node-monitor-period: must be")]
    #[case("--node-status-update-frequency=0s", true, "--node-status-update-frequency: must be")]
    #[case("--concurrent-node-syncs=0", true, "--concurrent-node-syncs: must be")]
    fn nonsense_is_named(#[case] text: &str, #[case] knows_machines: bool, #[case] want: &str) {
        let (_, errors) = validated(text, knows_machines);
        assert!(errors.len() == 1 && errors[0].contains(want), "{errors:?}");
    }

    #[test]
    fn all_of_a_provider_without_machines_is_what_it_has() {
        let (found, errors) = validated("--controllers=*", false);
        assert_eq!((found, errors), (Controllers { load_balancers: true, nodes: None }, Vec::new()));
    }
}
