//! What MetalLB's end-to-end suite (`l2tests`) asks of layer 2, asked of the speakers: which node answers for an address, when it changes, what is said about it.
//!
//! One bed for all, one scenario at a time. Each has a pool of its own, and Services without a selector, whose endpoints are written by hand: so a
//! scenario says on which nodes they are.

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use causeway_bed::{Signal, wait};
use serde_json::Value;
use support::traffic::Traffic;
use support::{Lab, SOON};

const CONFIG: &str = "metallb-system";
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A scenario: its lab, and the name of its pool and first advertisement.
struct Scene<'a> {
    lab: &'a Lab,
    name: &'a str,
}

impl Scene<'_> {
    /// The pool, which Services of the scenario ask for.
    fn pool(&self, addresses: &str) -> Result<()> {
        let (name, bed) = (self.name, self.lab.bed);
        bed.apply(&format!(
            "{{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {{name: {name}, namespace: {CONFIG}, labels: {{scene: {name}}}}}, \
             spec: {{addresses: [{addresses}], autoAssign: false}}}}"
        ))
        .map(drop)
    }

    /// An advertisement of the pool; `spec` is more of its spec.
    fn advertise(&self, suffix: &str, spec: &str) -> Result<()> {
        let (name, bed) = (self.name, self.lab.bed);
        bed.apply(&format!(
            "{{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {{name: {name}{suffix}, namespace: {CONFIG}}}, \
             spec: {{ipAddressPools: [{name}], {spec}}}}}"
        ))
        .map(drop)
    }

    fn withdraw(&self, suffix: &str) -> Result<()> {
        let name = format!("{}{suffix}", self.name);
        self.lab.bed.kubectl(&["-n", CONFIG, "delete", "l2advertisement", &name]).map(drop)
    }

    /// A Service of the pool with endpoints on these nodes; its address. `metadata` and `spec` are more of each.
    async fn service(&self, name: &str, nodes: &[usize], metadata: &str, spec: &str) -> Result<Ipv4Addr> {
        self.create(name, nodes, metadata, spec)?;
        self.lab.address(name).await
    }

    fn create(&self, name: &str, nodes: &[usize], metadata: &str, spec: &str) -> Result<()> {
        let annotations = format!("metallb.io/address-pool: {}", self.name);
        let metadata = if metadata.contains("annotations: {") {
            metadata.replacen("annotations: {", &format!("annotations: {{{annotations}, "), 1)
        } else {
            format!("annotations: {{{annotations}}}, {metadata}")
        };
        self.lab.apply(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: NAMESPACE, {metadata}}}, \
             spec: {{type: LoadBalancer, {ports}{spec}}}}}",
            ports = if spec.contains("ports:") { "" } else { "ports: [{port: 80, targetPort: 8080}], " }
        ))?;
        self.endpoints(name, nodes)
    }

    /// The endpoints of a Service: one ready one on each of these nodes.
    fn endpoints(&self, service: &str, nodes: &[usize]) -> Result<()> {
        let endpoints: Vec<String> = nodes
            .iter()
            .map(|n| {
                format!("{{addresses: [10.244.{n}.250], nodeName: node{n}, conditions: {{ready: true}}}}")
            })
            .collect();
        self.lab.apply(&format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {service}-1, namespace: NAMESPACE, \
             labels: {{kubernetes.io/service-name: {service}, endpointslice.kubernetes.io/managed-by: test}}}}, addressType: IPv4, \
             ports: [{{port: 8080}}], endpoints: [{}]}}",
            endpoints.join(", ")
        ))
    }

    /// Waits until exactly one node answers, one of these.
    async fn from(&self, address: Ipv4Addr, nodes: &[usize]) -> Result<usize> {
        wait::until(&format!("one of nodes {nodes:?} to answer for {address}"), SOON, async || {
            let all = self.lab.announcers(address)?;
            match all.first() {
                Some(node) if all.len() == 1 && nodes.contains(node) => Ok(*node),
                _ => bail!("{all:?} answer"),
            }
        })
        .await
    }

    /// Waits until nobody answers.
    async fn silent(&self, address: Ipv4Addr) -> Result<()> {
        wait::until(&format!("nobody to answer for {address}"), SOON, async || {
            let all = self.lab.announcers(address)?;
            ensure!(all.is_empty(), "{all:?} answer");
            Ok(())
        })
        .await
    }

    /// Waits until the status objects of a Service are these: one on that node with these interfaces, or none.
    async fn status(&self, service: &str, expected: Option<(usize, &[&str])>) -> Result<()> {
        let selector =
            format!("metallb.io/service-name={service},metallb.io/service-namespace={}", self.lab.namespace);
        wait::until(&format!("the status of {service} to be {expected:?}"), SOON, async || {
            let text = self.lab.bed.kubectl(&[
                "-n",
                CONFIG,
                "get",
                "servicel2statuses",
                "-o",
                "json",
                "-l",
                &selector,
            ])?;
            let list: Value = serde_json::from_str(&text)?;
            let items = list["items"].as_array().context("no items")?;
            let Some((node, interfaces)) = expected else {
                ensure!(items.is_empty(), "{items:?}");
                return Ok(());
            };
            ensure!(items.len() == 1, "{items:?}");
            let node = format!("node{node}");
            let (meta, status) = (&items[0]["metadata"], &items[0]["status"]);
            let names: Vec<&str> = status["interfaces"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|i| i["name"].as_str())
                .collect();
            ensure!(
                status["node"] == *node && status["serviceName"] == *service && names == interfaces,
                "{status}"
            );
            ensure!(status["serviceNamespace"] == *self.lab.namespace, "{status}");
            ensure!(meta["labels"]["metallb.io/node"] == *node, "{meta}");
            ensure!(meta["generateName"] == "l2-" && meta["ownerReferences"][0]["name"] == *node, "{meta}");
            Ok(())
        })
        .await
    }

    /// The nodes that status objects name for a Service.
    fn said(&self, service: &str) -> Result<Vec<String>> {
        let selector =
            format!("metallb.io/service-name={service},metallb.io/service-namespace={}", self.lab.namespace);
        let columns = "jsonpath={range .items[*]}{.status.node}{\"\\n\"}{end}";
        let text = self.lab.bed.kubectl(&[
            "-n",
            CONFIG,
            "get",
            "servicel2statuses",
            "-l",
            &selector,
            "-o",
            columns,
        ])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn label(&self, node: usize, label: &str) -> Result<()> {
        self.lab.bed.kubectl(&["label", "--overwrite", "node", &format!("node{node}"), label]).map(drop)
    }

    /// Sets the condition NetworkUnavailable of a node.
    fn network_unavailable(&self, node: usize, unavailable: bool) -> Result<()> {
        let status = if unavailable { "True" } else { "False" };
        let patch = format!(
            r#"{{"status":{{"conditions":[{{"type":"NetworkUnavailable","status":"{status}","reason":"Test","message":""}}]}}}}"#
        );
        let node = format!("node{node}");
        self.lab
            .bed
            .kubectl(&["patch", "node", &node, "--subresource=status", "--type=strategic", "-p", &patch])
            .map(drop)
    }
}

/// Runs a scenario, whose pool and advertisements go with it.
async fn scene(name: &str, addresses: &str, body: impl AsyncFnOnce(&Scene<'_>) -> Result<()>) {
    Lab::run(name, async |lab| {
        let scene = Scene { lab, name };
        scene.pool(addresses)?;
        let outcome = body(&scene).await;
        // The advertisements of a scenario begin with its name.
        let ads = lab.bed.kubectl(&["-n", CONFIG, "get", "l2advertisements", "-o", "name"])?;
        for ad in ads.lines().filter(|ad| ad.contains(&format!("/{name}"))) {
            lab.bed.kubectl(&["-n", CONFIG, "delete", ad])?;
        }
        lab.bed.kubectl(&["-n", CONFIG, "delete", "ipaddresspool", name])?;
        outcome
    })
    .await;
}

#[tokio::test]
async fn status_follows_the_announcing_node_and_the_policy_local_its_endpoints() {
    scene("status", "10.77.100.100-10.77.100.104", async |scene| {
        scene.advertise("", "")?;
        let cluster = scene.service("cluster", &[1], "", "").await?;
        let node = scene.from(cluster, &[1, 2, 3]).await?;
        scene.status("cluster", Some((node, &[]))).await?;
        let local = scene.service("local", &[2], "", "externalTrafficPolicy: Local").await?;
        scene.from(local, &[2]).await?;
        scene.status("local", Some((2, &[]))).await?;
        scene.endpoints("local", &[3])?;
        scene.from(local, &[3]).await?;
        scene.status("local", Some((3, &[]))).await?;
        // Nobody serves it: nobody announces it, with the policy Cluster too.
        for (service, address) in [("local", local), ("cluster", cluster)] {
            scene.endpoints(service, &[])?;
            scene.silent(address).await?;
            scene.status(service, None).await?;
        }
        // What somebody deletes, or adds, is put right when the Service moves.
        scene.endpoints("local", &[1])?;
        scene.status("local", Some((1, &[]))).await?;
        // A Service that goes takes its status along.
        scene.lab.kubectl(&["delete", "service", "local"])?;
        scene.status("local", None).await
    })
    .await;
}

#[tokio::test]
async fn a_node_without_network_or_with_the_exclude_label_is_left() {
    scene("leave", "10.77.100.105/32", async |scene| {
        scene.advertise("", "")?;
        let address = scene.service("web", &[1, 2, 3], "", "").await?;
        let node = scene.from(address, &[1, 2, 3]).await?;
        let others: Vec<usize> = [1, 2, 3].into_iter().filter(|n| *n != node).collect();
        scene.network_unavailable(node, true)?;
        let moved = scene.from(address, &others).await;
        scene.network_unavailable(node, false)?;
        let node = moved?;
        // Any value of the label counts, as MetalLB has it.
        let node = { scene.from(address, &[1, 2, 3]).await.unwrap_or(node) };
        let others: Vec<usize> = [1, 2, 3].into_iter().filter(|n| *n != node).collect();
        scene.label(node, &format!("{EXCLUDE}=false"))?;
        let moved = scene.from(address, &others).await;
        scene.label(node, &format!("{EXCLUDE}-"))?;
        moved?;
        scene.from(address, &[1, 2, 3]).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn node_selectors_say_from_where_and_their_changes_are_followed() {
    scene("nodes", "10.77.100.106/31", async |scene| {
        scene.advertise("", "nodeSelectors: [{matchLabels: {kubernetes.io/hostname: node1}}]")?;
        let address = scene.service("web", &[1, 2, 3], "", "").await?;
        scene.from(address, &[1]).await?;
        // Several selectors: any of them.
        let two = "nodeSelectors: [{matchLabels: {kubernetes.io/hostname: node2}}, {matchLabels: {kubernetes.io/hostname: node3}}]";
        scene.advertise("", two)?;
        let node = scene.from(address, &[2, 3]).await?;
        // Nodes that come to match.
        scene.advertise("", "nodeSelectors: [{matchLabels: {scene-of: nodes}}]")?;
        scene.silent(address).await?;
        scene.label(node, "scene-of=nodes")?;
        let outcome = scene.from(address, &[node]).await;
        scene.label(node, "scene-of-")?;
        outcome?;
        scene.silent(address).await?;
        // The advertisement goes, and comes again.
        scene.withdraw("")?;
        scene.advertise("-b", "")?;
        scene.from(address, &[1, 2, 3]).await?;
        scene.withdraw("-b")?;
        scene.silent(address).await?;
        scene.status("web", None).await
    })
    .await;
}

#[tokio::test]
async fn interface_selectors_are_united_and_shown_in_the_status() {
    scene("interfaces", "10.77.100.108/31", async |scene| {
        scene.advertise("", "interfaces: [eth0]")?;
        let address = scene.service("web", &[1, 2, 3], "", "").await?;
        let node = scene.from(address, &[1, 2, 3]).await?;
        scene.status("web", Some((node, &["eth0"]))).await?;
        // One that no node has.
        scene.advertise("", "interfaces: [eth7]")?;
        scene.silent(address).await?;
        scene.status("web", None).await?;
        // Two advertisements: the union of their interfaces.
        scene.advertise("-b", "interfaces: [eth0]")?;
        let node = scene.from(address, &[1, 2, 3]).await?;
        scene.status("web", Some((node, &["eth0", "eth7"]))).await?;
        // One without interfaces means all, but only on its nodes.
        scene.advertise("-b", "nodeSelectors: [{matchLabels: {kubernetes.io/hostname: node2}}]")?;
        scene.advertise(
            "",
            "interfaces: [eth7], nodeSelectors: [{matchLabels: {kubernetes.io/hostname: node2}}]",
        )?;
        scene.from(address, &[2]).await?;
        scene.status("web", Some((2, &[]))).await
    })
    .await;
}

#[tokio::test]
async fn service_selectors_choose_services_and_a_shared_address_shuns_them() {
    scene("services", "10.77.100.110-10.77.100.113", async |scene| {
        let gold = "serviceSelectors: [{matchLabels: {tier: gold}}, {matchLabels: {tier: silver}}]";
        scene.advertise(
            "",
            &format!("{gold}, nodeSelectors: [{{matchLabels: {{kubernetes.io/hostname: node1}}}}]"),
        )?;
        let golden = scene.service("golden", &[1, 2, 3], "labels: {tier: gold}", "").await?;
        let plain = scene.service("plain", &[1, 2, 3], "", "").await?;
        scene.from(golden, &[1]).await?;
        scene.silent(plain).await?;
        scene.status("plain", None).await?;
        // Any of the selectors.
        scene.lab.kubectl(&["label", "service", "plain", "tier=silver"])?;
        scene.from(plain, &[1]).await?;
        scene.lab.kubectl(&["label", "service", "plain", "tier-"])?;
        scene.silent(plain).await?;
        // Two that match: one announcer all the same.
        scene.advertise("-b", "serviceSelectors: [{matchLabels: {tier: gold}}]")?;
        scene.from(golden, &[1, 2, 3]).await?;
        // Who may share its address is not announced by selectors: others on it might be announced from elsewhere.
        let shares = "labels: {tier: gold}, annotations: {metallb.io/allow-shared-ip: one}";
        let shared = scene.service("shared", &[1, 2, 3], shares, "").await?;
        scene.silent(shared).await?;
        let service = (scene.lab.namespace.as_str(), "Service", "shared");
        scene.lab.event(service, "NotAnnounced", &["serviceSelectors"]).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn services_that_share_an_address_are_announced_from_one_node() {
    scene("shared", "10.77.100.114-10.77.100.117", async |scene| {
        scene.advertise("", "")?;
        let key = "annotations: {metallb.io/allow-shared-ip: one}";
        let tcp = scene.service("tcp", &[1], key, "").await?;
        let request = format!("loadBalancerIP: {tcp}, ports: [{{port: 53, protocol: UDP}}]");
        let udp = scene.service("udp", &[2], key, &request).await?;
        ensure!(tcp == udp, "{tcp} and {udp}");
        let node = scene.from(tcp, &[1, 2, 3]).await?;
        scene.status("tcp", Some((node, &[]))).await?;
        scene.status("udp", Some((node, &[]))).await?;
        // One of them goes: the other is announced on.
        scene.lab.kubectl(&["delete", "service", "tcp"])?;
        scene.status("tcp", None).await?;
        scene.from(udp, &[node]).await?;
        // Mixed protocols in one Service are one announcement.
        let mixed = "ports: [{name: t, port: 80, protocol: TCP}, {name: u, port: 80, protocol: UDP}]";
        let mixed = scene.service("mixed", &[3], "", mixed).await?;
        scene.from(mixed, &[1, 2, 3]).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn preferred_nodes_come_first_and_weights_add_up() {
    scene("preferred", "10.77.100.118-10.77.100.121", async |scene| {
        let prefer = |node: usize, weight: usize| {
            format!("preferredNodeSelectors: [{{weight: {weight}, preference: {{matchLabels: {{kubernetes.io/hostname: node{node}}}}}}}]")
        };
        scene.advertise("", &prefer(2, 50))?;
        let address = scene.service("first", &[1, 2, 3], "", "").await?;
        scene.from(address, &[2]).await?;
        // Not there: the others.
        scene.label(2, &format!("{EXCLUDE}="))?;
        let fell_back = scene.from(address, &[1, 3]).await;
        scene.label(2, &format!("{EXCLUDE}-"))?;
        fell_back?;
        // A better preference counts more than who has the address.
        scene.from(address, &[2]).await?;
        // Weights of two advertisements add up; nodeSelectors stay a condition.
        scene.advertise("-b", &prefer(3, 30))?;
        scene.advertise("-c", &prefer(3, 30))?;
        let address = scene.service("second", &[1, 2, 3], "", "").await?;
        scene.from(address, &[3]).await?;
        scene.withdraw("-b")?;
        scene.withdraw("-c")?;
        scene.advertise("", &format!("{}, nodeSelectors: [{{matchLabels: {{kubernetes.io/hostname: node1}}}}]", prefer(2, 50)))?;
        let address = scene.service("third", &[1, 2, 3], "", "").await?;
        scene.from(address, &[1]).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn both_families_are_announced_from_one_node() {
    scene("families", "10.77.100.122-10.77.100.123, \"fd77::100:a0/126\"", async |scene| {
        scene.advertise("", "")?;
        let address = scene.service("dual", &[1, 2, 3], "", "ipFamilyPolicy: RequireDualStack").await?;
        let node = scene.from(address, &[1, 2, 3]).await?;
        let service = scene.lab.service("dual").await?;
        let points = service.status.and_then(|s| s.load_balancer).and_then(|l| l.ingress).unwrap_or_default();
        let v6 = points.iter().find_map(|p| match p.ip.as_deref()?.parse().ok()? {
            IpAddr::V6(ip) => Some(ip),
            IpAddr::V4(_) => None,
        });
        let v6 = v6.with_context(|| format!("no IPv6 address: {points:?}"))?;
        let client = scene.lab.bed.client_ns();
        let mac = scene.lab.bed.node(node)?.addresses().mac.clone();
        wait::until(&format!("node{node} to answer for {v6}"), SOON, async || {
            // Nothing answers on this port: the connection only makes the kernel ask for the neighbour.
            let _ = client.http_get((v6, 9), "/", None, Duration::from_millis(300)).await;
            let found = client.neighbour(v6)?;
            ensure!(found.as_deref() == Some(mac.as_str()), "{found:?}, not {mac}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn after_a_partition_one_node_is_left() {
    scene("partition", "10.77.100.124/32", async |scene| {
        scene.advertise("", "")?;
        let address = scene.service("web", &[1, 2, 3], "", "").await?;
        let node = scene.from(address, &[1, 2, 3]).await?;
        let (alone, others): (Vec<usize>, Vec<usize>) = (1..=3).partition(|n| *n == node);
        let names = |nodes: &[usize]| nodes.iter().map(|n| format!("node{n}")).collect::<Vec<_>>();
        let (alone, others) = (names(&alone), names(&others));
        fn borrowed(all: &[String]) -> Vec<&str> {
            all.iter().map(String::as_str).collect()
        }
        let segment = scene.lab.bed.segment();
        segment.partition(&borrowed(&alone), &borrowed(&others))?;
        // Each side takes the other for dead, and the client hears both.
        let both = wait::until("both sides to answer", SOON, async || {
            let all = scene.lab.announcers(address)?;
            ensure!(all.len() == 2, "{all:?} answer");
            Ok(all)
        })
        .await;
        segment.heal()?;
        let healed = Instant::now();
        let both: BTreeSet<usize> = both?;
        let left = scene.from(address, &[1, 2, 3]).await?;
        println!("{both:?} answered during the partition; node{left} alone {:?} after it", healed.elapsed());
        scene.status("web", Some((left, &[]))).await
    })
    .await;
}

#[tokio::test]
async fn what_says_who_announces_is_right_again_soon_after_a_partition_in_which_it_was_deleted() {
    scene("deleted", "10.77.100.125/32", async |scene| {
        // The preferred one keeps the address: it never stops announcing, and another deletes what it had said.
        let prefer = "preferredNodeSelectors: [{weight: 50, preference: {matchLabels: {kubernetes.io/hostname: node2}}}]";
        scene.advertise("", prefer)?;
        let address = scene.service("web", &[1, 2, 3], "", "").await?;
        scene.from(address, &[2]).await?;
        scene.status("web", Some((2, &[]))).await?;
        let segment = scene.lab.bed.segment();
        segment.partition(&["node2"], &["node1", "node3"])?;
        let lost = wait::until("the other side to say that it announces, and nobody else", SOON, async || {
            let nodes = scene.said("web")?;
            ensure!(nodes.len() == 1 && nodes[0] != "node2", "{nodes:?} are said to announce");
            Ok(())
        })
        .await;
        segment.heal()?;
        let healed = Instant::now();
        lost?;
        scene.from(address, &[2]).await?;
        scene.status("web", Some((2, &[]))).await?;
        println!("the status is right {:?} after the partition", healed.elapsed());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_kube_proxy_fails_hands_over_and_nothing_moves_back() {
    Lab::run("kube-proxy", async |lab| {
        let (address, _) = lab.application().await?;
        for how in ["frozen", "ended"] {
            let node = lab.announcer(address, None).await?;
            let proxy = lab.bed.node(node)?.proxy();
            let fit_again = "fit to announce again";
            let before = lab.speaker_log(node)?.matches(fit_again).count();
            let traffic = Traffic::start(lab.bed.client_ns(), address, false);
            let watched = lab
                .bed
                .client_ns()
                .capture("eth0", &format!("arp and arp[14:4] = {:#x}", u32::from(address)))?;
            match how {
                "frozen" => proxy.signal(Signal::STOP)?,
                _ => proxy.stop(Signal::TERM, SOON)?,
            }
            let since = Instant::now();
            let moved = lab.announcer(address, Some(node)).await;
            let took = since.elapsed();
            let runs = lab.processes(node, "speaker").map(|pids| pids.len());
            match how {
                "frozen" => proxy.signal(Signal::CONT)?,
                _ => proxy.start()?,
            }
            let (next, runs) = (moved?, runs?);
            ensure!(runs == 1, "{runs} speakers run on node{node}");
            println!("kube-proxy of node{node} {how}: node{next} announces after {took:?} at most");
            // Two checks, a second apart, each of which may take one.
            ensure!(took < Duration::from_secs(10), "it took {took:?}");
            // It works again, and the address stays.
            wait::until(&format!("node{node} to be fit again"), SOON, async || {
                let now = lab.speaker_log(node)?.matches(fit_again).count();
                ensure!(now > before, "not said");
                Ok(())
            })
            .await?;
            let stays = lab.announcer(address, Some(node)).await?;
            ensure!(stays == next, "it went on from node{next} to node{stays}");
            traffic.end_whole(&format!("kube-proxy {how}"), 1).await?;
            let lines = watched.lines();
            let senders: BTreeSet<usize> = lines.iter().filter_map(|line| support::sender(line)).collect();
            ensure!(senders.is_subset(&[node, next].into()), "{senders:?} claimed it");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_hands_over_without_a_lost_request_and_one_that_is_only_cordoned_does_not() {
    Lab::run("drain", async |lab| {
        let (cluster, local) = lab.application().await?;
        let node = lab.announcer(cluster, None).await?;
        let name = format!("node{node}");
        let of_local = lab.announcer(local, None).await?;
        let traffic = [cluster, local].map(|address| Traffic::start(lab.bed.client_ns(), address, false));
        lab.bed.kubectl(&["cordon", &name])?;
        let outcome = async {
            // Until something has come by the same way that was written later; with no endpoint on this node.
            let other = node % 3 + 1;
            lab.create_service("later", "", "")?;
            let later = lab.address("later").await?;
            lab.apply(&format!(
                "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: later-1, namespace: NAMESPACE, \
                 labels: {{kubernetes.io/service-name: later, endpointslice.kubernetes.io/managed-by: test}}}}, addressType: IPv4, \
                 ports: [{{port: 8080}}], endpoints: [{{addresses: [10.244.{other}.250], nodeName: node{other}, conditions: {{ready: true}}}}]}}"
            ))?;
            lab.announcer(later, None).await?;
            for (address, before) in [(cluster, node), (local, of_local)] {
                let now = lab.announcers(address)?;
                ensure!(now == [before].into(), "{name} was cordoned, and {now:?} answer for {address}");
            }
            lab.bed.kubectl(&["drain", &name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s"])?;
            let next = lab.announcer(cluster, Some(node)).await?;
            println!("{name} drained: node{next} announces");
            lab.announcer(local, Some(node)).await?;
            anyhow::Ok(next)
        }
        .await;
        lab.bed.kubectl(&["uncordon", &name])?;
        let next = outcome?;
        for (traffic, policy) in traffic.into_iter().zip(["Cluster", "Local"]) {
            traffic.end_whole(&format!("drain with the policy {policy}"), 1).await?;
        }
        lab.kubectl(&["rollout", "status", "deployment/hello", "--timeout=90s"])?;
        support::wait_deployed(lab.bed)?;
        let stays = lab.announcer(cluster, Some(node)).await?;
        ensure!(stays == next, "moved from node{next} to node{stays} because {name} is back");
        Ok(())
    })
    .await;
}

/// A stranger: an address of the router's, with a MAC address that is no node's.
const STRANGER: &str = "02:77:00:00:01:03";

/// What is written about an address that a stranger uses: his MAC address and the phase in which he was met.
fn conflict(lab: &Lab, address: Ipv4Addr) -> Result<Option<(String, String)>> {
    let name = address.to_string();
    let text = lab.bed.kubectl(&[
        "-n",
        CONFIG,
        "get",
        "addressconflicts",
        &name,
        "--ignore-not-found",
        "-o",
        "json",
    ])?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let object: Value = serde_json::from_str(&text)?;
    let field = |name: &str| object["spec"][name].as_str().unwrap_or_default().to_owned();
    Ok(Some((field("mac"), field("phase"))))
}

#[tokio::test]
async fn an_address_that_a_stranger_uses_is_not_announced_and_one_that_he_takes_is_kept() {
    const CONDITION: &str = "causeway.io/AddressConflict";
    scene("stranger", "10.77.100.126-10.77.100.127", async |scene| {
        let (his, ours) = (Ipv4Addr::new(10, 77, 100, 126), Ipv4Addr::new(10, 77, 100, 127));
        let router = scene.lab.bed.router_ns();
        let take = |address: Ipv4Addr| router.run(&["ip", "address", "add", &format!("{address}/32"), "dev", "eth0"]);
        let leave = |address: Ipv4Addr| router.run(&["ip", "address", "del", &format!("{address}/32"), "dev", "eth0"]);
        take(his)?;
        scene.advertise("", "")?;
        scene.create("web", &[1, 2, 3], "", "")?;
        scene.create("asks", &[1, 2, 3], "", &format!("loadBalancerIP: {his}"))?;
        scene
            .lab
            .until_service("web", "at the address that nobody uses", |s| support::addresses(s) == [ours])
            .await?;
        scene
            .lab
            .until_service("asks", "waiting, and told who has the address", |s| {
                support::addresses(s).is_empty()
                    && matches!(support::condition(s, CONDITION), Some((status, m)) if status == "True" && m.contains(STRANGER))
            })
            .await?;
        ensure!(conflict(scene.lab, his)? == Some((STRANGER.into(), "Probe".into())), "{:?}", conflict(scene.lab, his)?);
        // Nobody but him answers: the capture shows no node that does.
        let watched = scene.lab.bed.client_ns().capture("eth0", &format!("arp and arp[14:4] = {:#x}", u32::from(his)))?;
        scene.lab.announcers(his)?;
        let said = watched.lines();
        ensure!(!said.is_empty() && said.iter().all(|line| line.contains(STRANGER)), "{said:?}");

        // One that is announced is kept, and reported.
        let node = scene.from(ours, &[1, 2, 3]).await?;
        take(ours)?;
        router.run(&["arping", "-U", "-c", "1", "-I", "eth0", &ours.to_string()])?;
        let reported = wait::until("the claim to be reported", SOON, async || {
            let found = conflict(scene.lab, ours)?;
            ensure!(found == Some((STRANGER.into(), "Announced".into())), "{found:?}");
            Ok(())
        })
        .await;
        leave(ours)?;
        reported?;
        scene.from(ours, &[node]).await?;

        // He goes: the address is asked for again, and given to the one that waits.
        leave(his)?;
        let given = scene.lab.address_within("asks", 4 * SOON).await?;
        ensure!(given == his, "{given}");
        scene.from(his, &[1, 2, 3]).await?;
        scene.lab.until_service("asks", "without conflict", |s| support::condition(s, CONDITION).is_none()).await.map(drop)
    })
    .await;
}
