//! Services of a scenario, and the endpoints that they are given by hand. I/O.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use causeway_bed::wait;
use serde_json::{Value, json};

use super::scene::{ALL, Scene, merge};
use super::support::{SOON, addresses};

/// What a Service is like.
#[derive(Clone)]
pub struct Like {
    pub labels: Value,
    pub annotations: Value,
    pub spec: Value,
    families: &'static [&'static str],
}

/// With IPv4, and nothing special about it.
pub fn plain() -> Like {
    Like { labels: json!({}), annotations: json!({}), spec: json!({}), families: &["IPv4"] }
}

impl Like {
    pub fn local(mut self) -> Like {
        self.spec["externalTrafficPolicy"] = "Local".into();
        self
    }

    pub fn v6(self) -> Like {
        Like { families: &["IPv6"], ..self }
    }

    pub fn dual(self) -> Like {
        Like { families: &["IPv4", "IPv6"], ..self }
    }

    pub fn labels(self, labels: Value) -> Like {
        Like { labels, ..self }
    }

    pub fn annotations(self, annotations: Value) -> Like {
        Like { annotations, ..self }
    }

    pub fn spec(mut self, spec: &Value) -> Like {
        merge(&mut self.spec, spec);
        self
    }
}

impl Scene<'_> {
    /// A Service of the pool in the scenario's namespace, with a ready endpoint on each of these nodes (twice named: two): Pods that answer. Its addresses, in
    /// the order of its families.
    pub async fn service(&self, name: &str, nodes: &[usize], like: Like) -> Result<Vec<IpAddr>> {
        self.apply_service(name, &like)?;
        self.endpoints_of(name, nodes, like.families)?;
        let wanted = like.families.len();
        wait::until(&format!("the addresses of {name}"), SOON, async || {
            let service = self.lab.service(name).await?;
            let points = service.status.as_ref().and_then(|s| s.load_balancer.as_ref()?.ingress.clone());
            let mut found: Vec<IpAddr> =
                points.into_iter().flatten().filter_map(|point| point.ip?.parse().ok()).collect();
            ensure!(found.len() == wanted, "{:?}", service.status);
            found.sort();
            Ok(found)
        })
        .await
    }

    /// The same with IPv4 alone; its address.
    pub async fn service_v4(&self, name: &str, nodes: &[usize], like: Like) -> Result<Ipv4Addr> {
        self.service(name, nodes, like).await?;
        let service = self.lab.service(name).await?;
        addresses(&service).first().copied().context("an IPv4 address")
    }

    /// Makes the Service, or changes it.
    pub fn apply_service(&self, name: &str, like: &Like) -> Result<()> {
        let policy = if like.families.len() == 2 { "RequireDualStack" } else { "SingleStack" };
        let mut spec = json!({"type": "LoadBalancer", "ports": [{"port": 80, "targetPort": 8080}],
            "ipFamilies": like.families, "ipFamilyPolicy": policy});
        merge(&mut spec, &like.spec);
        let mut annotations = json!({"metallb.io/address-pool": self.name});
        merge(&mut annotations, &like.annotations);
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": self.lab.namespace,
            "annotations": annotations, "labels": like.labels}, "spec": spec});
        self.lab.bed.apply(&service.to_string()).map(drop)
    }

    /// Gives a Service with IPv4 other endpoints.
    pub fn endpoints(&self, service: &str, nodes: &[usize]) -> Result<()> {
        self.endpoints_of(service, nodes, &["IPv4"])
    }

    fn endpoints_of(&self, service: &str, nodes: &[usize], families: &[&str]) -> Result<()> {
        for family in families {
            let mut endpoints = Vec::new();
            for (index, node) in nodes.iter().enumerate() {
                let twice = nodes[..index].contains(node);
                let address = match (*family, twice) {
                    // Nobody answers there.
                    ("IPv4", true) => format!("10.244.{node}.{}", 240 + index),
                    (_, true) => format!("fd00:10:244:{node:x}::{index:x}"),
                    ("IPv4", false) => self.pod(*node)?[0].clone(),
                    (_, false) => self.pod(*node)?[1].clone(),
                };
                endpoints.push((*node, address, json!({"ready": true})));
            }
            self.slice(service, family, &endpoints)?;
        }
        Ok(())
    }

    /// Gives a Service with IPv4 endpoints, each on a node and in this condition.
    pub fn endpoints_in(&self, service: &str, endpoints: &[(usize, Value)]) -> Result<()> {
        let all =
            endpoints.iter().map(|(node, state)| Ok((*node, self.pod(*node)?[0].clone(), state.clone())));
        self.slice(service, "IPv4", &all.collect::<Result<Vec<_>>>()?)
    }

    fn slice(&self, service: &str, family: &str, endpoints: &[(usize, String, Value)]) -> Result<()> {
        let endpoint = |(node, address, conditions): &(usize, String, Value)| json!({"addresses": [address], "nodeName": format!("node{node}"), "conditions": conditions});
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{service}-{}", family.to_lowercase()), "namespace": self.lab.namespace,
                "labels": {"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "test"}},
            "addressType": family, "ports": [{"port": 8080}],
            "endpoints": endpoints.iter().map(endpoint).collect::<Vec<Value>>(),
        });
        self.lab.bed.apply(&slice.to_string()).map(drop)
    }

    /// The addresses, IPv4 first, of the Pod on a node that answers.
    fn pod(&self, node: usize) -> Result<&[String; 2]> {
        if self.pods.get().is_none() {
            let text =
                self.lab.bed.kubectl(&["-n", "default", "get", "pods", "-l", "app=hello", "-o", "json"])?;
            let list: Value = serde_json::from_str(&text)?;
            let mut pods = Vec::new();
            for node in ALL {
                let name = format!("node{node}");
                let on_node = |pod: &&Value| {
                    pod["spec"]["nodeName"] == *name && pod["metadata"]["deletionTimestamp"].is_null()
                };
                let pod = list["items"].as_array().into_iter().flatten().find(on_node);
                let ips = &pod.with_context(|| format!("no Pod on {name}"))?["status"]["podIPs"];
                let ip = |index: usize| ips[index]["ip"].as_str().map(str::to_owned).context("two addresses");
                pods.push([ip(0)?, ip(1)?]);
            }
            let _set = self.pods.set(pods);
        }
        self.pods.get().and_then(|pods| pods.get(node.checked_sub(1)?)).context("one of the three nodes")
    }
}
