//! What Kubernetes promises of Services of type LoadBalancer, on a real control plane: who is served, when an address is taken and given
//! back, and what the user reads on the object when something cannot be.

mod support;

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use causeway_bed::wait;
use k8s_openapi::api::core::v1::Service;
use support::{Lab, SOON, addresses, condition, has_finalizer};

const READY: &str = "causeway.io/LoadBalancerReady";

/// A pool for the test's own namespace, and its announcement.
fn own_pool(lab: &Lab, name: &str, addresses: &str) -> Result<()> {
    lab.apply(&format!(
        "{{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {{name: {name}, namespace: metallb-system}}, \
         spec: {{ipAddressPools: [{name}]}}}}\n---\n\
         {{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {{name: {name}, namespace: metallb-system}}, \
         spec: {{serviceAllocation: {{priority: 1, namespaces: [NAMESPACE]}}, addresses: [{addresses}]}}}}"
    ))
}

fn from_pool(name: &str) -> String {
    format!("annotations: {{metallb.io/address-pool: {name}}}")
}

fn delete_pool(lab: &Lab, name: &str) -> Result<()> {
    let (pool, announcement) = (format!("ipaddresspool/{name}"), format!("l2advertisement/{name}"));
    lab.bed.kubectl(&["-n", "metallb-system", "delete", "--ignore-not-found", &pool, &announcement]).map(drop)
}

#[tokio::test]
async fn an_exhausted_pool_is_said_on_the_service_and_a_released_address_goes_to_it() {
    Lab::run("exhausted", async |lab| {
        own_pool(lab, "tiny", "10.77.100.200/32")?;
        lab.create_service("first", &from_pool("tiny"), "")?;
        let address = lab.address("first").await?;
        ensure!(address == Ipv4Addr::new(10, 77, 100, 200), "{address}");
        lab.create_service("second", &from_pool("tiny"), "")?;
        let event = (lab.namespace.as_str(), "Service", "second");
        lab.event(event, "AllocationFailed", &["tiny"]).await?;
        let waiting = lab
            .until_service("second", "not ready, and to say why", |s| {
                matches!(condition(s, READY), Some((status, message)) if status == "False" && message.contains("tiny"))
            })
            .await?;
        ensure!(addresses(&waiting).is_empty(), "it has an address");
        lab.kubectl(&["delete", "service", "first"])?;
        ensure!(lab.address("second").await? == address, "another address");
        lab.until_service("second", "ready", |s| condition(s, READY).is_none_or(|(status, _)| status == "True")).await?;
        delete_pool(lab, "tiny")
    })
    .await;
}

#[tokio::test]
async fn a_service_that_stops_being_a_load_balancer_gives_everything_back() {
    Lab::run("flip", async |lab| {
        lab.apply(
            "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: NAMESPACE}, \
             spec: {type: ClusterIP, selector: {app: none}, ports: [{port: 80}]}}",
        )?;
        lab.kubectl(&["patch", "service", "web", "-p", r#"{"spec":{"type":"LoadBalancer"}}"#])?;
        let address = lab.address("web").await?;
        lab.kubectl(&["patch", "service", "web", "-p", r#"{"spec":{"type":"ClusterIP"}}"#])?;
        let ours = |s: &Service| {
            let annotations = s.metadata.annotations.clone().unwrap_or_default();
            has_finalizer(s)
                || !addresses(s).is_empty()
                || annotations.keys().any(|k| k.starts_with("metallb.io/"))
        };
        lab.until_service("web", "without a trace of us", |s| !ours(s)).await?;
        lab.event((&lab.namespace, "Service", "web"), "DeletedLoadBalancer", &[]).await?;
        // Given back: whoever asks for that address gets it.
        lab.create_service("heir", "", &format!("loadBalancerIP: {address}"))?;
        ensure!(lab.address("heir").await? == address, "the address was not given back");
        lab.kubectl(&["patch", "service", "web", "-p", r#"{"spec":{"type":"LoadBalancer"}}"#])?;
        ensure!(lab.address("web").await? != address, "one address for two");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_service_of_another_class_is_not_touched() {
    Lab::run("foreign", async |lab| {
        lab.create_service("theirs", "", "loadBalancerClass: example.com/other")?;
        let before = lab.service("theirs").await?;
        // What came after it has been served, so it was seen.
        lab.create_service("ours", "", "")?;
        lab.address("ours").await?;
        let patch = r#"{"metadata":{"annotations":{"example.com/touched":"by its user"}}}"#;
        lab.kubectl(&["patch", "service", "theirs", "-p", patch])?;
        lab.create_service("ours-too", "", "")?;
        lab.address("ours-too").await?;
        let after = lab.service("theirs").await?;
        ensure!(after.status == before.status, "{:?}", after.status);
        ensure!(after.metadata.finalizers.is_none(), "{:?}", after.metadata.finalizers);
        ensure!(
            after.metadata.annotations.as_ref().is_some_and(|a| a.len() == 1),
            "{:?}",
            after.metadata.annotations
        );
        let events = lab.events(&lab.namespace, "Service", "theirs").await?;
        ensure!(events.is_empty(), "{events:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn somebody_elses_finalizer_is_left_alone_and_does_not_hold_the_address() {
    Lab::run("finalizer", async |lab| {
        lab.create_service("held", "finalizers: [example.com/hold]", "")?;
        let address = lab.address("held").await?;
        lab.kubectl(&["delete", "service", "held", "--wait=false"])?;
        let held = lab.until_service("held", "without our finalizer", |s| !has_finalizer(s)).await?;
        ensure!(
            held.metadata.finalizers == Some(vec!["example.com/hold".to_owned()]),
            "{:?}",
            held.metadata.finalizers
        );
        lab.create_service("next", "", &format!("loadBalancerIP: {address}"))?;
        ensure!(lab.address("next").await? == address, "the address is still held");
        // The API server forbids new finalizers on what is being deleted: nobody may have tried to add one.
        let events = lab.events(&lab.namespace, "Service", "held").await?;
        ensure!(events.iter().all(|(reason, _)| reason != "SyncLoadBalancerFailed"), "{events:?}");
        lab.kubectl(&[
            "patch",
            "service",
            "held",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":null}}"#,
        ])?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_address_asked_for_is_given_or_the_service_says_why_not() {
    Lab::run("asked", async |lab| {
        lab.create_service("mine", "", "loadBalancerIP: 10.77.100.77")?;
        ensure!(lab.address("mine").await? == Ipv4Addr::new(10, 77, 100, 77), "another address");
        lab.create_service("annotated", "annotations: {metallb.io/loadBalancerIPs: 10.77.100.78}", "")?;
        ensure!(lab.address("annotated").await? == Ipv4Addr::new(10, 77, 100, 78), "another address");
        for (name, metadata, spec, parts) in [
            ("taken", "", "loadBalancerIP: 10.77.100.77", ["10.77.100.77", "asked/mine"]),
            ("outside", "", "loadBalancerIP: 192.0.2.1", ["192.0.2.1", "pool"]),
            ("nonsense", "annotations: {metallb.io/loadBalancerIPs: banana}", "", ["banana", "metallb.io/loadBalancerIPs"]),
            ("unknown", "annotations: {metallb.io/address-pool: nowhere}", "", ["nowhere", "metallb.io/address-pool"]),
        ] {
            lab.create_service(name, metadata, spec)?;
            let said = lab
                .until_service(name, "refused, with the reason", |s| {
                    matches!(condition(s, READY), Some((status, m)) if status == "False" && parts.iter().all(|p| m.contains(p)))
                })
                .await?;
            ensure!(addresses(&said).is_empty(), "{name} has an address");
        }
        // The user mends it: it is served.
        lab.kubectl(&["patch", "service", "taken", "--type=merge", "-p", r#"{"spec":{"loadBalancerIP":"10.77.100.79"}}"#])?;
        ensure!(lab.address("taken").await? == Ipv4Addr::new(10, 77, 100, 79), "another address");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_bad_pool_stops_no_other() {
    Lab::run("pools", async |lab| {
        own_pool(lab, "good", "10.77.100.210/32")?;
        // The API server refuses most nonsense already; what it lets through is said on the pool.
        let refused = own_pool(lab, "backwards", "10.77.100.230-10.77.100.220");
        own_pool(lab, "younger", "10.77.100.208/29")?;
        let pool = |name| ("metallb-system", "IPAddressPool", name);
        lab.event(pool("younger"), "OverlappingPools", &["good"]).await?;
        match refused {
            Ok(()) => {
                lab.event(pool("backwards"), "InvalidPool", &["spec.addresses[0]", "10.77.100.230"]).await?;
                delete_pool(lab, "backwards")?;
            }
            Err(error) => ensure!(error.to_string().contains("spec.addresses[0]"), "{error:#}"),
        }
        lab.create_service("web", "", "")?;
        lab.address("web").await?;
        delete_pool(lab, "good")?;
        delete_pool(lab, "younger")
    })
    .await;
}

#[tokio::test]
async fn when_a_pool_goes_a_service_moves_to_another_unless_it_asked_for_that_one() {
    Lab::run("gone", async |lab| {
        own_pool(lab, "going", "10.77.100.214/31")?;
        lab.create_service("web", "", "")?;
        let first = lab.address("web").await?;
        ensure!(first == Ipv4Addr::new(10, 77, 100, 214), "{first}");
        lab.create_service("loyal", &from_pool("going"), "")?;
        let loyal = lab.address("loyal").await?;
        delete_pool(lab, "going")?;
        lab.until_service("web", "at an address of another pool", |s| {
            addresses(s).first().is_some_and(|address| *address != first)
        })
        .await?;
        lab.event((&lab.namespace, "Service", "web"), "ClearAssignment", &["no pool holds it"]).await?;
        let kept = lab
            .until_service("loyal", "not ready, and to say why", |s| {
                matches!(condition(s, READY), Some((status, m)) if status == "False" && m.contains("in no IPAddressPool any more"))
            })
            .await?;
        ensure!(addresses(&kept) == [loyal], "{:?}", kept.status);
        own_pool(lab, "going", "10.77.100.214/31")?;
        lab.until_service("loyal", "ready again", |s| {
            matches!(condition(s, READY), Some((status, _)) if status == "True")
        })
        .await?;
        delete_pool(lab, "going")
    })
    .await;
}

/// An address that a speaker met somebody else on.
fn conflict(lab: &Lab, address: Ipv4Addr) -> Result<()> {
    lab.apply(&format!(
        "{{apiVersion: causeway.io/v1alpha1, kind: AddressConflict, metadata: {{name: {address}, namespace: metallb-system}}, \
         spec: {{address: {address}, mac: '{MAC}', phase: Probe, node: node1, interface: eth0}}}}"
    ))
}

const MAC: &str = "02:00:00:00:00:99";

/// Tells of the conflict until a Service is as it is to be. Told once is not enough: the speaker that asks for free addresses ahead may be asking just then, hears
/// nobody, and takes the report back.
async fn until_told(
    lab: &Lab,
    address: Ipv4Addr,
    service: &str,
    holds: impl Fn(&Service) -> bool,
) -> Result<()> {
    wait::until(&format!("{service} to follow the conflict about {address}"), SOON, async || {
        conflict(lab, address)?;
        let service = lab.service(service).await?;
        ensure!(holds(&service), "metadata {:?}, status {:?}", service.metadata, service.status);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_address_that_somebody_else_uses_is_given_to_nobody() {
    Lab::run("conflict", async |lab| {
        const CONFLICT: &str = "causeway.io/AddressConflict";
        let (first, second) = (Ipv4Addr::new(10, 77, 100, 216), Ipv4Addr::new(10, 77, 100, 217));
        own_pool(lab, "shared", "10.77.100.216/31")?;
        lab.create_service("web", &from_pool("shared"), "")?;
        ensure!(lab.address("web").await? == first, "another address");
        until_told(lab, first, "web", |s| addresses(s) == [second]).await?;
        lab.event((&lab.namespace, "Service", "web"), "ClearAssignment", &[MAC]).await?;
        // Who asks for it waits, and reads who has it.
        lab.create_service("asks", "", &format!("loadBalancerIP: {first}"))?;
        until_told(lab, first, "asks", |s| {
            matches!(condition(s, CONFLICT), Some((status, m)) if status == "True" && m.contains(MAC))
                && matches!(condition(s, READY), Some((status, m)) if status == "False" && m.contains(MAC))
                && addresses(s).is_empty()
        })
        .await?;
        lab.bed.kubectl(&["-n", "metallb-system", "delete", "addressconflict", &first.to_string()])?;
        ensure!(lab.address("asks").await? == first, "another address");
        lab.until_service("asks", "without conflict", |s| condition(s, CONFLICT).is_none()).await?;
        delete_pool(lab, "shared")
    })
    .await;
}

#[tokio::test]
async fn an_address_of_a_node_is_given_to_nobody() {
    Lab::run("nodes", async |lab| {
        let node = lab.bed.node(1)?.addresses().v4;
        own_pool(lab, "overlapping", &format!("{node}/32"))?;
        let said = ["spec.addresses", &node.to_string(), "take them out of the pool"];
        lab.event(("metallb-system", "IPAddressPool", "overlapping"), "NodeAddressesInPool", &said).await?;
        lab.create_service("any", &from_pool("overlapping"), "")?;
        lab.event((&lab.namespace, "Service", "any"), "AllocationFailed", &["pool overlapping"]).await?;
        lab.create_service("asks", "", &format!("loadBalancerIP: {node}"))?;
        lab.event((&lab.namespace, "Service", "asks"), "AllocationFailed", &["is an address of node"])
            .await?;
        delete_pool(lab, "overlapping")
    })
    .await;
}

#[tokio::test]
async fn counters_of_a_pool_are_right_and_put_back_when_somebody_edits_them() {
    Lab::run("counters", async |lab| {
        own_pool(lab, "counted", "10.77.100.218/31")?;
        let shows = async |assigned: i64, available: i64| {
            wait::until("the counters", SOON, async || {
                let status = lab.bed.kubectl(&[
                    "-n",
                    "metallb-system",
                    "get",
                    "ipaddresspool",
                    "counted",
                    "-o",
                    "jsonpath={.status.assignedIPv4} {.status.availableIPv4}",
                ])?;
                ensure!(status.trim() == format!("{assigned} {available}"), "{status}");
                Ok(())
            })
            .await
        };
        shows(0, 2).await?;
        lab.create_service("web", &from_pool("counted"), "")?;
        shows(1, 1).await?;
        let edit = r#"{"status":{"assignedIPv4":5,"availableIPv4":5}}"#;
        lab.bed.kubectl(&[
            "-n",
            "metallb-system",
            "patch",
            "ipaddresspool",
            "counted",
            "--subresource=status",
            "--type=merge",
            "-p",
            edit,
        ])?;
        shows(1, 1).await?;
        lab.kubectl(&["delete", "service", "web"])?;
        shows(0, 2).await?;
        delete_pool(lab, "counted")
    })
    .await;
}

#[tokio::test]
async fn an_ingress_of_our_class_is_told_that_it_is_not_served() {
    Lab::run("ingress", async |lab| {
        lab.apply(
            "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: causeway-test}, spec: {controller: causeway.io/ingress}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web, namespace: NAMESPACE}, spec: {ingressClassName: causeway-test,
  defaultBackend: {service: {name: web, port: {number: 80}}}}}",
        )?;
        lab.event((&lab.namespace, "Ingress", "web"), "Unsupported", &[]).await?;
        lab.bed.kubectl(&["delete", "ingressclass", "causeway-test"])?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_paused_service_is_left_as_it_is() {
    Lab::run("paused", async |lab| {
        lab.create_service("web", "annotations: {causeway.io/paused: 'true'}", "")?;
        lab.create_service("marker", "", "")?;
        lab.address("marker").await?;
        let paused = lab.service("web").await?;
        ensure!(!has_finalizer(&paused) && addresses(&paused).is_empty(), "{:?}", paused.status);
        lab.kubectl(&["annotate", "service", "web", "causeway.io/paused-"])?;
        lab.address("web").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_right_is_named_and_everything_goes_on_when_it_is_given() {
    Lab::run("rights", async |lab| {
        let role = lab.bed.kubectl(&["get", "clusterrole", "causeway", "-o", "json"])?;
        let mut without: serde_json::Value = serde_json::from_str(&role)?;
        let rules = without["rules"].as_array_mut().ok_or_else(|| anyhow::anyhow!("no rules"))?;
        rules.retain(|rule| rule["resources"] != serde_json::json!(["services/status"]));
        without["metadata"]["managedFields"] = serde_json::Value::Null;
        without["metadata"]["resourceVersion"] = serde_json::Value::Null;
        lab.bed.apply(&without.to_string())?;
        let said = async {
            lab.create_service("web", "", "")?;
            lab.event(
                (&lab.namespace, "Service", "web"),
                "SyncLoadBalancerFailed",
                &["patch", "services/status"],
            )
            .await
        }
        .await;
        support::deploy(lab.bed)?;
        said?;
        // Back-off has to end first.
        lab.address_within("web", std::time::Duration::from_secs(90)).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn metrics_are_for_those_who_may_read_them() {
    Lab::run("metrics", async |lab| {
        let node = lab.leading_node().await?;
        let admin = lab.bed.node(node)?.addresses().v4;
        let client = lab.bed.client_ns();
        let get = async |path: &str| client.http_get((admin, 10258), path, None, SOON).await;
        for path in ["/livez", "/readyz"] {
            let response = get(path).await?;
            ensure!(response.status == 200, "{path}: {} {}", response.status, response.body);
        }
        let refused = get("/metrics").await?;
        ensure!(refused.status == 401, "without a token: {}", refused.status);

        lab.kubectl(&["create", "serviceaccount", "reader"])?;
        let account = format!("{}:reader", lab.namespace);
        let token = lab.kubectl(&["create", "token", "reader"])?;
        let header = format!("Authorization: Bearer {}", token.trim());
        let url = format!("http://{admin}:10258/metrics");
        let status =
            || client.run(&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header, &url]);
        ensure!(status()? == "403", "a token without the right: {}", status()?);
        let name = format!("reader-{}", lab.namespace);
        let account = format!("--serviceaccount={account}");
        lab.bed.kubectl(&[
            "create",
            "clusterrolebinding",
            &name,
            "--clusterrole=causeway-metrics-reader",
            &account,
        ])?;
        // Answers of the API server are kept for a minute.
        wait::until("metrics", std::time::Duration::from_secs(90), async || match status()?.as_str() {
            "200" => Ok(()),
            other => anyhow::bail!("status {other}"),
        })
        .await?;
        let text = client.run(&["curl", "-s", "-H", &header, &url])?;
        ensure!(text.contains("causeway_"), "{text}");
        lab.bed.kubectl(&["delete", "clusterrolebinding", &name])?;
        Ok(())
    })
    .await;
}
