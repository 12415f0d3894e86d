//! The rules of the API, each seen on the state machine alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::health::{Reason, State};
use super::{Context, Elb, Refusal, Settings};
use crate::aws::facts::{Certificate, Facts, Instance, SecurityGroup, Subnet};

/// A region with a VPC, three subnets, two security groups, three instances, a certificate.
struct Region {
    elb: Elb,
    facts: Facts,
    now: Duration,
}

impl Region {
    fn new() -> Region {
        let mut facts = Facts::default();
        facts.vpcs.insert("vpc-1".into(), vec!["10.0.0.0/16".parse().unwrap()]);
        for (index, zone) in ["a", "b", "c"].iter().enumerate() {
            let subnet = Subnet {
                vpc: "vpc-1".into(),
                zone: format!("r{zone}"),
                cidr: format!("10.0.{index}.0/24").parse().unwrap(),
                has_ipv6: false,
                free: 250,
            };
            facts.subnets.insert(format!("subnet-{zone}"), subnet);
            let instance = Instance {
                state: "running".into(),
                zone: format!("r{zone}"),
                vpc: "vpc-1".into(),
                address: format!("10.0.{index}.200").parse().ok(),
                security_groups: BTreeSet::from(["sg-nodes".into()]),
            };
            facts.instances.insert(format!("i-{zone}"), instance);
        }
        for (id, name) in [("sg-default", "default"), ("sg-1", "one"), ("sg-2", "two"), ("sg-nodes", "nodes")]
        {
            let group = SecurityGroup { vpc: "vpc-1".into(), name: name.into(), ..SecurityGroup::default() };
            facts.security_groups.insert(id.into(), group);
        }
        facts.elastic_addresses.insert("eipalloc-1".into(), "203.0.113.9".parse().unwrap());
        let certificate = Certificate { names: vec!["a.example".into()], status: "ISSUED".into() };
        facts.certificates.insert(CERTIFICATE.into(), certificate);
        Region { elb: Elb::new("1", "r", Settings::default()), facts, now: Duration::from_secs(100) }
    }

    fn call(&mut self, action: &str, input: Value) -> Result<Value, Refusal> {
        self.elb
            .call(action, &input, Context { facts: &self.facts, now: self.now })
            .expect("an action of the bed")
    }

    fn ok(&mut self, action: &str, input: Value) -> Value {
        self.call(action, input).unwrap_or_else(|refusal| panic!("{action}: {refusal:?}"))
    }

    fn code(&mut self, action: &str, input: Value) -> &'static str {
        match self.call(action, input) {
            Ok(answer) => panic!("{action} was not refused: {answer}"),
            Err(refusal) => refusal.code,
        }
    }

    fn nlb(&mut self, name: &str) -> String {
        self.balancer(
            json!({"Name": name, "Type": "network", "Subnets": ["subnet-a", "subnet-b", "subnet-c"]}),
        )
    }

    fn alb(&mut self, name: &str) -> String {
        self.balancer(json!({"Name": name, "Subnets": ["subnet-a", "subnet-b", "subnet-c"], "SecurityGroups": ["sg-1"]}))
    }

    fn balancer(&mut self, input: Value) -> String {
        arn(&self.ok("CreateLoadBalancer", input)["LoadBalancers"][0]["LoadBalancerArn"])
    }

    fn group(&mut self, name: &str, protocol: &str) -> String {
        let input = json!({"Name": name, "Protocol": protocol, "Port": 30080, "VpcId": "vpc-1"});
        arn(&self.ok("CreateTargetGroup", input)["TargetGroups"][0]["TargetGroupArn"])
    }

    fn listener(&mut self, balancer: &str, protocol: &str, port: u16, group: &str) -> String {
        let input = json!({"LoadBalancerArn": balancer, "Protocol": protocol, "Port": port, "DefaultActions": [forward(group)]});
        arn(&self.ok("CreateListener", input)["Listeners"][0]["ListenerArn"])
    }

    fn rule(&mut self, listener: &str, priority: u32, path: &str, action: Value) -> String {
        let input = json!({"ListenerArn": listener, "Priority": priority, "Conditions": [on_path(path)], "Actions": [action]});
        arn(&self.ok("CreateRule", input)["Rules"][0]["RuleArn"])
    }

    /// `ID:PORT STATE REASON` of each target.
    fn health(&mut self, group: &str) -> Vec<String> {
        let answer = self.ok("DescribeTargetHealth", json!({"TargetGroupArn": group}));
        let each = |one: &Value| {
            let (target, health) = (&one["Target"], &one["TargetHealth"]);
            let reason = health["Reason"].as_str().unwrap_or("-");
            format!(
                "{}:{} {} {reason}",
                target["Id"].as_str().unwrap(),
                target["Port"],
                health["State"].as_str().unwrap()
            )
        };
        answer["TargetHealthDescriptions"].as_array().unwrap().iter().map(each).collect()
    }

    fn after(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
        self.elb.settle(Context { facts: &self.facts, now: self.now });
    }
}

const CERTIFICATE: &str = "arn:aws:acm:r:1:certificate/1";

fn arn(value: &Value) -> String {
    value.as_str().expect("an ARN").to_owned()
}

fn forward(group: &str) -> Value {
    json!({"Type": "forward", "TargetGroupArn": group})
}

fn fixed() -> Value {
    json!({"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}})
}

fn on_path(path: &str) -> Value {
    json!({"Field": "path-pattern", "PathPatternConfig": {"Values": [path]}})
}

#[test]
fn a_name_is_taken_once() {
    let mut region = Region::new();
    let input = json!({"Name": "web", "Type": "network", "Subnets": ["subnet-a", "subnet-b"]});
    let first = region.balancer(input.clone());
    assert_eq!(region.balancer(input.clone()), first, "equal settings are the same load balancer");
    for (member, value) in [
        ("Scheme", json!("internal")),
        ("Subnets", json!(["subnet-a"])),
        ("SecurityGroups", json!(["sg-1"])),
        ("Tags", json!([{"Key": "a", "Value": "b"}])),
        ("Type", json!("application")),
    ] {
        let mut other = input.clone();
        other[member] = value;
        assert_eq!(region.code("CreateLoadBalancer", other), "DuplicateLoadBalancerName", "{member}");
    }
    assert_eq!(region.ok("DescribeLoadBalancers", json!({}))["LoadBalancers"].as_array().unwrap().len(), 1);

    let input = json!({"Name": "web", "Protocol": "TCP", "Port": 80, "VpcId": "vpc-1"});
    let first = region.ok("CreateTargetGroup", input.clone());
    assert_eq!(region.ok("CreateTargetGroup", input.clone()), first);
    for (member, value) in [
        ("Port", json!(81)),
        ("Protocol", json!("UDP")),
        ("HealthCheckIntervalSeconds", json!(10)),
        ("TargetType", json!("ip")),
    ] {
        let mut other = input.clone();
        other[member] = value;
        assert_eq!(region.code("CreateTargetGroup", other), "DuplicateTargetGroupName", "{member}");
    }
}

#[test]
fn arns_and_host_names_tell_the_type() {
    let mut region = Region::new();
    region.nlb("net");
    region.balancer(json!({"Name": "app", "Subnets": ["subnet-a", "subnet-b"], "Scheme": "internal"}));
    let all = region.ok("DescribeLoadBalancers", json!({"Names": ["net", "app"]}));
    let (net, app) = (&all["LoadBalancers"][0], &all["LoadBalancers"][1]);
    assert!(arn(&net["LoadBalancerArn"]).contains(":loadbalancer/net/net/"));
    assert!(arn(&app["LoadBalancerArn"]).contains(":loadbalancer/app/app/"));
    assert!(
        arn(&net["DNSName"]).starts_with("net-") && arn(&net["DNSName"]).ends_with(".elb.r.amazonaws.com")
    );
    assert!(
        arn(&app["DNSName"]).starts_with("internal-app-")
            && arn(&app["DNSName"]).ends_with(".r.elb.amazonaws.com")
    );
    assert_eq!(app["SecurityGroups"], json!(["sg-default"]), "an ALB without groups gets the default one");
    assert_eq!(net["SecurityGroups"], json!([]));
}

#[test]
fn wrong_load_balancers_are_refused() {
    let mut region = Region::new();
    region.facts.subnets.get_mut("subnet-c").unwrap().zone = "rb".into();
    let network = |extra: Value| {
        let mut input = json!({"Name": "web", "Type": "network", "Subnets": ["subnet-a"]});
        input.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        input
    };
    for (input, code) in [
        (network(json!({"Name": "a_b"})), "ValidationError"),
        (network(json!({"Subnets": ["subnet-x"]})), "SubnetNotFound"),
        (network(json!({"Subnets": ["subnet-b", "subnet-c"]})), "InvalidConfigurationRequest"),
        (network(json!({"Type": "application"})), "ValidationError"),
        (network(json!({"SecurityGroups": ["sg-x"]})), "InvalidSecurityGroup"),
        (network(json!({"IpAddressType": "dualstack"})), "InvalidConfigurationRequest"),
        (network(json!({"Tags": [{"Key": "a"}, {"Key": "a"}]})), "DuplicateTagKeys"),
        (
            json!({"Name": "web", "Type": "network", "SubnetMappings": [{"SubnetId": "subnet-a", "AllocationId": "eipalloc-x"}]}),
            "AllocationIdNotFound",
        ),
        (
            json!({"Name": "web", "Type": "network", "Scheme": "internal", "SubnetMappings": [{"SubnetId": "subnet-a", "AllocationId": "eipalloc-1"}]}),
            "InvalidConfigurationRequest",
        ),
        (
            json!({"Name": "web", "Type": "network", "Scheme": "internal", "SubnetMappings": [{"SubnetId": "subnet-a", "PrivateIPv4Address": "10.0.1.9"}]}),
            "InvalidConfigurationRequest",
        ),
        (json!({"Name": "web", "Type": "network"}), "ValidationError"),
        (network(json!({"EnablePrefixForIpv6SourceNat": "on"})), "InvalidConfigurationRequest"),
        (network(json!({"CustomerOwnedIpv4Pool": "pool"})), "InvalidConfigurationRequest"),
    ] {
        assert_eq!(region.code("CreateLoadBalancer", input.clone()), code, "{input}");
    }
    region.facts.subnets.get_mut("subnet-b").unwrap().free = 7;
    assert_eq!(region.code("CreateLoadBalancer", network(json!({"Subnets": ["subnet-b"]}))), "InvalidSubnet");
    let tags: Vec<Value> = (0..51).map(|n| json!({"Key": n.to_string()})).collect();
    assert_eq!(region.code("CreateLoadBalancer", network(json!({"Tags": tags[..]}))), "TooManyTags");
    region.ok("CreateLoadBalancer", network(json!({"Tags": tags[..50]})));
}

#[test]
fn fixed_addresses_are_shown_and_an_elastic_one_is_used_once() {
    let mut region = Region::new();
    let with_address = |name: &str| json!({"Name": name, "Type": "network", "SubnetMappings": [{"SubnetId": "subnet-a", "AllocationId": "eipalloc-1"}]});
    let answer = region.ok("CreateLoadBalancer", with_address("one"));
    let address = &answer["LoadBalancers"][0]["AvailabilityZones"][0]["LoadBalancerAddresses"][0];
    assert_eq!(*address, json!({"AllocationId": "eipalloc-1", "IpAddress": "203.0.113.9"}));
    assert_eq!(region.elb.hosts()[0].0.to_string(), "203.0.113.9");
    assert_eq!(region.code("CreateLoadBalancer", with_address("two")), "ResourceInUse");
    let fixed = json!({"Name": "in", "Type": "network", "Scheme": "internal", "SubnetMappings": [{"SubnetId": "subnet-a", "PrivateIPv4Address": "10.0.0.77"}]});
    let answer = region.ok("CreateLoadBalancer", fixed.clone());
    let address = &answer["LoadBalancers"][0]["AvailabilityZones"][0]["LoadBalancerAddresses"][0];
    assert_eq!(*address, json!({"PrivateIPv4Address": "10.0.0.77"}));
    assert_eq!(region.ok("CreateLoadBalancer", fixed), answer, "the same again is the same");
}

#[test]
fn a_new_load_balancer_is_provisioned_for_a_while() {
    let mut region = Region::new();
    let balancer = region.nlb("web");
    let state = |region: &mut Region| {
        region.ok("DescribeLoadBalancers", json!({}))["LoadBalancers"][0]["State"]["Code"].clone()
    };
    assert_eq!(state(&mut region), "provisioning");
    assert!(region.elb.traffic(Context { facts: &region.facts, now: region.now }).balancers.is_empty());
    region.after(2.0);
    assert_eq!(state(&mut region), "active");
    assert_eq!(
        region.elb.traffic(Context { facts: &region.facts, now: region.now }).balancers[0].arn,
        balancer
    );
}

#[test]
fn deleting_twice_succeeds_and_protection_holds() {
    let mut region = Region::new();
    let (balancer, group) = (region.alb("web"), region.group("web", "HTTP"));
    let listener = region.listener(&balancer, "HTTP", 80, &group);
    let rule = region.rule(&listener, 1, "/a", fixed());
    let protect = |on: &str| json!({"LoadBalancerArn": balancer, "Attributes": [{"Key": "deletion_protection.enabled", "Value": on}]});
    region.ok("ModifyLoadBalancerAttributes", protect("true"));
    assert_eq!(
        region.code("DeleteLoadBalancer", json!({"LoadBalancerArn": balancer})),
        "OperationNotPermitted"
    );
    region.ok("ModifyLoadBalancerAttributes", protect("false"));
    assert_eq!(region.code("DeleteTargetGroup", json!({"TargetGroupArn": group})), "ResourceInUse");
    for _ in 0..2 {
        region.ok("DeleteRule", json!({"RuleArn": rule}));
    }
    for _ in 0..2 {
        region.ok("DeleteListener", json!({"ListenerArn": listener}));
    }
    for _ in 0..2 {
        region.ok("DeleteLoadBalancer", json!({"LoadBalancerArn": balancer}));
    }
    for _ in 0..2 {
        region.ok("DeleteTargetGroup", json!({"TargetGroupArn": group}));
    }
    assert_eq!(
        region.code("DescribeLoadBalancers", json!({"LoadBalancerArns": [balancer]})),
        "LoadBalancerNotFound"
    );
}

#[test]
fn a_load_balancer_takes_its_listeners_and_rules_along() {
    let mut region = Region::new();
    let (balancer, group) = (region.alb("web"), region.group("web", "HTTP"));
    let listener = region.listener(&balancer, "HTTP", 80, &group);
    let rule = region.rule(&listener, 1, "/a", forward(&group));
    region.ok("DeleteLoadBalancer", json!({"LoadBalancerArn": balancer}));
    assert_eq!(region.code("DescribeListeners", json!({"ListenerArns": [listener]})), "ListenerNotFound");
    assert_eq!(region.code("DescribeTags", json!({"ResourceArns": [rule]})), "RuleNotFound");
    region.ok("DeleteTargetGroup", json!({"TargetGroupArn": group}));
}

#[test]
fn security_groups_are_in_use_while_interfaces_linger() {
    let mut region = Region::new();
    let balancer = region.alb("web");
    let in_use = |region: &Region| region.elb.security_groups_in_use(region.now).contains("sg-1");
    assert!(in_use(&region));
    region.ok("DeleteLoadBalancer", json!({"LoadBalancerArn": balancer}));
    assert!(in_use(&region));
    region.after(2.0);
    assert!(!in_use(&region));
}

#[test]
fn an_nlb_made_without_security_groups_stays_without() {
    let mut region = Region::new();
    let bare = region.nlb("bare");
    let set = |arn: &str, groups: &[&str]| json!({"LoadBalancerArn": arn, "SecurityGroups": groups});
    assert_eq!(region.code("SetSecurityGroups", set(&bare, &["sg-1"])), "InvalidConfigurationRequest");
    let guarded = region.balancer(
        json!({"Name": "g", "Type": "network", "Subnets": ["subnet-a"], "SecurityGroups": ["sg-1"]}),
    );
    let enforce = "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic";
    let shown = |region: &mut Region| {
        region.ok("DescribeLoadBalancers", json!({"Names": ["g"]}))["LoadBalancers"][0].clone()
    };
    assert_eq!(shown(&mut region)[enforce], "on");
    let mut off = set(&guarded, &["sg-2"]);
    off[enforce] = json!("off");
    assert_eq!(region.ok("SetSecurityGroups", off)["SecurityGroupIds"], json!(["sg-2"]));
    region.ok("SetSecurityGroups", set(&guarded, &["sg-1", "sg-2"]));
    assert_eq!(shown(&mut region)[enforce], "off", "it is kept when nothing is said");
    assert_eq!(region.code("SetSecurityGroups", set(&guarded, &[])), "InvalidConfigurationRequest");
}

#[test]
fn subnets_are_replaced_as_a_whole() {
    let mut region = Region::new();
    let balancer = region.nlb("web");
    let private = |answer: &Value| answer["AvailabilityZones"].as_array().unwrap().len();
    let set = |subnets: &[&str]| json!({"LoadBalancerArn": balancer, "Subnets": subnets});
    assert_eq!(private(&region.ok("SetSubnets", set(&["subnet-a"]))), 1);
    assert_eq!(private(&region.ok("SetSubnets", set(&["subnet-a", "subnet-c"]))), 2);
    let other = Subnet { cidr: "10.0.9.0/24".parse().unwrap(), ..region.facts.subnets["subnet-a"].clone() };
    region.facts.subnets.insert("subnet-a2".into(), other);
    assert_eq!(region.code("SetSubnets", set(&["subnet-a2", "subnet-c"])), "InvalidConfigurationRequest");
    region.ok("SetSubnets", set(&["subnet-c"]));
    region.ok("SetSubnets", set(&["subnet-a2", "subnet-c"]));
}

#[test]
fn targets_are_told_apart_by_id_and_port() {
    let mut region = Region::new();
    let group = region.group("web", "TCP");
    let register = |targets: Value| json!({"TargetGroupArn": group, "Targets": targets});
    region
        .ok("RegisterTargets", register(json!([{"Id": "i-a"}, {"Id": "i-a", "Port": 30081}, {"Id": "i-b"}])));
    assert_eq!(
        region.health(&group),
        [
            "i-a:30080 unused Target.NotInUse",
            "i-a:30081 unused Target.NotInUse",
            "i-b:30080 unused Target.NotInUse"
        ]
    );
    region.ok("DeregisterTargets", register(json!([{"Id": "i-a"}])));
    assert_eq!(region.health(&group).len(), 2);
    region.ok("DeregisterTargets", register(json!([{"Id": "i-a"}, {"Id": "i-never"}])));
    assert_eq!(region.code("RegisterTargets", register(json!([{"Id": "i-x"}]))), "InvalidTarget");
    let absent = region.ok("DescribeTargetHealth", register(json!([{"Id": "i-c"}])));
    assert_eq!(absent["TargetHealthDescriptions"][0]["TargetHealth"]["Reason"], "Target.NotRegistered");
}

#[test]
fn a_target_lives_from_unused_to_gone() {
    let mut region = Region::new();
    let (balancer, group) = (region.nlb("web"), region.group("web", "TCP"));
    let targets = json!({"TargetGroupArn": group, "Targets": [{"Id": "i-a"}]});
    region.ok("RegisterTargets", targets.clone());
    assert_eq!(region.health(&group), ["i-a:30080 unused Target.NotInUse"]);
    region.after(1.0);
    assert_eq!(
        region.health(&group),
        ["i-a:30080 unused Target.NotInUse"],
        "nobody checks what is not in use"
    );
    let listener = region.listener(&balancer, "TCP", 80, &group);
    assert_eq!(region.health(&group), ["i-a:30080 initial Elb.InitialHealthChecking"]);
    region.after(1.2);
    assert_eq!(region.health(&group), ["i-a:30080 healthy -"]);
    region.elb.set_health("i-a", State::Unhealthy(Reason::CodeMismatch(503)));
    assert_eq!(region.health(&group), ["i-a:30080 unhealthy Target.ResponseCodeMismatch"]);
    let attribute = json!([{"Key": "deregistration_delay.timeout_seconds", "Value": "30"}]);
    region.ok("ModifyTargetGroupAttributes", json!({"TargetGroupArn": group, "Attributes": attribute}));
    region.ok("DeregisterTargets", targets.clone());
    assert_eq!(region.health(&group), ["i-a:30080 draining Target.DeregistrationInProgress"]);
    region.after(29.0);
    assert_eq!(region.health(&group).len(), 1);
    region.after(1.0);
    assert_eq!(region.health(&group).len(), 0);

    region.ok("RegisterTargets", targets.clone());
    assert_eq!(region.health(&group), ["i-a:30080 initial Elb.RegistrationInProgress"]);
    region.ok("DeregisterTargets", targets.clone());
    region.ok("RegisterTargets", targets);
    assert_eq!(
        region.health(&group),
        ["i-a:30080 initial Elb.RegistrationInProgress"],
        "a draining one starts anew"
    );
    region.ok("DeleteListener", json!({"ListenerArn": listener}));
    region.after(0.0);
    assert_eq!(region.health(&group), ["i-a:30080 unused Target.NotInUse"]);
}

#[test]
fn targets_of_stopped_instances_and_of_other_zones_are_unused() {
    let mut region = Region::new();
    let balancer =
        region.balancer(json!({"Name": "web", "Type": "network", "Subnets": ["subnet-a", "subnet-b"]}));
    let group = region.group("web", "TCP");
    region.listener(&balancer, "TCP", 80, &group);
    let targets = json!([{"Id": "i-a"}, {"Id": "i-b"}, {"Id": "i-c"}]);
    region.ok("RegisterTargets", json!({"TargetGroupArn": group, "Targets": targets}));
    region.facts.instances.get_mut("i-b").unwrap().state = "stopped".into();
    region.after(5.0);
    assert_eq!(
        region.health(&group),
        ["i-a:30080 healthy -", "i-b:30080 unused Target.InvalidState", "i-c:30080 unused Target.NotInUse"]
    );
}

#[test]
fn probed_targets_follow_their_checks() {
    let mut region = Region::new();
    region.elb.settings.simulated_health = None;
    let (balancer, group) = (region.nlb("web"), region.group("web", "TCP"));
    region.ok("RegisterTargets", json!({"TargetGroupArn": group, "Targets": [{"Id": "i-a"}]}));
    assert!(!region.elb.observe(&group, "i-a", 30080, Ok(())), "unused targets are not judged");
    region.listener(&balancer, "TCP", 80, &group);
    region.after(1.0);
    let changes: Vec<bool> = (0..5).map(|_| region.elb.observe(&group, "i-a", 30080, Ok(()))).collect();
    assert_eq!(changes, [false, false, false, false, true]);
    assert_eq!(region.health(&group), ["i-a:30080 healthy -"]);
    assert!(!region.elb.observe(&group, "i-a", 30080, Err(Reason::Timeout)));
    assert!(region.elb.observe(&group, "i-a", 30080, Err(Reason::Timeout)));
    assert_eq!(region.health(&group), ["i-a:30080 unhealthy Target.Timeout"]);
    assert!(!region.elb.observe(&group, "i-x", 1, Ok(())));
}

#[test]
fn a_port_has_one_listener() {
    let mut region = Region::new();
    let (balancer, tcp, udp) = (region.nlb("web"), region.group("tcp", "TCP"), region.group("udp", "UDP"));
    let listener = region.listener(&balancer, "TCP", 53, &tcp);
    assert_eq!(region.listener(&balancer, "TCP", 53, &tcp), listener, "the same again is the same");
    let other = json!({"LoadBalancerArn": balancer, "Protocol": "UDP", "Port": 53, "DefaultActions": [forward(&udp)]});
    assert_eq!(region.code("CreateListener", other), "DuplicateListener");
    region.listener(&balancer, "TCP", 54, &tcp);
    assert_eq!(
        region.code("ModifyListener", json!({"ListenerArn": listener, "Port": 54})),
        "DuplicateListener"
    );
    region.ok("ModifyListener", json!({"ListenerArn": listener, "Port": 55}));
}

#[test]
fn protocols_fit_or_are_refused() {
    let mut region = Region::new();
    let (nlb, alb) = (region.nlb("net"), region.alb("app"));
    let groups: BTreeMap<&str, String> = ["TCP", "UDP", "TCP_UDP", "TLS", "HTTP"]
        .map(|p| (p, region.group(&format!("g-{}", p.replace('_', "-")), p)))
        .into();
    for (balancer, protocol, group, code) in [
        (&nlb, "TCP", "TCP", None),
        (&nlb, "UDP", "UDP", None),
        (&nlb, "TCP_UDP", "TCP_UDP", None),
        (&nlb, "TCP_UDP", "TCP", Some("IncompatibleProtocols")),
        (&nlb, "TCP", "UDP", Some("IncompatibleProtocols")),
        (&nlb, "TLS", "TCP", Some("ValidationError")),
        (&nlb, "TCP", "HTTP", Some("IncompatibleProtocols")),
        (&nlb, "HTTP", "HTTP", Some("ValidationError")),
        (&alb, "HTTP", "HTTP", None),
        (&alb, "HTTP", "TCP", Some("IncompatibleProtocols")),
        (&alb, "HTTPS", "HTTP", Some("ValidationError")),
        (&alb, "TCP", "TCP", Some("ValidationError")),
    ] {
        let input = json!({"LoadBalancerArn": balancer, "Protocol": protocol, "Port": 80, "DefaultActions": [forward(&groups[group])]});
        match (region.call("CreateListener", input), code) {
            (Ok(answer), None) => {
                region.ok("DeleteListener", json!({"ListenerArn": answer["Listeners"][0]["ListenerArn"]}));
            }
            (result, code) => {
                assert_eq!(result.err().map(|refusal| refusal.code), code, "{protocol} -> {group}")
            }
        }
    }
}

#[test]
fn listeners_of_every_protocol_are_modified() {
    let mut region = Region::new();
    let (balancer, first, second) =
        (region.nlb("web"), region.group("one", "TCP"), region.group("two", "TCP"));
    let tls = json!({"LoadBalancerArn": balancer, "Protocol": "TLS", "Port": 443, "DefaultActions": [forward(&first)],
                     "Certificates": [{"CertificateArn": CERTIFICATE}], "AlpnPolicy": ["HTTP2Preferred"]});
    let mut missing = tls.clone();
    missing["Certificates"][0]["CertificateArn"] = json!("arn:aws:acm:r:1:certificate/2");
    assert_eq!(region.code("CreateListener", missing), "CertificateNotFound");
    let answer = region.ok("CreateListener", tls);
    let listener = arn(&answer["Listeners"][0]["ListenerArn"]);
    assert_eq!(answer["Listeners"][0]["SslPolicy"], "ELBSecurityPolicy-2016-08");
    let changed = region.ok("ModifyListener", json!({"ListenerArn": listener, "DefaultActions": [forward(&second)], "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06"}));
    let changed = &changed["Listeners"][0];
    assert_eq!(changed["DefaultActions"][0]["TargetGroupArn"], json!(second));
    assert_eq!(changed["AlpnPolicy"], json!(["HTTP2Preferred"]), "what is not named stays");
    assert_eq!(
        region.code("ModifyListener", json!({"ListenerArn": listener, "SslPolicy": "x"})),
        "SSLPolicyNotFound"
    );
    let udp_group = region.group("udp", "UDP");
    let udp = region.listener(&balancer, "UDP", 53, &udp_group);
    let other = region.group("udp2", "UDP");
    region.ok("ModifyListener", json!({"ListenerArn": udp, "DefaultActions": [forward(&other)]}));
    region.ok("DeleteTargetGroup", json!({"TargetGroupArn": udp_group}));
    let tcp = region.listener(&balancer, "TCP", 80, &second);
    let shown = region.ok("DescribeListeners", json!({"ListenerArns": [tcp]}));
    assert!(shown["Listeners"][0].get("SslPolicy").is_none(), "TCP listeners have no policy");
}

#[test]
fn a_target_group_belongs_to_one_load_balancer() {
    let mut region = Region::new();
    let (one, two, group) = (region.nlb("one"), region.nlb("two"), region.group("web", "TCP"));
    let listener = region.listener(&one, "TCP", 80, &group);
    region.listener(&one, "TCP", 81, &group);
    let shown = |region: &mut Region, group: &str| {
        region.ok("DescribeTargetGroups", json!({"TargetGroupArns": [group]}))["TargetGroups"][0]["LoadBalancerArns"].clone()
    };
    assert_eq!(shown(&mut region, &group), json!([one]));
    let input =
        json!({"LoadBalancerArn": two, "Protocol": "TCP", "Port": 80, "DefaultActions": [forward(&group)]});
    assert_eq!(region.code("CreateListener", input), "TargetGroupAssociationLimit");
    assert_eq!(region.ok("DescribeTargetGroups", json!({"LoadBalancerArn": two}))["TargetGroups"], json!([]));
    let other = region.group("other", "TCP");
    region.ok("ModifyListener", json!({"ListenerArn": listener, "DefaultActions": [forward(&other)]}));
    assert_eq!(
        region.ok("DescribeTargetGroups", json!({"LoadBalancerArn": one}))["TargetGroups"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn actions_come_back_as_aws_gives_them() {
    let mut region = Region::new();
    let (balancer, one, two) = (region.alb("web"), region.group("one", "HTTP"), region.group("two", "HTTP"));
    let listener = region.listener(&balancer, "HTTP", 80, &one);
    let shown = |region: &mut Region| {
        region.ok("DescribeListeners", json!({"ListenerArns": [listener]}))["Listeners"][0]["DefaultActions"]
            [0]
        .clone()
    };
    let single = json!({"Type": "forward", "TargetGroupArn": one, "ForwardConfig": {
        "TargetGroups": [{"TargetGroupArn": one, "Weight": 1}], "TargetGroupStickinessConfig": {"Enabled": false}}});
    assert_eq!(shown(&mut region), single);
    let weighted = json!({"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": one, "Weight": 90}, {"TargetGroupArn": two, "Weight": 0}]}});
    region.ok("ModifyListener", json!({"ListenerArn": listener, "DefaultActions": [weighted]}));
    assert_eq!(
        shown(&mut region)["ForwardConfig"]["TargetGroups"][1],
        json!({"TargetGroupArn": two, "Weight": 0})
    );
    assert!(shown(&mut region).get("TargetGroupArn").is_none());
    let redirect = json!({"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}});
    region.ok("ModifyListener", json!({"ListenerArn": listener, "DefaultActions": [redirect]}));
    let expected = json!({"Protocol": "HTTPS", "Port": "443", "Host": "#{host}", "Path": "/#{path}", "Query": "#{query}", "StatusCode": "HTTP_301"});
    assert_eq!(shown(&mut region)["RedirectConfig"], expected);
    let oidc = json!({"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": {"ClientId": "c", "ClientSecret": "hush"}});
    let last = json!({"Type": "fixed-response", "Order": 2, "FixedResponseConfig": {"StatusCode": "200"}});
    region.ok("ModifyListener", json!({"ListenerArn": listener, "DefaultActions": [oidc, last]}));
    assert_eq!(
        shown(&mut region)["AuthenticateOidcConfig"],
        json!({"ClientId": "c"}),
        "the secret never comes back"
    );
    for (actions, code) in [
        (json!([]), "ValidationError"),
        (json!([fixed(), fixed()]), "InvalidLoadBalancerAction"),
        (
            json!([{"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301"}}]),
            "InvalidLoadBalancerAction",
        ),
        (json!([{"Type": "forward"}]), "ValidationError"),
        (json!([forward("arn:none")]), "TargetGroupNotFound"),
    ] {
        assert_eq!(
            region.code("ModifyListener", json!({"ListenerArn": listener, "DefaultActions": actions})),
            code,
            "{actions}"
        );
    }
}

#[test]
fn rule_priorities_are_moved_at_once() {
    let mut region = Region::new();
    let (balancer, group) = (region.alb("web"), region.group("web", "HTTP"));
    let listener = region.listener(&balancer, "HTTP", 80, &group);
    let (a, b, c) = (
        region.rule(&listener, 1, "/a", fixed()),
        region.rule(&listener, 2, "/b", fixed()),
        region.rule(&listener, 3, "/c", fixed()),
    );
    let set = |pairs: &[(&str, u32)]| {
        let pairs: Vec<Value> =
            pairs.iter().map(|(arn, priority)| json!({"RuleArn": arn, "Priority": priority})).collect();
        json!({"RulePriorities": pairs})
    };
    region.ok("SetRulePriorities", set(&[(&a, 2), (&b, 1)]));
    region.ok("SetRulePriorities", set(&[(&a, 2)]));
    assert_eq!(region.code("SetRulePriorities", set(&[(&a, 3)])), "PriorityInUse");
    let order = |region: &mut Region| -> Vec<String> {
        let rules = region.ok("DescribeRules", json!({"ListenerArn": listener}));
        rules["Rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| format!("{}{}", arn(&rule["Priority"]), rule["IsDefault"]))
            .collect()
    };
    assert_eq!(order(&mut region), ["1false", "2false", "3false", "defaulttrue"]);
    let shown = region.ok("DescribeRules", json!({"RuleArns": [c]}));
    assert_eq!(shown["Rules"][0]["Priority"], "3");
    let taken =
        json!({"ListenerArn": listener, "Priority": 3, "Conditions": [on_path("/d")], "Actions": [fixed()]});
    assert_eq!(region.code("CreateRule", taken), "PriorityInUse");
    let default = region.elb.listeners[&listener].default_rule.clone();
    assert_eq!(region.code("DeleteRule", json!({"RuleArn": default})), "OperationNotPermitted");
    assert_eq!(region.code("SetRulePriorities", set(&[(&default, 9)])), "OperationNotPermitted");
}

#[test]
fn conditions_are_checked() {
    let mut region = Region::new();
    let (balancer, group) = (region.alb("web"), region.group("web", "HTTP"));
    let listener = region.listener(&balancer, "HTTP", 80, &group);
    let with = |conditions: Value| json!({"ListenerArn": listener, "Priority": 1, "Conditions": conditions, "Actions": [fixed()]});
    for (conditions, fits) in [
        (json!([on_path("/a")]), true),
        (json!([]), false),
        (json!([on_path("/a"), on_path("/b")]), false),
        (json!([{"Field": "path-pattern", "Values": ["/1", "/2", "/3", "/4", "/5"]}]), true),
        (
            json!([{"Field": "path-pattern", "Values": ["/1", "/2", "/3", "/4", "/5"]}, {"Field": "host-header", "Values": ["a.io"]}]),
            false,
        ),
        (json!([{"Field": "host-header", "HostHeaderConfig": {"RegexValues": ["^[^.]+\\.a\\.io$"]}}]), true),
        (json!([{"Field": "host-header", "HostHeaderConfig": {"RegexValues": ["("]}}]), false),
        (
            json!([{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/a"], "RegexValues": ["^/b"]}}]),
            false,
        ),
        (json!([{"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}}]), true),
        (json!([{"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/33"]}}]), false),
        (
            json!([{"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X", "Values": ["1"]}},
                {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "Y", "Values": ["1"]}}]),
            true,
        ),
        (json!([{"Field": "query-string", "QueryStringConfig": {"Values": [{"Value": "x"}]}}]), true),
        (json!([{"Field": "color", "Values": ["red"]}]), false),
        (json!([{"Field": "host-header", "Values": []}]), false),
    ] {
        match region.call("CreateRule", with(conditions.clone())) {
            Ok(answer) => {
                assert!(fits, "{conditions} was taken");
                region.ok("DeleteRule", json!({"RuleArn": answer["Rules"][0]["RuleArn"]}));
            }
            Err(refusal) => assert!(!fits && refusal.code == "ValidationError", "{conditions}: {refusal:?}"),
        }
    }
    let answer = region.ok("CreateRule", with(json!([{"Field": "path-pattern", "Values": ["/a"]}])));
    let shown = &answer["Rules"][0]["Conditions"][0];
    assert_eq!(
        *shown,
        json!({"Field": "path-pattern", "Values": ["/a"], "PathPatternConfig": {"Values": ["/a"]}})
    );
    let nlb = region.nlb("net");
    let tcp = region.group("tcp", "TCP");
    let on_nlb = region.listener(&nlb, "TCP", 80, &tcp);
    let input =
        json!({"ListenerArn": on_nlb, "Priority": 1, "Conditions": [on_path("/a")], "Actions": [fixed()]});
    assert_eq!(region.code("CreateRule", input), "UnsupportedProtocol");
}

#[test]
fn transforms_are_kept() {
    let mut region = Region::new();
    let (balancer, group) = (region.alb("web"), region.group("web", "HTTP"));
    let listener = region.listener(&balancer, "HTTP", 80, &group);
    let rewrite = json!([{"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [{"Regex": "^/a", "Replace": "/b"}]}}]);
    let input = json!({"ListenerArn": listener, "Priority": 1, "Conditions": [on_path("/a")], "Actions": [fixed()], "Transforms": rewrite});
    let rule = arn(&region.ok("CreateRule", input)["Rules"][0]["RuleArn"]);
    let shown = |region: &mut Region| {
        region.ok("DescribeRules", json!({"RuleArns": [rule]}))["Rules"][0]["Transforms"].clone()
    };
    assert_eq!(shown(&mut region), rewrite);
    region.ok("ModifyRule", json!({"RuleArn": rule, "Conditions": [on_path("/c")]}));
    assert_eq!(shown(&mut region), rewrite, "what is not named stays");
    region.ok("ModifyRule", json!({"RuleArn": rule, "ResetTransforms": true}));
    assert_eq!(shown(&mut region), json!([]));
}

#[test]
fn limits_are_enforced_with_their_own_codes() {
    let mut region = Region::new();
    let (balancer, group) = (region.alb("web"), region.group("web", "HTTP"));
    let listener = region.listener(&balancer, "HTTP", 80, &group);
    for (quota, limit) in [
        ("application-load-balancers", 1),
        ("target-groups", 3),
        ("listeners-per-application-load-balancer", 1),
        ("rules-per-application-load-balancer", 1),
        ("certificates-per-application-load-balancer", 0),
        ("targets-per-application-load-balancer", 2),
        ("target-groups-per-application-load-balancer", 2),
    ] {
        region.elb.set_quota(quota, limit).unwrap();
    }
    assert!(region.elb.set_quota("no-such-thing", 1).is_err());
    assert_eq!(
        region.code("CreateLoadBalancer", json!({"Name": "two", "Subnets": ["subnet-a", "subnet-b"]})),
        "TooManyLoadBalancers"
    );
    region.nlb("net");
    let (second, third) = (region.group("two", "HTTP"), region.group("three", "HTTP"));
    assert_eq!(
        region.code(
            "CreateTargetGroup",
            json!({"Name": "four", "Protocol": "HTTP", "Port": 1, "VpcId": "vpc-1"})
        ),
        "TooManyTargetGroups"
    );
    let listen =
        json!({"LoadBalancerArn": balancer, "Protocol": "HTTP", "Port": 81, "DefaultActions": [fixed()]});
    assert_eq!(region.code("CreateListener", listen), "TooManyListeners");
    let all: Vec<Value> =
        [&group, &second, &third].iter().map(|arn| json!({"TargetGroupArn": arn})).collect();
    let three = json!({"Type": "forward", "ForwardConfig": {"TargetGroups": all}});
    assert_eq!(
        region.code("ModifyListener", json!({"ListenerArn": listener, "DefaultActions": [three]})),
        "TooManyUniqueTargetGroupsPerLoadBalancer"
    );
    region.rule(&listener, 1, "/a", fixed());
    assert_eq!(region.code("CreateRule", json!({"ListenerArn": listener, "Priority": 2, "Conditions": [on_path("/b")], "Actions": [fixed()]})), "TooManyRules");
    assert_eq!(
        region.code(
            "AddListenerCertificates",
            json!({"ListenerArn": listener, "Certificates": [{"CertificateArn": CERTIFICATE}]})
        ),
        "TooManyCertificates"
    );
    let targets = json!([{"Id": "i-a"}, {"Id": "i-b"}, {"Id": "i-c"}]);
    assert_eq!(
        region.code("RegisterTargets", json!({"TargetGroupArn": group, "Targets": targets})),
        "TooManyTargets"
    );
    region.ok("RegisterTargets", json!({"TargetGroupArn": second, "Targets": targets}));
    assert_eq!(
        region.code("ModifyListener", json!({"ListenerArn": listener, "DefaultActions": [forward(&second)]})),
        "TooManyTargets"
    );
    let five: Vec<Value> = (0..6).map(|n| json!({"TargetGroupArn": n.to_string()})).collect();
    let many = json!({"Type": "forward", "ForwardConfig": {"TargetGroups": five}});
    assert_eq!(
        region.code("ModifyListener", json!({"ListenerArn": listener, "DefaultActions": [many]})),
        "TooManyTargetGroups"
    );
    let limits = region.ok("DescribeAccountLimits", json!({}));
    assert!(limits["Limits"].as_array().unwrap().contains(&json!({"Name": "target-groups", "Max": "3"})));
}

#[test]
fn cross_zone_balancing_makes_targets_count_more() {
    let mut region = Region::new();
    region.elb.set_quota("targets-per-availability-zone-per-network-load-balancer", 2).unwrap();
    let (balancer, group) = (region.nlb("web"), region.group("web", "TCP"));
    region.listener(&balancer, "TCP", 80, &group);
    region.ok(
        "RegisterTargets",
        json!({"TargetGroupArn": group, "Targets": [{"Id": "i-a"}, {"Id": "i-b"}, {"Id": "i-c"}]}),
    );
    let cross = json!({"LoadBalancerArn": balancer, "Attributes": [{"Key": "load_balancing.cross_zone.enabled", "Value": "true"}]});
    assert_eq!(region.code("ModifyLoadBalancerAttributes", cross), "TooManyTargets");
}

#[test]
fn more_than_twenty_are_not_described_at_once() {
    let mut region = Region::new();
    let arns: Vec<String> = (0..21).map(|n| format!("arn:{n}")).collect();
    for (action, member) in [
        ("DescribeLoadBalancers", "LoadBalancerArns"),
        ("DescribeTargetGroups", "TargetGroupArns"),
        ("DescribeTags", "ResourceArns"),
        ("DescribeListeners", "ListenerArns"),
        ("DescribeRules", "RuleArns"),
    ] {
        assert_eq!(region.code(action, json!({member: arns})), "ValidationError", "{action}");
    }
    let there = region.nlb("web");
    assert_eq!(
        region.code("DescribeLoadBalancers", json!({"LoadBalancerArns": [there, "arn:gone"]})),
        "LoadBalancerNotFound"
    );
}

#[test]
fn tags_are_limited_and_die_with_their_resource() {
    let mut region = Region::new();
    let balancer = region.nlb("web");
    let tags = |from: u32, to: u32| -> Vec<Value> {
        (from..to).map(|n| json!({"Key": format!("k{n}"), "Value": "v"})).collect()
    };
    region.ok("AddTags", json!({"ResourceArns": [balancer], "Tags": tags(0, 50)}));
    assert_eq!(
        region.code("AddTags", json!({"ResourceArns": [balancer], "Tags": tags(50, 51)})),
        "TooManyTags"
    );
    region.ok("AddTags", json!({"ResourceArns": [balancer], "Tags": [{"Key": "k0", "Value": "new"}]}));
    region.ok("RemoveTags", json!({"ResourceArns": [balancer], "TagKeys": ["k1", "none"]}));
    let shown = region.ok("DescribeTags", json!({"ResourceArns": [balancer]}));
    assert_eq!(shown["TagDescriptions"][0]["Tags"].as_array().unwrap().len(), 49);
    assert_eq!(
        region.code(
            "AddTags",
            json!({"ResourceArns": ["arn:aws:elasticloadbalancing:r:1:targetgroup/x/1"], "Tags": tags(0, 1)})
        ),
        "TargetGroupNotFound"
    );
}

#[test]
fn health_checks_are_modified_within_their_bounds() {
    let mut region = Region::new();
    let group = region.group("web", "TCP");
    let modify = |extra: Value| {
        let mut input = json!({"TargetGroupArn": group});
        input.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        input
    };
    let http = json!({"HealthCheckProtocol": "HTTP", "HealthCheckPort": "10256", "HealthCheckPath": "/healthz", "HealthCheckIntervalSeconds": 10, "HealthCheckTimeoutSeconds": 6, "Matcher": {"HttpCode": "200-299"}});
    let changed = region.ok("ModifyTargetGroup", modify(http));
    let changed = &changed["TargetGroups"][0];
    assert_eq!(
        (&changed["HealthCheckPath"], &changed["Matcher"]["HttpCode"]),
        (&json!("/healthz"), &json!("200-299"))
    );
    for wrong in [
        json!({"HealthCheckTimeoutSeconds": 60}),
        json!({"HealthCheckPath": "healthz"}),
        json!({"Matcher": {"HttpCode": "abc"}}),
        json!({"HealthCheckPort": "0"}),
        json!({"HealthCheckProtocol": "UDP"}),
    ] {
        assert_eq!(region.code("ModifyTargetGroup", modify(wrong.clone())), "ValidationError", "{wrong}");
    }
    let tcp = region.ok("ModifyTargetGroup", modify(json!({"HealthCheckProtocol": "TCP"})));
    assert!(tcp["TargetGroups"][0].get("HealthCheckPath").is_none());
    assert_eq!(
        region.code("ModifyTargetGroup", modify(json!({"HealthCheckPath": "/x"}))),
        "InvalidConfigurationRequest"
    );
}
