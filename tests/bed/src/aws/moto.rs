//! moto: the emulator behind the proxy, for EC2, ACM and all services but load balancers. I/O: starts it, asks it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use http::Request;
use hyper::body::Bytes;
use roxmltree::{Document, Node};
use serde_json::{Value, json};

use super::facts::{Certificate, Facts, Instance, Permission, SecurityGroup, Subnet};
use super::xml::{child, items, text};
use crate::cloud::http as wire;
use crate::daemon::Daemon;

/// Where moto listens, on the loopback of its network namespace.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5000);
/// The account that moto has by default.
pub const ACCOUNT: &str = "123456789012";
/// Name of the daemon.
pub const DAEMON: &str = "moto";

/// moto as a daemon of a bed, in that network namespace.
pub fn daemon(installed: &Path, namespace: &str) -> Daemon {
    let program = installed.join("bin/moto_server").display().to_string();
    let command =
        vec![program, "-H".into(), ADDRESS.ip().to_string(), "-p".into(), ADDRESS.port().to_string()];
    let mut daemon = Daemon::new(DAEMON, namespace, command);
    // Certificates that are asked for are there at once, not after a minute.
    daemon.environment.insert("MOTO_ACM_VALIDATION_WAIT".into(), "0".into());
    // Images are not looked up; the list of them takes a second to load.
    daemon.environment.insert("MOTO_ENABLE_KEYPAIR_VALIDATION".into(), "false".into());
    daemon
}

/// A signature's header for a service: moto reads service and region in it and checks nothing.
pub fn authorization(service: &str, region: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=bed/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

/// Asks EC2 or another query service; an answer that is no success is an error.
pub async fn query(
    to: SocketAddr,
    service: &str,
    region: &str,
    parameters: &[(&str, &str)],
) -> Result<String> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let request = Request::post("/")
        .header("host", "aws.bed")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", authorization(service, region))
        .body(wire::Whole::from(body))?;
    let answer = wire::send(to, request).await?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let action = parameters.iter().find(|(name, _)| *name == "Action").map_or("", |(_, action)| action);
    ensure!(answer.status().is_success(), "{service} {action}: {} {text}", answer.status());
    Ok(text)
}

/// Asks a JSON service.
pub async fn json(to: SocketAddr, service: &str, region: &str, target: &str, body: Value) -> Result<Value> {
    let request = Request::post("/")
        .header("host", "aws.bed")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", target)
        .header("authorization", authorization(service, region))
        .body(wire::Whole::from(Bytes::from(body.to_string())))?;
    let answer = wire::send(to, request).await?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    ensure!(answer.status().is_success(), "{target}: {} {text}", answer.status());
    serde_json::from_str(&text).with_context(|| format!("the answer to {target}"))
}

/// Parts of [`Facts`] that are read one by one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Part {
    /// VPCs.
    Vpcs,
    /// Subnets.
    Subnets,
    /// Security groups.
    SecurityGroups,
    /// Elastic IP addresses.
    Addresses,
    /// Instances.
    Instances,
    /// Certificates.
    Certificates,
}

impl Part {
    /// All.
    pub const ALL: [Part; 6] = [
        Part::Vpcs,
        Part::Subnets,
        Part::SecurityGroups,
        Part::Addresses,
        Part::Instances,
        Part::Certificates,
    ];

    /// What a call may change. Pure.
    pub fn changed_by(service: &str, action: &str) -> Vec<Part> {
        if action.starts_with("Describe") || action.starts_with("Get") || action.starts_with("List") {
            return Vec::new();
        }
        match service {
            "acm" => return vec![Part::Certificates],
            "ec2" => {}
            _ => return Vec::new(),
        }
        let kinds = [
            ("SecurityGroup", vec![Part::SecurityGroups]),
            ("Tags", vec![Part::SecurityGroups]),
            ("Instance", vec![Part::Instances, Part::Subnets]),
            ("Address", vec![Part::Addresses]),
            ("Subnet", vec![Part::Subnets]),
            // A VPC comes with a security group.
            ("Vpc", vec![Part::Vpcs, Part::SecurityGroups]),
            ("Route", Vec::new()),
        ];
        let known = kinds.into_iter().find(|(word, _)| action.contains(word));
        known.map_or(Part::ALL.to_vec(), |(_, parts)| parts)
    }
}

/// Reads parts of what EC2 and ACM know into `facts`.
pub async fn read(to: SocketAddr, region: &str, parts: &[Part], facts: &mut Facts) -> Result<()> {
    let ec2 =
        async |action: &str| query(to, "ec2", region, &[("Action", action), ("Version", "2016-11-15")]).await;
    for part in parts {
        match part {
            Part::Vpcs => facts.vpcs = vpcs(&ec2("DescribeVpcs").await?)?,
            Part::Subnets => facts.subnets = subnets(&ec2("DescribeSubnets").await?)?,
            Part::SecurityGroups => {
                facts.security_groups = security_groups(&ec2("DescribeSecurityGroups").await?)?;
            }
            Part::Addresses => facts.elastic_addresses = addresses(&ec2("DescribeAddresses").await?)?,
            Part::Instances => facts.instances = instances(&ec2("DescribeInstances").await?)?,
            Part::Certificates => facts.certificates = certificates(to, region).await?,
        }
    }
    Ok(())
}

async fn certificates(to: SocketAddr, region: &str) -> Result<BTreeMap<String, Certificate>> {
    let mut found = BTreeMap::new();
    let ask = async |action: &str, body: Value| {
        json(to, "acm", region, &format!("CertificateManager.{action}"), body).await
    };
    let list = ask("ListCertificates", json!({"MaxItems": 1000})).await?;
    for summary in list["CertificateSummaryList"].as_array().into_iter().flatten() {
        let arn = summary["CertificateArn"].as_str().unwrap_or_default();
        let described = ask("DescribeCertificate", json!({"CertificateArn": arn})).await?;
        let certificate = &described["Certificate"];
        let mut names: Vec<String> =
            certificate["DomainName"].as_str().map(str::to_owned).into_iter().collect();
        for name in
            certificate["SubjectAlternativeNames"].as_array().into_iter().flatten().filter_map(Value::as_str)
        {
            if !names.iter().any(|own| own == name) {
                names.push(name.to_owned());
            }
        }
        let status = certificate["Status"].as_str().unwrap_or_default().to_owned();
        found.insert(arn.to_owned(), Certificate { names, status });
    }
    Ok(found)
}

fn parse(answer: &str) -> Result<Document<'_>> {
    Document::parse(answer).context("an answer of EC2")
}

fn vpcs(answer: &str) -> Result<BTreeMap<String, Vec<ipnet::IpNet>>> {
    let document = parse(answer)?;
    let vpc = |node: &Node| {
        let more = items(*node, "cidrBlockAssociationSet");
        let blocks = more.iter().map(|block| text(*block, "cidrBlock")).chain([text(*node, "cidrBlock")]);
        (text(*node, "vpcId").to_owned(), blocks.filter_map(|block| block.parse().ok()).collect())
    };
    Ok(items(document.root_element(), "vpcSet").iter().map(vpc).collect())
}

fn subnets(answer: &str) -> Result<BTreeMap<String, Subnet>> {
    let document = parse(answer)?;
    let mut found = BTreeMap::new();
    for node in items(document.root_element(), "subnetSet") {
        let subnet = Subnet {
            vpc: text(node, "vpcId").to_owned(),
            zone: text(node, "availabilityZone").to_owned(),
            cidr: text(node, "cidrBlock").parse().context("a subnet's addresses")?,
            has_ipv6: !items(node, "ipv6CidrBlockAssociationSet").is_empty(),
            free: text(node, "availableIpAddressCount").parse().unwrap_or(0),
        };
        found.insert(text(node, "subnetId").to_owned(), subnet);
    }
    Ok(found)
}

fn security_groups(answer: &str) -> Result<BTreeMap<String, SecurityGroup>> {
    let document = parse(answer)?;
    let mut found = BTreeMap::new();
    for node in items(document.root_element(), "securityGroupInfo") {
        let ingress: Vec<Permission> = items(node, "ipPermissions").into_iter().map(permission).collect();
        let egress = items(node, "ipPermissionsEgress").into_iter().map(permission);
        let names_groups =
            ingress.iter().cloned().chain(egress).flat_map(|permission| permission.groups).collect();
        let tag = |tag: Node| (text(tag, "key").to_owned(), text(tag, "value").to_owned());
        let group = SecurityGroup {
            vpc: text(node, "vpcId").to_owned(),
            name: text(node, "groupName").to_owned(),
            ingress,
            names_groups,
            tags: items(node, "tagSet").into_iter().map(tag).collect(),
        };
        found.insert(text(node, "groupId").to_owned(), group);
    }
    Ok(found)
}

fn permission(node: Node) -> Permission {
    let ranges = items(node, "ipRanges").into_iter().map(|range| text(range, "cidrIp"));
    let ranges_v6 = items(node, "ipv6Ranges").into_iter().map(|range| text(range, "cidrIpv6"));
    let port = |name| text(node, name).parse::<i32>().ok();
    let ports = match (port("fromPort"), port("toPort")) {
        (Some(from @ 0..=65_535), Some(to @ 0..=65_535)) => Some((from as u16, to as u16)),
        _ => None,
    };
    Permission {
        protocol: text(node, "ipProtocol").to_owned(),
        ports,
        ranges: ranges.chain(ranges_v6).filter_map(|range| range.parse().ok()).collect(),
        groups: items(node, "groups").into_iter().map(|group| text(group, "groupId").to_owned()).collect(),
    }
}

fn addresses(answer: &str) -> Result<BTreeMap<String, std::net::Ipv4Addr>> {
    let document = parse(answer)?;
    let address =
        |node: Node| Some((text(node, "allocationId").to_owned(), text(node, "publicIp").parse().ok()?));
    Ok(items(document.root_element(), "addressesSet").into_iter().filter_map(address).collect())
}

fn instances(answer: &str) -> Result<BTreeMap<String, Instance>> {
    let document = parse(answer)?;
    let mut found = BTreeMap::new();
    for reservation in items(document.root_element(), "reservationSet") {
        for node in items(reservation, "instancesSet") {
            let groups = items(node, "groupSet").into_iter().map(|group| text(group, "groupId").to_owned());
            let instance = Instance {
                state: text(node, "instanceState/name").to_owned(),
                zone: child(node, "placement").map_or("", |place| text(place, "availabilityZone")).to_owned(),
                vpc: text(node, "vpcId").to_owned(),
                address: text(node, "privateIpAddress").parse().ok(),
                security_groups: groups.collect::<BTreeSet<String>>(),
            };
            found.insert(text(node, "instanceId").to_owned(), instance);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_groups_are_read() {
        let answer = r#"<DescribeSecurityGroupsResponse xmlns="urn:x"><securityGroupInfo><item>
            <groupId>sg-1</groupId><groupName>web</groupName><vpcId>vpc-1</vpcId>
            <ipPermissions><item><ipProtocol>tcp</ipProtocol><fromPort>80</fromPort><toPort>81</toPort>
              <groups><item><groupId>sg-2</groupId></item></groups>
              <ipRanges><item><cidrIp>10.0.0.0/8</cidrIp></item></ipRanges></item>
              <item><ipProtocol>-1</ipProtocol><groups/><ipRanges/></item></ipPermissions>
            <tagSet><item><key>a</key><value>b</value></item></tagSet>
            </item></securityGroupInfo></DescribeSecurityGroupsResponse>"#;
        let groups = security_groups(answer).unwrap();
        let group = &groups["sg-1"];
        assert_eq!((group.name.as_str(), group.tags["a"].as_str()), ("web", "b"));
        assert_eq!(group.ingress[0].ports, Some((80, 81)));
        assert_eq!(group.ingress[0].ranges, ["10.0.0.0/8".parse().unwrap()]);
        assert!(group.names_groups.contains("sg-2"));
        assert_eq!(group.ingress[1].ports, None);
    }

    #[test]
    fn only_what_a_call_may_change_is_read_again() {
        assert_eq!(Part::changed_by("ec2", "AuthorizeSecurityGroupIngress"), [Part::SecurityGroups]);
        assert_eq!(Part::changed_by("ec2", "DescribeInstances"), []);
        assert_eq!(Part::changed_by("ec2", "SomethingNew"), Part::ALL);
        assert_eq!(Part::changed_by("acm", "ImportCertificate"), [Part::Certificates]);
        assert_eq!(Part::changed_by("iam", "CreateRole"), []);
    }
}
