//! `bed aws`: an AWS for a running bed.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use causeway_bed::Bed;
use causeway_bed::aws::{Account, Aws, CONTROL};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::cloud::{Calls, Kind};

const KIND: Kind = Kind { word: "aws", name: "AWS", control: CONTROL };

#[derive(Subcommand)]
pub enum Action {
    /// Start an AWS for the bed, with an account for its nodes; it ends with the bed.
    Up(UpArguments),
    /// End it.
    Down,
    /// Print what clients need: eval "$(bed aws env)". With --inside for programs in the bed's namespaces.
    Env {
        /// The address inside the bed.
        #[arg(long)]
        inside: bool,
    },
    /// Print load balancers, listeners and the states of targets.
    Status,
    /// Print addresses and host names of load balancers; inside the bed /etc/hosts has them.
    Hosts,
    #[command(flatten)]
    Calls(Calls),
    /// Set limits of the account: network-load-balancers=200.
    Quota { quotas: Vec<String> },
    /// Own the AWS until told to end (what `up` leaves running).
    #[command(hide = true)]
    Serve(UpArguments),
}

#[derive(Args, Clone)]
pub struct UpArguments {
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// The cluster's name in tags.
    #[arg(long, default_value = "bed")]
    cluster: String,
    /// How many times faster than told targets are checked.
    #[arg(long, default_value_t = 10.0)]
    health_speed: f64,
    /// No load balancers that serve traffic: targets become healthy by themselves.
    #[arg(long)]
    no_data_plane: bool,
    /// Give Node objects the provider ids of their instances, as a cloud controller would.
    #[arg(long)]
    provider_ids: bool,
}

#[derive(Serialize, Deserialize)]
struct Description {
    pid: i32,
    outside: SocketAddr,
    outside_endpoint: String,
    inside_endpoint: String,
    region: String,
    vpc: String,
}

pub fn run(bed: &Bed, action: Action) -> Result<()> {
    match action {
        Action::Up(arguments) => {
            KIND.up(bed, &words(&arguments))?;
            return run(bed, Action::Env { inside: false });
        }
        Action::Serve(arguments) => return serve(bed, &arguments),
        _ => {}
    }
    let description: Description = KIND.description(bed)?;
    let control = description.outside;
    match action {
        Action::Up(_) | Action::Serve(_) => Ok(()),
        Action::Down => KIND.down(bed, description.pid),
        Action::Env { inside } => {
            let endpoint = if inside { description.inside_endpoint } else { description.outside_endpoint };
            println!("export AWS_ENDPOINT_URL={endpoint}");
            println!("export AWS_DEFAULT_REGION={0} AWS_REGION={0}", description.region);
            println!("export BED_VPC={}", description.vpc);
            println!("export AWS_ACCESS_KEY_ID=bed AWS_SECRET_ACCESS_KEY=bed AWS_EC2_METADATA_DISABLED=true");
            Ok(())
        }
        Action::Status => KIND.print(control, "GET", "load-balancers", None),
        Action::Hosts => KIND.print(control, "GET", "hosts", None),
        Action::Calls(calls) => KIND.calls(control, calls),
        Action::Quota { quotas } => {
            let mut all = json!({});
            for quota in &quotas {
                let (name, limit) =
                    quota.split_once('=').with_context(|| format!("NAME=LIMIT, not {quota:?}"))?;
                all[name] = json!(limit.parse::<u64>().with_context(|| format!("the limit of {name}"))?);
            }
            KIND.print(control, "POST", "quotas", Some(all))
        }
    }
}

/// The arguments as `serve` takes them.
fn words(arguments: &UpArguments) -> Vec<String> {
    let UpArguments { region, cluster, health_speed, no_data_plane, provider_ids } = arguments;
    let mut words = vec![format!("--region={region}"), format!("--cluster={cluster}")];
    words.push(format!("--health-speed={health_speed}"));
    for (flag, wanted) in [("--no-data-plane", *no_data_plane), ("--provider-ids", *provider_ids)] {
        words.extend(wanted.then(|| flag.to_owned()));
    }
    words
}

fn serve(bed: &Bed, arguments: &UpArguments) -> Result<()> {
    KIND.serve(bed, async || {
        let aws = Aws::builder()
            .region(&arguments.region)
            .health_speed(arguments.health_speed)
            .data_plane(!arguments.no_data_plane)
            .start(bed)
            .await?;
        let account = Account::builder().cluster(&arguments.cluster).create(&aws, bed).await?;
        if arguments.provider_ids {
            account.label_nodes(bed).await?;
        }
        aws.gate().calls.forget();
        let description = Description {
            pid: std::process::id() as i32,
            outside: aws.outside_address(),
            outside_endpoint: aws.outside_endpoint(),
            inside_endpoint: aws.endpoint(),
            region: arguments.region.clone(),
            vpc: account.vpc.clone(),
        };
        Ok((aws, description))
    })
}
