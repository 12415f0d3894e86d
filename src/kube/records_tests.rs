use serde_json::json;

use super::*;

fn service_of(value: serde_json::Value) -> (ServiceRecord, Vec<String>) {
    let mut skipped = Skipped::default();
    let record = service(serde_json::from_value(value).unwrap(), &mut skipped);
    (record, skipped.0.into_iter().map(|(field, _)| field).collect())
}

#[test]
fn a_service_with_everything() {
    let (record, skipped) = service_of(json!({
        "metadata": {
            "namespace": "shop", "name": "web", "uid": "u1", "resourceVersion": "42", "creationTimestamp": "2026-01-02T03:04:05Z",
            "finalizers": [names::FINALIZER, "other.io/f"], "labels": {"l": "1"}, "annotations": {"a": "2"}
        },
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "example.org/lb",
            "ports": [
                {"name": "http", "port": 80, "nodePort": 30080, "appProtocol": "kubernetes.io/h2c"},
                {"name": "dns", "protocol": "UDP", "port": 53, "nodePort": 0}
            ],
            "ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack", "clusterIPs": ["fd00::1", "10.0.0.1"],
            "loadBalancerIP": "192.0.2.1", "loadBalancerSourceRanges": [" 10.0.0.0/8 "],
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000, "selector": {"app": "web"}
        },
        "status": {
            "loadBalancer": {"ingress": [
                {"ip": "192.0.2.1", "ipMode": "VIP", "ports": [{"port": 80, "protocol": "TCP", "error": "Foo"}]},
                {"hostname": "lb.example.org"}
            ]},
            "conditions": [
                {"type": "causeway.io/LoadBalancerReady", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-02T03:04:05Z"},
                {"type": "other.io/Thing", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-02T03:04:05Z"}
            ]
        }
    }));
    assert_eq!(skipped, Vec::<String>::new());
    assert_eq!(record.meta.path(), Path { namespace: "shop".into(), name: "web".into() });
    assert_eq!((record.meta.resource_version.as_str(), record.meta.created), ("42", Some(1_767_323_045)));
    assert!(record.load_balancer);
    assert_eq!(record.ports[0].app_protocol.as_deref(), Some("kubernetes.io/h2c"));
    assert_eq!((record.ports[1].protocol, record.ports[1].node_port), (Protocol::Udp, None));
    assert_eq!(record.families, [Family::V6, Family::V4]);
    assert_eq!(record.family_policy, FamilyPolicy::RequireDualStack);
    assert_eq!(record.cluster_ips.len(), 2);
    assert_eq!(record.source_ranges, [" 10.0.0.0/8 "]);
    assert_eq!(record.affinity_seconds, Some(60));
    assert_eq!(record.traffic_policy, TrafficPolicy::Local);
    assert_eq!(record.health_check_node_port, Some(31000));
    assert_eq!(record.ingress[0].ip_mode, Some(IpMode::Vip));
    assert_eq!(record.ingress[0].ports[0].error.as_deref(), Some("Foo"));
    assert_eq!(record.ingress[1].hostname.as_deref(), Some("lb.example.org"));
    assert_eq!(
        record.conditions.iter().map(|c| c.kind.as_str()).collect::<Vec<_>>(),
        [names::CONDITION_READY]
    );
}

#[test]
fn malformed_pieces_are_left_out_and_named() {
    let (record, skipped) = service_of(json!({
        "metadata": {"name": "web"},
        "spec": {
            "type": "LoadBalancer", "clusterIPs": ["10.0.0.256", "10.0.0.1"], "ipFamilies": ["IPv5", "IPv4"],
            "ipFamilyPolicy": "Triple", "sessionAffinity": "Sticky", "externalTrafficPolicy": "Remote",
            "healthCheckNodePort": 70000,
            "ports": [{"port": 0}, {"port": 80, "protocol": "QUIC"}, {"port": 81, "nodePort": 99999}]
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "nonsense", "ipMode": "Warp"}]}}
    }));
    assert_eq!(
        skipped,
        [
            "spec.ports[0].port",
            "spec.ports[1].protocol",
            "spec.ports[2].nodePort",
            "spec.ipFamilies[0]",
            "spec.ipFamilyPolicy",
            "spec.clusterIPs[0]",
            "spec.sessionAffinity",
            "spec.externalTrafficPolicy",
            "spec.healthCheckNodePort",
            "status.loadBalancer.ingress[0].ip",
            "status.loadBalancer.ingress[0].ipMode"
        ]
    );
    assert_eq!(record.ports.len(), 1);
    assert_eq!(record.cluster_ips, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(record.families, [Family::V4]);
    assert_eq!(record.ingress, [IngressPoint::default()]);
}

#[test]
fn headless_and_absent_cluster_ips_are_none() {
    assert!(
        service_of(json!({"spec": {"clusterIPs": ["None"], "clusterIP": "None"}})).0.cluster_ips.is_empty()
    );
    assert!(service_of(json!({"spec": {}})).0.cluster_ips.is_empty());
    assert_eq!(service_of(json!({"spec": {"clusterIP": "10.0.0.7"}})).0.cluster_ips.len(), 1);
}

#[test]
fn affinity_has_the_api_servers_default_timeout() {
    assert_eq!(service_of(json!({"spec": {"sessionAffinity": "ClientIP"}})).0.affinity_seconds, Some(10800));
    assert_eq!(service_of(json!({"spec": {"sessionAffinity": "None"}})).0.affinity_seconds, None);
}

#[test]
fn of_an_own_object_only_our_annotations_are_kept() {
    let object = own(
        "BGPPeer",
        serde_json::from_value(json!({
            "metadata": {
                "namespace": "m", "name": "tor", "uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"l": "1"},
                "annotations": {"causeway.io/passive": "true", "example.org/a": "2", "causeway.io.example.org/b": "3"}
            },
            "spec": {"myASN": 64500}
        }))
        .unwrap(),
    );
    assert_eq!(object.annotations, [("causeway.io/passive".to_owned(), "true".to_owned())].into());
    assert_eq!((object.created, object.labels.len()), (Some(1_767_323_045), 1));
    assert_eq!(object.object.to_string(), "BGPPeer m/tor");
}

#[test]
fn our_conditions_are_those_of_our_domain_and_kubernetes_own() {
    assert!(our_condition(names::CONDITION_READY) && our_condition(names::CONDITION_PORTS_ERROR));
    assert!(!our_condition("causeway.iox/Thing") && !our_condition("Ready") && !our_condition("causeway.io"));
}

#[test]
fn an_ingress_keeps_its_rules_and_leaves_out_paths_of_unknown_type() {
    let mut skipped = Skipped::default();
    let record = ingress(
        serde_json::from_value(json!({
            "metadata": {"namespace": "n", "name": "i"},
            "spec": {
                "ingressClassName": "c",
                "defaultBackend": {"resource": {"kind": "Bucket", "name": "b"}},
                "tls": [{"hosts": ["a.example"], "secretName": "s"}, {"hosts": ["b.example"], "secretName": ""}],
                "rules": [
                    {"host": "a.example", "http": {"paths": [
                        {"path": "/x", "pathType": "Exact", "backend": {"service": {"name": "s", "port": {"number": 80}}}},
                        {"path": "/y", "pathType": "Fuzzy", "backend": {"service": {"name": "s", "port": {"number": 80}}}},
                        {"pathType": "Prefix", "backend": {"service": {"name": "t", "port": {"name": "web"}}}}
                    ]}},
                    {"host": "bare.example"}
                ]
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9", "ports": [{"port": 80, "protocol": "TCP"}]}]}}
        }))
        .unwrap(),
        &mut skipped,
    );
    assert_eq!(skipped.0.len(), 1);
    assert_eq!(skipped.0[0].0, "spec.rules[0].http.paths[1].pathType");
    assert_eq!(record.rules[0].paths.len(), 2);
    assert_eq!(
        record.rules[0].paths[1].backend,
        BackendRef::Service { name: "t".into(), port: "web".into() }
    );
    assert!(record.rules[1].paths.is_empty());
    assert_eq!(record.default_backend, Some(BackendRef::Resource("Bucket/b".into())));
    assert_eq!(record.tls[1].secret, None);
    assert_eq!(record.ingress[0].ip_mode, None);
}

#[test]
fn a_node_that_is_about_to_leave() {
    let mut skipped = Skipped::default();
    let record = node(
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "uid": "u", "deletionTimestamp": "2026-01-02T03:04:05Z", "labels": {"z": "1"}},
            "spec": {"providerID": "aws:///z/i-1", "unschedulable": true, "taints": [
                {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"},
                {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
            ]},
            "status": {
                "addresses": [
                    {"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"},
                    {"type": "InternalIP", "address": "fd00::1"}, {"type": "InternalIP", "address": "?"},
                    {"type": "ExternalIP", "address": "192.0.2.1"}
                ],
                "conditions": [{"type": "NetworkUnavailable", "status": "True"}]
            }
        }))
        .unwrap(),
        &mut skipped,
    );
    assert!(record.deleting && record.leaving && record.network_unavailable);
    assert!(record.out_of_service && record.cordoned);
    assert_eq!(record.addresses.len(), 2);
    assert_eq!(skipped.0[0].0, "status.addresses[3].address");
    assert_eq!(record.provider_id.as_deref(), Some("aws:///z/i-1"));
}

#[test]
fn endpoints_are_counted_by_node_as_ready_or_still_serving() {
    let mut nodes = Common::default();
    let value = json!({
        "metadata": {"namespace": "n", "name": "web-abc", "labels": {LABEL_SERVICE_NAME: "web"}},
        "endpoints": [
            {"nodeName": "a"},
            {"nodeName": "a", "conditions": {"ready": true, "serving": true}},
            {"nodeName": "a", "conditions": {"ready": false, "serving": true, "terminating": true}},
            {"nodeName": "b", "conditions": {"ready": false}},
            {"conditions": {"ready": true}}
        ]
    });
    let first = slice(serde_json::from_value(value.clone()).unwrap(), &mut nodes, false, false);
    assert_eq!((first.service.as_str(), first.path.name.as_str()), ("web", "web-abc"));
    let counts: Vec<(&str, u32, u32)> =
        first.by_node.iter().map(|(n, c)| (&**n, c.ready, c.serving)).collect();
    assert_eq!(counts, [("", 1, 0), ("a", 2, 1)]);
    let second = slice(serde_json::from_value(value).unwrap(), &mut nodes, false, false);
    let name = |s: &SliceRecord| s.by_node.keys().next_back().unwrap().clone();
    assert!(Arc::ptr_eq(&name(&first), &name(&second)), "one name is kept once");
}

#[test]
fn names_of_nodes_that_are_gone_are_forgotten() {
    let mut nodes: Common<str> = Common::default();
    for i in 0..10_000 {
        nodes.share(format!("node-{i}").as_str());
    }
    assert!(nodes.known.len() <= 65, "{}", nodes.known.len());
}

#[test]
fn only_the_word_true_makes_a_class_the_default() {
    let of = |value: &str| {
        class(serde_json::from_value(json!({
            "metadata": {"name": "c", "annotations": {names::ANNOTATION_DEFAULT_CLASS: value}}, "spec": {"controller": "x/y"}
        })).unwrap())
    };
    assert!(of("true").default && !of("True").default && !of("").default);
}

#[test]
fn services_with_the_same_labels_share_them() {
    let mut common = Common::default();
    let mut of = |name: &str| {
        let value = json!({
            "metadata": {"namespace": "n", "name": name, "labels": {"a": "b"}, "annotations": {"c": name}},
            "spec": {"selector": {"a": "b"}},
        });
        let mut record = service(serde_json::from_value(value).unwrap(), &mut Skipped::default());
        common.adopt(&mut record);
        record
    };
    let (one, two) = (of("one"), of("two"));
    assert!(Arc::ptr_eq(&one.meta.labels, &two.meta.labels));
    assert!(Arc::ptr_eq(&one.meta.labels, &two.selector), "equal maps, wherever they stand");
    assert_eq!((one.meta.annotations["c"].as_str(), two.meta.annotations["c"].as_str()), ("one", "two"));
}

#[test]
fn target_ports_are_numbers_or_names_and_by_default_the_port_itself() {
    use causeway_api::TargetPort::{Name, Number};
    let value = json!({"metadata": {"name": "web"}, "spec": {"ports": [
        {"port": 80}, {"port": 81, "targetPort": 8080}, {"port": 82, "targetPort": "http"},
        {"port": 83, "targetPort": 0}, {"port": 84, "targetPort": ""}, {"port": 85, "targetPort": 70000}
    ]}});
    let mut skipped = Skipped::default();
    let record = service(serde_json::from_value(value).unwrap(), &mut skipped);
    let found: Vec<_> = record.ports.into_iter().map(|p| p.target_port).collect();
    assert_eq!(found, [Number(80), Number(8080), Name("http".into()), Number(83), Number(84), Number(85)]);
    assert_eq!(skipped.0[0].0, "spec.ports[5].targetPort");
}

#[test]
fn addresses_of_ready_endpoints_are_kept_where_they_are_wanted() {
    let value = json!({
        "metadata": {"namespace": "n", "name": "web-abc", "labels": {LABEL_SERVICE_NAME: "web"}},
        "ports": [{"name": "http", "port": 8080}, {"port": 9090}, {"name": "any"}],
        "endpoints": [
            {"nodeName": "a", "addresses": ["10.0.0.1"]},
            {"addresses": ["2001:db8::1"], "conditions": {"ready": true}},
            {"nodeName": "a", "addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}},
            {"nodeName": "a", "addresses": ["somewhere.example"]}
        ]
    });
    let of = |wanted| {
        slice(serde_json::from_value(value.clone()).unwrap(), &mut Common::default(), wanted, wanted)
    };
    let found = of(true);
    let ready: Vec<(String, &str)> = found.ready.iter().map(|(ip, node)| (ip.to_string(), &**node)).collect();
    assert_eq!(ready, [("10.0.0.1".to_owned(), "a"), ("2001:db8::1".to_owned(), "")]);
    assert_eq!(found.ports, [("http".to_owned(), 8080), (String::new(), 9090)]);
    assert!(of(false).ready.is_empty() && of(false).ports.is_empty());
    assert_eq!(of(false).by_node, found.by_node);
}

#[test]
fn a_class_may_name_its_parameters() {
    let of = |parameters| {
        let value =
            json!({"metadata": {"name": "c"}, "spec": {"controller": "x/y", "parameters": parameters}});
        class(serde_json::from_value(value).unwrap()).parameters
    };
    assert_eq!(of(json!(null)), None);
    let cluster = json!({"apiGroup": "g", "kind": "K", "name": "n", "namespace": "ignored"});
    let found = of(cluster).unwrap();
    assert_eq!(
        (found.group.as_str(), found.kind.as_str(), found.name.as_str(), found.namespace),
        ("g", "K", "n", None)
    );
    let namespaced =
        json!({"apiGroup": "g", "kind": "K", "name": "n", "scope": "Namespace", "namespace": "ns"});
    assert_eq!(of(namespaced).unwrap().namespace.as_deref(), Some("ns"));
}
