//! What is missing or wrong around the controller when it starts: each gets one clear message, nothing crashes, and it goes on by itself
//! once the matter is mended.

mod support;

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use causeway_bed::{Bed, wait};
use support::PODS;
use support::controller::Controller;

fn file(content: &str) -> Result<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), content)?;
    Ok(file)
}

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
         users: [{{name: u, user: {{token: none}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    )
}

#[tokio::test]
async fn a_malformed_kubeconfig_is_named() -> Result<()> {
    let broken = file("apiVersion: v1\nclusters: 7\n")?;
    let path = broken.path().display().to_string();
    let mut controller = Controller::start(&["--kubeconfig", &path])?;
    let status = controller.ends().await?;
    ensure!(!status.success(), "it ended well");
    ensure!(controller.log().contains(&path), "{}", controller.log());
    ensure!(!controller.log().contains("panicked"), "{}", controller.log());
    Ok(())
}

#[tokio::test]
async fn without_an_api_server_it_waits_and_says_so() -> Result<()> {
    // A port that was free a moment ago: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = format!("http://127.0.0.1:{port}");
    let config = file(&kubeconfig(&server))?;
    let mut controller = Controller::start(&["--kubeconfig", &config.path().display().to_string()])?;
    controller.says(&["API server", &format!("127.0.0.1:{port}")]).await?;
    controller.says(&["Connection refused"]).await?;
    controller.runs()?;
    Ok(())
}

#[tokio::test]
async fn an_unknown_provider_is_answered_with_the_known_ones() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(["controller", "--cloud-provider=banana"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains("banana") && said.contains("metal"), "{said}");
    Ok(())
}

fn logs(bed: &Bed) -> Result<String> {
    bed.kubectl(&[
        "-n",
        "kube-system",
        "logs",
        "-l",
        "app.kubernetes.io/component=controller",
        "--tail=-1",
        "--prefix",
    ])
}

/// Deployed before the CRDs are there, with a token that the API server does not know first.
#[tokio::test]
async fn missing_crds_and_a_wrong_token_are_named_and_mended_without_a_restart() -> Result<()> {
    let bed = support::empty_bed(2).await?;

    // A token that means nothing.
    let certificate = bed.kubectl(&[
        "config",
        "view",
        "--raw",
        "-o",
        "jsonpath={.clusters[0].cluster.certificate-authority-data}",
    ])?;
    let server = bed.kubectl(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"])?;
    let with_ca = kubeconfig(&server)
        .replace("server:", &format!("certificate-authority-data: {certificate}, server:"));
    let config = file(&with_ca)?;
    let mut controller = Controller::start(&["--kubeconfig", &config.path().display().to_string()])?;
    controller.says(&["401"]).await.or(controller.says(&["nauthorized"]).await)?;
    controller.runs()?;
    drop(controller);

    // Everything but the CRDs.
    let overlay = support::top().join("deploy/kustomize/metal").display().to_string();
    let all = bed.kubectl(&["kustomize", &overlay])?;
    let without: Vec<&str> =
        all.split("\n---\n").filter(|part| !part.contains("kind: CustomResourceDefinition")).collect();
    ensure!(without.len() < all.split("\n---\n").count(), "the overlay has no CRDs");
    bed.apply(&without.join("\n---\n"))?;
    wait::until("the controller to name the missing CRD", PODS, async || {
        let log = logs(&bed)?;
        ensure!(log.contains("ipaddresspools.metallb.io") && log.contains("not installed"), "{log}");
        Ok(())
    })
    .await?;
    let restarts = || {
        let columns = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
        bed.kubectl(&[
            "-n",
            "kube-system",
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/component=controller",
            "-o",
            columns,
        ])
    };
    let before = restarts()?;
    bed.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {type: LoadBalancer, ports: [{port: 80}]}}",
    )?;

    let crds = support::top().join("deploy/crds").display().to_string();
    bed.kubectl(&["apply", "--server-side", "-k", &crds])?;
    bed.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"])?;
    bed.kubectl(&["apply", "-f", &support::manifest("pool.yaml")])?;
    wait::until("the address, without a restart", Duration::from_secs(120), async || {
        let ip =
            bed.kubectl(&["get", "service", "web", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}"])?;
        ensure!(ip.starts_with("10.77.100."), "{ip:?}\n{}", logs(&bed)?);
        Ok(())
    })
    .await?;
    ensure!(restarts()? == before, "it was restarted: {}", restarts()?);
    bed.down()
}
