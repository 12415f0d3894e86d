//! The settings of this node that announcing depends on: read from /proc now and then, judged by [`NodeSettings::problems`], said where they change. I/O.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use causeway_metal::node_settings::{InterfaceSettings, NodeSettings};
use causeway_speaker::interfaces::Exclude;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::sleep;

/// How often a node is looked at.
const PERIOD: Duration = Duration::from_secs(180);
/// Number of CAP_NET_RAW.
const CAP_NET_RAW: u32 = 13;
/// kube-proxy's interface in IPVS mode.
const IPVS_INTERFACE: &str = "kube-ipvs0";
/// RTF_UP of a route.
const ROUTE_UP: u32 = 1;

/// Looks at the node for ever; `say` hears all that is wrong, at the start and when it changes.
pub async fn watch(exclude: Exclude, problems: Gauge, mut say: impl FnMut(&[String])) {
    let mut last = None;
    loop {
        let found = read(Path::new("/proc"), &exclude).problems();
        problems.set(i64::try_from(found.len()).unwrap_or(i64::MAX));
        if last.as_ref() != Some(&found) {
            say(&found);
            last = Some(found);
        }
        sleep(PERIOD).await;
    }
}

/// Registers the metric. The registry's prefix is `causeway`.
pub fn register(registry: &mut Registry) -> Gauge {
    let gauge = Gauge::default();
    registry.register(
        "speaker_node_problems",
        "Settings of the node that stand in the way of announcing; its Events say which",
        gauge.clone(),
    );
    gauge
}

/// Reads the settings below a `/proc`. What cannot be read is as if it were in order: not every kernel has all of it.
fn read(proc: &Path, exclude: &Exclude) -> NodeSettings {
    let conf = proc.join("sys/net/ipv4/conf");
    let all = conf.join("all");
    let routes = Routes::parse(&text(&proc.join("net/route")));
    let names = names(&text(&proc.join("net/dev")));
    let strictest = number(&all.join("rp_filter"));
    let interfaces = names
        .iter()
        .filter(|name| !exclude.matches(name))
        .map(|name| InterfaceSettings {
            name: name.clone(),
            rp_filter: effective(strictest, number(&conf.join(name).join("rp_filter"))),
            default_route: routes.default.contains(name),
            routed: routes.any.contains(name),
        })
        .collect();
    NodeSettings {
        net_raw: capable(&text(&proc.join("self/status")), CAP_NET_RAW).unwrap_or(true),
        ipvs: names.contains(IPVS_INTERFACE),
        arp_ignore: number(&all.join("arp_ignore")),
        arp_announce: number(&all.join("arp_announce")),
        interfaces,
    }
}

/// The kernel takes the larger value, so that loose (2) beats strict (1).
fn effective(all: u8, own: u8) -> u8 {
    all.max(own)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn number(path: &Path) -> u8 {
    text(path).trim().parse().unwrap_or_default()
}

/// Names of interfaces in the text of `/proc/net/dev`.
fn names(dev: &str) -> BTreeSet<String> {
    dev.lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}

/// Whether a process has a capability, by the text of its `/proc/PID/status`.
fn capable(status: &str, capability: u32) -> Option<bool> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let bits = u64::from_str_radix(effective.trim(), 16).ok()?;
    Some(bits >> capability & 1 == 1)
}

/// Which interfaces IPv4 routes lead out of.
#[derive(Debug, Default, PartialEq, Eq)]
struct Routes {
    any: BTreeSet<String>,
    /// The best default route, or several of one metric.
    default: BTreeSet<String>,
}

impl Routes {
    /// Reads the text of `/proc/net/route`.
    fn parse(text: &str) -> Self {
        let mut routes = Self::default();
        let mut best = u32::MAX;
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [name, destination, _, flags, _, _, metric, mask, ..] = fields.as_slice() else { continue };
            if u32::from_str_radix(flags, 16).unwrap_or_default() & ROUTE_UP == 0 {
                continue;
            }
            routes.any.insert((*name).to_owned());
            if (*destination, *mask) != ("00000000", "00000000") {
                continue;
            }
            let metric = metric.parse().unwrap_or(u32::MAX);
            if metric < best {
                best = metric;
                routes.default.clear();
            }
            if metric == best {
                routes.default.insert((*name).to_owned());
            }
        }
        routes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\tFE004D0A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
        eth1\t00000000\t01004E0A\t0003\t0\t0\t200\t00000000\t0\t0\t0\n\
        eth1\t00004E0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
        eth2\t00004F0A\t00000000\t0000\t0\t0\t0\t0000FFFF\t0\t0\t0\n";

    fn names_of(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|&n| n.to_owned()).collect()
    }

    #[test]
    fn the_best_default_route_counts() {
        let routes = Routes::parse(ROUTES);
        assert_eq!(routes.default, names_of(&["eth0"]));
        assert_eq!(routes.any, names_of(&["eth0", "eth1"]), "a route that is down leads nowhere");
        assert_eq!(Routes::parse(""), Routes::default());
    }

    #[test]
    fn capabilities_are_bits() {
        assert_eq!(capable("Name:\tx\nCapEff:\t0000000000002000\n", CAP_NET_RAW), Some(true));
        assert_eq!(capable("CapEff:\t000001ffffffdfff\n", CAP_NET_RAW), Some(false));
        assert_eq!(capable("", CAP_NET_RAW), None);
    }

    #[test]
    fn a_whole_proc() {
        let proc = tempfile::tempdir().expect("a folder");
        let put = |path: &str, text: &str| {
            let path = proc.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("a file");
        };
        let header = "Inter-| Receive\n face |bytes\n";
        put("net/dev", &format!("{header}    lo: 1 2\n  eth0: 1 2\n  eth1: 1 2\nkube-ipvs0: 0 0\n"));
        put("net/route", ROUTES);
        put("self/status", "CapEff:\t0000000000000000\n");
        for (name, value) in [
            ("all/rp_filter", "0\n"),
            ("eth1/rp_filter", "1\n"),
            ("all/arp_ignore", "0\n"),
            ("all/arp_announce", "0\n"),
        ] {
            put(&format!("sys/net/ipv4/conf/{name}"), value);
        }
        let exclude = Exclude::new(&Exclude::default_patterns()).expect("patterns");
        let settings = read(proc.path(), &exclude);
        assert!(settings.ipvs && !settings.net_raw);
        assert_eq!(settings.interfaces.len(), 2, "{settings:?}");
        assert_eq!(settings.problems().len(), 3, "{settings:?}");
        put("sys/net/ipv4/conf/all/rp_filter", "2\n");
        assert_eq!(read(proc.path(), &exclude).problems().len(), 2, "loose beats strict");
    }
}
