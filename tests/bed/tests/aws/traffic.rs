//! Real traffic: clients through load balancers to NodePorts of a real cluster, with health checks, security groups, certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use causeway_bed::aws::{Account, Aws};
use causeway_bed::{Bed, Namespace};
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

use crate::bed::{CONNECT, Echo, REFUSED, SOON, health_port, node_port};
use crate::common::{all, ec2, elb, first};

/// A cluster with an echo Pod on each node, behind it an AWS; its nodes let in what comes from security group `front`.
struct World {
    bed: &'static Bed,
    aws: Aws,
    account: Account,
    echo: Echo,
    /// Security group of load balancers: lets everybody in to ports 1 to 999.
    front: String,
}

async fn world() -> Result<&'static World> {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    WORLD
        .get_or_try_init(async || {
            let echo = Echo::on("traffic", &[1, 2, 3]).await?;
            let bed = echo.bed;
            let aws = Aws::builder().start(bed).await?;
            let account = Account::builder().create(&aws, bed).await?;
            account.label_nodes(bed).await?;
            let front = group(&aws, &account, "front").await?;
            allow(&aws, &front, "tcp", (1, 999), "0.0.0.0/0").await?;
            allow(&aws, &front, "udp", (1, 999), "0.0.0.0/0").await?;
            account.open_nodes(&aws, "tcp", (1024, 65535), &front).await?;
            account.open_nodes(&aws, "udp", (1024, 65535), &front).await?;
            Ok(World { bed, aws, account, echo, front })
        })
        .await
}

async fn group(aws: &Aws, account: &Account, name: &str) -> Result<String> {
    let make = [
        ("Action", "CreateSecurityGroup"),
        ("GroupName", name),
        ("GroupDescription", name),
        ("VpcId", &account.vpc),
    ];
    first(&ec2(aws, &make).await?, "groupId")
}

async fn allow(aws: &Aws, group: &str, protocol: &str, ports: (u16, u16), from: &str) -> Result<()> {
    let (low, high) = (ports.0.to_string(), ports.1.to_string());
    let rule = [
        ("Action", "AuthorizeSecurityGroupIngress"),
        ("GroupId", group),
        ("IpPermissions.1.IpProtocol", protocol),
        ("IpPermissions.1.FromPort", &low),
        ("IpPermissions.1.ToPort", &high),
        ("IpPermissions.1.IpRanges.1.CidrIp", from),
    ];
    ec2(aws, &rule).await.map(drop)
}

/// A load balancer as tests use it.
struct Balancer {
    arn: String,
    name: String,
    address: Ipv4Addr,
}

impl World {
    /// A Service for the Pods, with a client of this test's own: one dies with the test that made it.
    async fn service(&self, name: &str, spec: Value) -> Result<Service> {
        let echo =
            Echo { bed: self.bed, client: self.bed.client().await?, namespace: self.echo.namespace.clone() };
        echo.service(name, spec).await
    }

    async fn balancer(&self, kind: &str, name: &str, extra: Value) -> Result<Balancer> {
        // `SubnetMappings` stand in for all subnets.
        let subnets: Vec<&str> = self.account.subnets.iter().map(|subnet| subnet.id.as_str()).collect();
        let mut input =
            json!({"Name": name, "Type": kind, "Subnets": subnets, "SecurityGroups": [self.front]});
        for (member, value) in extra.as_object().into_iter().flatten() {
            input[member] = value.clone();
        }
        if extra.get("SubnetMappings").is_some() {
            input.as_object_mut().and_then(|input| input.remove("Subnets"));
        }
        let made = elb(&self.aws, "CreateLoadBalancer", input).await?;
        let (arn, name) = (first(&made, "LoadBalancerArn")?, first(&made, "DNSName")?);
        let Some(IpAddr::V4(address)) = self.aws.address_of(&name) else {
            anyhow::bail!("{name} has no address")
        };
        Ok(Balancer { arn, name, address })
    }

    /// A target group for a port of the nodes, checked every half second, with all nodes in it.
    async fn target_group(&self, name: &str, protocol: &str, port: u16, extra: Value) -> Result<String> {
        let mut input = json!({"Name": name, "Protocol": protocol, "Port": port, "VpcId": self.account.vpc,
            "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 5, "HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2});
        for (member, value) in extra.as_object().into_iter().flatten() {
            input[member] = value.clone();
        }
        let group = first(&elb(&self.aws, "CreateTargetGroup", input).await?, "TargetGroupArn")?;
        self.targets("RegisterTargets", &group, &[1, 2, 3]).await?;
        Ok(group)
    }

    async fn targets(&self, action: &str, group: &str, nodes: &[usize]) -> Result<()> {
        let mut targets = Vec::new();
        for node in nodes {
            targets.push(json!({"Id": self.account.instance(&format!("node{node}"))?.id}));
        }
        elb(&self.aws, action, json!({"TargetGroupArn": group, "Targets": targets})).await.map(drop)
    }

    async fn listener(
        &self,
        balancer: &Balancer,
        protocol: &str,
        port: u16,
        action: Value,
        certificate: Option<&str>,
    ) -> Result<String> {
        let mut input = json!({"LoadBalancerArn": balancer.arn, "Protocol": protocol, "Port": port, "DefaultActions": [action]});
        if let Some(arn) = certificate {
            input["Certificates"] = json!([{"CertificateArn": arn}]);
        }
        first(&elb(&self.aws, "CreateListener", input).await?, "ListenerArn")
    }

    /// States of a group's targets, by node.
    async fn states(&self, group: &str) -> Result<BTreeMap<String, String>> {
        let answer = elb(&self.aws, "DescribeTargetHealth", json!({"TargetGroupArn": group})).await?;
        let (ids, states) = (all(&answer, "Id")?, all(&answer, "State")?);
        let node = |id: &String| {
            self.account
                .instances
                .iter()
                .find(|one| one.id == *id)
                .map(|one| one.node.clone())
                .unwrap_or_default()
        };
        Ok(ids.iter().map(node).zip(states).collect())
    }

    async fn wait_states(&self, group: &str, states: &[&str; 3]) -> Result<()> {
        self.bed
            .wait("the states of targets", SOON, async || {
                let now = self.states(group).await?;
                let same = (1..=3)
                    .all(|n| now.get(&format!("node{n}")).map_or("gone", String::as_str) == states[n - 1]);
                ensure!(same, "{now:?}");
                Ok(())
            })
            .await?;
        self.aws.settled().await
    }

    /// Asks through curl from behind the router: `STATUS BODY`. The host name is looked up as any program would.
    fn curl(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["curl", "-s", "-S", "-m", "5", "-w", "\n%{http_code} %{redirect_url}"];
        all.extend_from_slice(arguments);
        let said = self.bed.remote_ns().run(&all)?;
        let (body, status) = said.rsplit_once('\n').context("no status")?;
        Ok(format!("{} {}", status.trim(), body.trim()))
    }

    /// Names of the Pods that answer `count` requests.
    async fn answering(&self, address: Ipv4Addr, port: u16, count: usize) -> Result<BTreeSet<String>> {
        let mut seen = BTreeSet::new();
        for _ in 0..count {
            let answer = self.bed.remote_ns().http_get((address, port), "/hostname", None, CONNECT).await?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
            seen.insert(answer.body);
        }
        Ok(seen)
    }
}

fn forward(group: &str) -> Value {
    json!({"Type": "forward", "TargetGroupArn": group})
}

#[tokio::test]
async fn an_nlb_sends_tcp_to_healthy_nodes_and_drains_others() -> Result<()> {
    let world = world().await?;
    let local = json!({"externalTrafficPolicy": "Local"});
    let service = world.service("nlb", local).await?;
    let (port, health) = (node_port(&service, "http")?, health_port(&service)?);
    let check = json!({"HealthCheckProtocol": "HTTP", "HealthCheckPort": health.to_string(), "HealthCheckPath": "/healthz"});
    let group = world.target_group("nlb", "TCP", port, check).await?;
    let balancer = world.balancer("network", "nlb", json!({})).await?;
    ensure!(world.states(&group).await?.values().all(|state| state == "unused"));
    world.listener(&balancer, "TCP", 80, forward(&group), None).await?;
    world.wait_states(&group, &["healthy"; 3]).await?;
    // By its host name, as a user would.
    world
        .bed
        .wait("an answer by name", SOON, async || {
            let answer = world.curl(&[&format!("http://{}/hostname", balancer.name)])?;
            ensure!(answer.starts_with("200 echo-node"), "{answer}");
            Ok(())
        })
        .await?;
    ensure!(world.answering(balancer.address, 80, 12).await?.len() == 3, "not all targets get traffic");
    // Node and Pod see who asks, as with every NLB whose targets are instances; over UDP too, see below.
    let seen = world.curl(&[&format!("http://{}/clientip", balancer.name)])?;
    ensure!(seen.starts_with("200 198.51.100.7:"), "{seen}");
    let inside = world.bed.client_ns().http_get((balancer.address, 80), "/clientip", None, CONNECT).await?;
    ensure!(inside.body.starts_with("10.77.0.100:"), "{inside:?}");
    let attribute = |on: &str| json!({"TargetGroupArn": group, "Attributes": [{"Key": "preserve_client_ip.enabled", "Value": on}]});
    elb(&world.aws, "ModifyTargetGroupAttributes", attribute("false")).await?;
    world
        .bed
        .wait("the load balancer's own address", SOON, async || {
            let seen = world.curl(&[&format!("http://{}/clientip", balancer.name)])?;
            ensure!(seen.starts_with("200 10.77.128."), "{seen}");
            Ok(())
        })
        .await?;
    elb(&world.aws, "ModifyTargetGroupAttributes", attribute("true")).await?;

    // A connection that is there when its target goes is left alone.
    let delay = json!([{"Key": "deregistration_delay.timeout_seconds", "Value": "2"}]);
    elb(&world.aws, "ModifyTargetGroupAttributes", json!({"TargetGroupArn": group, "Attributes": delay}))
        .await?;
    world.targets("DeregisterTargets", &group, &[2, 3]).await?;
    world.wait_states(&group, &["healthy", "gone", "gone"]).await?;
    let open = hold(world.bed.remote_ns(), (balancer.address, 80).into()).await?;
    world.targets("RegisterTargets", &group, &[2, 3]).await?;
    world.wait_states(&group, &["healthy"; 3]).await?;
    world.targets("DeregisterTargets", &group, &[1]).await?;
    ensure!(world.states(&group).await?["node1"] == "draining");
    world.wait_states(&group, &["gone", "healthy", "healthy"]).await?;
    let answer = finish(open).await?;
    ensure!(answer.ends_with("echo-node1"), "{answer}");
    let others = BTreeSet::from(["echo-node2", "echo-node3"].map(str::to_owned));
    ensure!(world.answering(balancer.address, 80, 12).await? == others);

    // A node whose Pod is not ready fails its check, by the answer's code.
    world.echo.exec(2, "touch /tmp/unready")?;
    world.wait_states(&group, &["gone", "unhealthy", "healthy"]).await?;
    let answer = elb(&world.aws, "DescribeTargetHealth", json!({"TargetGroupArn": group})).await?;
    ensure!(all(&answer, "Reason")?.contains(&"Target.ResponseCodeMismatch".to_owned()), "{answer}");
    ensure!(world.answering(balancer.address, 80, 8).await? == BTreeSet::from(["echo-node3".to_owned()]));
    world.echo.exec(2, "rm /tmp/unready")?;
    world.wait_states(&group, &["gone", "healthy", "healthy"]).await?;
    Ok(())
}

/// Opens a connection and sends half a request.
async fn hold(namespace: Namespace, to: SocketAddr) -> Result<TcpStream> {
    let stream = namespace.inside(move || {
        let stream = std::net::TcpStream::connect_timeout(&to, CONNECT)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    })?;
    let mut stream = TcpStream::from_std(stream)?;
    stream.write_all(b"GET /hostname HTTP/1.1\r\nHost: x\r\n").await?;
    Ok(stream)
}

/// Sends the other half and reads the answer.
async fn finish(mut stream: TcpStream) -> Result<String> {
    stream.write_all(b"Connection: close\r\n\r\n").await?;
    let mut answer = String::new();
    tokio::time::timeout(CONNECT, stream.read_to_string(&mut answer)).await.context("no answer")??;
    Ok(answer)
}

#[tokio::test]
async fn security_groups_decide_who_gets_in_and_whether_nodes_can_be_checked() -> Result<()> {
    let world = world().await?;
    let service = world.service("guarded", json!({})).await?;
    let port = node_port(&service, "http")?;
    let guard = group(&world.aws, &world.account, "guard").await?;
    let group = world.target_group("guarded", "TCP", port, json!({})).await?;
    let balancer = world.balancer("network", "guarded", json!({"SecurityGroups": [guard]})).await?;
    world.listener(&balancer, "TCP", 80, forward(&group), None).await?;
    // The nodes' group knows nothing of this load balancer's.
    world.wait_states(&group, &["unhealthy"; 3]).await?;
    let answer = elb(&world.aws, "DescribeTargetHealth", json!({"TargetGroupArn": group})).await?;
    ensure!(all(&answer, "Reason")?.iter().all(|reason| reason == "Target.Timeout"), "{answer}");
    world.account.open_nodes(&world.aws, "tcp", (port, port), &guard).await?;
    world.wait_states(&group, &["healthy"; 3]).await?;
    let get = async |from: Namespace| from.http_get((balancer.address, 80), "/hostname", None, REFUSED).await;
    ensure!(get(world.bed.remote_ns()).await.is_err(), "a group without rules let somebody in");
    allow(&world.aws, &guard, "tcp", (80, 80), "198.51.100.0/24").await?;
    world.bed.wait("the client that is let in", SOON, async || get(world.bed.remote_ns()).await).await?;
    ensure!(get(world.bed.client_ns()).await.is_err(), "a client from another network got in");
    Ok(())
}

#[tokio::test]
async fn an_nlb_sends_udp_and_tcp_on_one_port() -> Result<()> {
    let world = world().await?;
    // TCP and UDP of one number, as Kubernetes makes it if asked for.
    let ports = json!([
        {"name": "tcp", "port": 80, "targetPort": 8080, "protocol": "TCP", "nodePort": 31853},
        {"name": "udp", "port": 80, "targetPort": 8081, "protocol": "UDP", "nodePort": 31853},
    ]);
    world.service("both", json!({"ports": ports, "externalTrafficPolicy": "Local"})).await?;
    let group = world.target_group("both", "TCP_UDP", 31853, json!({})).await?;
    let balancer = world.balancer("network", "both", json!({})).await?;
    world.listener(&balancer, "TCP_UDP", 53, forward(&group), None).await?;
    world.wait_states(&group, &["healthy"; 3]).await?;
    let remote = world.bed.remote_ns();
    let mut seen = BTreeSet::new();
    world
        .bed
        .wait("answers of several Pods", SOON, async || {
            seen.insert(remote.udp_exchange((balancer.address, 53), "hostname", None, CONNECT).await?);
            ensure!(seen.len() > 1, "{seen:?}");
            Ok(())
        })
        .await?;
    let client = remote.udp_exchange((balancer.address, 53), "clientip", None, CONNECT).await?;
    ensure!(client.starts_with("198.51.100.7:"), "{client}");
    ensure!(!world.answering(balancer.address, 53, 3).await?.is_empty());
    Ok(())
}

/// Makes a certificate for names and imports it.
async fn import(world: &World, names: &[&str]) -> Result<String> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names)?;
    let program = format!(
        "import boto3\nprint(boto3.client('acm').import_certificate(Certificate={:?}, PrivateKey={:?})['CertificateArn'])",
        made.cert.pem(),
        made.signing_key.serialize_pem()
    );
    Ok(world.aws.python(&program)?.trim().to_owned())
}

/// The subject alternative names of the certificate that an address shows to those who ask for a host.
fn shown(world: &World, address: Ipv4Addr, host: &str) -> Result<String> {
    let script = format!(
        "timeout 5 openssl s_client -connect {address}:443 -servername {host} </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName"
    );
    world.bed.remote_ns().run(&["sh", "-c", &script])
}

#[tokio::test]
async fn tls_is_ended_with_the_certificate_of_the_host() -> Result<()> {
    let world = world().await?;
    let service = world.service("tls", json!({})).await?;
    let port = node_port(&service, "http")?;
    let (one, two) = (import(world, &["one.example"]).await?, import(world, &["*.two.example"]).await?);
    let nlb = world.balancer("network", "tls-net", json!({})).await?;
    let tcp = world.target_group("tls-net", "TCP", port, json!({})).await?;
    let tls = world.listener(&nlb, "TLS", 443, forward(&tcp), Some(&one)).await?;
    let alb = world.balancer("application", "tls-app", json!({})).await?;
    let http = world.target_group("tls-app", "HTTP", port, json!({})).await?;
    let https = world.listener(&alb, "HTTPS", 443, forward(&http), Some(&one)).await?;
    for (listener, balancer, group) in [(&tls, &nlb, &tcp), (&https, &alb, &http)] {
        elb(
            &world.aws,
            "AddListenerCertificates",
            json!({"ListenerArn": listener, "Certificates": [{"CertificateArn": two}]}),
        )
        .await?;
        world.wait_states(group, &["healthy"; 3]).await?;
        for (host, name) in [
            ("one.example", "one.example"),
            ("a.two.example", "*.two.example"),
            ("a.b.two.example", "one.example"),
        ] {
            world
                .bed
                .wait("the right certificate", SOON, async || {
                    let names = shown(world, balancer.address, host)?;
                    ensure!(names.contains(&format!("DNS:{name}")), "{host}: {names}");
                    Ok(())
                })
                .await?;
        }
        let connect = format!("one.example:443:{}:443", balancer.address);
        let answer = world.curl(&["-k", "--connect-to", &connect, "https://one.example/hostname"])?;
        ensure!(answer.starts_with("200 echo-node"), "{answer}");
    }
    // The listener goes on with another certificate as soon as it is told.
    elb(&world.aws, "ModifyListener", json!({"ListenerArn": tls, "Certificates": [{"CertificateArn": two}]}))
        .await?;
    world
        .bed
        .wait("the new default certificate", SOON, async || {
            let names = shown(world, nlb.address, "other.example")?;
            ensure!(names.contains("*.two.example"), "{names}");
            Ok(())
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn an_alb_routes_by_its_rules() -> Result<()> {
    let world = world().await?;
    let service = world.service("alb", json!({})).await?;
    let port = node_port(&service, "http")?;
    let group = world.target_group("alb", "HTTP", port, json!({"HealthCheckPath": "/hostname"})).await?;
    let balancer = world.balancer("application", "alb", json!({})).await?;
    let fixed = |status: &str, body: &str| json!({"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": status, "ContentType": "text/plain", "MessageBody": body}});
    let listener = world.listener(&balancer, "HTTP", 80, fixed("404", "nothing"), None).await?;
    let host = |name: &str| json!({"Field": "host-header", "Values": [name]});
    let path = |patterns: &[&str]| json!({"Field": "path-pattern", "Values": patterns});
    let redirect = json!({"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}});
    let rewrite = json!([{"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [{"Regex": "^/api/(.*)$", "Replace": "/$1"}]}}]);
    let rules = [
        (json!([host("go.example")]), redirect, json!([])),
        (json!([host("*.app.example"), path(&["/api/*"])]), forward(&group), rewrite),
        (
            json!([{"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["DELETE"]}}]),
            fixed("405", "no"),
            json!([]),
        ),
        (
            json!([{"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Beta", "Values": ["yes"]}}]),
            fixed("200", "beta"),
            json!([]),
        ),
        (
            json!([{"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "v", "Value": "2"}]}}]),
            fixed("200", "two"),
            json!([]),
        ),
        (
            json!([{"Field": "source-ip", "SourceIpConfig": {"Values": ["10.77.0.0/16"]}}, path(&["/from"])]),
            fixed("200", "inside"),
            json!([]),
        ),
        (json!([path(&["/header*", "/clientip"])]), forward(&group), json!([])),
    ];
    for (index, (conditions, action, transforms)) in rules.into_iter().enumerate() {
        let input = json!({"ListenerArn": listener, "Priority": index + 1, "Conditions": conditions, "Actions": [action], "Transforms": transforms});
        elb(&world.aws, "CreateRule", input).await?;
    }
    world.wait_states(&group, &["healthy"; 3]).await?;
    let base = format!("http://{}", balancer.name);
    world.bed.wait("the listener", SOON, async || world.curl(&[&base])).await?;
    for (arguments, path, expected) in [
        (vec![], "/", "404 nothing"),
        (vec!["-H", "Host: go.example"], "/x?y=1", "301 https://go.example:443/x?y=1"),
        (vec!["-H", "Host: a.app.example"], "/api/hostname", "200 echo-node"),
        (vec!["-H", "Host: a.app.example"], "/hostname", "404 nothing"),
        (vec!["-X", "DELETE"], "/", "405 no"),
        (vec!["-H", "X-Beta: YES"], "/", "200 beta"),
        (vec![], "/?v=2", "200 two"),
        (vec![], "/from", "404 nothing"),
        (vec![], "/header?key=X-Forwarded-For", "200 198.51.100.7"),
        (
            vec!["-H", "X-Forwarded-For: 192.0.2.1"],
            "/header?key=X-Forwarded-For",
            "200 192.0.2.1, 198.51.100.7",
        ),
        (vec![], "/header?key=X-Forwarded-Proto", "200 http"),
        (vec![], "/header?key=X-Forwarded-Port", "200 80"),
    ] {
        let mut all = arguments;
        let url = format!("{base}{path}");
        all.push(&url);
        let answer = world.curl(&all)?;
        ensure!(answer.trim().starts_with(expected), "{all:?}: {answer:?}, not {expected:?}");
    }
    let inside = world.bed.client_ns().http_get((balancer.address, 80), "/from", None, CONNECT).await?;
    ensure!(inside.body == "inside", "{inside:?}");

    // Without healthy targets all of them are tried; without any there is 503.
    elb(&world.aws, "ModifyTargetGroup", json!({"TargetGroupArn": group, "Matcher": {"HttpCode": "418"}}))
        .await?;
    world.wait_states(&group, &["unhealthy"; 3]).await?;
    let url = format!("{base}/header?key=X-Forwarded-Port");
    ensure!(world.curl(&[&url])? == "200 80", "not open when all checks fail");
    world.targets("DeregisterTargets", &group, &[1, 2, 3]).await?;
    world.aws.settled().await?;
    let answer = world.curl(&[&url])?;
    ensure!(answer.starts_with("503"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn weights_and_stickiness_decide_between_target_groups() -> Result<()> {
    let world = world().await?;
    let service = world.service("weights", json!({"externalTrafficPolicy": "Local"})).await?;
    let port = node_port(&service, "http")?;
    let (one, two) = (
        world.target_group("weights-1", "HTTP", port, json!({"HealthCheckPath": "/hostname"})).await?,
        world.target_group("weights-2", "HTTP", port, json!({"HealthCheckPath": "/hostname"})).await?,
    );
    world.targets("DeregisterTargets", &one, &[2, 3]).await?;
    world.targets("DeregisterTargets", &two, &[1, 3]).await?;
    let weighted = |a: u64, b: u64, sticky: bool| {
        json!({"Type": "forward", "ForwardConfig": {
            "TargetGroups": [{"TargetGroupArn": one, "Weight": a}, {"TargetGroupArn": two, "Weight": b}],
            "TargetGroupStickinessConfig": {"Enabled": sticky, "DurationSeconds": 60}}})
    };
    let balancer = world.balancer("application", "weights", json!({})).await?;
    let listener = world.listener(&balancer, "HTTP", 80, weighted(1, 0, false), None).await?;
    world.wait_states(&one, &["healthy", "gone", "gone"]).await?;
    // A group of weight 0 is in use: its targets are checked before the weights are swapped.
    world.wait_states(&two, &["gone", "healthy", "gone"]).await?;
    world.bed.wait("the listener", SOON, async || world.answering(balancer.address, 80, 1).await).await?;
    ensure!(world.answering(balancer.address, 80, 20).await? == BTreeSet::from(["echo-node1".to_owned()]));
    let set = async |action: Value| {
        elb(&world.aws, "ModifyListener", json!({"ListenerArn": listener, "DefaultActions": [action]})).await
    };
    set(weighted(0, 1, false)).await?;
    world
        .bed
        .wait("the other group", SOON, async || {
            let seen = world.answering(balancer.address, 80, 10).await?;
            ensure!(seen == BTreeSet::from(["echo-node2".to_owned()]), "{seen:?}");
            Ok(())
        })
        .await?;
    set(weighted(1, 1, true)).await?;
    world
        .bed
        .wait("both groups", SOON, async || {
            let seen = world.answering(balancer.address, 80, 10).await?;
            ensure!(seen.len() == 2, "{seen:?}");
            Ok(())
        })
        .await?;
    let url = format!("http://{}/hostname", balancer.name);
    let jar = format!("/tmp/jar-{}", std::process::id());
    let mut seen = BTreeSet::new();
    for _ in 0..12 {
        seen.insert(world.curl(&["-c", &jar, "-b", &jar, &url])?);
    }
    let _ = std::fs::remove_file(&jar);
    ensure!(seen.len() == 1, "a client with a cookie is sent to {seen:?}");
    Ok(())
}

#[tokio::test]
async fn a_target_learns_the_client_by_proxy_protocol() -> Result<()> {
    let world = world().await?;
    let node = world.bed.node(1)?.namespace();
    let socket = node.inside(|| {
        let socket = std::net::TcpListener::bind(("0.0.0.0", 7777))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })?;
    let socket = TcpListener::from_std(socket)?;
    // Checks connect too, and send nothing.
    let told = tokio::spawn(async move {
        loop {
            let (mut stream, _) = socket.accept().await?;
            let mut header = [0; 28];
            if stream.read_exact(&mut header).await.is_ok() {
                stream.write_all(b"seen").await?;
                return anyhow::Ok(header);
            }
        }
    });
    let group = world.target_group("proxied", "TCP", 7777, json!({})).await?;
    world.targets("DeregisterTargets", &group, &[2, 3]).await?;
    let attribute = json!([{"Key": "proxy_protocol_v2.enabled", "Value": "true"}]);
    elb(&world.aws, "ModifyTargetGroupAttributes", json!({"TargetGroupArn": group, "Attributes": attribute}))
        .await?;
    let balancer = world.balancer("network", "proxied", json!({})).await?;
    world.listener(&balancer, "TCP", 80, forward(&group), None).await?;
    world.wait_states(&group, &["healthy", "gone", "gone"]).await?;
    let mut client = hold(world.bed.remote_ns(), (balancer.address, 80).into()).await?;
    let own = client.local_addr()?.port();
    let mut answer = [0; 4];
    tokio::time::timeout(SOON, client.read_exact(&mut answer)).await.context("no answer")??;
    let header = told.await??;
    ensure!(header[..12] == *b"\r\n\r\n\0\r\nQUIT\n" && header[16..20] == [198, 51, 100, 7], "{header:?}");
    ensure!(header[24..26] == own.to_be_bytes() && header[20..24] == balancer.address.octets(), "{header:?}");
    Ok(())
}

#[tokio::test]
async fn internal_and_elastic_addresses_are_reached() -> Result<()> {
    let world = world().await?;
    let service = world.service("addresses", json!({})).await?;
    let port = node_port(&service, "http")?;
    let subnet = world.account.subnets[0].id.as_str();
    let (inside, outside) = (
        world.target_group("inside", "TCP", port, json!({})).await?,
        world.target_group("outside", "TCP", port, json!({})).await?,
    );
    let fixed = json!({"Scheme": "internal", "SubnetMappings": [{"SubnetId": subnet, "PrivateIPv4Address": "10.77.128.77"}]});
    let internal = world.balancer("network", "inside", fixed).await?;
    ensure!(internal.address == Ipv4Addr::new(10, 77, 128, 77));
    let made = ec2(&world.aws, &[("Action", "AllocateAddress"), ("Domain", "vpc")]).await?;
    let (allocation, elastic) = (first(&made, "allocationId")?, first(&made, "publicIp")?);
    let mappings: Vec<Value> = vec![json!({"SubnetId": subnet, "AllocationId": allocation})];
    let external = world.balancer("network", "outside", json!({"SubnetMappings": mappings})).await?;
    ensure!(external.address.to_string() == elastic && elastic.starts_with("203.0.113."), "{elastic}");
    world.listener(&internal, "TCP", 80, forward(&inside), None).await?;
    world.listener(&external, "TCP", 80, forward(&outside), None).await?;
    for (from, balancer) in [(world.bed.client_ns(), &internal), (world.bed.remote_ns(), &external)] {
        let what = format!("an answer of {}", balancer.address);
        world
            .bed
            .wait(&what, SOON, async || {
                from.http_get((balancer.address, 80), "/hostname", None, CONNECT).await
            })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn nodes_have_their_instances() -> Result<()> {
    let world = world().await?;
    let ids = world.bed.kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].spec.providerID}"])?;
    let expected: Vec<String> =
        world.account.instances.iter().map(|instance| instance.provider_id()).collect();
    ensure!(ids.split_whitespace().collect::<Vec<_>>() == expected, "{ids}");
    ensure!(expected[1].starts_with("aws:///us-east-1b/i-"), "{expected:?}");
    Ok(())
}
