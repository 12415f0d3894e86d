//! Namespaces, a bridge, and cables between them.

use std::process::Command;

/// Two nodes and a client on one bridge. Everything goes when this is dropped.
pub struct Bed {
    prefix: String,
}

const HOSTS: [(&str, &str); 3] = [("n1", "10.77.0.1"), ("n2", "10.77.0.2"), ("client", "10.77.0.9")];

/// This test's program, to be started again inside a namespace.
pub fn this_program() -> String {
    std::env::current_exe().expect("this program has a path").display().to_string()
}

fn ip(arguments: &str) {
    let out = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("`ip` of iproute2 is needed: {error}"));
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "ip {arguments}: {error} (this test needs root)");
}

/// Runs a command in a namespace; gives what it printed.
pub fn run(namespace: &str, command: &[&str]) -> String {
    let out = Command::new("ip")
        .args(["netns", "exec", namespace])
        .args(command)
        .output()
        .unwrap_or_else(|error| panic!("`ip` of iproute2 is needed: {error}"));
    assert!(
        out.status.success(),
        "{command:?} failed (is it installed?): {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

impl Bed {
    pub fn new() -> Self {
        let bed = Bed { prefix: format!("spk{}", std::process::id()) };
        let switch = bed.namespace("switch");
        ip(&format!("netns add {switch}"));
        ip(&format!("-n {switch} link add br0 type bridge"));
        ip(&format!("-n {switch} link set br0 up"));
        for (host, address) in HOSTS {
            let namespace = bed.namespace(host);
            ip(&format!("netns add {namespace}"));
            ip(&format!("-n {namespace} link set lo up"));
            bed.add_interface(host, "eth0");
            ip(&format!("-n {namespace} addr add {address}/24 dev eth0"));
            let last = address.rsplit('.').next().expect("four octets");
            ip(&format!("-n {namespace} addr add fd77::{last}/64 dev eth0 nodad"));
        }
        bed
    }

    pub fn namespace(&self, host: &str) -> String {
        format!("{}{host}", self.prefix)
    }

    pub fn client(&self) -> String {
        self.namespace("client")
    }

    pub fn mac(&self, host: &str) -> String {
        run(&self.namespace(host), &["cat", "/sys/class/net/eth0/address"]).trim().to_owned()
    }

    /// `ip` in a host's namespace.
    pub fn ip(&self, host: &str, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.namespace(host)));
    }

    /// What `ip` prints there.
    pub fn ask_ip(&self, host: &str, arguments: &str) -> String {
        let words: Vec<&str> = ["ip"].into_iter().chain(arguments.split_whitespace()).collect();
        run(&self.namespace(host), &words)
    }

    /// Sets a kernel parameter of a host.
    pub fn sysctl(&self, host: &str, path: &str, value: &str) {
        let path = format!("/proc/sys/net/{path}");
        run(&self.namespace(host), &["sh", "-c", &format!("echo {value} > {path}")]);
    }

    /// The switch forwards multicast only to where it was reported (MLD snooping).
    pub fn snoop(&self) {
        let switch = self.namespace("switch");
        ip(&format!("-n {switch} link set br0 type bridge mcast_snooping 1 mcast_querier 1"));
    }

    /// A cable from the switch.
    pub fn add_interface(&self, host: &str, name: &str) {
        let (switch, namespace) = (self.namespace("switch"), self.namespace(host));
        ip(&format!("-n {switch} link add {host}-{name} type veth peer name {name} netns {namespace}"));
        ip(&format!("-n {switch} link set {host}-{name} master br0 up"));
        ip(&format!("-n {namespace} link set {name} up"));
    }

    pub fn remove_interface(&self, host: &str, name: &str) {
        ip(&format!("-n {} link del {name}", self.namespace(host)));
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for host in HOSTS.iter().map(|(host, _)| *host).chain(["switch"]) {
            // Best effort: nothing more can be done about one that stays.
            let _status = Command::new("ip").args(["netns", "del", &self.namespace(host)]).status();
        }
    }
}
