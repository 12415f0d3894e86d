//! Real traffic: clients through floating IP and load balancer to NodePorts of a real cluster.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use causeway_bed::openstack::{Cloud, Service};
use causeway_bed::{Bed, Namespace, wait};
use serde_json::{Value, json};

use crate::bed::{CONNECT, Echo, REFUSED, node_port};
use crate::common::{PATIENCE, active, gone, id, look, post};

const NAME: &str = "www.example.org";

/// A load balancer with everything the amphora can, in front of three nodes.
struct Front {
    cloud: Cloud,
    bed: &'static Bed,
    echo: Echo,
    id: String,
    floating: Ipv4Addr,
    vip: Ipv4Addr,
    vip_v6: std::net::Ipv6Addr,
    /// The certificate of the TLS listener, PEM.
    certificate: String,
}

#[tokio::test]
async fn a_load_balancer_serves_what_it_was_told() -> Result<()> {
    let front = Front::make().await?;
    front.every_node_serves().await?;
    front.sources_are_judged().await?;
    front.requests_are_told_apart().await?;
    front.datagrams_pass().await?;
    front.tls_ends_here().await?;
    front.a_dead_member_is_left_out().await?;
    front.changes_are_served().await?;
    front.it_ends().await
}

/// Makes a key and a certificate, and keeps them as a PKCS #12 secret; prints the secret's URL and the certificate.
const SECRET: &str = r#"
import base64, datetime, json
import openstack
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "HOST")])
now = datetime.datetime.now(datetime.timezone.utc)
made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
    .not_valid_after(now + datetime.timedelta(days=9))
    .add_extension(x509.SubjectAlternativeName([x509.DNSName("HOST")]), False).sign(key, hashes.SHA256()))
bundle = pkcs12.serialize_key_and_certificates(b"tls", key, made, None, serialization.NoEncryption())
secret = openstack.connect().key_manager.create_secret(name="tls", secret_type="opaque", payload=base64.b64encode(bundle).decode(),
    payload_content_type="application/octet-stream", payload_content_encoding="base64")
print(json.dumps({"ref": secret.secret_ref, "certificate": made.public_bytes(serialization.Encoding.PEM).decode()}))
"#;

impl Front {
    async fn make() -> Result<Front> {
        let echo = Echo::on("front", &[1, 2, 3]).await?;
        let bed = echo.bed;
        let cloud = Cloud::start(bed).await?;
        cloud.label_nodes(bed).await?;
        let service = echo.service("web", json!({"externalTrafficPolicy": "Local"})).await?;
        let (http, udp) = (node_port(&service, "http")?, node_port(&service, "udp")?);
        let secret: Value = serde_json::from_str(&cloud.python(&SECRET.replace("HOST", NAME))?)?;
        cloud.gate().calls.forget();
        let body = populated(&cloud, bed, http, udp, &secret["ref"])?;
        let made = post(&cloud, Service::LoadBalancer, "/v2.0/lbaas/loadbalancers", body).await?;
        let id = id(&made)?;
        let balancer = active(&cloud, &id).await?;
        let body = json!({"floatingip": {
            "floating_network_id": cloud.seed().public_network, "port_id": balancer["vip_port_id"],
        }});
        let address = post(&cloud, Service::Network, "/v2.0/floatingips", body).await?;
        let parse = |value: &Value| -> Result<String> {
            Ok(value.as_str().with_context(|| format!("no address: {balancer} {address}"))?.to_owned())
        };
        ensure!(
            cloud.count("*:POST *").calls == 2,
            "a load balancer and its address are two calls: {:?}",
            cloud.mutations()
        );
        Ok(Front {
            floating: parse(&address["floatingip"]["floating_ip_address"])?.parse()?,
            vip: parse(&balancer["vip_address"])?.parse()?,
            vip_v6: parse(&balancer["additional_vips"][0]["ip_address"])?.parse()?,
            certificate: parse(&secret["certificate"])?,
            id,
            cloud,
            bed,
            echo,
        })
    }

    async fn hostname(&self, from: &Namespace, to: impl Into<SocketAddr>) -> Result<String> {
        let answer = from.http_get(to, "/hostname", None, CONNECT).await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
        Ok(answer.body)
    }

    /// Waits until exactly these nodes' Pods answer at a port of the floating IP.
    async fn served_by(&self, port: u16, nodes: &[usize]) -> Result<()> {
        let expected: BTreeSet<String> = nodes.iter().map(|node| format!("echo-node{node}")).collect();
        let remote = self.bed.remote_ns();
        wait::until(&format!("answers of {expected:?}"), PATIENCE, async || {
            let mut seen = BTreeSet::new();
            for _ in 0..9 {
                seen.insert(self.hostname(&remote, (self.floating, port)).await?);
            }
            ensure!(seen == expected, "answers of {seen:?}");
            Ok(())
        })
        .await
    }

    async fn every_node_serves(&self) -> Result<()> {
        self.served_by(8080, &[1, 2, 3]).await?;
        // By the floating IP from behind the router, by the load balancer's own addresses, of both families.
        let (remote, client) = (self.bed.remote_ns(), self.bed.client_ns());
        let ways: [(&Namespace, SocketAddr); 5] = [
            (&remote, (self.floating, 80).into()),
            (&client, (self.floating, 8080).into()),
            (&client, (self.vip, 8080).into()),
            (&client, (self.vip_v6, 8080).into()),
            (&remote, (self.vip_v6, 80).into()),
        ];
        for (from, to) in ways {
            let what = format!("an answer of {to} in {}", from.name());
            wait::until(&what, PATIENCE, async || self.hostname(from, to).await).await?;
        }
        Ok(())
    }

    /// Port 80 is for those behind the router alone.
    async fn sources_are_judged(&self) -> Result<()> {
        let client = self.bed.client_ns();
        for to in [SocketAddr::from((self.floating, 80)), (self.vip, 80).into(), (self.vip_v6, 80).into()] {
            let answer = client.http_get(to, "/hostname", None, REFUSED).await;
            ensure!(answer.is_err(), "{to} answers to one who is not let in: {answer:?}");
        }
        Ok(())
    }

    async fn requests_are_told_apart(&self) -> Result<()> {
        let url = |path: &str| format!("http://{}:8080{path}", self.floating);
        let ask = |arguments: &[&str]| {
            let mut command = vec!["curl", "-sS", "--max-time", "5"];
            command.extend_from_slice(arguments);
            self.bed.remote_ns().run(&command)
        };
        for _ in 0..5 {
            let said = ask(&["-H", &format!("Host: {NAME}"), &url("/hostname")])?;
            ensure!(said == "echo-node3", "the policy's pool is node3: {said}");
        }
        let said = ask(&[&url("/header?key=X-Forwarded-For")])?;
        ensure!(said == "198.51.100.7", "X-Forwarded-For: {said}");
        let said = ask(&["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", &url("/old")])?;
        ensure!(said == "301 https://www.example.org/new", "{said}");
        Ok(())
    }

    async fn datagrams_pass(&self) -> Result<()> {
        let remote = self.bed.remote_ns();
        wait::until("UDP through every node", PATIENCE, async || {
            let mut seen = BTreeSet::new();
            for _ in 0..9 {
                seen.insert(remote.udp_exchange((self.floating, 53), "hostname", None, CONNECT).await?);
            }
            ensure!(seen.len() == 3, "{seen:?}");
            Ok(())
        })
        .await
    }

    async fn tls_ends_here(&self) -> Result<()> {
        let authority = self.bed.init().write("www.pem", &self.certificate)?;
        let resolve = format!("{NAME}:443:{}", self.floating);
        let said = self.bed.remote_ns().run(&[
            "curl",
            "-sS",
            "--max-time",
            "10",
            "--cacert",
            &authority,
            "--resolve",
            &resolve,
            &format!("https://{NAME}/hostname"),
        ])?;
        ensure!(said.starts_with("echo-node"), "{said}");
        Ok(())
    }

    /// The states of a listener's members as Octavia says them, by the last digit of the node's address.
    async fn member_states(&self, listener: &str) -> Result<Vec<(String, String)>> {
        let path = format!("/v2.0/lbaas/loadbalancers/{}/status", self.id);
        let status = look(&self.cloud, Service::LoadBalancer, &path).await?;
        let listeners = status["statuses"]["loadbalancer"]["listeners"].as_array().into_iter().flatten();
        let found = listeners.into_iter().find(|entry| entry["name"] == listener);
        let members =
            found.with_context(|| format!("no listener {listener}: {status}"))?["pools"][0]["members"]
                .clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut states: Vec<(String, String)> = members
            .as_array()
            .into_iter()
            .flatten()
            .map(|member| (text(&member["address"]), text(&member["operating_status"])))
            .collect();
        states.sort();
        Ok(states)
    }

    async fn a_dead_member_is_left_out(&self) -> Result<()> {
        let expect = async |states: [&str; 3]| {
            wait::until(&format!("members to be {states:?}"), PATIENCE, async || {
                let seen = self.member_states("tcp").await?;
                let seen: Vec<&str> = seen.iter().map(|(_, state)| state.as_str()).collect();
                ensure!(seen == states, "{seen:?}");
                Ok(())
            })
            .await
        };
        expect(["ONLINE", "ONLINE", "ONLINE"]).await?;
        // Its NodePort drops what comes while the only Pod of the node is not ready.
        self.echo.exec(2, "touch /tmp/unready")?;
        expect(["ONLINE", "ERROR", "ONLINE"]).await?;
        self.served_by(80, &[1, 3]).await?;
        self.echo.exec(2, "rm /tmp/unready")?;
        expect(["ONLINE", "ONLINE", "ONLINE"]).await?;
        self.served_by(80, &[1, 2, 3]).await
    }

    /// A member less, by the call that replaces them all.
    async fn changes_are_served(&self) -> Result<()> {
        let pools = look(&self.cloud, Service::LoadBalancer, "/v2.0/lbaas/pools?name=http").await?;
        let pool = pools["pools"][0]["id"].as_str().context("no pool")?;
        let path = format!("/v2.0/lbaas/pools/{pool}/members");
        let members = look(&self.cloud, Service::LoadBalancer, &path).await?;
        let kept: Vec<Value> = members["members"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|member| member["address"] != "10.77.0.11")
            .map(|member| json!({"address": member["address"], "protocol_port": member["protocol_port"]}))
            .collect();
        let client = self.cloud.client();
        let body = Some(json!({"members": kept}));
        client.ask("k8s", Service::LoadBalancer, "PUT", &path, body).await?.ok()?;
        ensure!(self.cloud.count("load-balancer:PUT /v2.0/lbaas/pools/{id}/members").calls == 1);
        active(&self.cloud, &self.id).await?;
        self.served_by(8080, &[2, 3]).await
    }

    async fn it_ends(self) -> Result<()> {
        let path = format!("/v2.0/lbaas/loadbalancers/{}?cascade=true", self.id);
        self.cloud.client().ask("k8s", Service::LoadBalancer, "DELETE", &path, None).await?.ok()?;
        gone(&self.cloud, &self.id).await?;
        let remote = self.bed.remote_ns();
        let silent = remote.http_get((self.floating, 8080), "/hostname", None, REFUSED).await;
        ensure!(silent.is_err(), "{silent:?}");
        let list = look(&self.cloud, Service::Network, "/v2.0/floatingips").await?;
        ensure!(list["floatingips"][0]["port_id"].is_null(), "the floating IP stays, of nobody: {list}");
        drop(self.cloud);
        let left = self.bed.namespace("openstack")?.run(&[
            "sh",
            "-c",
            "nft list tables; ip -o addr show dev eth0",
        ])?;
        let addresses = left.lines().filter(|line| line.contains("inet")).count();
        ensure!(!left.contains("table") && addresses <= 3, "something is left: {left}");
        Ok(())
    }
}

/// The whole load balancer as one POST makes it.
fn populated(cloud: &Cloud, bed: &Bed, http: u16, udp: u16, secret: &Value) -> Result<Value> {
    let members = |port: u16, of: &[usize]| -> Vec<Value> {
        let nodes = bed.nodes();
        of.iter()
            .map(|number| json!({"address": nodes[number - 1].addresses().v4, "protocol_port": port}))
            .collect()
    };
    let monitor =
        |kind: &str| json!({"type": kind, "delay": 2, "timeout": 1, "max_retries": 1, "max_retries_down": 2});
    let pool = |name: &str, protocol: &str, members: Vec<Value>, monitor: Value| {
        let mut pool =
            json!({"name": name, "protocol": protocol, "lb_algorithm": "ROUND_ROBIN", "members": members});
        if !monitor.is_null() {
            pool["healthmonitor"] = monitor;
        }
        pool
    };
    let all = [1, 2, 3];
    let mut http_monitor = monitor("HTTP");
    http_monitor["url_path"] = json!("/hostname");
    Ok(json!({"loadbalancer": {
        "name": "front", "description": "of the bed's test", "tags": ["bed"],
        "vip_subnet_id": cloud.seed().subnet("nodes-subnet")?,
        "additional_vips": [{"subnet_id": cloud.seed().subnet("nodes-subnet-v6")?}],
        "pools": [
            pool("tcp", "TCP", members(http, &all), monitor("TCP")),
            pool("http", "HTTP", members(http, &all), http_monitor),
            pool("named", "HTTP", members(http, &[3]), Value::Null),
            pool("udp", "UDP", members(udp, &all), Value::Null),
        ],
        "listeners": [
            {"name": "tcp", "protocol": "TCP", "protocol_port": 80, "default_pool": {"name": "tcp"},
                "allowed_cidrs": ["198.51.100.0/24", "2001:db8:51::/64"]},
            {"name": "http", "protocol": "HTTP", "protocol_port": 8080, "default_pool": {"name": "http"},
                "insert_headers": {"X-Forwarded-For": "true"},
                "l7policies": [
                    {"name": "named", "action": "REDIRECT_TO_POOL", "redirect_pool": {"name": "named"}, "position": 2,
                        "rules": [{"type": "HOST_NAME", "compare_type": "EQUAL_TO", "value": NAME}]},
                    {"name": "moved", "action": "REDIRECT_TO_URL", "redirect_url": "https://www.example.org/new", "redirect_http_code": 301, "position": 1,
                        "rules": [{"type": "PATH", "compare_type": "EQUAL_TO", "value": "/old"}]},
                ]},
            {"name": "tls", "protocol": "TERMINATED_HTTPS", "protocol_port": 443, "default_pool": {"name": "http"},
                "default_tls_container_ref": secret},
            {"name": "udp", "protocol": "UDP", "protocol_port": 53, "default_pool": {"name": "udp"}},
        ],
    }}))
}
