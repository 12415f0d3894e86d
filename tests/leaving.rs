//! Going away: `causeway release`, and docs/uninstall.md walked through as it is written.

mod support;

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use causeway_bed::{Bed, wait};
use support::{Lab, SOON, addresses, condition, has_finalizer};

const FROM_POOL: &str = "metallb.io/ip-allocated-from-pool";

/// Runs our program as a person with the bed's kubeconfig.
fn causeway(bed: &Bed, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(arguments)
        .env("KUBECONFIG", bed.kubeconfig())
        .stdin(Stdio::null())
        .output()
        .context("running causeway")?;
    Ok(output)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const CONTROLLERS: &str = "app.kubernetes.io/name=causeway,app.kubernetes.io/component=controller";

fn scale(bed: &Bed, replicas: usize) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    bed.kubectl(&["-n", "kube-system", "scale", "deployment/causeway", &replicas])?;
    if replicas == "--replicas=0" {
        let gone = ["-n", "kube-system", "wait", "--for=delete", "pod", "-l", CONTROLLERS, "--timeout=60s"];
        bed.kubectl(&gone)?;
    }
    Ok(())
}

/// The commands of a page: indented lines that begin with a program's name, up to the heading `until`.
fn commands(page: &str, until: &str) -> Result<Vec<Vec<String>>> {
    let path = support::top().join("docs").join(page);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (text, _) = text.split_once(until).with_context(|| format!("{page} has no {until:?}"))?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    Ok(lines
        .map(words)
        .filter(|w| matches!(w.first().map(String::as_str), Some("kubectl" | "causeway")))
        .collect())
}

/// In one test, since the last step leaves nothing for another.
#[tokio::test]
async fn marks_go_and_the_page_on_uninstalling_holds() {
    Lab::run("leaving", async |lab| {
        lab.create_service("web", "", "")?;
        let address = lab.address("web").await?;

        // Refused while a controller leads, and without effect.
        let refused = causeway(lab.bed, &["release", "--cloud-provider=metal", "--keep"])?;
        let holder = lab.leader().await?;
        ensure!(refused.status.code() == Some(1), "{}", said(&refused));
        ensure!(said(&refused).contains(&holder), "{holder} is not in: {}", said(&refused));
        ensure!(has_finalizer(&lab.service("web").await?), "it was released all the same");

        scale(lab.bed, 0)?;
        let dry = causeway(lab.bed, &["release", "--cloud-provider=metal", "--keep", "--dry-run"])?;
        let line = format!("Service {}/web: marks taken away, keeps {address}", lab.namespace);
        ensure!(dry.status.success() && said(&dry).contains(&line), "{}", said(&dry));
        ensure!(has_finalizer(&lab.service("web").await?), "a dry run wrote");

        // As for a change to MetalLB: nothing but our marks is gone, and the speakers go on.
        let kept = causeway(lab.bed, &["release", "--cloud-provider=metal", "--keep"])?;
        ensure!(kept.status.success() && said(&kept).contains(&line), "{}", said(&kept));
        let web = lab.service("web").await?;
        ensure!(!has_finalizer(&web), "{:?}", web.metadata);
        ensure!(condition(&web, "causeway.io/LoadBalancerReady").is_none(), "{:?}", web.status);
        ensure!(addresses(&web) == [address], "{:?}", web.status);
        ensure!(
            web.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(FROM_POOL)),
            "{:?}",
            web.metadata
        );

        // Back again: the same address.
        scale(lab.bed, 2)?;
        let web = lab.until_service("web", "served again", has_finalizer).await?;
        ensure!(addresses(&web) == [address], "{:?}", web.status);

        // One that is being deleted while the page is followed: it must not hang for ever.
        lab.create_service("late", "", "")?;
        lab.address("late").await?;

        let mut released = false;
        for command in commands("uninstall.md", "## If it is too late")? {
            let (program, arguments) = command.split_first().context("a command")?;
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            if program == "kubectl" {
                lab.bed.kubectl(&arguments).with_context(|| command.join(" "))?;
            } else {
                lab.kubectl(&["delete", "service", "late", "--wait=false"])?;
                let output = causeway(lab.bed, &arguments)?;
                ensure!(output.status.success(), "{}: {}", command.join(" "), said(&output));
                released |= !arguments.iter().any(|a| matches!(*a, "--keep" | "--dry-run"));
                if released {
                    let web = lab.service("web").await?;
                    ensure!(!has_finalizer(&web) && addresses(&web).is_empty(), "{web:?}");
                    ensure!(
                        !web.metadata.annotations.is_some_and(|a| a.contains_key(FROM_POOL)),
                        "the annotation is still there"
                    );
                }
            }
        }
        ensure!(released, "the page does not release");
        wait::until("the deleted Service to go", SOON, async || {
            let left = lab.kubectl(&["get", "service", "late", "--ignore-not-found", "-o", "name"])?;
            ensure!(left.trim().is_empty(), "{left}");
            Ok(())
        })
        .await?;

        // Nothing of ours is left anywhere.
        wait::until("everything to be gone", support::PODS, async || {
            let kinds = lab.bed.kubectl(&["api-resources", "--verbs=list", "-o", "name"])?;
            let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
            let found = lab.bed.kubectl(&["get", &kinds.join(","), "-A", "-o", "name"])?;
            let ours: Vec<&str> =
                found.lines().filter(|name| name.contains("causeway") || name.contains("metallb")).collect();
            ensure!(ours.is_empty(), "{ours:?}");
            Ok(())
        })
        .await
    })
    .await;
}
