//! Tables for [`super::validate`].

use std::ffi::OsString;

use causeway_api::Capabilities;
use rstest::rstest;

use super::*;
use crate::cli::read;
use crate::translate::ClusterHealth;

fn config(line: &str) -> Result<Config, ConfigErrors> {
    let argv = std::iter::once("causeway").chain(line.split_whitespace()).map(OsString::from);
    let arguments = read::arguments(argv, |_| Err(std::io::ErrorKind::NotFound.into())).expect("arguments");
    validate(arguments)
}

fn errors(line: &str) -> Vec<ConfigError> {
    config(line).expect_err("a wrong flag").0
}

#[test]
fn a_provider_must_be_named() {
    let errors = errors("controller");
    assert_eq!(errors[0].flag, "--cloud-provider");
    assert!(errors[0].message.contains(&Provider::names()), "{errors:?}");
}

#[rstest]
#[case("azure", "not known")]
#[cfg_attr(not(feature = "openstack"), case("openstack", "not compiled into this binary"))]
fn other_providers_list_those_there_are(#[case] name: &str, #[case] says: &str) {
    let errors = errors(&format!("controller --cloud-provider={name}"));
    assert!(errors[0].message.contains(says) && errors[0].message.contains(&Provider::names()), "{errors:?}");
}

#[test]
fn a_check_takes_the_flags_of_the_controller() {
    let of = |line: &str| match config(line) {
        Ok(Config::Check(check)) => *check,
        other => panic!("{other:?}"),
    };
    #[cfg(feature = "metal")]
    {
        let metal = of("check --config-namespace=pools --namespace=lb");
        assert_eq!((metal.provider.provider, metal.namespace.as_str()), (Provider::Metal, "lb"));
        assert_eq!(metal.provider.config_namespace, "pools");
    }
    #[cfg(feature = "aws")]
    {
        let aws = of("check --cloud-provider=aws --cluster-name=prod --aws-vpc-id=vpc-1");
        assert_eq!(aws.provider.provider, Provider::Aws);
        assert_eq!(aws.provider.aws.vpc_id.as_deref(), Some("vpc-1"));
    }
    #[cfg(feature = "openstack")]
    {
        let openstack = of("check --cloud-provider=openstack --cloud-config=cloud.conf --cluster-name=prod");
        assert_eq!(openstack.provider.provider, Provider::OpenStack);
        assert_eq!(openstack.provider.cluster_name.as_deref(), Some("prod"));
    }
    #[cfg(feature = "model")]
    {
        let found = errors("check --cloud-provider=model");
        assert!(found[0].message.contains("only for: "), "{found:?}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let found = errors("controller --kube-api-burst=0 --node-quiet-period=9s --concurrent-service-syncs=0");
    let mut flags: Vec<&str> = found.iter().map(|e| e.flag).collect();
    flags.sort_unstable();
    assert_eq!(
        flags,
        ["--cloud-provider", "--concurrent-service-syncs", "--kube-api-burst", "--node-max-wait"]
    );
}

#[cfg(feature = "metal")]
mod metal {
    use super::*;

    fn controller(flags: &str) -> ControllerConfig {
        match config(&format!("controller --cloud-provider=metal {flags}")).expect("good flags") {
            Config::Controller(config) => *config,
            other => panic!("{other:?}"),
        }
    }

    fn speaker(flags: &str) -> SpeakerConfig {
        match config(&format!("speaker --node-name=n1 {flags}")).expect("good flags") {
            Config::Speaker(config) => *config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults() {
        let c = controller("");
        assert_eq!(c.engine.workers, 32);
        assert_eq!(c.engine.queue.node_quiet, Duration::from_millis(500));
        assert_eq!(c.engine.queue.node_max_wait, Duration::from_secs(5));
        assert_eq!(c.leader.lease.namespace, "kube-system");
        assert_eq!(c.leader.lease.name, "causeway-metal");
        assert_eq!(
            (c.leader.lease_duration, c.leader.renew_deadline, c.leader.retry_period),
            (Duration::from_secs(15), Duration::from_secs(10), Duration::from_secs(2))
        );
        assert_eq!(c.admin.listen.to_string(), "[::]:10258");
        assert_eq!(
            (c.provider.own_classless, c.provider.config_namespace.as_str()),
            (None, "metallb-system")
        );
        assert_eq!(c.membership_secret.name, "causeway-membership");
        assert_eq!(c.log.filter, "info");
    }

    #[test]
    fn metallb_is_metal() {
        let Config::Controller(c) = config("controller --cloud-provider=metallb").expect("good") else {
            panic!()
        };
        assert_eq!(c.provider.provider, Provider::Metal);
    }

    #[test]
    fn every_flag_arrives() {
        let c = controller(
            "--load-balancer-class=a.example/x --load-balancer-class=y --own-classless=false --config-namespace=lb \
             --cluster-policy-health-check=traffic-port --concurrent-service-syncs=3 --node-quiet-period=1s --node-max-wait=2s \
             --resync-period=1h --dry-run --paused --confirm-mass-delete --leader-elect=false --leader-elect-lease-duration=30s \
             --leader-elect-renew-deadline=20s --leader-elect-retry-period=5s --leader-elect-resource-namespace=ns \
             --leader-elect-resource-name=lock --kubeconfig=k --master=https://h:6443 --kube-api-qps=5 --kube-api-burst=6 \
             --bind-address=127.0.0.1 --admin-port=99 --insecure-metrics --membership-secret=a/b -v=4 --log-format=json",
        );
        assert_eq!(c.provider.load_balancer_classes, ["a.example/x", "y"]);
        assert_eq!(c.provider.own_classless, Some(false));
        assert_eq!(c.provider.config_namespace, "lb");
        assert_eq!(c.provider.cluster_health, ClusterHealth::TrafficPort);
        assert_eq!((c.engine.workers, c.engine.resync), (3, Duration::from_secs(3600)));
        assert_eq!(
            (c.engine.queue.node_quiet, c.engine.queue.node_max_wait),
            (Duration::from_secs(1), Duration::from_secs(2))
        );
        assert!(c.engine.dry_run && c.engine.paused && c.engine.confirm_mass_delete && !c.leader.elect);
        assert_eq!(
            (c.leader.lease_duration, c.leader.renew_deadline, c.leader.retry_period),
            (Duration::from_secs(30), Duration::from_secs(20), Duration::from_secs(5))
        );
        assert_eq!((c.leader.lease.namespace.as_str(), c.leader.lease.name.as_str()), ("ns", "lock"));
        assert_eq!(
            c.kube,
            KubeConfig {
                kubeconfig: Some("k".into()),
                master: Some("https://h:6443".into()),
                qps: 5.0,
                burst: 6
            }
        );
        assert_eq!((c.admin.listen.to_string().as_str(), c.admin.insecure_metrics), ("127.0.0.1:99", true));
        assert_eq!((c.membership_secret.namespace.as_str(), c.membership_secret.name.as_str()), ("a", "b"));
        assert_eq!((c.log.filter.as_str(), c.log.format), ("info,causeway=debug", LogFormat::Json));
    }

    #[test]
    fn every_flag_of_the_speaker_arrives() {
        let s = speaker(
            "--config-namespace=lb --load-balancer-class=x --own-classless=false --exclude-interfaces=wg* --exclude-interfaces=eth9 \
             --ignore-exclude-lb --membership-port=5000 --membership-interval=50ms --membership-misses=5 --membership-key-file=key \
             --membership-slow-interval=2s --election=metallb --failback --kube-proxy-health=off --cluster-id=c1 --admin-port=98 \
             --address-probes=1 --address-probe-interval=1s --probe-ahead=20",
        );
        assert_eq!((s.address_probes, s.probe_ahead), (1, 20));
        assert_eq!(s.address_probe_interval, Duration::from_secs(1));
        assert_eq!((s.node_name.as_str(), s.config_namespace.as_str()), ("n1", "lb"));
        assert_eq!(
            (s.load_balancer_classes.as_slice(), s.own_classless),
            (["x".to_owned()].as_slice(), false)
        );
        assert_eq!(s.exclude_interfaces, ["wg*", "eth9"]);
        assert!(s.ignore_exclude_lb);
        assert_eq!((s.membership_port, s.membership_misses), (5000, 5));
        assert_eq!(s.membership_interval, Duration::from_millis(50));
        assert_eq!(s.membership_slow_interval, Duration::from_secs(2));
        assert_eq!((s.any_network, s.failback, s.kube_proxy_health), (true, true, None));
        assert_eq!(s.membership_key, MembershipKey::File("key".into()));
        assert_eq!((s.cluster_id.as_deref(), s.admin.listen.port()), (Some("c1"), 98));
        let defaults = speaker("");
        assert_eq!((defaults.membership_port, defaults.membership_misses), (7947, 3));
        assert_eq!((defaults.address_probes, defaults.probe_ahead), (3, 8));
        assert_eq!(defaults.address_probe_interval, Duration::from_millis(200));
        assert_eq!(defaults.membership_interval, Duration::from_millis(100));
        assert_eq!(defaults.membership_slow_interval, Duration::from_secs(1));
        assert_eq!((defaults.any_network, defaults.failback), (false, false));
        assert_eq!(defaults.kube_proxy_health, "127.0.0.1:10256".parse().ok());
        assert!(
            matches!(defaults.membership_key, MembershipKey::Secret(s) if s.name == "causeway-membership")
        );
    }

    #[test]
    fn release_of_what_lives_outside_the_cluster_keeps_it() {
        let found = config("release --cloud-provider=metallb --keep --leader-elect-resource-namespace=lb");
        match found.expect("good flags") {
            Config::Release(c) => {
                assert_eq!((c.lease.namespace.as_str(), c.lease.name.as_str()), ("lb", "causeway-metal"));
                assert_eq!((c.keep, c.dry_run, c.force), (true, false, false));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(errors("release")[0].flag, "--cloud-provider");
        #[cfg(feature = "model")]
        {
            assert_eq!(errors("release --cloud-provider=model")[0].flag, "--keep");
            assert!(config("release --cloud-provider=model --keep").is_ok());
        }
    }

    #[rstest]
    #[case("--cloud-config=f", "--cloud-config")]
    #[case("--compat=lbc", "--compat")]
    #[case("--adopt=aws-load-balancer-controller", "--adopt")]
    #[case("--ingress-controller=a/b", "--ingress-controller")]
    #[case("--cluster-id=x", "--cluster-id")]
    #[case("--config-namespace=A_B", "--config-namespace")]
    #[case("--load-balancer-class=a/b/c", "--load-balancer-class")]
    #[case("--load-balancer-class=a_b.example/c", "--load-balancer-class")]
    #[case("--leader-elect-renew-deadline=15s", "--leader-elect-renew-deadline")]
    #[case("--leader-elect-retry-period=9s", "--leader-elect-retry-period")]
    #[case("--leader-elect-retry-period=0", "--leader-elect-retry-period")]
    #[case("--leader-elect-lease-duration=15500ms", "--leader-elect-lease-duration")]
    #[case("--leader-elect-resource-name=A", "--leader-elect-resource-name")]
    #[case("--resync-period=0", "--resync-period")]
    #[case("--master=host:6443", "--master")]
    #[case("--master=ftp://host", "--master")]
    #[case("--kube-api-qps=0", "--kube-api-qps")]
    #[case("--kube-api-qps=NaN", "--kube-api-qps")]
    #[case("--log-level=loud", "--log-level")]
    #[case("--log-level=info,causeway=loud", "--log-level")]
    #[case("--log-level=", "--log-level")]
    #[case("--membership-secret=name", "--membership-secret")]
    fn wrong_flags_are_named(#[case] flag: &str, #[case] named: &str) {
        let found = errors(&format!("controller --cloud-provider=metal {flag}"));
        assert_eq!(found.iter().map(|e| e.flag).collect::<Vec<_>>(), [named], "{found:?}");
    }

    /// What a peer made is known by the name of the cluster, and whether the peer is stopped by its Lease or by the user's word.
    #[cfg(all(feature = "aws", feature = "openstack"))]
    #[rstest]
    #[case("aws --cluster-name=c --adopt=lbc", "from \"lbc\", but from: aws-load-balancer-controller")]
    #[case(
        "openstack --cluster-name=c --adopt=occm",
        "from \"occm\", but from: openstack-cloud-controller-manager, octavia-ingress-controller"
    )]
    #[case("metal --adopt=metallb", "takes nothing over")]
    #[case(
        "aws --cluster-name=c --adopt=aws-load-balancer-controller --adopt=cloud-provider-aws",
        "one controller at a time"
    )]
    #[case("aws --adopt=aws-load-balancer-controller", "give it by --cluster-name")]
    #[case("aws --cluster-name= --adopt=aws-load-balancer-controller", "give it by --cluster-name")]
    #[case("openstack --adopt=openstack-cloud-controller-manager", "give it by --cluster-name")]
    #[case("openstack --cluster-name=c --adopt=octavia-ingress-controller", "--adopt-peer-stopped")]
    fn a_peer_that_cannot_be_known_is_refused(#[case] flags: &str, #[case] says: &str) {
        let found = errors(&format!("controller --cloud-provider={flags}"));
        assert!(found.len() == 1 && found[0].flag == "--adopt", "{found:?}");
        assert!(found[0].message.contains(says), "{found:?}");
    }

    #[cfg(feature = "openstack")]
    #[test]
    fn both_peers_of_openstack_can_be_taken_over_from_at_once() {
        let both = "--cloud-provider=openstack --cluster-name=c --adopt=openstack-cloud-controller-manager --adopt=octavia-ingress-controller";
        let found = config(&format!("controller {both} --adopt-peer-stopped")).expect("good flags");
        let Config::Controller(found) = found else { panic!("{found:?}") };
        let names: Vec<&str> = found.provider.adopt.iter().map(|peer| peer.name).collect();
        assert_eq!(names, ["openstack-cloud-controller-manager", "octavia-ingress-controller"]);
        assert!(found.adopt_peer_stopped);
        assert!(config(&format!("plan {both}")).is_ok(), "a plan writes nothing");
        let alone = errors("controller --cloud-provider=openstack --adopt-peer-stopped");
        assert_eq!(alone[0].flag, "--adopt-peer-stopped");
    }

    #[rstest]
    #[case("--membership-interval=1ms", "--membership-interval")]
    #[case("--membership-interval=11s", "--membership-interval")]
    #[case("--membership-slow-interval=99ms", "--membership-slow-interval")]
    #[case("--membership-slow-interval=11s", "--membership-slow-interval")]
    #[case("--kube-proxy-health=10256", "--kube-proxy-health")]
    #[case("--membership-misses=1", "--membership-misses")]
    #[case("--membership-port=0", "--membership-port")]
    #[case("--address-probes=11", "--address-probes")]
    #[case("--address-probe-interval=1ms", "--address-probe-interval")]
    #[case("--probe-ahead=257", "--probe-ahead")]
    #[case("--exclude-interfaces=^docker.*", "--exclude-interfaces")]
    #[case("--node-name=", "--node-name")]
    fn wrong_flags_of_the_speaker_are_named(#[case] flag: &str, #[case] named: &str) {
        let found = errors(&format!("speaker --node-name=n1 {flag}"));
        assert_eq!(found.iter().map(|e| e.flag).collect::<Vec<_>>(), [named], "{found:?}");
    }

    #[rstest]
    #[case::default_of_the_provider("", true, true)]
    #[case::other_default("", false, false)]
    #[case::said("--own-classless", false, true)]
    #[case::denied("--own-classless=false", true, false)]
    #[case::exactly_these_classes("--load-balancer-class=a/b", true, false)]
    #[case::these_and_without("--load-balancer-class=a/b --own-classless", true, true)]
    fn whose_services(#[case] flags: &str, #[case] provider_default: bool, #[case] classless: bool) {
        let config = controller(flags);
        let can = Capabilities { own_classless: provider_default, ..crate::state::fixtures::capabilities() };
        let rules = config.provider.class_rules(&can);
        assert_eq!((rules.own_classless, rules.classes), (classless, config.provider.load_balancer_classes));
        if provider_default {
            // The speakers must announce exactly what the controller serves.
            assert_eq!(speaker(flags).own_classless, classless);
        }
    }

    #[rstest]
    #[case::nothing_said("", &["p/lb"], true)]
    #[case::other_classes("--load-balancer-class=a/b", &["a/b"], false)]
    #[case::all_without_class("--own-classless", &["p/lb"], false)]
    #[case::none_without_class("--own-classless=false", &["p/lb"], false)]
    fn classes_and_claims_of_the_provider(
        #[case] flags: &str,
        #[case] classes: &[&str],
        #[case] claims: bool,
    ) {
        let claim =
            causeway_api::Claim { annotation: "type".to_owned(), values: vec!["external".to_owned()] };
        let can = Capabilities {
            own_classless: false,
            classes: vec!["p/lb".to_owned()],
            claims: vec![claim],
            ..crate::state::fixtures::capabilities()
        };
        let rules = controller(flags).provider.class_rules(&can);
        assert_eq!(
            (rules.classes.as_slice(), !rules.claims.is_empty()),
            (&classes.iter().map(|&c| c.to_owned()).collect::<Vec<_>>()[..], claims)
        );
    }

    #[rstest]
    #[case(0, "info")]
    #[case(3, "info")]
    #[case(5, "info,causeway=debug")]
    #[case(6, "info,causeway=trace")]
    #[case(10, "trace")]
    fn verbosity(#[case] v: u8, #[case] filter: &str) {
        assert_eq!(controller(&format!("-v={v}")).log.filter, filter);
    }
}
