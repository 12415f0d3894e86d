//! What we write is what AWS's own client reads: boto3 makes, lists, changes and deletes everything, and knows our errors by their classes.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::common::{Region, code, ec2, elb, first};

/// Subnets, VPC and the nodes' group are written before it.
const TOUR: &str = r#"
import boto3, botocore.exceptions
elb, ec2, acm, tags = (boto3.client(name) for name in ("elbv2", "ec2", "acm", "resourcegroupstaggingapi"))
made = dict(Subnets=SUBNETS, Tags=[{"Key": "causeway.io/cluster", "Value": "c"}])

group = ec2.create_security_group(GroupName="front", Description="front", VpcId=VPC)["GroupId"]
alb = elb.create_load_balancer(Name="app", SecurityGroups=[group], **made)["LoadBalancers"][0]
nlb = elb.create_load_balancer(Name="net", Type="network", **made)["LoadBalancers"][0]
assert nlb["State"]["Code"] == "provisioning", nlb
assert ":loadbalancer/net/net/" in nlb["LoadBalancerArn"] and alb["DNSName"].endswith(".us-east-1.elb.amazonaws.com")
elb.get_waiter("load_balancer_available").wait(LoadBalancerArns=[alb["LoadBalancerArn"], nlb["LoadBalancerArn"]], WaiterConfig={"Delay": 1})
try:
    elb.create_load_balancer(Name="net", Type="network", Scheme="internal", Subnets=SUBNETS)
    raise SystemExit("a second load balancer of one name")
except elb.exceptions.DuplicateLoadBalancerNameException as error:
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400

def target_group(name, protocol, **more):
    return elb.create_target_group(Name=name, Protocol=protocol, Port=30080, VpcId=VPC, **more)["TargetGroups"][0]["TargetGroupArn"]
web, blue, tcp = target_group("web", "HTTP"), target_group("blue", "HTTP", Matcher={"HttpCode": "200-299"}), target_group("tcp", "TCP")
http = elb.create_listener(LoadBalancerArn=alb["LoadBalancerArn"], Protocol="HTTP", Port=80, DefaultActions=[
    {"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}])["Listeners"][0]["ListenerArn"]
plain = elb.create_listener(LoadBalancerArn=nlb["LoadBalancerArn"], Protocol="TCP", Port=80, DefaultActions=[{"Type": "forward", "TargetGroupArn": tcp}])["Listeners"][0]["ListenerArn"]
forward = {"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": web, "Weight": 9}, {"TargetGroupArn": blue, "Weight": 1}],
           "TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 60}}}
conditions = [[{"Field": "host-header", "HostHeaderConfig": {"RegexValues": [r"^[^.]+\.a\.io$"]}}],
              [{"Field": "path-pattern", "Values": ["/a", "/a/*"]}, {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}}],
              [{"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X", "Values": ["y"]}}],
              [{"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "v", "Value": "1"}]}}]]
rules = [elb.create_rule(ListenerArn=http, Priority=n + 1, Conditions=c, Actions=[forward],
         Transforms=[{"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [{"Regex": "^/a", "Replace": "/"}]}}],
         Tags=[{"Key": "causeway.io/cluster", "Value": "c"}])["Rules"][0]["RuleArn"] for n, c in enumerate(conditions)]
elb.set_rule_priorities(RulePriorities=[{"RuleArn": rules[0], "Priority": 2}, {"RuleArn": rules[1], "Priority": 1}])
shown = elb.describe_rules(ListenerArn=http)["Rules"]
assert [rule["RuleArn"] for rule in shown[:2]] == [rules[1], rules[0]] and shown[-1]["IsDefault"], shown
assert shown[1]["Conditions"][0]["HostHeaderConfig"]["RegexValues"] == [r"^[^.]+\.a\.io$"], shown[1]
assert shown[1]["Transforms"][0]["UrlRewriteConfig"]["Rewrites"][0]["Regex"] == "^/a"
assert shown[1]["Actions"][0]["ForwardConfig"]["TargetGroupStickinessConfig"] == {"Enabled": True, "DurationSeconds": 60}

elb.modify_load_balancer_attributes(LoadBalancerArn=nlb["LoadBalancerArn"], Attributes=[{"Key": "deletion_protection.enabled", "Value": "true"}])
try:
    elb.delete_load_balancer(LoadBalancerArn=nlb["LoadBalancerArn"])
    raise SystemExit("a protected load balancer was deleted")
except elb.exceptions.OperationNotPermittedException:
    pass
elb.modify_load_balancer_attributes(LoadBalancerArn=nlb["LoadBalancerArn"], Attributes=[{"Key": "deletion_protection.enabled", "Value": "false"}])
elb.modify_target_group_attributes(TargetGroupArn=tcp, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "3600"}])
attributes = {a["Key"]: a["Value"] for a in elb.describe_target_group_attributes(TargetGroupArn=tcp)["Attributes"]}
assert attributes["deregistration_delay.timeout_seconds"] == "3600" and attributes["preserve_client_ip.enabled"] == "true", attributes
elb.modify_listener_attributes(ListenerArn=plain, Attributes=[{"Key": "tcp.idle_timeout.seconds", "Value": "400"}])

elb.register_targets(TargetGroupArn=tcp, Targets=[{"Id": i, "Port": p} for i in INSTANCES for p in (30080, 30081)])
elb.get_waiter("target_in_service").wait(TargetGroupArn=tcp, WaiterConfig={"Delay": 1})
health = elb.describe_target_health(TargetGroupArn=tcp)["TargetHealthDescriptions"]
assert len(health) == 6 and all(h["TargetHealth"]["State"] == "healthy" for h in health), health
elb.deregister_targets(TargetGroupArn=tcp, Targets=[{"Id": INSTANCES[0], "Port": 30080}])
health = elb.describe_target_health(TargetGroupArn=tcp, Targets=[{"Id": INSTANCES[0], "Port": 30080}])["TargetHealthDescriptions"]
assert health[0]["TargetHealth"]["Reason"] == "Target.DeregistrationInProgress", health

addresses = {i["InstanceId"]: i["PrivateIpAddress"] for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]}
assert [addresses[i] for i in INSTANCES] == ["10.77.0.11", "10.77.0.12", "10.77.0.13"], addresses
found = ec2.describe_instances(Filters=[{"Name": "private-ip-address", "Values": ["10.77.0.12"]}])["Reservations"]
assert found[0]["Instances"][0]["InstanceId"] == INSTANCES[1], found

elb.add_tags(ResourceArns=[plain], Tags=[{"Key": "causeway.io/cluster", "Value": "c"}])
ec2.create_tags(Resources=[group], Tags=[{"Key": "causeway.io/cluster", "Value": "c"}])
pages = tags.get_paginator("get_resources").paginate(TagFilters=[{"Key": "causeway.io/cluster", "Values": ["c"]}], ResourcesPerPage=2)
arns = [m["ResourceARN"] for page in pages for m in page["ResourceTagMappingList"]]
assert sorted(a.split(":")[5].split("/")[0] for a in arns) == ["listener", "listener-rule", "listener-rule", "listener-rule", "listener-rule", "loadbalancer", "loadbalancer", "security-group"], arns

certificate = acm.request_certificate(DomainName="a.io", SubjectAlternativeNames=["*.a.io"])["CertificateArn"]
listed = acm.list_certificates(CertificateStatuses=["ISSUED"])["CertificateSummaryList"]
assert listed[0]["SubjectAlternativeNameSummaries"] == ["a.io", "*.a.io"], listed
https = elb.create_listener(LoadBalancerArn=alb["LoadBalancerArn"], Protocol="HTTPS", Port=443, Certificates=[{"CertificateArn": certificate}],
    DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404", "ContentType": "text/plain", "MessageBody": "<&>"}}])["Listeners"][0]
assert https["DefaultActions"][0]["FixedResponseConfig"]["MessageBody"] == "<&>" and https["SslPolicy"]
try:
    acm.delete_certificate(CertificateArn=certificate)
    raise SystemExit("a certificate in use was deleted")
except acm.exceptions.ResourceInUseException:
    pass
assert {l["Name"]: l["Max"] for l in elb.describe_account_limits()["Limits"]}["network-load-balancers"] == "50"
assert [len(page["LoadBalancers"]) for page in elb.get_paginator("describe_load_balancers").paginate(PaginationConfig={"PageSize": 1})] == [1, 1]

try:
    ec2.delete_security_group(GroupId=group)
    raise SystemExit("a security group in use was deleted")
except botocore.exceptions.ClientError as error:
    assert error.response["Error"]["Code"] == "DependencyViolation", error
for arn in (alb["LoadBalancerArn"], nlb["LoadBalancerArn"]) * 2:
    elb.delete_load_balancer(LoadBalancerArn=arn)
for arn in (web, blue, tcp) * 2:
    elb.delete_target_group(TargetGroupArn=arn)
try:
    elb.describe_load_balancers(LoadBalancerArns=[nlb["LoadBalancerArn"]])
    raise SystemExit("a deleted load balancer is still there")
except elb.exceptions.LoadBalancerNotFoundException:
    pass
print("done")
"#;

#[tokio::test]
async fn awss_own_client_makes_and_reads_everything() -> Result<()> {
    let region = Region::start().await?;
    let subnets: Vec<&str> = region.account.subnets.iter().map(|subnet| subnet.id.as_str()).collect();
    let instances: Vec<&str> = region.account.instances.iter().map(|instance| instance.id.as_str()).collect();
    let program = format!(
        "SUBNETS, INSTANCES, VPC = {}, {}, {}\n{TOUR}",
        json!(subnets),
        json!(instances),
        json!(region.account.vpc)
    );
    let said = region.aws.python(&program)?;
    ensure!(said.trim() == "done", "{said}");
    // Every refusal was one that AWS's description lists for its action.
    let refused: Vec<_> =
        region.aws.gate().calls.since(0).into_iter().filter(|record| !record.code.is_empty()).collect();
    ensure!(refused.len() >= 5, "{refused:?}");
    for record in refused.iter().filter(|record| record.service == "elasticloadbalancing") {
        ensure!(region.aws.cloud().model.refuses(&record.action, &record.code), "{record:?}");
    }
    ensure!(region.aws.total().failed == 0, "{:?}", region.aws.gate().calls.counts());
    Ok(())
}

#[tokio::test]
async fn what_awss_description_forbids_is_refused_before_anything_happens() -> Result<()> {
    let region = Region::start().await?;
    let group = |extra: serde_json::Value| {
        let mut input = json!({"Name": "g", "Protocol": "TCP", "Port": 80, "VpcId": region.account.vpc});
        input
            .as_object_mut()
            .into_iter()
            .for_each(|own| own.extend(extra.as_object().cloned().unwrap_or_default()));
        input
    };
    for wrong in [
        json!({"Port": 70000}),
        json!({"HealthyThresholdCount": 99}),
        json!({"HealthCheckIntervalSeconds": 1}),
        json!({"Protocol": "SCTP"}),
        json!({"Colour": "red"}),
        json!({"VpcId": "vpc-none"}),
    ] {
        let code = code(&region.aws, "CreateTargetGroup", group(wrong.clone())).await?;
        ensure!(code == "ValidationError", "{wrong}: {code}");
    }
    ensure!(
        code(&region.aws, "CreateTargetGroup", json!({"Name": "g", "Protocol": "TCP", "Port": 80})).await?
            == "ValidationError"
    );
    ensure!(code(&region.aws, "NoSuchThing", json!({})).await? == "InvalidAction");
    elb(&region.aws, "CreateTargetGroup", group(json!({}))).await?;
    Ok(())
}

#[tokio::test]
async fn a_security_group_that_another_names_cannot_be_deleted() -> Result<()> {
    let region = Region::start().await?;
    let aws = &region.aws;
    let vpc = region.account.vpc.as_str();
    let made = ec2(
        aws,
        &[
            ("Action", "CreateSecurityGroup"),
            ("GroupName", "front"),
            ("GroupDescription", "x"),
            ("VpcId", vpc),
        ],
    )
    .await?;
    let front = first(&made, "groupId")?;
    region.account.open_nodes(aws, "tcp", (30000, 32767), &front).await?;
    let delete = [("Action", "DeleteSecurityGroup"), ("GroupId", front.as_str())];
    let (status, body) = aws.ask("ec2", &delete).await?;
    ensure!(status == 400 && first(&body, "Code")? == "DependencyViolation", "{status} {body}");
    let nodes = region.account.security_group.clone();
    let (_, body) = aws.ask("ec2", &[("Action", "DeleteSecurityGroup"), ("GroupId", &nodes)]).await?;
    ensure!(first(&body, "Code")? == "DependencyViolation", "instances use it: {body}");
    ec2(
        aws,
        &[
            ("Action", "RevokeSecurityGroupIngress"),
            ("GroupId", &nodes),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "30000"),
            ("IpPermissions.1.ToPort", "32767"),
            ("IpPermissions.1.Groups.1.GroupId", &front),
        ],
    )
    .await?;
    ec2(aws, &delete).await?;
    Ok(())
}
