//! Two clouds side by side; nothing is left of one that ended.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::aws::{Account, Aws};
use causeway_bed::{Bed, process};

use crate::common::Region;

/// The bed's processes.
fn processes(bed: &Bed) -> Result<BTreeSet<i32>> {
    Ok(process::descendants(&process::all()?, &BTreeSet::from([bed.init().pid])))
}

#[tokio::test]
async fn two_clouds_know_nothing_of_each_other() -> Result<()> {
    let (one, two) = (Region::start().await?, Region::start().await?);
    let first = one.nlb("web").await?;
    let second = two.nlb("web").await?;
    let names = |region: &Region| region.aws.cloud().with("us-east-1", |elb, _| elb.hosts().len());
    ensure!(names(&one) == 1 && names(&two) == 1, "{first} {second}");
    ensure!(one.aws.outside_endpoint() != two.aws.outside_endpoint());
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    ensure!(!hosts.contains(".amazonaws.com"), "the machine's own hosts file was written");
    let inside = one.bed.client_ns().run(&["cat", "/etc/hosts"])?;
    ensure!(inside.contains("198.51.100.32 web-"), "{inside}");
    Ok(())
}

#[tokio::test]
async fn a_cloud_ends_with_its_value_and_can_be_started_again() -> Result<()> {
    let bed = Bed::builder().bare(true).start().await?;
    for _ in 0..2 {
        let aws = Aws::builder().start(&bed).await?;
        ensure!(Aws::builder().start(&bed).await.is_err(), "two clouds in one bed");
        Account::builder().create(&aws, &bed).await?;
        drop(aws);
        ensure!(bed.daemon("moto").process()?.is_none(), "moto goes on");
    }
    let aws = Aws::builder().start(&bed).await?;
    let pids = processes(&bed)?;
    ensure!(pids.len() > 1);
    drop(aws);
    bed.down()?;
    let left: Vec<_> =
        process::all()?.into_values().filter(|p| p.state != 'Z' && pids.contains(&p.pid)).collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

/// The command's words on a bed of that name, and what it printed.
fn bed(name: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_bed")).args(["--name", name]).args(words).output()?;
    ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn the_command_starts_shows_and_disturbs_one_and_it_dies_with_its_bed() -> Result<()> {
    let name = format!("aws-{}", std::process::id());
    let mut owner = Command::new(env!("CARGO_BIN_EXE_bed"))
        .args(["--name", &name, "up", "--bare", "--foreground", "--nodes", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(owner.stdout.take().context("no output")?).read_line(&mut line)?;
    ensure!(line.trim() == "up", "the owner said {line:?}");
    let refused = bed(&name, &["aws", "status"]).err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(refused.contains("`bed aws up` starts one"), "{refused}");
    let said = bed(&name, &["aws", "up"])?;
    ensure!(said.contains("export AWS_ENDPOINT_URL=http://127.0.0.1:"), "{said}");
    let inside = bed(&name, &["aws", "env", "--inside"])?;
    ensure!(inside.contains("AWS_ENDPOINT_URL=http://10.77.0.240:4566"), "{inside}");
    ensure!(bed(&name, &["aws", "counts"])?.trim() == "{}", "making the account is not counted");
    bed(&name, &["aws", "fault", r#"[{"calls": "Create*", "effect": {"cut": {}}}]"#])?;
    ensure!(bed(&name, &["aws", "fault"])?.contains("Create*"));
    ensure!(!bed(&name, &["aws", "heal"])?.contains("Create*"));
    ensure!(bed(&name, &["aws", "limits", "on"])?.contains("\"enforced\": true"));
    bed(&name, &["aws", "quota", "target-groups=5"])?;
    ensure!(bed(&name, &["aws", "status"])?.contains("us-east-1"));
    bed(&name, &["aws", "down"])?;
    ensure!(bed(&name, &["aws", "status"]).is_err(), "it goes on");
    bed(&name, &["aws", "up", "--no-data-plane"])?;
    let running = Bed::attach(&name)?;
    let path = running.init().state("aws.json");
    let description: serde_json::Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let server = description["pid"].as_i64().context("no pid")? as i32;
    let pids = processes(&running)?;
    owner.kill()?;
    owner.wait()?;
    running
        .wait("everything to vanish", Duration::from_secs(30), async || {
            let left: Vec<_> = process::all()?
                .into_values()
                .filter(|p| p.state != 'Z' && (p.pid == server || pids.contains(&p.pid)))
                .collect();
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await
}
