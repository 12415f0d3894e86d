//! `causeway check` in a cluster that is as it should be, and with one fault of each kind; webhooks that the peer left behind, told by the controller too.

use anyhow::{Result, ensure};
use causeway_bed::cloud::{Effect, Fault, Moment};
use causeway_bed::wait;

use crate::lab::{Lab, MADE};
use crate::support::check::Checked;

const WEBHOOK: &str = "aws-load-balancer-webhook";

/// As its chart makes it, for its own kind alone: nobody else in the cluster is disturbed.
const LEFT_BEHIND: &str = r"
{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: aws-load-balancer-webhook}, webhooks: [
  {name: vingressclassparams.elbv2.k8s.aws, admissionReviewVersions: [v1beta1, v1], sideEffects: None, failurePolicy: Fail,
   clientConfig: {service: {namespace: kube-system, name: aws-load-balancer-webhook-service, path: /validate-elbv2-k8s-aws-v1beta1-ingressclassparams}},
   rules: [{apiGroups: [elbv2.k8s.aws], apiVersions: [v1beta1], operations: [CREATE, UPDATE], resources: [ingressclassparams]}]}]}
";

fn check(lab: &Lab) -> Result<Checked> {
    let world = lab.world;
    let endpoint = world.aws.outside_endpoint();
    let environment = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_REGION", world.aws.region()),
        ("AWS_ACCESS_KEY_ID", "bed"),
        ("AWS_SECRET_ACCESS_KEY", "bed"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let (name, vpc) =
        (format!("--cluster-name={}", world.account.cluster), format!("--aws-vpc-id={}", world.account.vpc));
    Checked::run_with(&world.bed, &["--cloud-provider=aws", &name, &vpc], &environment)
}

/// Takes the rules of the nodes' security group for the port of kube-proxy's health away; the rules, to put them back.
fn shut(lab: &Lab) -> Result<String> {
    let group = &lab.world.account.security_group;
    lab.world.aws.python(&format!(
        r"
import boto3, json
ec2 = boto3.client('ec2')
rules = ec2.describe_security_groups(GroupIds=['{group}'])['SecurityGroups'][0]['IpPermissions']
shut = [r for r in rules if r.get('FromPort') == 10256]
ec2.revoke_security_group_ingress(GroupId='{group}', IpPermissions=shut)
print(json.dumps(shut))
"
    ))
}

/// Puts them back: those that the controller has not put back itself.
fn open(lab: &Lab, rules: &str) -> Result<()> {
    let group = &lab.world.account.security_group;
    let program = format!(
        r"
import boto3, botocore
ec2 = boto3.client('ec2')
for rule in {}:
    for pair in rule['UserIdGroupPairs']:
        try:
            ec2.authorize_security_group_ingress(GroupId='{group}', IpPermissions=[dict(rule, UserIdGroupPairs=[pair])])
        except botocore.exceptions.ClientError as error:
            if error.response['Error']['Code'] != 'InvalidPermission.Duplicate':
                raise
",
        rules.trim()
    );
    lab.world.aws.python(&program).map(drop)
}

#[tokio::test]
async fn a_sound_account_is_said_to_be_sound_and_each_fault_is_named() {
    Lab::alone("check", async |lab| {
        lab.application()?;
        lab.service(
            "web",
            "service.beta.kubernetes.io/aws-load-balancer-scheme: internet-facing",
            "ports: [{name: http, port: 80, targetPort: 8080}]",
        )?;
        let name = lab.hostname("service/web").await?;
        lab.answers(&[&format!("http://{name}/hostname")], "200 hello-").await?;
        let before = lab.world.aws.cloud().overview();
        let sound = check(lab)?;
        println!("{sound}");
        ensure!(sound.status == Some(0), "{sound}");
        ensure!(lab.world.aws.cloud().overview() == before, "a check changes nothing");
        sound.says("ok", "Deployment kube-system/causeway", "2 of 2")?;
        sound.says("ok", "ServiceAccount kube-system/causeway", "rights")?;
        sound.says("ok", "AWS", &format!("region {}, VPC {}", lab.world.aws.region(), lab.world.account.vpc))?;
        sound.says("ok", "Permissions to read", "all 21 are there")?;
        sound.says("ok", "security groups (dry run)", "ec2:DeleteSecurityGroup")?;
        sound.says("warning", "Permissions to change load balancers", "no dry run")?;
        sound.says("ok", "Nodes", "3 are instances")?;
        sound.says("ok", "Subnets for internet-facing load balancers", &lab.world.account.subnets[0].id)?;
        sound.says("ok", "Subnets for internal load balancers", &lab.world.account.subnets[2].id)?;
        sound.says("ok", "Quota network-load-balancers", "1 of")?;
        sound.says("ok", "Security groups of the nodes", "1 load balancers")?;
        sound.says("ok", "Services of type LoadBalancer", "are served")?;

        // Rights that are missing.
        let denied = |action: &str, code: &str| {
            Fault::always(action, Effect::error(Moment::Before, code, 403))
        };
        for fault in [
            denied("DescribeTargetHealth", "AccessDenied"),
            denied("DescribeRouteTables", "UnauthorizedOperation"),
            denied("CreateSecurityGroup", "UnauthorizedOperation"),
        ] {
            lab.world.aws.gate().faults.add(fault);
        }
        let kept_out = check(lab);
        lab.world.aws.gate().faults.clear(None);
        let kept_out = kept_out?;
        ensure!(kept_out.status == Some(2), "{kept_out}");
        kept_out.says("error", "Permissions to read", "ec2:DescribeRouteTables, elasticloadbalancing:DescribeTargetHealth")?;
        kept_out.says("error", "security groups (dry run)", "may not ec2:CreateSecurityGroup")?;

        // No credentials that AWS accepts.
        lab.world.aws.gate().faults.add(denied("*", "InvalidClientTokenId"));
        let stranger = check(lab);
        lab.world.aws.gate().faults.clear(None);
        stranger?.says("error", "AWS", "does not accept the credentials")?;

        // One fault of each other kind.
        let subnet = &lab.world.account.subnets[1];
        let tag = |verb: &str| {
            lab.world.aws.python(&format!(
                "import boto3\nboto3.client('ec2').{verb}(Resources=['{}'], Tags=[{{'Key': 'kubernetes.io/role/internal-elb', 'Value': '1'}}])",
                subnet.id
            ))
        };
        tag("delete_tags")?;
        // The controller would put the rules back at once.
        lab.world.aws.gate().faults.add(denied("AuthorizeSecurityGroupIngress", "UnauthorizedOperation"));
        let rules = shut(lab)?;
        lab.bed().apply(
            "{apiVersion: v1, kind: Node, metadata: {name: elsewhere, labels: {kubernetes.io/hostname: elsewhere}}, spec: {providerID: 'gce://project/zone/elsewhere'}}",
        )?;
        lab.bed().apply(LEFT_BEHIND)?;
        let broken = check(lab);
        let told = wait::until("an Event on the webhook", MADE, async || {
            let fields = format!("--field-selector=involvedObject.kind=ValidatingWebhookConfiguration,involvedObject.name={WEBHOOK}");
            let said = lab.bed().kubectl(&["-n", "default", "get", "events", &fields, "-o", "jsonpath={.items[*].message}"])?;
            ensure!(said.contains("nobody answers at Service kube-system/aws-load-balancer-webhook-service"), "{said:?}");
            Ok(said)
        })
        .await;
        lab.bed().kubectl(&["delete", "validatingwebhookconfiguration", WEBHOOK])?;
        lab.bed().kubectl(&["delete", "node", "elsewhere"])?;
        tag("create_tags")?;
        lab.world.aws.gate().faults.clear(None);
        open(lab, &rules)?;
        let broken = broken?;
        ensure!(broken.status == Some(2), "{broken}");
        broken.says("error", "Node elsewhere", "names no EC2 instance")?;
        broken.says("warning", "Subnets for internal load balancers", &format!("none in {}", subnet.zone))?;
        broken.says("ok", "Subnets for internet-facing load balancers", &subnet.id)?;
        broken.says("error", "Security group", "tcp port 10256 of the health check is shut")?;
        let remedy = format!("kubectl delete validatingwebhookconfiguration {WEBHOOK}");
        broken.says("error", &format!("ValidatingWebhookConfiguration {WEBHOOK}"), &remedy)?;
        let told = told?;
        ensure!(told.contains(&remedy), "{told}");

        let again = check(lab)?;
        ensure!(again.status == Some(0), "{again}");
        lab.delete("service/web").await
    })
    .await;
}
