//! What kube-proxy (nftables) does with node ports, load balancer addresses and health checks: the contract that controllers build on.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::Signal;
use causeway_bed::addresses::CLIENT;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::common::{CONNECT, Echo, SOON, health_port, node_port};

fn vip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 100, last)
}

/// The address part of what agnhost's `/clientip` answers.
fn ip_of(client: &str) -> &str {
    client.rsplit_once(':').map_or(client, |(ip, _)| ip)
}

#[tokio::test]
async fn a_cluster_node_port_answers_on_each_node_and_hides_the_client() -> Result<()> {
    let echo = Echo::on("np-cluster", &[1, 2]).await?;
    let service = echo.service("echo", json!({})).await?;
    let port = node_port(&service, "http")?;
    for node in 1..=3 {
        let client = echo.answer(echo.address(node)?, port, "/clientip").await?;
        ensure!(ip_of(&client) != CLIENT.to_string(), "node{node} showed the client's address: {client}");
    }
    // From a node without a Pod the connection goes on to another node, under the first one's address.
    let client = echo.answer(echo.address(3)?, port, "/clientip").await?;
    ensure!(ip_of(&client) == "10.77.0.13", "through node3 the Pod saw {client}");
    let udp = node_port(&service, "udp")?;
    let answer =
        echo.bed.client_ns().udp_exchange((echo.address(3)?, udp), "hostname", None, CONNECT).await?;
    ensure!(answer.starts_with("echo-node"), "UDP answer {answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_local_node_port_keeps_the_client_and_is_silent_without_a_pod() -> Result<()> {
    let echo = Echo::on("np-local", &[1, 2]).await?;
    let service = echo.service("echo", json!({"externalTrafficPolicy": "Local"})).await?;
    let port = node_port(&service, "http")?;
    for node in [1, 2] {
        let client = echo.answer(echo.address(node)?, port, "/clientip").await?;
        ensure!(ip_of(&client) == CLIENT.to_string(), "node{node} showed {client}");
        let host = echo.answer(echo.address(node)?, port, "/hostname").await?;
        ensure!(host == format!("echo-node{node}"), "node{node} answered as {host}");
    }
    echo.silence(echo.address(3)?, port).await
}

#[tokio::test]
async fn a_client_behind_the_router_reaches_node_ports_under_its_own_address() -> Result<()> {
    let echo = Echo::on("np-remote", &[1]).await?;
    let service = echo.service("echo", json!({"externalTrafficPolicy": "Local"})).await?;
    let target = (echo.address(1)?, node_port(&service, "http")?);
    let answer = echo
        .bed
        .wait("an answer to the remote client", SOON, async || {
            echo.bed.remote_ns().http_get(target, "/clientip", None, CONNECT).await
        })
        .await?;
    ensure!(ip_of(&answer.body) == "198.51.100.7", "the Pod saw {}", answer.body);
    // The client on the segment has a second address, outside of the nodes' prefix.
    let source = Some(causeway_bed::addresses::CLIENT_FOREIGN.into());
    let answer = echo.bed.client_ns().http_get(target, "/clientip", source, CONNECT).await?;
    ensure!(ip_of(&answer.body) == "10.78.0.100", "the Pod saw {}", answer.body);
    Ok(())
}

#[tokio::test]
async fn node_ports_work_over_ipv6() -> Result<()> {
    let echo = Echo::on("np-ipv6", &[1]).await?;
    let spec = json!({"externalTrafficPolicy": "Local", "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]});
    let service = echo.service("echo", spec).await?;
    let target = (echo.bed.node(1)?.addresses().v6, node_port(&service, "http")?);
    for (namespace, source) in [(echo.bed.client_ns(), "fd77::100"), (echo.bed.remote_ns(), "2001:db8:51::7")]
    {
        let answer = echo
            .bed
            .wait("an answer over IPv6", SOON, async || {
                namespace.http_get(target, "/clientip", None, CONNECT).await
            })
            .await?;
        ensure!(answer.body.contains(source), "the Pod saw {} instead of {source}", answer.body);
    }
    Ok(())
}

#[tokio::test]
async fn the_health_check_port_counts_local_endpoints() -> Result<()> {
    let echo = Echo::on("hcnp", &[1, 2]).await?;
    let service = echo.service("echo", json!({"externalTrafficPolicy": "Local"})).await?;
    let port = health_port(&service)?;
    for (node, status, weight) in [(1, 200, "1"), (2, 200, "1"), (3, 503, "0")] {
        let response = echo.health(node, port, status).await?;
        let header = response.header("x-load-balancing-endpoint-weight");
        ensure!(header == Some(weight), "node{node}: weight {header:?}");
        let body: serde_json::Value = serde_json::from_str(&response.body)?;
        ensure!(body["localEndpoints"] == if status == 200 { 1 } else { 0 }, "node{node}: {body}");
        ensure!(body["serviceProxyHealthy"] == true, "node{node}: {body}");
    }
    Ok(())
}

#[tokio::test]
async fn a_vip_is_served_by_every_node_that_it_is_routed_to() -> Result<()> {
    let echo = Echo::on("vip-cluster", &[1, 2]).await?;
    echo.service("echo", json!({})).await?;
    let address = vip(1);
    let service = echo.set_ingress("echo", json!({"ip": address})).await?;
    let mode = service.status.and_then(|s| s.load_balancer?.ingress?.first()?.ip_mode.clone());
    ensure!(mode.as_deref() == Some("VIP"), "an address without a mode became {mode:?}");
    for node in 1..=3 {
        echo.route(&echo.bed.client_ns(), address, node)?;
        echo.answer(address, 80, "/hostname").await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_address_of_mode_proxy_is_not_served_by_nodes() -> Result<()> {
    let echo = Echo::on("vip-proxy", &[1]).await?;
    echo.service("echo", json!({})).await?;
    let address = vip(2);
    echo.route(&echo.bed.client_ns(), address, 1)?;
    echo.set_ingress("echo", json!({"ip": address, "ipMode": "VIP"})).await?;
    echo.answer(address, 80, "/hostname").await?;
    echo.set_ingress("echo", json!({"ip": address, "ipMode": "Proxy"})).await?;
    echo.silence(address, 80).await?;
    let services: Api<Service> = Api::namespaced(echo.client.clone(), &echo.namespace);
    let patch =
        json!({"status": {"loadBalancer": {"ingress": [{"hostname": "x.example", "ipMode": "VIP"}]}}});
    let refused = services.patch_status("echo", &PatchParams::default(), &Patch::Merge(&patch)).await;
    ensure!(refused.is_err(), "a host name with a mode was accepted");
    Ok(())
}

#[tokio::test]
async fn source_ranges_hold_for_the_vip_but_not_for_node_ports() -> Result<()> {
    let echo = Echo::on("ranges", &[1]).await?;
    let service = echo.service("echo", json!({"loadBalancerSourceRanges": ["192.0.2.0/24"]})).await?;
    let address = vip(3);
    echo.set_ingress("echo", json!({"ip": address})).await?;
    echo.route(&echo.bed.client_ns(), address, 1)?;
    echo.answer(echo.address(1)?, node_port(&service, "http")?, "/hostname").await?;
    echo.silence(address, 80).await?;
    let services: Api<Service> = Api::namespaced(echo.client.clone(), &echo.namespace);
    let patch = json!({"spec": {"loadBalancerSourceRanges": ["192.0.2.0/24", format!("{CLIENT}/32")]}});
    services.patch("echo", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    echo.answer(address, 80, "/hostname").await?;
    Ok(())
}

#[tokio::test]
async fn a_local_vip_is_served_with_the_clients_address_where_a_pod_is() -> Result<()> {
    let echo = Echo::on("vip-local", &[1]).await?;
    echo.service("echo", json!({"externalTrafficPolicy": "Local"})).await?;
    let address = vip(4);
    echo.set_ingress("echo", json!({"ip": address})).await?;
    let client_ns = echo.bed.client_ns();
    echo.route(&client_ns, address, 1)?;
    let client = echo.answer(address, 80, "/clientip").await?;
    ensure!(ip_of(&client) == CLIENT.to_string(), "the Pod saw {client}");
    echo.route(&client_ns, address, 3)?;
    echo.silence(address, 80).await
}

#[tokio::test]
async fn from_inside_the_cluster_a_local_vip_is_short_circuited() -> Result<()> {
    let echo = Echo::on("vip-inside", &[1]).await?;
    echo.service("echo", json!({"externalTrafficPolicy": "Local"})).await?;
    let address = vip(5);
    echo.set_ingress("echo", json!({"ip": address})).await?;
    // A second Pod, outside of the Service, on a node without an endpoint.
    let pod = json!({
        "metadata": {"name": "echo-node3"},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": "node3"},
            "containers": [{"name": "echo", "image": "agnhost", "args": ["pause"]}],
        },
    });
    crate::common::create::<Pod>(&echo.client, &echo.namespace, pod).await?;
    echo.wait_ready(3).await?;
    let host = echo
        .bed
        .wait("an answer inside", SOON, async || {
            echo.exec(3, &format!("curl -s -m 3 http://{address}/hostname"))
        })
        .await?;
    ensure!(host == "echo-node1", "answered by {host:?}");
    Ok(())
}

#[tokio::test]
async fn a_node_about_to_be_deleted_fails_the_proxys_health_check_only() -> Result<()> {
    let echo = Echo::on("doomed", &[2]).await?;
    let service = echo.service("echo", json!({"externalTrafficPolicy": "Local"})).await?;
    for node in 1..=3 {
        echo.health(node, 10256, 200).await?;
    }
    echo.health(2, health_port(&service)?, 200).await?;
    let nodes: Api<Node> = Api::all(echo.client.clone());
    let taint = json!({"spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}]}});
    nodes.patch("node2", &PatchParams::default(), &Patch::Merge(&taint)).await?;
    let response = echo.health(2, 10256, 503).await?;
    ensure!(response.body.contains("\"nodeEligible\":false"), "{}", response.body);
    let live = echo.get(echo.address(2)?, 10256, "/livez", CONNECT).await?;
    ensure!(live.status == 200, "/livez says {}", live.status);
    echo.health(2, health_port(&service)?, 200).await?;
    echo.answer(echo.address(2)?, node_port(&service, "http")?, "/hostname").await?;
    nodes.patch("node2", &PatchParams::default(), &Patch::Merge(&json!({"spec": {"taints": null}}))).await?;
    echo.health(2, 10256, 200).await?;
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_not_ready_fails_the_health_check_port() -> Result<()> {
    let echo = Echo::on("unready", &[1, 2]).await?;
    let service = echo.service("echo", json!({"externalTrafficPolicy": "Local"})).await?;
    let port = health_port(&service)?;
    echo.health(1, port, 200).await?;
    echo.exec(1, "touch /tmp/unready")?;
    echo.health(1, port, 503).await?;
    echo.health(2, port, 200).await?;
    echo.exec(1, "rm /tmp/unready")?;
    echo.health(1, port, 200).await?;
    Ok(())
}

#[tokio::test]
async fn a_pod_that_ends_but_still_serves_fails_the_health_check_port_and_is_served() -> Result<()> {
    let echo = Echo::on("ending", &[1]).await?;
    let service = echo.service("echo", json!({"externalTrafficPolicy": "Local"})).await?;
    let port = health_port(&service)?;
    echo.health(1, port, 200).await?;
    let pods: Api<Pod> = Api::namespaced(echo.client.clone(), &echo.namespace);
    pods.delete("echo-node1", &DeleteParams::default()).await?;
    echo.health(1, port, 503).await?;
    // It serves for 10 s more; all of this takes far less.
    let host =
        echo.get(echo.address(1)?, node_port(&service, "http")?, "/hostname", Duration::from_secs(3)).await?;
    ensure!(host.body == "echo-node1", "answered by {}", host.body);
    Ok(())
}

#[tokio::test]
async fn a_killed_program_is_found_and_started_again() -> Result<()> {
    let echo = Echo::on("killed", &[1]).await?;
    let pod = echo.wait_ready(1).await?;
    let address: Ipv4Addr =
        pod.status.and_then(|status| status.pod_ip).context("a Pod without an address")?.parse()?;
    let node = echo.bed.node(1)?;
    let of_pod = node.pod(address)?;
    let programs = node.program("agnhost")?;
    let ours: Vec<_> =
        programs.iter().filter(|program| of_pod.iter().any(|p| p.pid == program.pid)).collect();
    ensure!(ours.len() == 1, "of the Pod {of_pod:?}, called agnhost {programs:?}");
    causeway_bed::process::send(ours[0].pid, Signal::KILL)?;
    let pods: Api<Pod> = Api::namespaced(echo.client.clone(), &echo.namespace);
    echo.bed
        .wait("the container to start again", SOON, async || {
            let status = pods.get("echo-node1").await?.status.unwrap_or_default();
            let restarts = status.container_statuses.iter().flatten().map(|c| c.restart_count).sum::<i32>();
            ensure!(restarts == 1, "{restarts} restarts");
            Ok(())
        })
        .await?;
    echo.wait_ready(1).await?;
    Ok(())
}

#[tokio::test]
async fn a_pod_reaches_the_api_server_with_its_token() -> Result<()> {
    let echo = Echo::on("token", &[2]).await?;
    let secrets = "/var/run/secrets/kubernetes.io/serviceaccount";
    let command = format!(
        "curl -s -m 5 --cacert {secrets}/ca.crt -H \"Authorization: Bearer $(cat {secrets}/token)\" \
         https://10.96.0.1/apis/authentication.k8s.io/v1/selfsubjectreviews -H 'Content-Type: application/json' \
         -d '{{\"kind\":\"SelfSubjectReview\",\"apiVersion\":\"authentication.k8s.io/v1\"}}'"
    );
    let answer = echo.bed.wait("an answer of the API server", SOON, async || echo.exec(2, &command)).await?;
    ensure!(answer.contains("system:serviceaccount:token:default"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_pod_reaches_the_outside_under_its_nodes_address() -> Result<()> {
    let echo = Echo::on("outwards", &[2]).await?;
    // A web server outside of the cluster.
    let program = causeway_bed::programs::Programs::ensure()?.path("agnhost")?;
    let command =
        vec![program, "netexec".to_owned(), "--http-port=8080".to_owned(), "--udp-port=-1".to_owned()];
    let server = echo.bed.start_daemon(causeway_bed::Daemon::new("web-outside", "remote", command))?;
    let ask = "curl -s -m 3 http://198.51.100.7:8080/clientip";
    let seen = echo
        .bed
        .wait("the outside to answer a Pod", SOON, async || {
            server.pid()?;
            echo.exec(2, ask)
        })
        .await?;
    ensure!(ip_of(&seen) == "10.77.0.12", "outside the Pod is {seen}");
    server.stop(Signal::TERM, SOON)
}
