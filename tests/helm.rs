//! The chart: that it is sound, that its defaults are what kustomize makes, what it refuses, and its life in a cluster.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use causeway_bed::{Bed, wait};
use serde_json::Value;
use support::{PODS, SOON};

/// The program, built from its Go module the first time.
fn helm_program() -> Result<&'static PathBuf> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if let Some(program) = PROGRAM.get() {
        return Ok(program);
    }
    let program = support::tool("helm")?;
    Ok(PROGRAM.get_or_init(|| program))
}

fn helm(bed: Option<&Bed>, arguments: &[&str]) -> Result<Output> {
    let home = tempfile::tempdir()?;
    let mut command = Command::new(helm_program()?);
    command.args(arguments).stdin(Stdio::null());
    for (variable, folder) in
        [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        command.env(variable, home.path().join(folder));
    }
    match bed {
        Some(bed) => command.env("KUBECONFIG", bed.kubeconfig()),
        None => command.env("KUBECONFIG", "/dev/null"),
    };
    command.output().context("running helm")
}

fn good(output: Output) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

fn chart() -> String {
    support::top().join("deploy/helm/causeway").display().to_string()
}

/// What `helm template` makes with these values, in the namespace.
fn render(namespace: &str, values: &[&str]) -> Result<Objects> {
    let chart = chart();
    let mut arguments = vec!["template", "causeway", &chart, "--namespace", namespace];
    arguments.extend(values);
    objects(&good(helm(None, &arguments)?)?)
}

/// Objects by kind, namespace and name.
type Objects = BTreeMap<(String, String, String), Value>;

fn objects(yaml: &str) -> Result<Objects> {
    let mut all = Objects::new();
    for document in yaml
        .split("\n---\n")
        .filter(|d| d.lines().any(|l| !l.is_empty() && !l.starts_with('#') && l != "---"))
    {
        let object: Value = serde_saphyr::from_str(document).with_context(|| document.to_owned())?;
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let id = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
        ensure!(all.insert(id.clone(), object).is_none(), "{id:?} twice");
    }
    Ok(all)
}

fn get<'a>(all: &'a Objects, kind: &str, namespace: &str, name: &str) -> Result<&'a Value> {
    all.get(&(kind.to_owned(), namespace.to_owned(), name.to_owned()))
        .with_context(|| format!("no {kind} {namespace}/{name} in {:?}", all.keys()))
}

fn arguments(workload: &Value) -> Vec<&str> {
    let list = workload.pointer("/spec/template/spec/containers/0/args").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn lint_finds_nothing() -> Result<()> {
    let said = good(helm(None, &["lint", "--strict", &chart()])?)?;
    ensure!(said.contains("0 chart(s) failed"), "{said}");
    Ok(())
}

#[test]
fn defaults_are_what_kustomize_makes() -> Result<()> {
    same_as("metal", &[])?;
    same_as("aws-eks", &["--set=provider=aws"])?;
    same_as("openstack", &["--set=provider=openstack"])?;
    same_as("aws-self-managed", &["--set=provider=aws,aws.controlPlaneNodes=true"])
}

/// A kustomization with a component, and the value that stands for it.
#[test]
fn readiness_gates_are_the_component() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = "../".repeat(folder.path().components().count() - 1);
    let deploy = support::top().join("deploy/kustomize");
    let deploy = format!("{up}{}", deploy.strip_prefix("/")?.display());
    let text = format!("resources: [{deploy}/aws-eks]\ncomponents: [{deploy}/readiness-gates]\n");
    std::fs::write(folder.path().join("kustomization.yaml"), text)?;
    same_as(&folder.path().display().to_string(), &["--set=provider=aws,aws.readinessGates=true"])
}

/// `overlay`: a folder of deploy/kustomize, or the path of another.
fn same_as(overlay: &str, values: &[&str]) -> Result<()> {
    let mut rendered = render("kube-system", values)?;
    for (id, object) in &mut rendered {
        if !matches!(id.0.as_str(), "CustomResourceDefinition" | "Namespace") {
            continue;
        }
        // What only Helm looks at: these stay when the release goes.
        let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
        let annotations = annotations.with_context(|| format!("{id:?} has no annotations"))?;
        ensure!(
            annotations.remove("helm.sh/resource-policy") == Some("keep".into()),
            "{id:?} would be deleted"
        );
        if annotations.is_empty() {
            object["metadata"].as_object_mut().context("metadata")?.remove("annotations");
        }
    }
    let overlay = support::top().join("deploy/kustomize").join(overlay);
    let kubectl = causeway_bed::programs::Programs::ensure()?.path("kubectl")?;
    let made = Command::new(kubectl).arg("kustomize").arg(overlay).stdin(Stdio::null()).output()?;
    let kustomized = objects(&good(made)?)?;
    ensure!(rendered.keys().eq(kustomized.keys()), "{:?}\n{:?}", rendered.keys(), kustomized.keys());
    for (id, object) in &kustomized {
        ensure!(rendered[id] == *object, "{id:?}\nchart: {}\nkustomize: {object}", rendered[id]);
    }
    Ok(())
}

#[test]
fn values_reach_what_they_are_about() -> Result<()> {
    let all = render(
        "lb",
        &[
            "--set=image.repository=registry.example/causeway,image.tag=9.9.9,image.pullSecrets={one}",
            "--set=config.namespace=pools,crds.install=false,controller.replicas=1",
            "--set=loadBalancerClasses={example.com/a},ownClassless=true,controller.args={--log-level=debug}",
            "--set=speaker.nodeSelector.zone=edge,speaker.resources.limits.memory=64Mi",
            "--set=monitoring.serviceMonitor.enabled=true,monitoring.rules.enabled=true,monitoring.dashboard.enabled=true",
            "--set=monitoring.prometheus.serviceAccount=prometheus,monitoring.rules.excludePools=lab.*",
        ],
    )?;
    let controller = get(&all, "Deployment", "lb", "causeway")?;
    for flag in [
        "--cloud-provider=metal",
        "--config-namespace=pools",
        "--leader-elect-resource-namespace=lb",
        "--membership-secret=lb/causeway-membership",
        "--load-balancer-class=example.com/a",
        "--own-classless=true",
        "--log-level=debug",
    ] {
        ensure!(arguments(controller).contains(&flag), "{flag} is not in {:?}", arguments(controller));
    }
    ensure!(controller["spec"]["replicas"] == 1, "{}", controller["spec"]["replicas"]);
    let speaker = get(&all, "DaemonSet", "lb", "causeway-speaker")?;
    let pod = &speaker["spec"]["template"]["spec"];
    ensure!(pod["containers"][0]["image"] == "registry.example/causeway:9.9.9", "{pod}");
    ensure!(pod["containers"][0]["resources"] == serde_json::json!({"limits": {"memory": "64Mi"}}), "{pod}");
    ensure!(pod["nodeSelector"] == serde_json::json!({"kubernetes.io/os": "linux", "zone": "edge"}), "{pod}");
    ensure!(pod["imagePullSecrets"] == serde_json::json!([{"name": "one"}]), "{pod}");
    ensure!(
        arguments(speaker).contains(&"--membership-secret=lb/causeway-membership"),
        "{:?}",
        arguments(speaker)
    );
    ensure!(!arguments(speaker).contains(&"--cloud-provider=metal"), "{:?}", arguments(speaker));
    // Our program takes all of it.
    for (workload, environment) in [(controller, ""), (speaker, "node")] {
        let output = Command::new(env!("CARGO_BIN_EXE_causeway"))
            .args(arguments(workload))
            .args(["--kubeconfig=/nonexistent"])
            .env("NODE_NAME", environment)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(said.contains("kubeconfig /nonexistent"), "{:?}: {said}", arguments(workload));
    }
    get(&all, "Namespace", "", "pools")?;
    for (kind, namespace, name) in [
        ("Role", "pools", "causeway-config"),
        ("Role", "lb", "causeway"),
        ("ClusterRoleBinding", "", "causeway-metrics-reader"),
        ("ServiceMonitor", "lb", "causeway-speaker"),
        ("ConfigMap", "lb", "causeway-dashboard"),
    ] {
        get(&all, kind, namespace, name)?;
    }
    for (id, object) in &all {
        ensure!(id.0 != "CustomResourceDefinition", "{id:?} with crds.install=false");
        for subject in object["subjects"].as_array().into_iter().flatten() {
            let wanted = if id.2 == "causeway-metrics-reader" { "monitoring" } else { "lb" };
            ensure!(subject["namespace"] == wanted, "{id:?}: {subject}");
        }
    }
    let rules = get(&all, "PrometheusRule", "lb", "causeway")?.to_string();
    ensure!(rules.contains(r#"pool!~\"lab.*\""#) && !rules.contains(r#"pool!~\"\""#), "{rules}");
    let dashboard = get(&all, "ConfigMap", "lb", "causeway-dashboard")?;
    let panels: Value =
        serde_json::from_str(dashboard["data"]["causeway.json"].as_str().context("no file")?)?;
    ensure!(panels["panels"].as_array().is_some_and(|p| !p.is_empty()), "{panels}");

    // Everything in one namespace, as MetalLB's users may have it.
    let one = render("metallb-system", &["--set=speaker.enabled=false"])?;
    ensure!(one.keys().all(|id| id.0 != "DaemonSet" && id.0 != "Namespace"), "{:?}", one.keys());
    Ok(())
}

#[test]
fn values_for_aws_reach_what_they_are_about() -> Result<()> {
    let all = render(
        "lb",
        &[
            "--set=provider=aws,aws.clusterName=prod,aws.region=eu-west-1,aws.vpcId=vpc-01ab,aws.ingressControllers={ingress.k8s.aws/alb}",
            "--set=aws.options.default-target-type=ip,aws.options.alb-single-subnet=true,aws.ingressClass.name=web,aws.ingressClass.default=true",
            "--set=controller.serviceAccountAnnotations.eks\\.amazonaws\\.com/role-arn=arn:aws:iam::1:role/lb",
            "--set=controller.env[0].name=AWS_ENDPOINT_URL,controller.env[0].value=http://aws.example",
            "--set=monitoring.serviceMonitor.enabled=true,nodeControllers=true",
        ],
    )?;
    let controller = get(&all, "Deployment", "lb", "causeway")?;
    get(&all, "ClusterRoleBinding", "", "causeway-nodes")?;
    for flag in [
        "--cloud-provider=aws",
        "--controllers=*",
        "--cluster-name=prod",
        "--aws-region=eu-west-1",
        "--aws-vpc-id=vpc-01ab",
        "--aws-option=default-target-type=ip",
        "--aws-option=alb-single-subnet=true",
        "--ingress-controller=ingress.k8s.aws/alb",
        "--leader-elect-resource-namespace=lb",
    ] {
        ensure!(arguments(controller).contains(&flag), "{flag} is not in {:?}", arguments(controller));
    }
    ensure!(!arguments(controller).iter().any(|a| a.contains("membership")), "{:?}", arguments(controller));
    let environment = controller["spec"]["template"]["spec"]["containers"][0]["env"].to_string();
    ensure!(environment.contains("AWS_ENDPOINT_URL") && environment.contains("NODE_NAME"), "{environment}");
    let output = Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(arguments(controller))
        .arg("--kubeconfig=/nonexistent")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(said.contains("kubeconfig /nonexistent"), "{:?}: {said}", arguments(controller));
    let account = get(&all, "ServiceAccount", "lb", "causeway")?;
    ensure!(
        account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] == "arn:aws:iam::1:role/lb",
        "{account}"
    );
    let class = get(&all, "IngressClass", "", "web")?;
    ensure!(
        class["metadata"]["annotations"]["ingressclass.kubernetes.io/is-default-class"] == "true",
        "{class}"
    );
    get(&all, "Role", "lb", "causeway")?;
    get(&all, "CustomResourceDefinition", "", "targetgroupbindings.elbv2.k8s.aws")?;
    get(&all, "ServiceMonitor", "lb", "causeway-controller")?;
    ensure!(all.keys().all(|id| !id.2.contains("speaker")), "{:?}", all.keys());
    Ok(())
}

#[test]
fn values_that_mean_nothing_are_refused() -> Result<()> {
    for (value, says) in [
        ("controler.replicas=3", "controler"),
        ("controller.replicas=many", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("config.namespace=A_B", "namespace"),
        ("controller.args={dry-run}", "args"),
        ("loadBalancerClasses={a/b/c}", "loadBalancerClasses"),
        ("provider=azure", "provider"),
        ("aws.vpcId=prod", "vpcId"),
        ("monitoring.serviceMonitor.interval=often", "interval"),
    ] {
        let output = helm(None, &["template", "causeway", &chart(), "--set", value])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && said.contains(says), "{value}: {said}");
    }
    Ok(())
}

/// Installed beside nothing, upgraded, uninstalled: pools and definitions stay, and what comes back finds them.
#[tokio::test]
async fn a_release_lives_and_leaves_the_pools() -> Result<()> {
    let bed = support::empty_bed(2).await?;
    let chart = chart();
    let release = ["causeway", &chart, "--namespace", "kube-system", "--wait", "--timeout", "120s"];
    let install = |more: &[&str]| -> Result<String> {
        let mut arguments = vec!["upgrade", "--install"];
        arguments.extend(release);
        arguments.extend(more);
        match helm(Some(&bed), &arguments).and_then(good) {
            Ok(said) => Ok(said),
            Err(error) => bail!("{error:#}\n{}", support::causeway_logs(&bed)),
        }
    };
    let said = install(&[])?;
    ensure!(said.contains("metallb-system"), "{said}");
    bed.kubectl(&["apply", "-f", &support::manifest("pool.yaml")])?;
    bed.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {type: LoadBalancer, ports: [{port: 80}]}}",
    )?;
    let address = async || {
        wait::until("the address", SOON, async || {
            let ip = bed.kubectl(&[
                "get",
                "service",
                "web",
                "-o",
                "jsonpath={.status.loadBalancer.ingress[0].ip}",
            ])?;
            ensure!(ip.starts_with("10.77.100."), "{ip:?}\n{}", support::causeway_logs(&bed));
            Ok(ip)
        })
        .await
    };
    let first = address().await?;

    install(&["--set=controller.args={--log-level=debug}"])?;
    let flags = bed.kubectl(&[
        "-n",
        "kube-system",
        "get",
        "deployment",
        "causeway",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].args}",
    ])?;
    ensure!(flags.contains("--log-level=debug"), "{flags}");

    good(helm(Some(&bed), &["uninstall", "causeway", "--namespace", "kube-system", "--wait"])?)?;
    wait::until("the Pods to go", PODS, async || {
        let pods = bed.kubectl(&[
            "-n",
            "kube-system",
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/name=causeway",
            "-o",
            "name",
        ])?;
        ensure!(pods.is_empty(), "{pods}");
        Ok(())
    })
    .await?;
    let left =
        bed.kubectl(&["-n", "metallb-system", "get", "ipaddresspools,l2advertisements", "-o", "name"])?;
    ensure!(left.lines().count() == 2, "pools are gone: {left}");

    install(&[])?;
    ensure!(address().await? == first, "another address than {first}");
    bed.down()
}
