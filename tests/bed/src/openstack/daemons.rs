//! The programs of the cloud, as daemons of its bed. I/O: starts them, waits for them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::service::Service;
use super::{Builder, Provider};
use crate::bed::Bed;
use crate::daemon::Daemon;
use crate::init::STATE_DIR;
use crate::namespace::Namespace;
use crate::wait;

/// How long the services may take to start on a machine with much other work.
const START: Duration = Duration::from_secs(300);
/// Between two looks at whether one has started.
const PAUSE: Duration = Duration::from_millis(150);

/// The Python programs, which the bed brings with it.
const PROGRAMS: [(&str, &str); 7] = [
    ("configure.py", include_str!("../../openstack/configure.py")),
    ("serve.py", include_str!("../../openstack/serve.py")),
    ("compute.py", include_str!("../../openstack/compute.py")),
    ("machines.py", include_str!("../../openstack/machines.py")),
    ("amphora.py", include_str!("../../openstack/amphora.py")),
    ("heartbeat.py", include_str!("../../openstack/heartbeat.py")),
    ("traffic.py", include_str!("../../openstack/traffic.py")),
];

/// The cloud's folder below the bed's state directory.
pub const FOLDER: &str = "openstack";

/// Names of all daemons that a cloud may have, in the order in which they are stopped.
pub const NAMES: [&str; 11] = [
    "openstack-traffic",
    "openstack-nova",
    "openstack-octavia",
    "openstack-agent",
    "openstack-neutron",
    "openstack-barbican",
    "openstack-keystone",
    "openstack-northd",
    "openstack-sb",
    "openstack-nb",
    "openstack-database",
];

/// Lays the folder of a new cloud: its programs, its state as it was seeded, its configuration.
pub fn lay(bed: &Bed, installed: &Path, builder: &Builder) -> Result<()> {
    for (name, text) in PROGRAMS {
        bed.init().write(&format!("{FOLDER}/{name}"), text)?;
    }
    let settings = json!({
        "provider": builder.provider.name(),
        "data_plane": builder.data_plane,
        "token_seconds": builder.token_seconds,
        "token_cache_seconds": builder.token_cache_seconds,
        "floating_ips": builder.floating_ips,
        "security_groups": builder.security_groups,
        "load_balancers": builder.load_balancers,
        "page": builder.page,
        "environment": installed,
    });
    bed.init().write(&format!("{FOLDER}/settings.json"), settings.to_string())?;
    // What an earlier cloud of the bed had is not this one's.
    let script = r#"cd "$1"; rm -rf database fernet credential certificates ovn run /run/octavia; cp -a "$2"/. .; mkdir -p run /run/octavia
        exec "$3" configure.py "$1""#;
    let output = bed
        .init()
        .command(None)
        .args(["sh", "-ec", script, "sh", &format!("{STATE_DIR}/{FOLDER}")])
        .arg(installed.join("state").join(builder.provider.name()))
        .arg(installed.join("bin/python"))
        .output()
        .context("laying the cloud's folder")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "laying the cloud's folder: {complaint}");
    Ok(())
}

/// Starts everything and waits until it answers.
pub async fn start(bed: &Bed, namespace: &Namespace, installed: &Path, builder: &Builder) -> Result<()> {
    let start = Starter { namespace, installed };
    let folder = format!("{STATE_DIR}/{FOLDER}");
    start.daemon(bed, "database", database(&folder))?;
    if builder.provider == Provider::Ovn {
        start_ovn(bed, &start, &folder).await?;
    }
    // A connection that the database greets: it begins with the length of the greeting.
    wait_for(bed, "openstack-database", async || {
        let greeted = namespace.inside_async(Duration::from_secs(5), || async {
            use tokio::io::AsyncReadExt;
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", 3306)).await?;
            let mut first = [0; 1];
            stream.read_exact(&mut first).await?;
            Ok(())
        });
        greeted.await
    })
    .await?;
    if builder.provider == Provider::Ovn {
        // Octavia's process asks it while it starts.
        start_agent(bed, &start, &folder).await?;
    }
    for service in builder.services() {
        start.daemon(bed, service.program(), start.serve(service, builder, &folder))?;
    }
    if builder.data_plane {
        let command = vec![start.python(), format!("{folder}/traffic.py"), folder.clone()];
        start.daemon(bed, "traffic", command)?;
    }
    for service in builder.services() {
        wait_for(bed, &format!("openstack-{}", service.program()), async || {
            let patience = Duration::from_secs(20);
            namespace.http_get(service.behind(), service.probe(), None, patience).await.map(drop)
        })
        .await?;
    }
    Ok(())
}

/// Waits until `look` succeeds or the daemon is dead.
async fn wait_for(bed: &Bed, daemon: &str, mut look: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let running = bed.daemon(daemon);
    wait::until(daemon, START, async || {
        if let Err(dead) = running.pid() {
            return Ok(Err(dead));
        }
        let result = look().await;
        if result.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        result.map(Ok)
    })
    .await?
}

/// The database, as `snapshot.py` starts it too.
fn database(folder: &str) -> Vec<String> {
    let mut command: Vec<String> = ["mariadbd", "--no-defaults", "--user=root"].map(str::to_owned).into();
    command.push(format!("--datadir={folder}/database"));
    command.push(format!("--socket={folder}/run/database.sock"));
    let settings = [
        "--port=3306",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--skip-log-bin",
        "--max-connections=500",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=64M",
        "--innodb-log-file-size=8M",
    ];
    command.extend(settings.map(str::to_owned));
    command
}

async fn start_ovn(bed: &Bed, start: &Starter<'_>, folder: &str) -> Result<()> {
    let ovn = format!("{folder}/ovn");
    for (short, port) in [("nb", 6641), ("sb", 6642)] {
        let command = vec![
            "ovsdb-server".to_owned(),
            format!("{ovn}/{short}.db"),
            format!("--remote=punix:{ovn}/{short}.sock"),
            format!("--remote=ptcp:{port}:127.0.0.1"),
            format!("--unixctl={ovn}/{short}.ctl"),
        ];
        start.daemon(bed, short, command)?;
        let socket = bed.init().path(&format!("{ovn}/{short}.sock"));
        wait_for(bed, &format!("openstack-{short}"), async || {
            ensure!(socket.exists(), "there is no {}", socket.display());
            Ok(())
        })
        .await?;
    }
    let northd = vec![
        "ovn-northd".to_owned(),
        format!("--ovnnb-db=unix:{ovn}/nb.sock"),
        format!("--ovnsb-db=unix:{ovn}/sb.sock"),
        format!("--unixctl={ovn}/northd.ctl"),
    ];
    start.daemon(bed, "northd", northd)?;
    Ok(())
}

/// Starts the agent by which the OVN provider tells Octavia what has become of load balancers.
async fn start_agent(bed: &Bed, start: &Starter<'_>, folder: &str) -> Result<()> {
    let program = start.installed.join("bin/octavia-driver-agent").display().to_string();
    start.daemon(bed, "agent", vec![program, format!("--config-file={folder}/etc/octavia.conf")])?;
    let socket = bed.init().path("/run/octavia/get.sock");
    wait_for(bed, "openstack-agent", async || {
        ensure!(socket.exists(), "there is no {}", socket.display());
        Ok(())
    })
    .await
}

/// Nova's configuration: what a package brings, and the cloud's own.
fn nova_files(installed: &Path) -> String {
    format!("{};nova.conf", installed.join("etc/nova/api-paste.ini").display())
}

struct Starter<'a> {
    namespace: &'a Namespace,
    installed: &'a Path,
}

impl Starter<'_> {
    fn python(&self) -> String {
        self.installed.join("bin/python").display().to_string()
    }

    /// The command of a service.
    fn serve(&self, service: Service, builder: &Builder, folder: &str) -> Vec<String> {
        let mut command = vec![self.python(), format!("{folder}/serve.py"), service.port().to_string()];
        command.push(service.program().to_owned());
        if service == Service::LoadBalancer {
            if !builder.data_plane {
                command.push("--no-traffic".to_owned());
            }
            command.extend([
                "--".to_owned(),
                "--config-file".to_owned(),
                format!("{folder}/etc/octavia.conf"),
            ]);
        }
        command
    }

    fn daemon(&self, bed: &Bed, name: &str, command: Vec<String>) -> Result<()> {
        let folder = format!("{STATE_DIR}/{FOLDER}");
        let mut daemon = Daemon::new(&format!("openstack-{name}"), self.namespace.name(), command);
        let debian = self.installed.join("debian/usr");
        daemon.mounts = Some(format!("mount -t overlay -o lowerdir={}:/usr overlay /usr", debian.display()));
        let path = std::env::var("PATH").unwrap_or_default();
        for (name, value) in [
            ("OS_KEYSTONE_CONFIG_DIR", format!("{folder}/etc")),
            ("OS_KEYSTONE_CONFIG_FILES", "keystone.conf".to_owned()),
            ("OS_NEUTRON_CONFIG_DIR", format!("{folder}/etc")),
            ("OS_NEUTRON_CONFIG_FILES", "neutron.conf;ml2.conf".to_owned()),
            ("OS_NOVA_CONFIG_DIR", format!("{folder}/etc")),
            ("OS_NOVA_CONFIG_FILES", nova_files(self.installed)),
            ("HOME", format!("{folder}/home")),
            ("AMPHORAE", format!("{folder}/run/amphorae")),
            // One process serves; OVN's driver of Neutron wants to know.
            ("ASGI_WORKERS", "1".to_owned()),
            ("PYTHONWARNINGS", "ignore".to_owned()),
            ("PYTHONPATH", folder.clone()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("PATH", format!("{path}:/usr/sbin:/sbin:{}", self.installed.join("bin").display())),
        ] {
            daemon.environment.insert(name.to_owned(), value);
        }
        daemon.start(bed.init())
    }
}
