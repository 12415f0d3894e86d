//! An AWS account that fits a cluster of the bed: a VPC around the nodes' segment, subnets in three zones, the nodes as instances. I/O: asks the API, so
//! what it makes is counted like everything else; `gate().calls.forget()` afterwards starts from nothing.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use roxmltree::Document;
use serde_json::json;

use super::Aws;
use crate::bed::Bed;

/// The VPC's addresses: the nodes' segment.
pub const VPC: &str = "10.77.0.0/16";
/// Addresses of the three subnets, away from those of nodes and of what else the segment has. Nodes have neighbouring addresses but are in three zones: EC2 as the
/// bed shows it is told of this, see [`super::ec2`].
pub const SUBNETS: [&str; 3] = ["10.77.128.0/20", "10.77.144.0/20", "10.77.160.0/20"];

/// How an account shall be.
#[derive(Clone, Debug)]
pub struct Builder {
    cluster: String,
    hollow: usize,
}

impl Builder {
    /// The cluster's name in tags `kubernetes.io/cluster/NAME`; `bed` by default.
    pub fn cluster(mut self, name: &str) -> Builder {
        name.clone_into(&mut self.cluster);
        self
    }

    /// Instances for so many hollow nodes more.
    pub fn hollow(mut self, nodes: usize) -> Builder {
        self.hollow = nodes;
        self
    }

    /// Makes everything.
    pub async fn create(self, aws: &Aws, bed: &Bed) -> Result<Account> {
        let ask = async |parameters: &[(&str, &str)]| ec2(aws, parameters).await;
        let cluster_tag = format!("kubernetes.io/cluster/{}", self.cluster);
        let vpc = id(&ask(&[("Action", "CreateVpc"), ("CidrBlock", VPC)]).await?, "vpcId")?;
        let gateway = id(&ask(&[("Action", "CreateInternetGateway")]).await?, "internetGatewayId")?;
        ask(&[("Action", "AttachInternetGateway"), ("VpcId", &vpc), ("InternetGatewayId", &gateway)]).await?;
        let routes = id(&ask(&[("Action", "CreateRouteTable"), ("VpcId", &vpc)]).await?, "routeTableId")?;
        ask(&[
            ("Action", "CreateRoute"),
            ("RouteTableId", &routes),
            ("DestinationCidrBlock", "0.0.0.0/0"),
            ("GatewayId", &gateway),
        ])
        .await?;
        let mut subnets = Vec::new();
        for (letter, addresses) in ["a", "b", "c"].iter().zip(SUBNETS) {
            let zone = format!("{}{letter}", aws.region());
            let make = [
                ("Action", "CreateSubnet"),
                ("VpcId", &vpc),
                ("CidrBlock", addresses),
                ("AvailabilityZone", &zone),
            ];
            let subnet = id(&ask(&make).await?, "subnetId")?;
            ask(&[("Action", "AssociateRouteTable"), ("RouteTableId", &routes), ("SubnetId", &subnet)])
                .await?;
            subnets.push(Subnet { id: subnet, zone });
        }
        for subnet in &subnets {
            let roles = [
                ("kubernetes.io/role/elb", "1"),
                ("kubernetes.io/role/internal-elb", "1"),
                (&cluster_tag, "shared"),
            ];
            tag(aws, &subnet.id, &roles).await?;
        }
        tag(aws, &vpc, &[(&cluster_tag, "shared"), ("Name", &self.cluster)]).await?;
        let security_group = id(
            &ask(&[
                ("Action", "CreateSecurityGroup"),
                ("GroupName", &format!("{}-nodes", self.cluster)),
                ("GroupDescription", "nodes"),
                ("VpcId", &vpc),
            ])
            .await?,
            "groupId",
        )?;
        tag(aws, &security_group, &[(&cluster_tag, "owned")]).await?;
        // Nodes reach one another.
        ask(&[
            ("Action", "AuthorizeSecurityGroupIngress"),
            ("GroupId", &security_group),
            ("IpPermissions.1.IpProtocol", "-1"),
            ("IpPermissions.1.Groups.1.GroupId", &security_group),
        ])
        .await?;
        let mut account = Account {
            cluster: self.cluster,
            region: aws.region().to_owned(),
            vpc,
            subnets,
            security_group,
            instances: Vec::new(),
        };
        for node in bed.nodes() {
            account.add_node(aws, node.name(), Some(node.addresses().v4)).await?;
        }
        for number in 0..self.hollow {
            account.add_node(aws, &format!("hollow-{number}"), None).await?;
        }
        Ok(account)
    }
}

/// An account with a cluster in it.
#[derive(Clone, Debug)]
pub struct Account {
    /// The cluster's name in tags.
    pub cluster: String,
    /// Region.
    pub region: String,
    /// Id of the VPC.
    pub vpc: String,
    /// One per zone.
    pub subnets: Vec<Subnet>,
    /// Id of the nodes' security group. It lets in what nodes send one another, nothing else.
    pub security_group: String,
    /// The nodes' instances.
    pub instances: Vec<Instance>,
}

/// A subnet.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// Id.
    pub id: String,
    /// Availability zone.
    pub zone: String,
}

/// An instance that is a node.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Name of the node.
    pub node: String,
    /// Id.
    pub id: String,
    /// Availability zone.
    pub zone: String,
    /// Private address, as EC2 says it.
    pub address: Ipv4Addr,
}

impl Instance {
    /// As a Node's `spec.providerID` has it.
    pub fn provider_id(&self) -> String {
        format!("aws:///{}/{}", self.zone, self.id)
    }
}

impl Account {
    /// One with a cluster called `bed` and an instance for each node of the bed.
    pub fn builder() -> Builder {
        Builder { cluster: "bed".to_owned(), hollow: 0 }
    }

    /// One more node's instance, in the zone whose turn it is. Its address is that of the bed's node, or one of its subnet.
    pub async fn add_node(&mut self, aws: &Aws, name: &str, address: Option<Ipv4Addr>) -> Result<Instance> {
        let subnet = &self.subnets[self.instances.len() % self.subnets.len()];
        let owned = format!("kubernetes.io/cluster/{}", self.cluster);
        let answer = ec2(
            aws,
            &[
                ("Action", "RunInstances"),
                ("ImageId", "ami-12c6146b"),
                ("InstanceType", "m5.large"),
                ("MinCount", "1"),
                ("MaxCount", "1"),
                ("SubnetId", &subnet.id),
                ("SecurityGroupId.1", &self.security_group),
                ("TagSpecification.1.ResourceType", "instance"),
                ("TagSpecification.1.Tag.1.Key", "Name"),
                ("TagSpecification.1.Tag.1.Value", name),
                ("TagSpecification.1.Tag.2.Key", &owned),
                ("TagSpecification.1.Tag.2.Value", "owned"),
            ],
        )
        .await?;
        let own: Ipv4Addr = id(&answer, "privateIpAddress")?.parse().context("an instance's address")?;
        if let Some(address) = address {
            aws.cloud().rename(own, address);
            aws.cloud().outdate(aws.region(), &[super::moto::Part::Instances]);
        }
        let instance = Instance {
            node: name.to_owned(),
            id: id(&answer, "instanceId")?,
            zone: subnet.zone.clone(),
            address: address.unwrap_or(own),
        };
        self.instances.push(instance.clone());
        Ok(instance)
    }

    /// The instance of a node.
    pub fn instance(&self, node: &str) -> Result<&Instance> {
        self.instances
            .iter()
            .find(|instance| instance.node == node)
            .with_context(|| format!("no instance is {node}"))
    }

    /// Gives the Node objects their provider ids and the labels of their places, as a cloud controller would have done.
    pub async fn label_nodes(&self, bed: &Bed) -> Result<()> {
        let nodes: Api<Node> = Api::all(bed.client().await?);
        for instance in &self.instances {
            let patch = json!({
                "metadata": {"labels": {
                    "topology.kubernetes.io/zone": instance.zone,
                    "topology.kubernetes.io/region": self.region,
                    "node.kubernetes.io/instance-type": "m5.large",
                }},
                "spec": {"providerID": instance.provider_id()},
            });
            let patched = nodes.patch(&instance.node, &PatchParams::default(), &Patch::Merge(&patch)).await;
            patched.with_context(|| format!("giving {} its provider id", instance.node))?;
        }
        Ok(())
    }

    /// Lets the nodes' security group take connections to ports from a security group of a load balancer or from addresses.
    pub async fn open_nodes(&self, aws: &Aws, protocol: &str, ports: (u16, u16), from: &str) -> Result<()> {
        let source = if from.starts_with("sg-") {
            "IpPermissions.1.Groups.1.GroupId"
        } else {
            "IpPermissions.1.IpRanges.1.CidrIp"
        };
        ec2(
            aws,
            &[
                ("Action", "AuthorizeSecurityGroupIngress"),
                ("GroupId", &self.security_group),
                ("IpPermissions.1.IpProtocol", protocol),
                ("IpPermissions.1.FromPort", &ports.0.to_string()),
                ("IpPermissions.1.ToPort", &ports.1.to_string()),
                (source, from),
            ],
        )
        .await?;
        Ok(())
    }
}

async fn ec2(aws: &Aws, parameters: &[(&str, &str)]) -> Result<String> {
    let (status, body) = aws.ask("ec2", parameters).await?;
    ensure!(status == 200, "EC2 {:?}: {status} {body}", parameters.first());
    Ok(body)
}

async fn tag(aws: &Aws, resource: &str, tags: &[(&str, &str)]) -> Result<()> {
    let mut parameters = vec![
        ("Action".to_owned(), "CreateTags".to_owned()),
        ("ResourceId.1".to_owned(), resource.to_owned()),
    ];
    for (index, (key, value)) in tags.iter().enumerate() {
        parameters.push((format!("Tag.{}.Key", index + 1), (*key).to_owned()));
        parameters.push((format!("Tag.{}.Value", index + 1), (*value).to_owned()));
    }
    let parameters: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    ec2(aws, &parameters).await?;
    Ok(())
}

/// The text of the first element of that name.
fn id(answer: &str, name: &str) -> Result<String> {
    let document = Document::parse(answer).context("an answer of EC2")?;
    let found =
        document.descendants().find(|node| node.tag_name().name() == name).and_then(|node| node.text());
    match found {
        Some(text) => Ok(text.to_owned()),
        None => bail!("EC2 says no {name}: {answer}"),
    }
}
