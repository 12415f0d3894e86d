//! Accounts with one fault each, seen through an AWS that answers from a table.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::{Finding, Level, NodeSet};

use super::{judge, look};
use crate::cloud::records::{LoadBalancer, SecurityGroup, State, Tagged, TargetGroup};
use crate::cloud::{Answer, Api, Call, Failure, Page, Query};
use crate::fixtures;
use crate::inventory::{
    AccountLimit, Answers, DescribeAccountLimits, DescribeInstances, GroupIdentifier, Inventory,
};
use crate::stack::{
    ElbProtocol, GroupPair, HealthCheckConfig, IpAddressType, IpPermission, IpRange, LoadBalancerSpec,
    LoadBalancerType, PortOrName, Scheme, SecurityGroupSpec, SubnetMapping, Tags, TargetGroupSpec,
    TargetType, Token,
};

/// An account.
#[derive(Clone)]
struct Account {
    inventory: Inventory,
    load_balancers: Vec<LoadBalancer>,
    target_groups: Vec<TargetGroup>,
    rules: Vec<IpPermission>,
    /// Codes with which actions are refused.
    refused: BTreeMap<&'static str, &'static str>,
    /// The code with which everything is refused; empty: no answer at all.
    silent: Option<&'static str>,
}

impl Account {
    fn new() -> Self {
        let mut inventory = fixtures::inventory();
        let limit = |name: &str, max: &str| AccountLimit { name: name.to_owned(), max: max.to_owned() };
        inventory.aws.describe_account_limits = Some(DescribeAccountLimits {
            limits: vec![
                limit("network-load-balancers", "50"),
                limit("application-load-balancers", "50"),
                limit("target-groups", "3000"),
            ],
        });
        Self {
            inventory,
            load_balancers: Vec::new(),
            target_groups: Vec::new(),
            rules: Vec::new(),
            refused: BTreeMap::new(),
            silent: None,
        }
    }

    /// A load balancer of ours with a target group, behind these security groups.
    fn balancer(mut self, name: &str, groups: &[&str], port: u16, health: PortOrName) -> Self {
        let arn = format!("arn:aws:elasticloadbalancing:eu-west-1:1:loadbalancer/net/{name}/1");
        self.target_groups.push(TargetGroup {
            arn: format!("arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/{name}/1"),
            vpc_id: "vpc-1".to_owned(),
            load_balancers: BTreeSet::from([arn.clone()]),
            spec: TargetGroupSpec {
                name: name.to_owned(),
                target_type: TargetType::Instance,
                port,
                protocol: ElbProtocol::Tcp,
                protocol_version: None,
                ip_address_type: None,
                health_check_config: HealthCheckConfig {
                    port: health,
                    protocol: ElbProtocol::Tcp,
                    path: None,
                    matcher: None,
                    interval_seconds: 10,
                    timeout_seconds: 6,
                    healthy_threshold_count: 2,
                    unhealthy_threshold_count: 2,
                },
                target_group_attributes: Vec::new(),
                tags: Tags::new(),
                target_control_port: None,
            },
        });
        self.load_balancers.push(LoadBalancer {
            arn,
            dns_name: String::new(),
            zone_id: String::new(),
            state: State::Active,
            vpc_id: "vpc-1".to_owned(),
            spec: LoadBalancerSpec {
                name: name.to_owned(),
                kind: LoadBalancerType::Network,
                scheme: Scheme::InternetFacing,
                ip_address_type: IpAddressType::Ipv4,
                enable_prefix_for_ipv6_source_nat: None,
                subnet_mappings: vec![SubnetMapping {
                    subnet_id: "subnet-pub-a".to_owned(),
                    ..SubnetMapping::default()
                }],
                security_groups: groups.iter().map(|id| Token::literal(*id)).collect(),
                security_groups_inbound_rules_on_private_link: None,
                customer_owned_ipv4_pool: None,
                load_balancer_attributes: Vec::new(),
                minimum_load_balancer_capacity: None,
                tags: Tags::new(),
                ipv4_ipam_pool: None,
            },
        });
        self
    }

    fn rule(mut self, ports: (u16, u16), from: &str) -> Self {
        let mut rule = IpPermission {
            ip_protocol: "tcp".to_owned(),
            from_port: Some(ports.0),
            to_port: Some(ports.1),
            ..IpPermission::default()
        };
        if from.starts_with("sg-") {
            rule.group_pairs.push(GroupPair { group_id: Token::literal(from), description: String::new() });
        } else {
            rule.ip_ranges.push(IpRange { cidr: from.to_owned(), description: String::new() });
        }
        self.rules.push(rule);
        self
    }

    fn refuses(mut self, action: &'static str, code: &'static str) -> Self {
        self.refused.insert(action, code);
        self
    }

    async fn findings(self, nodes: &NodeSet) -> Vec<Finding> {
        let (cluster, options) = (self.inventory.cluster.clone(), self.inventory.options.clone());
        let seen = look(self, &cluster, &options).await;
        judge(&seen, &cluster, &options, nodes)
    }
}

fn page<T>(items: Vec<T>) -> Page<T> {
    Page { items, next: None }
}

impl Api for Account {
    async fn call(&self, call: Call) -> Result<Answer, Failure> {
        assert!(!call.writes(), "{call:?} changes something");
        match self.silent {
            Some("") => return Err(Failure::NoAnswer("no way".to_owned())),
            Some(code) => return Err(Failure::refused(code, "no")),
            None => {}
        }
        if let Some(code) = self.refused.get(call.action()) {
            return Err(Failure::refused(*code, format!("not {}", call.action())));
        }
        let aws = &self.inventory.aws;
        Ok(match call {
            Call::GetCallerIdentity => {
                Answer::Identity { arn: "arn:aws:iam::1:role/causeway".to_owned(), account: "1".to_owned() }
            }
            Call::Inventory { query, .. } => {
                let mut some = Answers::default();
                match query {
                    Query::AccountLimits => {
                        some.describe_account_limits.clone_from(&aws.describe_account_limits);
                    }
                    Query::Subnets(_) => some.describe_subnets.clone_from(&aws.describe_subnets),
                    Query::Vpc(_) => some.describe_vpcs.clone_from(&aws.describe_vpcs),
                    Query::RouteTables(_) => {
                        some.describe_route_tables.clone_from(&aws.describe_route_tables)
                    }
                    Query::SecurityGroups(_) => {
                        some.describe_security_groups.clone_from(&aws.describe_security_groups);
                    }
                    Query::Instances(_) => some.describe_instances.clone_from(&aws.describe_instances),
                    Query::Certificate(_) => {
                        return Err(Failure::refused("ResourceNotFoundException", "none"));
                    }
                    Query::Zones | Query::Addresses | Query::Certificates => {}
                }
                Answer::Inventory(Box::new(some), None)
            }
            Call::GetResources { .. } => {
                let arns = self.load_balancers.iter().map(|lb| lb.arn.clone());
                Answer::Tagged(page(arns.map(|arn| Tagged { arn, tags: Tags::new() }).collect()))
            }
            Call::DescribeLoadBalancers { .. } => Answer::LoadBalancers(page(self.load_balancers.clone())),
            Call::DescribeTargetGroups { .. } => Answer::TargetGroups(page(self.target_groups.clone())),
            Call::DescribeSecurityGroups { ids } => {
                let of = |id: String| SecurityGroup {
                    id,
                    vpc_id: "vpc-1".to_owned(),
                    spec: SecurityGroupSpec {
                        group_name: "nodes".to_owned(),
                        description: String::new(),
                        tags: Tags::new(),
                        ingress: self.rules.clone(),
                    },
                };
                Answer::SecurityGroups(ids.into_iter().map(of).collect())
            }
            Call::DescribeListeners { .. } => Answer::Listeners(page(Vec::new())),
            Call::DryRun(_) => Answer::Done,
            _ => return Err(Failure::refused("LoadBalancerNotFound", "none of that name")),
        })
    }
}

/// Whether there is a finding of this level about this whose message holds the part.
fn says(findings: &[Finding], level: Level, about: &str, part: &str) {
    let fits = |f: &&Finding| f.level == level && f.about.contains(about) && f.message.contains(part);
    assert!(findings.iter().any(|f| fits(&f)), "no {level:?} about {about} with {part:?} in {findings:#?}");
}

fn errors(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|f| f.level == Level::Error).collect()
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_as_it_should_be() {
    let nodes = fixtures::nodes(2);
    let findings = Account::new().findings(&nodes).await;
    assert!(errors(&findings).is_empty(), "{findings:#?}");
    says(
        &findings,
        Level::Ok,
        "AWS",
        "arn:aws:iam::1:role/causeway of account 1, region eu-west-1, VPC vpc-1",
    );
    says(&findings, Level::Ok, "Permissions to read", "all 21 are there");
    says(&findings, Level::Ok, "security groups (dry run)", "ec2:CreateSecurityGroup");
    says(&findings, Level::Warning, "change load balancers", "nor has anything to try ec2:CreateTags");
    says(&findings, Level::Ok, "VPC vpc-1", "10.0.0.0/16");
    says(&findings, Level::Ok, "Nodes", "2 are instances");
    says(&findings, Level::Ok, "internet-facing", "subnet-pub-a (eu-west-1a), subnet-pub-b (eu-west-1b)");
    says(&findings, Level::Ok, "internal", "subnet-priv-a (eu-west-1a)");
    says(&findings, Level::Ok, "Quota network-load-balancers", "0 of 50");
    says(
        &findings,
        Level::Ok,
        "Security groups of the nodes",
        "sg-nodes: the controller opens NodePorts 30000 to 32767",
    );
    let warnings = findings.iter().filter(|f| f.level == Level::Warning).count();
    assert_eq!(warnings, 1, "{findings:#?}");
}

#[tokio::test(start_paused = true)]
async fn rights_that_are_missing_are_named_and_the_rest_is_looked_at() {
    let nodes = fixtures::nodes(2);
    let account = Account::new()
        .refuses("DescribeTargetHealth", "AccessDenied")
        .refuses("DescribeSubnets", "UnauthorizedOperation")
        .refuses("DescribeAddresses", "InternalFailure")
        .refuses("AuthorizeSecurityGroupIngress", "UnauthorizedOperation");
    let findings = account.findings(&nodes).await;
    says(
        &findings,
        Level::Error,
        "Permissions to read",
        "may not ec2:DescribeSubnets, elasticloadbalancing:DescribeTargetHealth: attach deploy/aws",
    );
    says(&findings, Level::Warning, "Permissions to read", "ec2:DescribeAddresses: InternalFailure");
    says(&findings, Level::Error, "(dry run)", "may not ec2:AuthorizeSecurityGroupIngress");
    says(&findings, Level::Error, "Security groups of the nodes", "may not be");
    says(&findings, Level::Warning, "Subnets", "could not be read");
    says(&findings, Level::Ok, "Nodes", "2 are");
}

#[tokio::test(start_paused = true)]
async fn without_credentials_or_a_way_nothing_else_is_said() {
    let nodes = fixtures::nodes(2);
    for (silent, part) in
        [("InvalidClientTokenId", "does not accept the credentials"), ("", "is the region right")]
    {
        let account = Account { silent: Some(silent), ..Account::new() };
        let findings = account.findings(&nodes).await;
        assert_eq!(findings.len(), 1, "{findings:#?}");
        says(&findings, Level::Error, "AWS", part);
    }
    // A way to EC2, none to STS.
    let findings = Account::new().refuses("GetCallerIdentity", "InternalFailure").findings(&nodes).await;
    says(&findings, Level::Warning, "AWS", "who asks is not known");
    says(&findings, Level::Ok, "Nodes", "2 are");
}

#[tokio::test(start_paused = true)]
async fn quotas_warn_before_they_are_used_up() {
    let nodes = fixtures::nodes(2);
    let with = async |most: &str| {
        let mut account = Account::new();
        if let Some(limits) = &mut account.inventory.aws.describe_account_limits {
            most.clone_into(&mut limits.limits[0].max);
        }
        for n in 0..4 {
            account = account.balancer(&format!("b{n}"), &["sg-lb"], 30_000, PortOrName::traffic());
        }
        account.findings(&nodes).await
    };
    says(&with("6").await, Level::Ok, "Quota network-load-balancers", "4 of 6");
    says(&with("5").await, Level::Warning, "Quota network-load-balancers", "4 of 5");
    says(&with("4").await, Level::Error, "Quota network-load-balancers", "no more can be made");
    let mut many = Account::new();
    for n in 0..48 {
        many = many.rule((n, n), "192.0.2.0/24");
    }
    says(&many.findings(&nodes).await, Level::Warning, "Security group sg-nodes", "48 inbound rules");
}

#[tokio::test(start_paused = true)]
async fn subnets_are_missed_where_nodes_are() {
    let third = fixtures::nodes(3);
    let mut account = Account::new();
    if let Some(subnets) = &mut account.inventory.aws.describe_subnets {
        subnets.subnets[1].available_ip_address_count = 3;
    }
    let findings = account.findings(&third).await;
    says(&findings, Level::Warning, "Subnet subnet-pub-b", "3 free addresses");
    says(&findings, Level::Warning, "internet-facing", "none in eu-west-1b, where 1 nodes are");
    says(&findings, Level::Warning, "internet-facing", "an ALB (of an Ingress) needs two");
    says(&findings, Level::Warning, "internal", "none in eu-west-1c");
    says(&findings, Level::Error, "Nodes", "i-00000000000000002 do not run in VPC vpc-1");

    let mut bare = Account::new();
    if let Some(subnets) = &mut bare.inventory.aws.describe_subnets {
        subnets.subnets.clear();
    }
    let findings = bare.findings(&fixtures::nodes(2)).await;
    says(&findings, Level::Error, "internet-facing", "kubernetes.io/role/elb=1");
    says(&findings, Level::Error, "internal", "kubernetes.io/role/internal-elb=1");
    assert!(errors(&Account::new().findings(&NodeSet::default()).await).iter().any(|f| f.about == "Nodes"));
}

#[tokio::test(start_paused = true)]
async fn ports_that_are_shut_are_named_with_who_opens_them() {
    let nodes = fixtures::nodes(2);
    let health = || PortOrName::Number(10256);
    let open = Account::new()
        .balancer("web", &["sg-lb"], 30_080, health())
        .rule((30_000, 32_767), "sg-lb")
        .rule((10_256, 10_256), "10.0.0.0/16");
    says(&open.findings(&nodes).await, Level::Ok, "Security groups of the nodes", "the 1 load balancers");

    let shut =
        || Account::new().balancer("web", &["sg-lb"], 30_080, health()).rule((30_000, 32_767), "sg-lb");
    let findings = shut().findings(&nodes).await;
    says(
        &findings,
        Level::Error,
        "Security group sg-nodes",
        "tcp port 10256 of the health check is shut for load balancers web, whose rules are yours",
    );
    says(
        &findings,
        Level::Error,
        "Security group sg-nodes",
        "--group-id sg-nodes --protocol tcp --port 10256 --source-group sg-lb",
    );
    assert_eq!(errors(&findings).len(), 1, "{findings:#?}");

    // The rules of the shared group are kept by the controller.
    let ours = || {
        let mut account = shut();
        account.inventory.options.backend_security_group = Some("sg-lb".to_owned());
        account
    };
    says(
        &ours().findings(&nodes).await,
        Level::Error,
        "Security group sg-nodes",
        "with the next change of one of them",
    );
    let kept_from = ours().refuses("AuthorizeSecurityGroupIngress", "UnauthorizedOperation");
    says(
        &kept_from.findings(&nodes).await,
        Level::Error,
        "Security group sg-nodes",
        "the controller may not open it",
    );

    // Without groups of its own it checks out of its subnets, and traffic is not judged.
    let without = || Account::new().balancer("web", &[], 30_080, health());
    says(&without().findings(&nodes).await, Level::Error, "Security group sg-nodes", "10256");
    let open = without().rule((10_256, 10_256), "10.0.1.0/24");
    says(&open.findings(&nodes).await, Level::Ok, "Security groups of the nodes", "the 1 load balancers");
}

#[tokio::test(start_paused = true)]
async fn it_is_said_where_the_nodes_group_is_not_clear() {
    let mut account = Account::new();
    let instances = account.inventory.aws.describe_instances.get_or_insert_with(DescribeInstances::default);
    let groups = &mut instances.reservations[0].instances[0].network_interfaces[0].groups;
    groups.retain(|group| group.group_id != "sg-nodes");
    groups.push(GroupIdentifier { group_id: "sg-edge-1".to_owned() });
    let findings = account.findings(&fixtures::nodes(2)).await;
    says(&findings, Level::Warning, "Security groups of the nodes", "i-00000000000000000, have several");
}
