//! The command line of `bed`.

mod aws;
mod cloud;
mod openstack;
mod router;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use causeway_bed::e2e::Selection;
use causeway_bed::init::Init;
use causeway_bed::{Bed, Image};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// A Kubernetes cluster in network namespaces of this machine, with clients and faults, for developers and tests.
#[derive(Parser)]
#[command(name = "bed", version)]
struct Arguments {
    /// Name of the bed; several can run side by side.
    #[arg(long, global = true, default_value = "default", env = "CAUSEWAY_BED")]
    name: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start a bed in the background.
    Up(UpArguments),
    /// End a bed; nothing of it is left.
    Down,
    /// Say which beds run; of the named one, its nodes and daemons.
    Status,
    /// Print the path of the bed's kubeconfig: export KUBECONFIG=$(bed kubeconfig).
    Kubeconfig,
    /// Run kubectl as the cluster's administrator.
    #[command(disable_help_flag = true)]
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run a command in a namespace: client, remote, router, e2e, cp, lan, node1, node2, ...
    Exec {
        /// The namespace.
        place: String,
        /// The command; a shell if none is given.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Cut the power of nodes: their links stay up, but nothing comes from them any more.
    Cut { nodes: Vec<String> },
    /// Give nodes their power back.
    Restore { nodes: Vec<String> },
    /// Start nodes anew, with or without power before: no process and no connection survives.
    Reboot { nodes: Vec<String> },
    /// Pull the cable of a node's NIC, or plug it in again.
    Carrier { node: String, state: UpDown },
    /// Separate these nodes from the other nodes; clients and the control plane still reach all.
    Partition { nodes: Vec<String> },
    /// End a partition.
    Heal,
    /// Lose a part of the frames to and from a namespace of the segment: 0 to 100 percent.
    Loss { place: String, percent: u8 },
    /// Freeze a daemon (SIGSTOP), such as kube-apiserver or node1-agent.
    Freeze { daemon: String },
    /// Let a frozen daemon go on.
    Thaw { daemon: String },
    /// Kill a daemon and start it again.
    Restart { daemon: String },
    /// Print the log of a daemon, or the ends of all logs.
    Logs { daemon: Option<String> },
    /// Start, look at and talk to BGP routers: FRR, BIRD, GoBGP, exabgp.
    #[command(subcommand)]
    Router(router::Action),
    /// Start, look at and disturb an AWS: its API and its load balancers.
    #[command(subcommand)]
    Aws(aws::Action),
    /// Start, look at and disturb an OpenStack: its APIs and its load balancers.
    #[command(subcommand)]
    Openstack(openstack::Action),
    /// Run upstream's e2e specs against the bed.
    E2e(E2eArguments),
    /// Own a bed until told to end (what `up` leaves running).
    #[command(hide = true)]
    Serve(UpArguments),
}

#[derive(Args, Clone)]
struct UpArguments {
    /// Nodes with a data plane.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Node objects more, with heartbeats only.
    #[arg(long, default_value_t = 0)]
    hollow: usize,
    /// File with images for the node agent: a JSON list of {match, rootfs, command, env, user}.
    #[arg(long)]
    images: Option<PathBuf>,
    /// How many addresses will be in use; from 500 on the machine's neighbour table is made larger while the bed lives.
    #[arg(long, default_value_t = 0)]
    addresses: usize,
    /// Nodes and Pods without IPv6 addresses, as upstream's suite wants them for Services with one family.
    #[arg(long)]
    ipv4_only: bool,
    /// Only the network: namespaces, links and routers, no cluster.
    #[arg(long, conflicts_with_all = ["hollow", "images", "ipv4_only"])]
    bare: bool,
    /// Stay in the foreground and own the bed: it ends with this command.
    #[arg(long)]
    foreground: bool,
}

#[derive(Args)]
struct E2eArguments {
    /// Regular expression of the specs to run; begins with LoadBalancers, else storage specs match as well.
    #[arg(long, default_value = "LoadBalancers")]
    focus: String,
    /// Regular expression of specs to leave out.
    #[arg(long)]
    skip: Option<String>,
    /// How many specs run at a time.
    #[arg(long, default_value_t = 1)]
    side_by_side: usize,
    /// Keep the suite's report (JSON) in this file.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum UpDown {
    Up,
    Down,
}

/// What `serve` says when the bed is up; anything else is an error's text.
const UP: &str = "up";

pub fn run() -> Result<ExitCode> {
    let Arguments { name, action } = Arguments::parse();
    match action {
        Action::Up(up) if up.foreground => serve(&name, up)?,
        Action::Up(up) => self::up(&name, up)?,
        Action::Serve(up) => serve(&name, up)?,
        Action::Down => down(&name)?,
        Action::Status => return status(&name),
        Action::Kubeconfig => println!("{}", Bed::attach(&name)?.kubeconfig().display()),
        Action::Kubectl { arguments } => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            return Err(Bed::attach(&name)?.kubectl_command(&arguments)?.exec()).context("running kubectl");
        }
        Action::Exec { place, mut command } => {
            if command.is_empty() {
                command.push(std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned()));
            }
            let bed = Bed::attach(&name)?;
            let mut entered = bed.namespace(&place)?.command();
            entered.args(command).env("KUBECONFIG", bed.inside_kubeconfig());
            return Err(entered.exec()).context("running nsenter");
        }
        Action::Cut { nodes } => each_node(&name, &nodes, |node| node.cut_power().map(drop))?,
        Action::Restore { nodes } => each_node(&name, &nodes, |node| node.restore_power())?,
        Action::Reboot { nodes } => each_node(&name, &nodes, |node| node.reboot())?,
        Action::Carrier { node, state } => {
            Bed::attach(&name)?.node_named(&node)?.set_carrier(matches!(state, UpDown::Up))?;
        }
        Action::Partition { nodes } => partition(&name, &nodes)?,
        Action::Heal => Bed::attach(&name)?.segment().heal()?,
        Action::Loss { place, percent } => Bed::attach(&name)?.segment().set_loss(&place, percent)?,
        Action::Freeze { daemon } => {
            Bed::attach(&name)?.daemon(&daemon).signal(causeway_bed::Signal::STOP)?
        }
        Action::Thaw { daemon } => Bed::attach(&name)?.daemon(&daemon).signal(causeway_bed::Signal::CONT)?,
        Action::Restart { daemon } => {
            let daemon = Bed::attach(&name)?.daemon(&daemon);
            daemon.stop(causeway_bed::Signal::KILL, std::time::Duration::from_secs(10))?;
            daemon.start()?;
        }
        Action::Logs { daemon: Some(daemon) } => logs(&Bed::attach(&name)?, &daemon)?,
        Action::Logs { daemon: None } => print!("{}", Bed::attach(&name)?.log_tails(20)),
        Action::Router(action) => router::run(&Bed::attach(&name)?, action)?,
        Action::Aws(action) => aws::run(&Bed::attach(&name)?, action)?,
        Action::Openstack(action) => openstack::run(&Bed::attach(&name)?, action)?,
        Action::E2e(arguments) => return e2e(&name, &arguments),
    }
    Ok(ExitCode::SUCCESS)
}

fn up(name: &str, arguments: UpArguments) -> Result<()> {
    let start = Instant::now();
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    command.args(["--name", name, "serve", "--nodes", &arguments.nodes.to_string()]);
    if arguments.hollow > 0 {
        command.args(["--hollow", &arguments.hollow.to_string()]);
    }
    if arguments.ipv4_only {
        command.arg("--ipv4-only");
    }
    if arguments.bare {
        command.arg("--bare");
    }
    command.args(["--addresses", &arguments.addresses.to_string()]);
    if let Some(images) = &arguments.images {
        command.arg("--images").arg(std::path::absolute(images)?);
    }
    // A terminal's hang-up and Ctrl-C are not for the owner, which lives on; its messages come here until the bed is up.
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the owner")?;
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().context("the owner has no output")?);
    output.read_line(&mut line)?;
    if line.trim() != UP {
        output.read_to_string(&mut line)?;
        let status = child.wait()?;
        bail!("the bed did not start ({status}){line}");
    }
    let bed = Bed::attach(name)?;
    eprintln!("the bed {name} is up: {} nodes, {:.1} s", bed.nodes().len(), start.elapsed().as_secs_f64());
    if bed.has_cluster() {
        println!("export KUBECONFIG={}", bed.kubeconfig().display());
    }
    Ok(())
}

/// Owns the bed until it is told to end or the bed ends by itself.
fn serve(name: &str, arguments: UpArguments) -> Result<()> {
    let images: Vec<Image> = match &arguments.images {
        Some(path) => read_images(path)?,
        None => Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let _hang_up = (!arguments.foreground).then(|| signal(SignalKind::hangup())).transpose()?;
        let mut builder = Bed::builder()
            .name(name)
            .nodes(arguments.nodes)
            .hollow(arguments.hollow)
            .ipv4_only(arguments.ipv4_only)
            .bare(arguments.bare);
        builder = builder.addresses(arguments.addresses);
        for image in images {
            builder = builder.image(image);
        }
        let bed = tokio::select! {
            bed = builder.start() => bed?,
            _ = terminate.recv() => bail!("told to end before the bed was up"),
            _ = interrupt.recv() => bail!("interrupted before the bed was up"),
        };
        if arguments.foreground && bed.has_cluster() {
            println!("export KUBECONFIG={}", bed.kubeconfig().display());
        } else if arguments.foreground {
            println!("{UP}");
        } else {
            println!("{UP}");
            std::io::stdout().flush()?;
            leave_terminal()?;
        }
        let gone = async {
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(200));
            while Path::new(&format!("/proc/{}", bed.init().pid)).exists() {
                tick.tick().await;
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = gone => {}
        }
        bed.down()
    })
}

fn read_images(path: &Path) -> Result<Vec<Image>> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))
}

/// From here on nobody reads what the owner says, and it must not hold the pipes of whoever called `bed up`.
fn leave_terminal() -> Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

fn down(name: &str) -> Result<()> {
    match Init::find(name)? {
        Some(_) => {
            let bed = Bed::attach(name);
            match bed {
                Ok(bed) => bed.down(),
                // Half started: there is an init, but no description yet.
                Err(_) => Init::find(name)?.map_or(Ok(()), |init| init.kill()),
            }
        }
        None => bail!("no bed named {name} is running"),
    }
}

fn status(name: &str) -> Result<ExitCode> {
    let beds = Init::list()?;
    for init in &beds {
        println!("{:<20} init {}", init.name, init.pid);
    }
    if !beds.iter().any(|init| init.name == name) {
        eprintln!("no bed named {name} is running");
        return Ok(ExitCode::FAILURE);
    }
    let bed = Bed::attach(name)?;
    println!();
    if bed.has_cluster() {
        println!("kubeconfig {}", bed.kubeconfig().display());
    }
    for node in bed.nodes() {
        let addresses = node.addresses();
        println!("{:<8} {:<12} {:<10} {}", node.name(), addresses.v4, addresses.v6, addresses.mac);
    }
    for daemon in bed.daemons()? {
        match daemon.process()? {
            Some(process) => println!("{:<28} pid {:<8} {}", daemon.name(), process.pid, process.state),
            None => println!("{:<28} dead", daemon.name()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn each_node(name: &str, nodes: &[String], act: impl Fn(&causeway_bed::Node) -> Result<()>) -> Result<()> {
    ensure!(!nodes.is_empty(), "which nodes?");
    let bed = Bed::attach(name)?;
    for node in nodes {
        act(&bed.node_named(node)?)?;
    }
    Ok(())
}

fn partition(name: &str, nodes: &[String]) -> Result<()> {
    ensure!(!nodes.is_empty(), "which nodes?");
    let bed = Bed::attach(name)?;
    for node in nodes {
        bed.node_named(node)?;
    }
    let all = bed.nodes();
    let others: Vec<&str> =
        all.iter().map(|node| node.name()).filter(|n| !nodes.iter().any(|m| m == n)).collect();
    ensure!(!others.is_empty(), "no node is left on the other side");
    let these: Vec<&str> = nodes.iter().map(String::as_str).collect();
    bed.segment().partition(&these, &others)
}

fn logs(bed: &Bed, name: &str) -> Result<()> {
    let names: Vec<String> = bed.daemons()?.iter().map(|daemon| daemon.name().to_owned()).collect();
    ensure!(names.iter().any(|known| known == name), "no daemon {name:?}; there are {}", names.join(", "));
    print!("{}", bed.daemon(name).log());
    Ok(())
}

fn e2e(name: &str, arguments: &E2eArguments) -> Result<ExitCode> {
    let bed = Bed::attach(name)?;
    let E2eArguments { focus, skip, side_by_side, .. } = arguments;
    let selection = Selection { focus, skip: skip.as_deref(), side_by_side: *side_by_side };
    let outcome = causeway_bed::e2e::run(&bed, &selection)?;
    if let Some(path) = &arguments.report {
        std::fs::write(path, &outcome.report).with_context(|| format!("writing {}", path.display()))?;
    }
    print!("{outcome}");
    Ok(if outcome.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
