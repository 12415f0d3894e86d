//! Where the bed's programs come from: the Go module beside this crate, built once per machine, and Debian packages. I/O.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

/// Names a directory with ready-made programs; then nothing is built.
const VARIABLE: &str = "CAUSEWAY_BED_PROGRAMS";

/// What has to be installed, and the Debian package that has it.
const TOOLS: [(&str, &str); 10] = [
    ("ip", "iproute2"),
    ("bridge", "iproute2"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("tcpdump", "tcpdump"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setsid", "util-linux"),
    ("timeout", "coreutils"),
    ("nc", "netcat-openbsd"),
];

/// Fails if a tool or the needed privilege is missing, and says what to install.
pub fn check_host() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "a bed makes namespaces and mounts: run it as root");
    let path = env::var_os("PATH").unwrap_or_default();
    let has = |tool: &str| env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    let missing: Vec<&(&str, &str)> = TOOLS.iter().filter(|(tool, _)| !has(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let tools: Vec<&str> = missing.iter().map(|(tool, _)| *tool).collect();
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    bail!(
        "missing: {}; `apt-get install {}` or tests/bed/prepare.sh installs what the bed needs",
        tools.join(", "),
        packages.join(" ")
    )
}

/// A directory with the programs of the bed.
#[derive(Clone, Debug)]
pub struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// The programs every bed needs, built if they are not yet: minutes the first time, an instant later.
    pub fn ensure() -> Result<Programs> {
        match env::var_os(VARIABLE) {
            Some(directory) => Programs::open(PathBuf::from(directory)),
            None => Programs::open(build(&[])?),
        }
    }

    /// The upstream e2e suite, `e2e.test`, and `ginkgo`, which runs it, built if they are not yet.
    pub fn ensure_e2e() -> Result<Programs> {
        let directory = match env::var_os(VARIABLE) {
            Some(directory) => PathBuf::from(directory),
            None => build(&["e2e"])?,
        };
        let programs = Programs { directory };
        for name in ["e2e.test", "ginkgo"] {
            programs.path(name)?;
        }
        Ok(programs)
    }

    /// The programs every bed needs, and MetalLB, built if it is not yet.
    pub fn ensure_metallb() -> Result<Programs> {
        match env::var_os(VARIABLE) {
            Some(directory) => Programs::open(PathBuf::from(directory)),
            None => Programs::open(build(&["metallb"])?),
        }
    }

    /// The programs every bed needs, and aws-load-balancer-controller, built if it is not yet.
    pub fn ensure_lbc() -> Result<Programs> {
        match env::var_os(VARIABLE) {
            Some(directory) => Programs::open(PathBuf::from(directory)),
            None => Programs::open(build(&["lbc"])?),
        }
    }

    /// The programs every bed needs, and cloud-provider-aws, built if it is not yet.
    pub fn ensure_cpa() -> Result<Programs> {
        match env::var_os(VARIABLE) {
            Some(directory) => Programs::open(PathBuf::from(directory)),
            None => Programs::open(build(&["cpa"])?),
        }
    }

    /// The programs every bed needs, and openstack-cloud-controller-manager and octavia-ingress-controller, built if they are not yet.
    pub fn ensure_occm() -> Result<Programs> {
        match env::var_os(VARIABLE) {
            Some(directory) => Programs::open(PathBuf::from(directory)),
            None => Programs::open(build(&["occm"])?),
        }
    }

    /// The programs in `directory`.
    pub fn open(directory: PathBuf) -> Result<Programs> {
        let programs = Programs { directory };
        for name in ["kubernetes", "node-agent", "agnhost"] {
            programs.path(name)?;
        }
        Ok(programs)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of one program.
    pub fn path(&self, name: &str) -> Result<String> {
        let path = self.directory.join(name);
        ensure!(path.is_file(), "no program {name} in {}", self.directory.display());
        Ok(path.display().to_string())
    }
}

/// The folder of the routing daemons, downloaded if they are not there yet: seconds the first time. They are looked at once per process.
pub fn ensure_routers() -> Result<PathBuf> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    if let Some(folder) = FOLDER.get() {
        return Ok(folder.clone());
    }
    let folder = run("routers.sh", &[])?;
    Ok(FOLDER.get_or_init(|| folder).clone())
}

/// The folder of the AWS emulator, installed if it is not there yet: seconds the first time. It is looked at once per process.
pub fn ensure_moto() -> Result<PathBuf> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    if let Some(folder) = FOLDER.get() {
        return Ok(folder.clone());
    }
    let folder = run("moto.sh", &[])?;
    Ok(FOLDER.get_or_init(|| folder).clone())
}

/// The folder of the OpenStack services, installed if they are not there yet: minutes the first time. It is looked at once per process.
pub fn ensure_openstack() -> Result<PathBuf> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    if let Some(folder) = FOLDER.get() {
        return Ok(folder.clone());
    }
    let folder = run("openstack.sh", &[])?;
    Ok(FOLDER.get_or_init(|| folder).clone())
}

/// Runs the module's build script.
fn build(arguments: &[&str]) -> Result<PathBuf> {
    run("controlplane/build.sh", arguments)
}

/// Runs a script beside this crate; its last line says where the programs are.
fn run(script: &str, arguments: &[&str]) -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let output = Command::new(&script)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {}", script.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{} failed: {text}", script.display());
    let directory = text.lines().last().unwrap_or_default().trim();
    fs::canonicalize(directory)
        .with_context(|| format!("{} said that they are in {directory:?}", script.display()))
}
