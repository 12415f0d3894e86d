//! Coming from MetalLB and going back, against MetalLB itself: docs/migrate-from-metallb.md walked through, with traffic running all the time.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::{Bed, metallb, wait};
use serde_json::Value;
use support::traffic::{Request, Traffic};
use support::{PODS, SOON};

/// Where the application is.
const SHOP: &str = "shop";
/// Services of tests/manifests/metallb.yaml that nobody announces.
const SILENT: [&str; 2] = ["empty", "unannounced"];
/// Longest time from the end of MetalLB's last ready speaker until ours answer.
const TAKE_OVER: Duration = Duration::from_secs(1);
/// Longest time without an answer on the way back, where MetalLB takes over from us.
const WAY_BACK: Duration = Duration::from_secs(5);

fn causeway(bed: &Bed, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.args(arguments).env("KUBECONFIG", bed.kubeconfig()).stdin(Stdio::null());
    command.output().context("running causeway")
}

/// Objects of a kind, as JSON.
fn objects(bed: &Bed, arguments: &[&str]) -> Result<Vec<Value>> {
    let mut all = vec!["get", "-o", "json"];
    all.extend(arguments);
    let list: Value = serde_json::from_str(&bed.kubectl(&all)?)?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// The addresses of each Service of the shop, in the order of its status.
fn addresses(bed: &Bed) -> Result<BTreeMap<String, Vec<IpAddr>>> {
    let services = objects(bed, &["-n", SHOP, "services"])?;
    let of = |service: &Value| -> Option<(String, Vec<IpAddr>)> {
        let points = service["status"]["loadBalancer"]["ingress"].as_array().cloned().unwrap_or_default();
        let ips = points.iter().filter_map(|point| point["ip"].as_str()?.parse().ok()).collect();
        Some((service["metadata"]["name"].as_str()?.to_owned(), ips))
    };
    Ok(services.iter().filter_map(of).collect())
}

/// Who announces each Service by the status objects: its node, and the kind of the object's owner.
fn announcers(bed: &Bed) -> Result<BTreeMap<String, Vec<(String, String)>>> {
    let mut all: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for object in objects(bed, &["-n", metallb::NAMESPACE, "servicel2statuses"])? {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let status = &object["status"];
        let owner = &object["metadata"]["ownerReferences"][0]["kind"];
        all.entry(text(&status["serviceName"])).or_default().push((text(&status["node"]), text(owner)));
    }
    Ok(all)
}

/// Waits until each announced Service has exactly one status object, of that kind of owner.
async fn announced_by(bed: &Bed, owner: &str) -> Result<BTreeMap<String, String>> {
    let expected: BTreeSet<String> =
        addresses(bed)?.into_keys().filter(|name| !SILENT.contains(&name.as_str())).collect();
    wait::until(&format!("status objects of {owner}s"), PODS, async || {
        let now = announcers(bed)?;
        let fits = now.values().all(|all| all.len() == 1 && all[0].1 == owner);
        ensure!(fits && now.keys().cloned().collect::<BTreeSet<_>>() == expected, "{now:?}");
        Ok(now.into_iter().map(|(name, all)| (name, all[0].0.clone())).collect())
    })
    .await
}

/// What `causeway plan` would change.
fn changes(output: &Output) -> Result<Vec<String>> {
    let text = String::from_utf8_lossy(&output.stdout);
    let plan: Value = serde_json::from_str(&text)
        .with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))?;
    let changes = plan["changes"].as_array().context("no changes")?;
    ensure!(!plan["stacks"].as_array().context("no stacks")?.is_empty(), "nothing was planned: {text}");
    Ok(changes.iter().map(|c| c["summary"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Waits until none of MetalLB's speakers is ready any more, and says when that was seen.
async fn speakers_gone(bed: &Bed) -> Result<Instant> {
    wait::until("MetalLB's speakers to be gone", PODS, async || {
        let pods = objects(bed, &["-n", metallb::NAMESPACE, "pods", "-l", "component=speaker"])?;
        let ready = pods.iter().filter(|pod| {
            let conditions = pod["status"]["conditions"].as_array();
            conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
        });
        let ready = ready.count();
        ensure!(ready == 0, "{ready} are ready");
        Ok(Instant::now())
    })
    .await
}

/// resourceVersions of everything that a controller or speaker might write.
fn versions(bed: &Bed) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for kind in ["services", "servicel2statuses.metallb.io", "ipaddresspools.metallb.io"] {
        for object in objects(bed, &["-A", kind])? {
            let meta = &object["metadata"];
            // Where Causeway itself is installed.
            if meta["namespace"] == "kube-system" {
                continue;
            }
            all.insert(
                format!("{kind} {}/{}", meta["namespace"], meta["name"]),
                meta["resourceVersion"].to_string(),
            );
        }
    }
    Ok(all)
}

async fn start() -> Result<Bed> {
    let bed = support::empty_bed(3).await?;
    bed.kubectl(&["create", "namespace", SHOP])?;
    metallb::deploy(&bed)?;
    metallb::wait_ready(&bed)?;
    let manifests = std::fs::read_to_string(support::manifest("metallb.yaml"))?;
    bed.apply(&manifests.replace("NAMESPACE", SHOP))?;
    bed.kubectl(&["-n", SHOP, "rollout", "status", "deployment/hello", "--timeout=90s"])?;
    wait::until("MetalLB to give every Service its addresses", PODS, async || {
        let now = addresses(&bed)?;
        ensure!(now.len() == 10 && now.values().all(|ips| !ips.is_empty()), "{now:?}");
        Ok(())
    })
    .await
    .with_context(|| metallb::logs(&bed))?;
    Ok(bed)
}

/// Causeway beside it, as the page on migration has it.
fn deploy_beside(bed: &Bed) -> Result<()> {
    let conversion =
        || bed.kubectl(&["get", "crd", "bgppeers.metallb.io", "-o", "jsonpath={.spec.conversion}"]);
    let before = conversion()?;
    ensure!(before.contains("\"strategy\":\"Webhook\""), "MetalLB's definition: {before}");
    let definitions = support::top().join("deploy/crds/metallb.io.yaml").display().to_string();
    bed.kubectl(&["apply", "-f", &definitions])?;
    ensure!(conversion()? == r#"{"strategy":"None"}"#, "{}", conversion()?);
    let overlay = support::top().join("deploy/kustomize/coexist").display().to_string();
    let arguments =
        ["apply", "--server-side", "--field-manager=causeway-install", "--force-conflicts", "-k", &overlay];
    bed.kubectl(&arguments)?;
    support::wait_deployed(bed)
}

async fn walk(bed: &Bed) -> Result<()> {
    let given = addresses(bed)?;
    let by_metallb = announced_by(bed, "Pod").await?;
    let v4 = |service: &str| {
        let first =
            given[service].iter().find_map(|ip| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None });
        first.with_context(|| format!("{service} has no IPv4 address"))
    };
    ensure!(given["shared-a"] == given["shared-b"] && given["dual"].len() == 2, "{given:?}");

    // 1. Of MetalLB's own state nothing is to be changed, asked live or out of files.
    let live = causeway(bed, &["plan", "--cloud-provider=metal", "-o", "json"])?;
    ensure!(changes(&live)?.is_empty(), "{:?}\nMetalLB announces: {by_metallb:?}", changes(&live)?);
    let kinds = "ipaddresspools,l2advertisements,services,nodes,namespaces,endpointslices,servicel2statuses";
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), bed.kubectl(&["get", kinds, "-A", "-o", "yaml"])?)?;
    let name = file.path().display().to_string();
    let offline = ["plan", "--cloud-provider=metal", "-o", "json", "-f", &name];
    ensure!(changes(&causeway(bed, &offline)?)?.is_empty(), "{:?}", changes(&causeway(bed, &offline)?)?);
    // A difference is seen, and said with its reason.
    let node = &by_metallb["cluster"];
    let mut list: Value = serde_json::from_str(&bed.kubectl(&["get", kinds, "-A", "-o", "json"])?)?;
    let items = list["items"].as_array_mut().context("no items")?;
    let found = items.iter_mut().find(|o| o["kind"] == "Node" && o["metadata"]["name"] == **node);
    let found = found.with_context(|| format!("no {node}"))?;
    found["metadata"]["labels"]["node.kubernetes.io/exclude-from-external-load-balancers"] = "".into();
    std::fs::write(file.path(), list.to_string())?;
    let differs = changes(&causeway(bed, &offline)?)?;
    let expected = format!("announce {} from ", v4("cluster")?);
    let why = format!("instead of {node}: the Node is labelled");
    ensure!(differs.iter().any(|c| c.starts_with(&expected) && c.contains(&why)), "{differs:?}");

    // 2. Causeway beside it: silent, and nothing is written.
    let before = versions(bed)?;
    deploy_beside(bed)?;
    let log = support::causeway_logs(bed);
    ensure!(log.contains("MetalLB runs: its part is left to it"), "{log}");
    ensure!(!log.contains("announcing addresses="), "{log}");
    ensure!(versions(bed)? == before, "written beside MetalLB: {before:?}\n{:?}", versions(bed)?);

    // 3. MetalLB goes.
    let client = bed.client_ns();
    let steady = Traffic::start(client.clone(), v4("cluster")?, false);
    let fresh = Traffic::start(client.clone(), v4("local")?, true);
    bed.kubectl(&[
        "-n",
        metallb::NAMESPACE,
        "delete",
        "--wait=false",
        "daemonset/speaker",
        "deployment/controller",
    ])?;
    let gone = speakers_gone(bed).await?;
    let ours = announced_by(bed, "Node").await?;
    let (steady, fresh) = (steady.end().await?, fresh.end().await?);
    let back = fresh
        .iter()
        .find(|request| request.lost.is_none() && request.end >= gone)
        .context("no answer after MetalLB")?
        .end;
    let silence = longest_silence(&fresh);
    println!(
        "migration: {:?} after MetalLB's last speaker was not ready ours answered; without any answer to ARP: {silence:?}",
        back - gone
    );
    support::traffic::whole("migration", &steady, 0)?;
    ensure!(back - gone < TAKE_OVER, "ours answered {:?} after MetalLB's last speaker", back - gone);
    ensure!(ours == by_metallb, "announced from other nodes: {by_metallb:?}, now {ours:?}");
    let now = addresses(bed)?;
    ensure!(now == given, "addresses changed: {given:?}, now {now:?}");

    // 4. It works on: a new Service is served.
    let service = "{apiVersion: v1, kind: Service, metadata: {name: later, namespace: shop}, spec: {type: LoadBalancer, \
                   selector: {app: hello}, ports: [{port: 80, targetPort: 8080}]}}";
    bed.apply(service)?;
    let later = wait::until("the address of a new Service", SOON, async || {
        addresses(bed)?.remove("later").and_then(|ips| ips.first().copied()).context("none yet")
    })
    .await?;
    wait::until("an answer from it", SOON, async || {
        client.http_get((later, 80), "/hostname", None, Duration::from_millis(500)).await
    })
    .await?;
    back_again(bed).await
}

/// MetalLB comes again, and Causeway goes.
async fn back_again(bed: &Bed) -> Result<()> {
    let given = addresses(bed)?;
    let address = match given["cluster"].first() {
        Some(IpAddr::V4(address)) => *address,
        other => anyhow::bail!("{other:?}"),
    };
    let steady = Traffic::start(bed.client_ns(), address, false);
    metallb::deploy(bed)?;
    metallb::wait_ready(bed)?;
    announced_by(bed, "Pod").await?;
    bed.kubectl(&["-n", "kube-system", "scale", "deployment/causeway", "--replicas=0"])?;
    let release = || causeway(bed, &["release", "--cloud-provider=metal", "--keep"]);
    wait::until("causeway release", SOON, async || {
        let output = release()?;
        ensure!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    })
    .await?;
    bed.kubectl(&["-n", "kube-system", "delete", "deployment/causeway", "daemonset/causeway-speaker"])?;
    // MetalLB's speaker is ready before it has announced anything, and how long before is not ours to say.
    let steady = steady.end().await?;
    let lost = steady.iter().filter(|request| request.lost.is_some()).count();
    let silence = longest_silence(&steady);
    println!("the way back: {lost} of {} requests lost, at most {silence:?} without an answer", steady.len());
    ensure!(silence < WAY_BACK, "no answer for {silence:?} on the way back");
    let now = addresses(bed)?;
    ensure!(now == given, "addresses changed on the way back: {given:?}, now {now:?}");
    for service in objects(bed, &["-n", SHOP, "services"])? {
        ensure!(service["metadata"]["finalizers"].is_null(), "{service}");
    }
    announced_by(bed, "Pod").await.map(drop)
}

/// The longest time between two answers.
fn longest_silence(seen: &[Request]) -> Duration {
    let answers: Vec<Instant> =
        seen.iter().filter(|request| request.lost.is_none()).map(|request| request.end).collect();
    answers.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_metallb_without_losing_a_request_and_back_without_losing_an_address() {
    let bed = match start().await {
        Ok(bed) => bed,
        Err(error) => panic!("starting: {error:#}"),
    };
    if let Err(error) = walk(&bed).await {
        let services = bed.kubectl(&["get", "services,pods", "-A", "-o", "wide"]).unwrap_or_default();
        panic!("{error:#}\n{services}\n{}\n{}\n{error:#}", metallb::logs(&bed), support::causeway_logs(&bed));
    }
}
