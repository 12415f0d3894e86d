//! A cluster on AWS in which one controller follows the other; what tests ask of it. I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::aws::{Account, Aws};
use causeway_bed::{Bed, wait};
use serde_json::Value;

use crate::support::controller::Controller;
use crate::support::{self, PODS};

/// Longest wait for what AWS takes its time for.
pub const MADE: Duration = Duration::from_secs(300);

/// Pods that say who they are, one on each node.
pub const APPLICATION: &str = r"
{apiVersion: apps/v1, kind: Deployment, metadata: {name: hello, namespace: default}, spec: {
  replicas: 3, selector: {matchLabels: {app: hello}}, template: {metadata: {labels: {app: hello}}, spec: {
    topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: DoNotSchedule,
      labelSelector: {matchLabels: {app: hello}}}],
    containers: [{name: web, image: 'agnhost:2.53', args: [netexec, --http-port=8080],
      readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}]}}}}
";

/// Objects that have a load balancer, with the host to ask for.
pub type Fronts = &'static [(&'static str, &'static str)];

pub struct World {
    pub aws: Aws,
    pub account: Account,
    pub bed: Bed,
    fronts: Fronts,
    /// What the controller is told besides names.
    flags: &'static [&'static str],
}

impl World {
    /// A cluster with these objects, before any controller of load balancers.
    pub async fn start(objects: &[&str], fronts: Fronts, flags: &'static [&'static str]) -> Result<World> {
        let bed = support::empty_bed(3).await?;
        let aws = Aws::builder().start(&bed).await?;
        let account = Account::builder().create(&aws, &bed).await?;
        account.label_nodes(&bed).await?;
        for objects in objects {
            bed.apply(objects)?;
        }
        let timeout = format!("--timeout={}s", PODS.as_secs());
        bed.kubectl(&["rollout", "status", "deployment/hello", &timeout])?;
        Ok(World { aws, account, bed, fronts, flags })
    }

    pub fn field(&self, object: &str, path: &str) -> Result<String> {
        self.bed.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    pub fn hostnames(&self) -> Result<BTreeMap<&'static str, String>> {
        self.fronts
            .iter()
            .map(|(object, _)| {
                Ok((*object, self.field(object, ".status.loadBalancer.ingress[0].hostname")?.to_lowercase()))
            })
            .collect()
    }

    pub fn finalizers(&self, object: &str) -> Result<String> {
        self.field(object, ".metadata.finalizers")
    }

    pub fn answers(&self, hostname: &str, host: &str) -> Result<()> {
        let url = format!("http://{hostname}/hostname");
        let header = format!("Host: {}", if host.is_empty() { hostname } else { host });
        let said = self.bed.remote_ns().run(&["curl", "-s", "-S", "-m", "5", "-H", &header, &url])?;
        ensure!(said.starts_with("hello-"), "{url} of {host}: {said}");
        Ok(())
    }

    /// Waits until everything is served; the host names.
    pub async fn served(&self) -> Result<BTreeMap<&'static str, String>> {
        wait::until("all load balancers to serve", MADE, async || {
            let names = self.hostnames()?;
            for (object, host) in self.fronts {
                let name = &names[object];
                ensure!(!name.is_empty(), "{object} has no host name");
                self.answers(name, host)?;
            }
            Ok(names)
        })
        .await
    }

    /// Everything that AWS holds, without tags, targets and times, as a second client sees it.
    pub fn settings(&self) -> Result<Value> {
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

    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.aws.outside_endpoint()),
            ("AWS_REGION", self.account.region.clone()),
            ("AWS_ACCESS_KEY_ID", "bed".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "bed".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    pub fn arguments(&self) -> Vec<String> {
        let mut all = vec![
            "--cloud-provider=aws".to_owned(),
            format!("--kubeconfig={}", self.bed.kubeconfig().display()),
            format!("--cluster-name={}", self.account.cluster),
            format!("--aws-vpc-id={}", self.account.vpc),
        ];
        all.extend(self.flags.iter().map(|flag| (*flag).to_owned()));
        all
    }

    /// A command of ours that ends; what it printed.
    pub fn causeway(&self, command: &str, more: &[&str]) -> Result<String> {
        let environment = self.environment();
        let mut process = Command::new(env!("CARGO_BIN_EXE_causeway"));
        process.arg(command).args(more).envs(environment.iter().map(|(k, v)| (k, v))).stdin(Stdio::null());
        let output = process.env("KUBECONFIG", self.bed.kubeconfig()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{command}: {said}{}", String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }

    /// Our controller, with these arguments more.
    pub fn controller(&self, more: &[&str]) -> Result<Controller> {
        let (arguments, environment) = (self.arguments(), self.environment());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let environment: Vec<(&str, &str)> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        Controller::start_with(&arguments, &environment)
    }

    /// Waits until the controller has applied everything that there is, and noted it.
    pub async fn content(&self) -> Result<()> {
        wait::until("the controller to be content", MADE, async || {
            let applied = self.applied()?;
            ensure!(!applied.is_empty() && applied.iter().all(|mark| mark.starts_with("v1:")), "{applied:?}");
            Ok(())
        })
        .await
    }

    /// Does something while all load balancers are asked, again and again; fails if one does not answer. How many requests there were.
    pub async fn unbroken(
        &self,
        names: &BTreeMap<&'static str, String>,
        work: impl Future<Output = Result<()>>,
    ) -> Result<usize> {
        let stop = AtomicBool::new(false);
        let asking = async {
            let mut asked = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                for (object, host) in self.fronts {
                    self.answers(&names[object], host).with_context(|| format!("after {asked} requests"))?;
                    asked += 1;
                }
                tokio::task::yield_now().await;
            }
            Ok(asked)
        };
        let working = async {
            let ended = work.await;
            stop.store(true, Ordering::Relaxed);
            ended
        };
        let (worked, asked) = tokio::join!(working, asking);
        worked?;
        asked
    }

    /// The actions after a call that change something in AWS.
    pub fn writes(&self, after: u64) -> BTreeSet<String> {
        let all = self.aws.mutations().into_iter();
        all.filter(|call| call.number > after).map(|call| call.action).collect()
    }

    /// The marks of what was applied, of all load balancers.
    pub fn applied(&self) -> Result<Vec<String>> {
        let program = r"
import boto3
elb = boto3.client('elbv2')
arns = [lb['LoadBalancerArn'] for lb in elb.describe_load_balancers()['LoadBalancers']]
for of in elb.describe_tags(ResourceArns=arns)['TagDescriptions']:
    print(next((t['Value'] for t in of['Tags'] if t['Key'] == 'causeway.io/applied'), 'none'))
";
        Ok(self.aws.python(program)?.lines().map(str::to_owned).collect())
    }
}
