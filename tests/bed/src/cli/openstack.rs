//! `bed openstack`: an OpenStack for a running bed.

use std::net::SocketAddr;

use anyhow::Result;
use causeway_bed::Bed;
use causeway_bed::openstack::{CONTROL, Cloud, Provider, Service};
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::cloud::{Calls, Kind, OnOff};

const KIND: Kind = Kind { word: "openstack", name: "OpenStack", control: CONTROL };

#[derive(Subcommand)]
pub enum Action {
    /// Start an OpenStack for the bed, with a project `k8s` for its nodes; it ends with the bed.
    Up(UpArguments),
    /// End it.
    Down,
    /// Print what clients need: eval "$(bed openstack env)". With --inside for programs in the bed's namespaces.
    Env {
        /// The addresses inside the bed.
        #[arg(long)]
        inside: bool,
        /// Whom to be: k8s, other or admin.
        #[arg(long, default_value = "k8s")]
        user: String,
    },
    /// Print a file that clients read.
    Print {
        file: File,
        /// With the addresses inside the bed.
        #[arg(long)]
        inside: bool,
    },
    /// Print load balancers, listeners and the states of members.
    Show,
    #[command(flatten)]
    Calls(Calls),
    /// Let all tokens given out so far expire.
    ExpireTokens,
    /// Let new amphorae take so long to boot, or fail.
    Builds {
        /// Seconds.
        #[arg(long)]
        seconds: Option<f64>,
        /// Whether they fail.
        #[arg(long)]
        fail: Option<OnOff>,
    },
    /// Own the OpenStack until told to end (what `up` leaves running).
    #[command(hide = true)]
    Serve(UpArguments),
}

#[derive(Clone, Copy, ValueEnum)]
pub enum File {
    /// clouds.yaml, with the clouds k8s, other and admin.
    Clouds,
    /// A cloud controller's cloud.conf.
    Conf,
    /// Ids of networks and projects.
    Seed,
}

#[derive(Clone, Copy, ValueEnum)]
enum Served {
    Amphora,
    Ovn,
}

#[derive(Args, Clone)]
pub struct UpArguments {
    /// The default provider of load balancers. With ovn there is no traffic.
    #[arg(long, value_enum, default_value_t = Served::Amphora)]
    provider: Served,
    /// No load balancers that serve traffic: members stay OFFLINE.
    #[arg(long)]
    no_data_plane: bool,
    /// Instances for so many hollow nodes.
    #[arg(long, default_value_t = 0)]
    hollow: usize,
    /// How long tokens are good.
    #[arg(long, default_value_t = 3600)]
    token_seconds: u64,
    /// Give Node objects the provider ids of their instances, as a cloud controller would.
    #[arg(long)]
    provider_ids: bool,
}

/// A text for programs inside the bed and one for programs outside.
#[derive(Serialize, Deserialize)]
struct Both {
    inside: String,
    outside: String,
}

impl Both {
    fn of(text: impl Fn(bool) -> String) -> Both {
        Both { inside: text(true), outside: text(false) }
    }

    fn of_place(&self, inside: bool) -> &str {
        if inside { &self.inside } else { &self.outside }
    }
}

#[derive(Serialize, Deserialize)]
struct Description {
    pid: i32,
    control: SocketAddr,
    variables: Both,
    clouds: Both,
    conf: Both,
    seed: serde_json::Value,
}

pub fn run(bed: &Bed, action: Action) -> Result<()> {
    match action {
        Action::Up(arguments) => {
            KIND.up(bed, &words(&arguments))?;
            return run(bed, Action::Env { inside: false, user: "k8s".to_owned() });
        }
        Action::Serve(arguments) => return serve(bed, &arguments),
        _ => {}
    }
    let description: Description = KIND.description(bed)?;
    let control = description.control;
    match action {
        Action::Up(_) | Action::Serve(_) => Ok(()),
        Action::Down => KIND.down(bed, description.pid),
        Action::Env { inside, user } => {
            let variables = description.variables.of_place(inside);
            print!("{}", variables.replace("=k8s ", &format!("={user} ")));
            Ok(())
        }
        Action::Print { file, inside } => {
            match file {
                File::Clouds => print!("{}", description.clouds.of_place(inside)),
                File::Conf => print!("{}", description.conf.of_place(inside)),
                File::Seed => println!("{}", serde_json::to_string_pretty(&description.seed)?),
            }
            Ok(())
        }
        Action::Show => KIND.print(control, "GET", "show", None),
        Action::Calls(calls) => KIND.calls(control, calls),
        Action::ExpireTokens => KIND.print(control, "POST", "expire-tokens", None),
        Action::Builds { seconds, fail } => {
            let fail = fail.map(|fail| matches!(fail, OnOff::On));
            KIND.print(control, "POST", "builds", Some(json!({"seconds": seconds, "fail": fail})))
        }
    }
}

/// The arguments as `serve` takes them.
fn words(arguments: &UpArguments) -> Vec<String> {
    let UpArguments { provider, no_data_plane, hollow, token_seconds, provider_ids } = arguments;
    let provider = match provider {
        Served::Amphora => "amphora",
        Served::Ovn => "ovn",
    };
    let mut words = vec![format!("--provider={provider}"), format!("--hollow={hollow}")];
    words.push(format!("--token-seconds={token_seconds}"));
    for (flag, wanted) in [("--no-data-plane", *no_data_plane), ("--provider-ids", *provider_ids)] {
        words.extend(wanted.then(|| flag.to_owned()));
    }
    words
}

fn serve(bed: &Bed, arguments: &UpArguments) -> Result<()> {
    KIND.serve(bed, async || {
        let provider = match arguments.provider {
            Served::Amphora => Provider::Amphora,
            Served::Ovn => Provider::Ovn,
        };
        let cloud = Cloud::builder()
            .provider(provider)
            .data_plane(!arguments.no_data_plane)
            .hollow(arguments.hollow)
            .token_seconds(arguments.token_seconds)
            .start(bed)
            .await?;
        if arguments.provider_ids {
            cloud.label_nodes(bed).await?;
        }
        let description = Description {
            pid: std::process::id() as i32,
            control: cloud.outside_address(Service::Identity),
            variables: Both::of(|inside| cloud.variables(inside, "k8s")),
            clouds: Both::of(|inside| cloud.clouds_yaml(inside)),
            conf: Both::of(|inside| cloud.cloud_conf(inside)),
            seed: serde_json::to_value(cloud.seed())?,
        };
        Ok((cloud, description))
    })
}
