//! cloud-provider-aws, which goes on for nodes: docs/migrate-from-cpa.md.

use anyhow::{Context, Result, ensure};
use causeway_bed::cpa::{ALL, Cpa, WITHOUT_SERVICES};
use causeway_bed::wait;

use crate::world::{APPLICATION, MADE, World};

const OBJECTS: &str = r"
{apiVersion: v1, kind: Service, metadata: {name: plain, namespace: default, annotations: {
    service.beta.kubernetes.io/aws-load-balancer-type: nlb}},
  spec: {type: LoadBalancer, selector: {app: hello}, ports: [{name: http, port: 80, targetPort: 8080}, {name: more, port: 81, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: local, namespace: default, annotations: {
    service.beta.kubernetes.io/aws-load-balancer-type: nlb}},
  spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: hello}, ports: [{port: 80, targetPort: 8080}]}}
";

const FRONTS: [(&str, &str); 2] = [("service/plain", ""), ("service/local", "")];
const FLAGS: [&str; 2] = ["--own-classless", "--adopt=cloud-provider-aws"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nlbs_of_the_cloud_provider_become_ours_and_its_own_again() {
    if let Err(error) = migrate().await {
        panic!("{error:?}");
    }
}

/// The rules of the nodes' security group that let somebody in from outside, without their descriptions.
fn open(world: &World) -> Result<String> {
    let group = &world.account.security_group;
    world.aws.python(&format!(
        r"
import boto3, json
group = boto3.client('ec2').describe_security_groups(GroupIds=['{group}'])['SecurityGroups'][0]
print(json.dumps(sorted((p['IpProtocol'], p.get('FromPort'), p.get('ToPort'), r['CidrIp']) for p in group['IpPermissions'] for r in p.get('IpRanges', []))))
"
    ))
}

async fn migrate() -> Result<()> {
    let world = World::start(&[APPLICATION, OBJECTS], &FRONTS, &FLAGS).await?;
    let peer = Cpa::start(&world.bed, &world.aws, &world.account, ALL)?;
    let before = world.served().await.with_context(|| peer.log())?;
    let (settings, rules) = (world.settings()?, open(&world)?);

    // What would happen is shown before; nothing happens while the peer works.
    let mut controller = world.controller(&[])?;
    controller.says(&["cloud-provider-aws works: nothing is done"]).await?;
    let arguments = world.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let plan = world.causeway("plan", &arguments)?;
    println!("{plan}");
    ensure!(plan.matches("take over load balancer").count() == 2, "{plan}");

    // It goes on for nodes alone, and holds its Lease all the time: that it is done with Services has to be said.
    controller.runs()?;
    controller.stop().await?;
    peer.stop().await?;
    let peer = Cpa::start(&world.bed, &world.aws, &world.account, WITHOUT_SERVICES)?;
    peer.says("Successfully acquired lease").await?;
    let waiting = world.controller(&[])?;
    waiting.says(&["cloud-provider-aws works: nothing is done"]).await?;
    ensure!(world.applied()?.iter().all(|mark| mark == "none"), "{:?}", world.applied()?);
    waiting.stop().await?;
    let mark = world.aws.gate().calls.last();
    let mut controller = world.controller(&["--adopt-peer-stopped"])?;
    let adopted = async { world.content().await.with_context(|| controller.log()) };
    let asked = world.unbroken(&before, adopted).await?;
    println!("{asked} requests, all answered");
    let path = "jsonpath={.items[?(@.reason==\"AdoptedLoadBalancer\")].involvedObject.name}";
    let told = world.bed.kubectl(&["get", "events", "-o", path])?;
    ensure!(told.contains("plain") && told.contains("local"), "{told}");
    controller.runs()?;
    ensure!(world.hostnames()? == before, "{:?}", world.hostnames()?);
    let now = world.settings()?;
    ensure!(now == settings, "settings changed:\n{settings}\n{now}");
    ensure!(open(&world)? == rules, "rules changed:\n{rules}\n{}", open(&world)?);
    let writes = world.writes(mark);
    println!("mutations: {writes:?}");
    ensure!(writes.iter().all(|action| action == "AddTags"), "{writes:?}");

    // It is ours: changes are followed, and the ports that are no more are shut.
    let ports = r#"{"spec":{"ports":[{"name":"http","port":80,"targetPort":8080},{"name":"other","port":82,"targetPort":8080}]}}"#;
    world.bed.kubectl(&["patch", "service", "plain", "--type=merge", "-p", ports])?;
    let other = format!("{}:82", before["service/plain"]);
    wait::until("the new port", MADE, async || world.answers(&other, ""))
        .await
        .with_context(|| controller.log())?;

    // And back: our marks go, the peer finds everything as its own.
    controller.stop().await?;
    world.causeway("release", &["--cloud-provider=aws", "--keep"])?;
    peer.stop().await?;
    let peer = Cpa::start(&world.bed, &world.aws, &world.account, ALL)?;
    world.bed.kubectl(&["patch", "service", "plain", "--type=merge", "-p", &ports.replace("82", "83")])?;
    let third = format!("{}:83", before["service/plain"]);
    wait::until("the port of the peer", MADE, async || world.answers(&third, ""))
        .await
        .with_context(|| peer.log())?;
    ensure!(world.served().await? == before, "{:?}", world.hostnames()?);
    peer.stop().await
}
