//! moto beside us: the same calls, what moto makes of them, what AWS does. A row of which moto becomes right needs no repair any more, and says so.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use causeway_bed::aws::moto;
use serde_json::json;

use crate::common::Region;

/// Prints what became of each call as JSON: the error's code, or a word for the answer.
const CALLS: &str = r#"
import boto3, json, botocore.exceptions
elb, acm = boto3.client("elbv2", endpoint_url=URL), boto3.client("acm", endpoint_url=URL)
tagging, ec2 = boto3.client("resourcegroupstaggingapi", endpoint_url=URL), boto3.client("ec2", endpoint_url=URL)
seen = {}
def see(name, call):
    try:
        seen[name] = str(call())
    except botocore.exceptions.ClientError as error:
        seen[name] = error.response["Error"]["Code"]
    except botocore.exceptions.ParamValidationError:
        raise
    except Exception as error:
        seen[name] = type(error).__name__

def lb(name, **more):
    more.setdefault("Subnets", SUBNETS)
    return elb.create_load_balancer(Name=name, Type=more.pop("Type", "network"), **more)["LoadBalancers"][0]
def tg(name, protocol="TCP", **more):
    return elb.create_target_group(Name=name, Protocol=protocol, Port=30080, VpcId=VPC, **more)["TargetGroups"][0]["TargetGroupArn"]
def listen(balancer, port, group, protocol="TCP", **more):
    return elb.create_listener(LoadBalancerArn=balancer, Protocol=protocol, Port=port, DefaultActions=[{"Type": "forward", "TargetGroupArn": group}], **more)["Listeners"][0]["ListenerArn"]
def ok(_):
    return "done"

net = lb("trap"); arn = net["LoadBalancerArn"]
app = lb("trap-app", Type="application")["LoadBalancerArn"]
see("the same load balancer again", lambda: lb("trap")["LoadBalancerArn"] == arn)
see("a name with other settings", lambda: ok(lb("trap", Scheme="internal")))
see("a name that is too long", lambda: ok(lb("x" * 33)))
see("an unknown subnet", lambda: ok(lb("no-subnet", Subnets=["subnet-12345678"])))
see("an unknown security group", lambda: ok(lb("no-group", SecurityGroups=["sg-12345678"])))
see("an ARN says the type", lambda: ":loadbalancer/net/" in arn)
see("a host name says the type", lambda: ".elb.us-east-1.amazonaws.com" in net["DNSName"])
see("a tag twice", lambda: ok(lb("twice", Tags=[{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}])))
see("tags of nothing", lambda: ok(elb.describe_tags(ResourceArns=[arn + "0"])))
see("twenty-one at once", lambda: ok(elb.describe_load_balancers(LoadBalancerArns=[arn] * 21)))
see("one of two is missing", lambda: ok(elb.describe_load_balancers(LoadBalancerArns=[arn, arn[:-4] + "0000"])))
see("no target groups yet", lambda: len(elb.describe_target_groups(LoadBalancerArn=arn)["TargetGroups"]))
see("an attribute of the other type", lambda: ok(elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "60"}])))
see("a wrong value", lambda: ok(elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": "load_balancing.cross_zone.enabled", "Value": "maybe"}])))
see("groups for one without", lambda: ok(elb.set_security_groups(LoadBalancerArn=arn, SecurityGroups=[GROUP])))
see("one subnet is enough", lambda: len(elb.set_subnets(LoadBalancerArn=arn, Subnets=SUBNETS[:1])["AvailabilityZones"]))
elb.set_subnets(LoadBalancerArn=arn, Subnets=SUBNETS)

group = tg("trap")
see("the same target group again", lambda: tg("trap") == group)
see("an hour of draining", lambda: ok(elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "3600"}])))
see("default of the client's address", lambda: {a["Key"]: a["Value"] for a in elb.describe_target_group_attributes(TargetGroupArn=group)["Attributes"]}.get("preserve_client_ip.enabled"))
elb.register_targets(TargetGroupArn=group, Targets=[{"Id": INSTANCES[0], "Port": 30080}, {"Id": INSTANCES[0], "Port": 30081}])
see("two ports of one instance", lambda: len(elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]))
see("a target of an unused group", lambda: elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"][0]["TargetHealth"]["State"])
see("an instance that is not there", lambda: ok(elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "i-12345678"}])))
see("deregistered twice", lambda: ok([elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": INSTANCES[1]}]) for _ in range(2)]))
first = listen(arn, 80, group)
see("right after the listener", lambda: elb.describe_target_health(TargetGroupArn=group, Targets=[{"Id": INSTANCES[0], "Port": 30080}])["TargetHealthDescriptions"][0]["TargetHealth"]["State"])
elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": INSTANCES[0], "Port": 30080}])
see("right after deregistration", lambda: [h["TargetHealth"]["State"] for h in elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"] if h["Target"]["Port"] == 30080])
see("two listeners on a port", lambda: ok(listen(arn, 80, tg("trap-two"))))
see("TLS without a certificate", lambda: ok(listen(arn, 443, tg("trap-three"), "TLS")))
see("a group on two load balancers", lambda: ok(listen(lb("trap-other")["LoadBalancerArn"], 80, group)))
see("a TCP listener's TLS policy", lambda: elb.describe_listeners(ListenerArns=[first])["Listeners"][0].get("SslPolicy"))
udp = tg("trap-udp", "UDP")
listener = listen(arn, 53, udp, "UDP")
see("a UDP listener modified", lambda: ok(elb.modify_listener(ListenerArn=listener, Protocol="UDP", DefaultActions=[{"Type": "forward", "TargetGroupArn": tg("trap-udp2", "UDP")}])))
see("the old group of a modified listener", lambda: elb.describe_target_groups(TargetGroupArns=[udp])["TargetGroups"][0]["LoadBalancerArns"])
see("a listener deleted twice", lambda: ok([elb.delete_listener(ListenerArn=listener) for _ in range(2)]))
see("a group deleted twice", lambda: ok([elb.delete_target_group(TargetGroupArn=udp) for _ in range(2)]))

http = listen(app, 80, tg("trap-http", "HTTP"), "HTTP")
fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}
def rule(priority, condition, **more):
    return elb.create_rule(ListenerArn=http, Priority=priority, Conditions=[condition], Actions=[fixed], **more)["Rules"][0]
a, b = (rule(n, {"Field": "path-pattern", "Values": ["/" + str(n)]})["RuleArn"] for n in (1, 2))
see("rules swapped", lambda: ok(elb.set_rule_priorities(RulePriorities=[{"RuleArn": a, "Priority": 2}, {"RuleArn": b, "Priority": 1}])))
see("regular expressions", lambda: rule(3, {"Field": "path-pattern", "PathPatternConfig": {"RegexValues": ["^/x"]}})["Conditions"][0]["PathPatternConfig"]["RegexValues"])
rewrite = [{"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [{"Regex": "^/a", "Replace": "/b"}]}}]
see("transforms", lambda: len(rule(4, {"Field": "path-pattern", "Values": ["/4"]}, Transforms=rewrite).get("Transforms", [])))
see("a rule without a condition", lambda: ok(elb.create_rule(ListenerArn=http, Priority=5, Actions=[fixed], Conditions=[])))
oidc = {"Issuer": "https://i", "AuthorizationEndpoint": "https://i/a", "TokenEndpoint": "https://i/t", "UserInfoEndpoint": "https://i/u", "ClientId": "c", "ClientSecret": "hush"}
see("a secret comes back", lambda: "hush" in str(elb.create_rule(ListenerArn=http, Priority=6, Conditions=[{"Field": "path-pattern", "Values": ["/6"]}],
    Actions=[{"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": oidc}, dict(fixed, Order=2)])["Rules"]))

see("capacity modified", lambda: ok(elb.modify_capacity_reservation(LoadBalancerArn=arn, MinimumLoadBalancerCapacity={"CapacityUnits": 500})))
elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": "deletion_protection.enabled", "Value": "true"}])
see("a protected one deleted", lambda: ok(elb.delete_load_balancer(LoadBalancerArn=arn)))

elb.add_tags(ResourceArns=[http], Tags=[{"Key": "trap", "Value": "l"}])
see("listeners are found by tag", lambda: len(tagging.get_resources(TagFilters=[{"Key": "trap"}])["ResourceTagMappingList"]))
acm.request_certificate(DomainName="a.io", SubjectAlternativeNames=["b.io"])
see("alternative names are listed", lambda: acm.list_certificates(CertificateStatuses=["ISSUED"])["CertificateSummaryList"][0].get("SubjectAlternativeNameSummaries"))
see("a used security group deleted", lambda: ok(ec2.delete_security_group(GroupId=GROUP)))
print(json.dumps(seen))
"#;

/// What AWS makes of each call.
const RIGHT: [(&str, &str); 43] = [
    ("the same load balancer again", "True"),
    ("a name with other settings", "DuplicateLoadBalancerName"),
    ("a name that is too long", "ValidationError"),
    ("an unknown subnet", "SubnetNotFound"),
    ("an unknown security group", "InvalidSecurityGroup"),
    ("an ARN says the type", "True"),
    ("a host name says the type", "True"),
    ("a tag twice", "DuplicateTagKeys"),
    ("tags of nothing", "LoadBalancerNotFound"),
    ("twenty-one at once", "ValidationError"),
    ("one of two is missing", "LoadBalancerNotFound"),
    ("no target groups yet", "0"),
    ("an attribute of the other type", "InvalidConfigurationRequest"),
    ("a wrong value", "InvalidConfigurationRequest"),
    ("groups for one without", "InvalidConfigurationRequest"),
    ("one subnet is enough", "1"),
    ("the same target group again", "True"),
    ("an hour of draining", "done"),
    ("default of the client's address", "true"),
    ("two ports of one instance", "2"),
    ("a target of an unused group", "unused"),
    ("an instance that is not there", "InvalidTarget"),
    ("deregistered twice", "done"),
    ("right after the listener", "initial"),
    ("right after deregistration", "['draining']"),
    ("two listeners on a port", "DuplicateListener"),
    ("TLS without a certificate", "ValidationError"),
    ("a group on two load balancers", "TargetGroupAssociationLimit"),
    ("a TCP listener's TLS policy", "None"),
    ("a UDP listener modified", "done"),
    ("the old group of a modified listener", "[]"),
    ("a listener deleted twice", "done"),
    ("a group deleted twice", "done"),
    ("rules swapped", "done"),
    ("regular expressions", "['^/x']"),
    ("transforms", "1"),
    ("a rule without a condition", "ValidationError"),
    ("a secret comes back", "False"),
    ("capacity modified", "done"),
    ("a protected one deleted", "OperationNotPermitted"),
    ("listeners are found by tag", "1"),
    ("alternative names are listed", "['a.io', 'b.io']"),
    ("a used security group deleted", "DependencyViolation"),
];

#[tokio::test]
async fn moto_is_wrong_where_we_are_right() -> Result<()> {
    let region = Region::start().await?;
    let subnets: Vec<&str> = region.account.subnets.iter().map(|subnet| subnet.id.as_str()).collect();
    let instances: Vec<&str> = region.account.instances.iter().map(|instance| instance.id.as_str()).collect();
    let outcome = |url: String| -> Result<BTreeMap<String, String>> {
        let program = format!(
            "URL, SUBNETS, INSTANCES, VPC, GROUP = {}, {}, {}, {}, {}\n{CALLS}",
            json!(url),
            json!(subnets),
            json!(instances),
            json!(region.account.vpc),
            json!(region.account.security_group)
        );
        let said = region.aws.python(&program)?;
        serde_json::from_str(&said).with_context(|| said.clone())
    };
    // Ours first: moto lets a security group go that is in use.
    let ours = outcome(region.aws.endpoint())?;
    let moto = outcome(format!("http://{}", moto::ADDRESS))?;
    let mut wrong = Vec::new();
    for (name, right) in RIGHT {
        let (our, its) = (ours.get(name).map(String::as_str), moto.get(name).map(String::as_str));
        if our != Some(right) {
            wrong.push(format!("{name}: AWS {right:?}, ours {our:?}"));
        }
        if its == Some(right) {
            wrong.push(format!("{name}: moto is right too ({right:?}): nothing to repair any more"));
        }
    }
    ensure!(wrong.is_empty(), "{}\n\nmoto: {moto:#?}", wrong.join("\n"));
    ensure!(ours.len() == RIGHT.len(), "{ours:?}");
    Ok(())
}
