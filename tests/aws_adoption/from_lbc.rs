//! aws-load-balancer-controller: docs/migrate-from-lbc.md.

use anyhow::{Context, Result, ensure};
use causeway_bed::lbc::{self, Lbc};
use causeway_bed::wait;

use crate::support::PODS;
use crate::support::controller::Controller;
use crate::world::{APPLICATION, MADE, World};

const OBJECTS: &str = r"
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: alb}, spec: {controller: ingress.k8s.aws/alb}}
---
{apiVersion: v1, kind: Service, metadata: {name: plain, namespace: default, annotations: {
    service.beta.kubernetes.io/aws-load-balancer-scheme: internet-facing,
    service.beta.kubernetes.io/aws-load-balancer-attributes: 'load_balancing.cross_zone.enabled=true'}},
  spec: {type: LoadBalancer, loadBalancerClass: service.k8s.aws/nlb, selector: {app: hello}, ports: [{name: http, port: 80, targetPort: 8080}, {name: more, port: 81, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: local, namespace: default, annotations: {
    service.beta.kubernetes.io/aws-load-balancer-scheme: internet-facing}},
  spec: {type: LoadBalancer, loadBalancerClass: service.k8s.aws/nlb, externalTrafficPolicy: Local, selector: {app: hello}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {type: NodePort, selector: {app: hello}, ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: alone, namespace: default, annotations: {
    alb.ingress.kubernetes.io/scheme: internet-facing}},
  spec: {ingressClassName: alb, rules: [
    {host: a.example, http: {paths: [{path: /hostname, pathType: Exact, backend: {service: {name: web, port: {name: http}}}}, {path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}},
    {host: '*.b.example', http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}}]}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: one, namespace: default, annotations: {
    alb.ingress.kubernetes.io/scheme: internet-facing, alb.ingress.kubernetes.io/group.name: shared}},
  spec: {ingressClassName: alb, rules: [{host: one.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}}]}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: two, namespace: default, annotations: {
    alb.ingress.kubernetes.io/scheme: internet-facing, alb.ingress.kubernetes.io/group.name: shared}},
  spec: {ingressClassName: alb, rules: [{host: two.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}}]}}
";

/// Objects that have a load balancer, with the host to ask for.
const FRONTS: [(&str, &str); 5] = [
    ("service/plain", ""),
    ("service/local", ""),
    ("ingress/alone", "a.example"),
    ("ingress/one", "one.example"),
    ("ingress/two", "two.example"),
];

/// What the controller is told.
const FLAGS: [&str; 2] = ["--ingress-controller=ingress.k8s.aws/alb", "--adopt=aws-load-balancer-controller"];

const OURS: &str = "load-balancer-cleanup";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_of_the_aws_controller_becomes_ours_and_its_own_again() {
    if let Err(error) = migrate().await {
        panic!("{error:?}");
    }
}

async fn migrate() -> Result<()> {
    let world = World::start(&[&lbc::definitions()?, APPLICATION, OBJECTS], &FRONTS, &FLAGS).await?;
    world.bed.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?;
    let peer = Lbc::start(&world.bed, &world.aws, &world.account)?;
    let before = world.served().await.with_context(|| peer.log())?;
    ensure!(before["ingress/one"] == before["ingress/two"], "{before:?}");
    let settings = world.settings()?;

    // What would happen is shown before; nothing happens while the peer works.
    let mut controller = world.controller(&[])?;
    controller.says(&["aws-load-balancer-controller works: nothing is done"]).await?;
    let arguments = world.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let plan = world.causeway("plan", &arguments)?;
    println!("{plan}");
    ensure!(plan.matches("take over load balancer").count() == 4, "{plan}");
    for (object, _) in FRONTS {
        ensure!(!world.finalizers(object)?.contains(OURS), "{object} is ours already");
    }

    // The peer goes; requests go on.
    let mark = world.aws.gate().calls.last();
    // What its chart installs beside it stays behind when it is stopped.
    world.bed.apply(&lbc::webhooks()?)?;
    peer.stop().await?;
    let mark = world.aws.gate().calls.last().max(mark);
    let adopted = async {
        for (object, _) in FRONTS {
            wait::until(&format!("{object} to be taken over"), MADE, async || {
                let finalizers = world.finalizers(object)?;
                ensure!(finalizers.contains(OURS) && !finalizers.contains("k8s.aws"), "{finalizers}");
                Ok(())
            })
            .await
            .with_context(|| controller.log())?;
        }
        world.content().await.with_context(|| controller.log())?;
        ensure!(world.applied()?.len() == 4, "{:?}", world.applied()?);
        Ok(())
    };
    let asked = world.unbroken(&before, adopted).await?;
    println!("{asked} requests, all answered");
    let path = "jsonpath={.items[?(@.reason==\"AdoptedLoadBalancer\")].involvedObject.name}";
    let told = world.bed.kubectl(&["get", "events", "-o", path])?;
    ensure!(
        FRONTS.iter().all(|(object, _)| told.contains(object.rsplit('/').next().unwrap_or(object))),
        "{told}"
    );
    controller.runs()?;
    ensure!(world.hostnames()? == before, "{:?}", world.hostnames()?);
    let now = world.settings()?;
    ensure!(now == settings, "settings changed:\n{settings}\n{now}");
    let writes = world.writes(mark);
    println!("mutations: {writes:?}");
    let harmless = ["AddTags", "CreateTags", "AuthorizeSecurityGroupIngress"];
    ensure!(writes.iter().all(|action| harmless.contains(&action.as_str())), "{writes:?}");

    // Its webhooks are in everybody's way, which is said, with what to do.
    webhooks_are_told(&world, &controller).await?;

    // It is ours: changes are followed.
    let ports = r#"{"spec":{"ports":[{"name":"http","port":80,"targetPort":8080},{"name":"other","port":82,"targetPort":8080}]}}"#;
    world.bed.kubectl(&["patch", "service", "plain", "--type=merge", "-p", ports])?;
    let other = format!("{}:82", before["service/plain"]);
    wait::until("the new port", MADE, async || world.answers(&other, ""))
        .await
        .with_context(|| controller.log())?;

    // And back: our marks go, the peer finds everything as its own.
    controller.stop().await?;
    world.causeway("release", &["--cloud-provider=aws", "--keep"])?;
    let peer = Lbc::start(&world.bed, &world.aws, &world.account)?;
    for (object, _) in FRONTS {
        wait::until(&format!("{object} to be the peer's again"), MADE, async || {
            let finalizers = world.finalizers(object)?;
            ensure!(!finalizers.contains(OURS) && finalizers.contains("k8s.aws"), "{finalizers}");
            Ok(())
        })
        .await
        .with_context(|| peer.log())?;
    }
    world.bed.kubectl(&["patch", "service", "plain", "--type=merge", "-p", &ports.replace("82", "83")])?;
    let third = format!("{}:83", before["service/plain"]);
    wait::until("the port of the peer", MADE, async || world.answers(&third, ""))
        .await
        .with_context(|| peer.log())?;
    ensure!(world.served().await? == before, "{:?}", world.hostnames()?);
    peer.stop().await
}

/// The peer's webhooks, which nobody answers: nothing new is let in, the controller has said so, and what it says to do helps.
async fn webhooks_are_told(world: &World, controller: &Controller) -> Result<()> {
    let make = "{apiVersion: v1, kind: Service, metadata: {name: new, namespace: default}, spec: {ports: [{port: 80}]}}";
    let refused = world.bed.apply(make).err().context("a new Service was let in")?;
    ensure!(format!("{refused:#}").contains("failed calling webhook"), "{refused:#}");
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let remedy = format!("kubectl delete {} {}", kind.to_lowercase(), lbc::WEBHOOKS);
        controller
            .says(&["nobody answers at Service kube-system/aws-load-balancer-webhook-service", &remedy])
            .await?;
        let fields = format!("--field-selector=involvedObject.kind={kind}");
        wait::until(&format!("an Event on the {kind}"), PODS, async || {
            let said =
                world.bed.kubectl(&["get", "events", &fields, "-o", "jsonpath={.items[*].message}"])?;
            ensure!(said.contains(&remedy), "{said:?}");
            Ok(())
        })
        .await?;
    }
    let both = "mutatingwebhookconfigurations,validatingwebhookconfigurations";
    world.bed.kubectl(&["delete", both, lbc::WEBHOOKS])?;
    world.bed.apply(make).map(drop)
}
