//! `controller --dry-run` against a live cluster: it says what it would do and writes nothing.

mod support;

use anyhow::{Result, ensure};
use causeway_bed::Bed;
use support::controller::Controller;

/// Everything that a controller could write, without what the API server and the others count.
fn written(bed: &Bed) -> Result<Vec<String>> {
    let list = |what: &str, columns: &str| {
        bed.kubectl(&[
            "get",
            what,
            "-A",
            "-o",
            &format!("jsonpath={{range .items[*]}}{columns}{{\"\\n\"}}{{end}}"),
        ])
    };
    Ok(vec![
        list(
            "services",
            "{.metadata.namespace}/{.metadata.name} {.metadata.finalizers} {.metadata.annotations} {.status}",
        )?,
        list("ipaddresspools", "{.metadata.name} {.status}")?,
        list("secrets", "{.metadata.namespace}/{.metadata.name}")?,
        // The API server and the nodes have Leases of their own.
        list("leases", "{.metadata.name}")?.lines().filter(|name| name.starts_with("causeway")).collect(),
        bed.kubectl(&["get", "events", "-A", "-o", "jsonpath={.items[*].source.component}"])?
            .split_whitespace()
            .filter(|component| component.contains("causeway") || component.contains("metallb"))
            .collect(),
    ])
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_do_and_writes_nothing() -> Result<()> {
    let bed = Bed::builder().nodes(1).start().await?;
    bed.kubectl(&[
        "apply",
        "--server-side",
        "-k",
        &support::top().join("deploy/crds").display().to_string(),
    ])?;
    bed.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"])?;
    bed.kubectl(&["create", "namespace", "metallb-system"])?;
    bed.kubectl(&["apply", "-f", &support::manifest("pool.yaml")])?;
    bed.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {type: LoadBalancer, ports: [{port: 80}]}}",
    )?;
    let before = written(&bed)?;
    let kubeconfig = bed.kubeconfig().display().to_string();
    let mut controller = Controller::start(&["--dry-run", "--kubeconfig", &kubeconfig])?;
    controller.says(&["would", "default/web", "10.77.100."]).await?;
    controller.runs()?;
    ensure!(written(&bed)? == before, "{before:?} became {:?}", written(&bed)?);
    bed.down()
}
