//! Coming from aws-load-balancer-controller and going back, against that controller itself: docs/migrate-from-lbc.md walked through, with traffic running all the
//! time.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::aws::{Account, Aws};
use causeway_bed::lbc::{self, Lbc};
use causeway_bed::{Bed, wait};
use serde_json::Value;
use support::PODS;
use support::controller::Controller;

/// Longest wait for what AWS takes its time for.
const MADE: Duration = Duration::from_secs(300);

const OBJECTS: &str = r"
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: alb}, spec: {controller: ingress.k8s.aws/alb}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: hello, namespace: default}, spec: {
  replicas: 3, selector: {matchLabels: {app: hello}}, template: {metadata: {labels: {app: hello}}, spec: {
    topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: DoNotSchedule,
      labelSelector: {matchLabels: {app: hello}}}],
    containers: [{name: web, image: 'agnhost:2.53', args: [netexec, --http-port=8080],
      readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}]}}}}
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

struct World {
    aws: Aws,
    account: Account,
    bed: Bed,
}

impl World {
    async fn start() -> Result<World> {
        let bed = support::empty_bed(3).await?;
        let aws = Aws::builder().start(&bed).await?;
        let account = Account::builder().create(&aws, &bed).await?;
        account.label_nodes(&bed).await?;
        bed.apply(&lbc::definitions()?)?;
        bed.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?;
        bed.apply(OBJECTS)?;
        let timeout = format!("--timeout={}s", PODS.as_secs());
        bed.kubectl(&["rollout", "status", "deployment/hello", &timeout])?;
        Ok(World { aws, account, bed })
    }

    fn field(&self, object: &str, path: &str) -> Result<String> {
        self.bed.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    fn hostnames(&self) -> Result<BTreeMap<&'static str, String>> {
        FRONTS
            .iter()
            .map(|(object, _)| {
                Ok((*object, self.field(object, ".status.loadBalancer.ingress[0].hostname")?.to_lowercase()))
            })
            .collect()
    }

    fn finalizers(&self, object: &str) -> Result<String> {
        self.field(object, ".metadata.finalizers")
    }

    fn answers(&self, hostname: &str, host: &str) -> Result<()> {
        let url = format!("http://{hostname}/hostname");
        let header = format!("Host: {}", if host.is_empty() { hostname } else { host });
        let said = self.bed.remote_ns().run(&["curl", "-s", "-S", "-m", "5", "-H", &header, &url])?;
        ensure!(said.starts_with("hello-"), "{url} of {host}: {said}");
        Ok(())
    }

    /// Waits until everything is served; the host names.
    async fn served(&self) -> Result<BTreeMap<&'static str, String>> {
        wait::until("all load balancers to serve", MADE, async || {
            let names = self.hostnames()?;
            for (object, host) in FRONTS {
                let name = &names[object];
                ensure!(!name.is_empty(), "{object} has no host name");
                self.answers(name, host)?;
            }
            Ok(names)
        })
        .await
    }

    /// Everything that AWS holds, without tags, targets and times, as a second client sees it.
    fn settings(&self) -> Result<Value> {
        let program = r"
import boto3, json
elb, out = boto3.client('elbv2'), {}
for lb in elb.describe_load_balancers()['LoadBalancers']:
    arn = lb['LoadBalancerArn']
    of = {'lb': {k: lb.get(k) for k in ['LoadBalancerName', 'DNSName', 'Scheme', 'Type', 'IpAddressType']}, 'groups': sorted(lb.get('SecurityGroups', [])),
          'attributes': sorted((a['Key'], a['Value']) for a in elb.describe_load_balancer_attributes(LoadBalancerArn=arn)['Attributes'])}
    for listener in elb.describe_listeners(LoadBalancerArn=arn)['Listeners']:
        rules = elb.describe_rules(ListenerArn=listener['ListenerArn'])['Rules']
        of[listener['ListenerArn']] = [(r['RuleArn'], r['Priority'], r['Conditions'], r['Actions']) for r in rules]
    for group in elb.describe_target_groups(LoadBalancerArn=arn)['TargetGroups']:
        group.pop('LoadBalancerArns', None)
        of[group['TargetGroupArn']] = (group, sorted((a['Key'], a['Value']) for a in elb.describe_target_group_attributes(TargetGroupArn=group['TargetGroupArn'])['Attributes']))
    out[arn] = of
print(json.dumps(out, sort_keys=True, default=str))
";
        Ok(serde_json::from_str(&self.aws.python(program)?)?)
    }

    fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.aws.outside_endpoint()),
            ("AWS_REGION", self.account.region.clone()),
            ("AWS_ACCESS_KEY_ID", "bed".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "bed".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    fn arguments(&self) -> Vec<String> {
        vec![
            "--cloud-provider=aws".to_owned(),
            format!("--kubeconfig={}", self.bed.kubeconfig().display()),
            format!("--cluster-name={}", self.account.cluster),
            format!("--aws-vpc-id={}", self.account.vpc),
            format!("--ingress-controller={}", lbc::INGRESS_CONTROLLER),
            "--adopt=aws-load-balancer-controller".to_owned(),
        ]
    }

    /// A command of ours that ends; what it printed.
    fn causeway(&self, command: &str, more: &[&str]) -> Result<String> {
        let environment = self.environment();
        let mut process = Command::new(env!("CARGO_BIN_EXE_causeway"));
        process.arg(command).args(more).envs(environment.iter().map(|(k, v)| (k, v))).stdin(Stdio::null());
        let output = process.env("KUBECONFIG", self.bed.kubeconfig()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{command}: {said}{}", String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }

    fn controller(&self) -> Result<Controller> {
        let (arguments, environment) = (self.arguments(), self.environment());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let environment: Vec<(&str, &str)> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        Controller::start_with(&arguments, &environment)
    }
}

const OURS: &str = "load-balancer-cleanup";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_of_the_aws_controller_becomes_ours_and_its_own_again() {
    if let Err(error) = migrate().await {
        panic!("{error:?}");
    }
}

async fn migrate() -> Result<()> {
    let world = World::start().await?;
    let peer = Lbc::start(&world.bed, &world.aws, &world.account)?;
    let before = world.served().await.with_context(|| peer.log())?;
    ensure!(before["ingress/one"] == before["ingress/two"], "{before:?}");
    let settings = world.settings()?;

    // What would happen is shown before; nothing happens while the peer works.
    let mut controller = world.controller()?;
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
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
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
        // All is done: the last mark is written.
        wait::until("the controller to be content", MADE, async || {
            let applied = applied(&world)?;
            ensure!(applied.len() == 4 && applied.iter().all(|mark| mark.starts_with("v1:")), "{applied:?}");
            Ok(())
        })
        .await
        .with_context(|| controller.log())
    };
    let mut asked = 0_usize;
    let asking = async {
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            for (object, host) in FRONTS {
                world.answers(&before[object], host).with_context(|| format!("after {asked} requests"))?;
                asked += 1;
            }
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    let (taken, unbroken) = tokio::join!(
        async {
            let outcome = adopted.await;
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            outcome
        },
        asking
    );
    taken?;
    unbroken?;
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
    let writes: BTreeSet<String> =
        world.aws.mutations().into_iter().filter(|call| call.number > mark).map(|call| call.action).collect();
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

/// The marks of what was applied, of all load balancers.
fn applied(world: &World) -> Result<Vec<String>> {
    let program = r"
import boto3
elb = boto3.client('elbv2')
arns = [lb['LoadBalancerArn'] for lb in elb.describe_load_balancers()['LoadBalancers']]
for of in elb.describe_tags(ResourceArns=arns)['TagDescriptions']:
    print(next((t['Value'] for t in of['Tags'] if t['Key'] == 'causeway.io/applied'), 'none'))
";
    Ok(world.aws.python(program)?.lines().map(str::to_owned).collect())
}
