//! Which daemons make a cluster and with which flags. Pure: a description in, [`Daemon`]s out.
//!
//! Flags are those that were found to work without docker: etcd without fsync, the controller manager with one credential per controller (else it
//! may not write EndpointSlices) and without the cloud's controllers (those are Causeway's), kube-proxy with conntrack's host-wide settings
//! left alone.

use std::time::Duration;

use crate::addresses::*;
use crate::daemon::Daemon;
use crate::init::STATE_DIR;

/// What of a cluster a bed may choose.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClusterSettings {
    /// Nodes and Pods have IPv4 addresses only, as far as Kubernetes knows.
    pub ipv4_only: bool,
    /// The shortest time between two syncs of kube-proxy, where it is not its own default.
    pub proxy_min_sync: Option<Duration>,
}

/// Where a cluster's programs and files are.
pub struct Cluster<'a> {
    /// Path of the program that is every part of Kubernetes.
    pub kubernetes: &'a str,
    /// Path of the node agent.
    pub node_agent: &'a str,
    /// What was chosen.
    pub settings: ClusterSettings,
}

/// File of the state directory like /etc/hosts, with names that Pods can look up besides those of the cluster; it is there once a cloud has some.
pub const NAMES: &str = "names";

fn flags(program: &[&str], flags: &[&str]) -> Vec<String> {
    program.iter().chain(flags).map(|s| (*s).replace("$STATE", STATE_DIR)).collect()
}

impl Cluster<'_> {
    /// etcd, with its data on the bed's tmpfs.
    pub fn etcd(&self) -> Daemon {
        let command = flags(
            &[self.kubernetes, "etcd"],
            &[
                "--name=bed",
                "--data-dir=$STATE/etcd",
                "--listen-client-urls=http://127.0.0.1:2379",
                "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--initial-advertise-peer-urls=http://127.0.0.1:2380",
                "--initial-cluster=bed=http://127.0.0.1:2380",
                "--unsafe-no-fsync",
                "--quota-backend-bytes=4294967296",
                "--log-level=warn",
            ],
        );
        Daemon::new("etcd", "cp", command)
    }

    /// kube-apiserver. Limits are high enough for 5,000 nodes.
    pub fn api_server(&self) -> Daemon {
        let mut command = flags(
            &[self.kubernetes, "kube-apiserver"],
            &[
                "--etcd-servers=http://127.0.0.1:2379",
                "--bind-address=0.0.0.0",
                "--tls-cert-file=$STATE/pki/apiserver.crt",
                "--tls-private-key-file=$STATE/pki/apiserver.key",
                "--client-ca-file=$STATE/pki/ca.crt",
                "--kubelet-certificate-authority=$STATE/pki/ca.crt",
                "--kubelet-client-certificate=$STATE/pki/apiserver-kubelet.crt",
                "--kubelet-client-key=$STATE/pki/apiserver-kubelet.key",
                "--kubelet-preferred-address-types=InternalIP",
                // The same authority as the clients': who may speak for others is told by name.
                "--requestheader-client-ca-file=$STATE/pki/ca.crt",
                "--requestheader-allowed-names=front-proxy-client",
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                "--service-account-key-file=$STATE/pki/sa.pub",
                "--service-account-signing-key-file=$STATE/pki/sa.key",
                "--service-node-port-range=30000-32767",
                "--authorization-mode=RBAC",
                "--allow-privileged=true",
                "--max-requests-inflight=3000",
                "--max-mutating-requests-inflight=1500",
                "--shutdown-delay-duration=0s",
                "--v=1",
            ],
        );
        command.push(format!("--secure-port={API_PORT}"));
        command.push(format!("--advertise-address={CONTROL_PLANE}"));
        command.push(format!("--service-cluster-ip-range={SERVICE_RANGES}"));
        Daemon::new("kube-apiserver", "cp", command)
    }

    /// kube-controller-manager with every controller but those a cloud brings itself.
    pub fn controller_manager(&self) -> Daemon {
        let mut command = flags(
            &[self.kubernetes, "kube-controller-manager"],
            &[
                "--kubeconfig=$STATE/kube-controller-manager.kubeconfig",
                "--authentication-kubeconfig=$STATE/kube-controller-manager.kubeconfig",
                "--authorization-kubeconfig=$STATE/kube-controller-manager.kubeconfig",
                "--leader-elect=false",
                "--use-service-account-credentials=true",
                "--service-account-private-key-file=$STATE/pki/sa.key",
                "--root-ca-file=$STATE/pki/ca.crt",
                "--controllers=*,-node-ipam-controller,-cloud-node-lifecycle-controller,-service-lb-controller,-node-route-controller",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
                "--bind-address=127.0.0.1",
                "--v=1",
            ],
        );
        command.push(format!("--cluster-cidr={POD_RANGES}"));
        command.push(format!("--service-cluster-ip-range={SERVICE_RANGES}"));
        Daemon::new("kube-controller-manager", "cp", command)
    }

    /// kube-scheduler.
    pub fn scheduler(&self) -> Daemon {
        let command = flags(
            &[self.kubernetes, "kube-scheduler"],
            &[
                "--kubeconfig=$STATE/kube-scheduler.kubeconfig",
                "--authentication-kubeconfig=$STATE/kube-scheduler.kubeconfig",
                "--authorization-kubeconfig=$STATE/kube-scheduler.kubeconfig",
                "--leader-elect=false",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
                "--bind-address=127.0.0.1",
            ],
        );
        Daemon::new("kube-scheduler", "cp", command)
    }

    /// The kube-proxy of a node.
    pub fn proxy(&self, node: &NodeAddresses) -> Daemon {
        let mut command = flags(
            &[self.kubernetes, "kube-proxy"],
            &[
                "--kubeconfig=$STATE/kube-proxy.kubeconfig",
                "--proxy-mode=nftables",
                "--detect-local-mode=ClusterCIDR",
                "--healthz-bind-address=0.0.0.0:10256",
                "--metrics-bind-address=127.0.0.1:10249",
                "--iptables-localhost-nodeports=false",
                "--oom-score-adj=0",
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
            ],
        );
        command.push(format!("--hostname-override={}", node.name));
        command.push(format!("--cluster-cidr={POD_RANGES}"));
        if let Some(period) = self.settings.proxy_min_sync {
            // It holds for every mode but IPVS.
            command.push(format!("--iptables-min-sync-period={}ms", period.as_millis()));
        }
        Daemon::new(&format!("{}-kube-proxy", node.name), &node.name, command)
    }

    /// The agent of a node, in a mount namespace of its own.
    pub fn agent(&self, node: &NodeAddresses) -> Daemon {
        let NodeAddresses { name, v4, v6, pods_v4, pods_v6, .. } = node;
        let mut command = flags(
            &[self.node_agent],
            &[
                "--kubeconfig=$STATE/node.kubeconfig",
                "--client-ca=$STATE/pki/ca.crt",
                "--images=$STATE/images.json",
            ],
        );
        command.push(format!("--hosts-file={STATE_DIR}/{NAMES}"));
        command.extend([
            format!("--node-name={name}"),
            if self.settings.ipv4_only {
                format!("--node-ips={v4}")
            } else {
                format!("--node-ips={v4},{v6}")
            },
            if self.settings.ipv4_only {
                format!("--pod-cidrs={pods_v4}")
            } else {
                format!("--pod-cidrs={pods_v4},{pods_v6}")
            },
            format!("--state-dir={STATE_DIR}/nodes/{name}"),
            format!("--server-cert={STATE_DIR}/pki/{name}.crt"),
            format!("--server-key={STATE_DIR}/pki/{name}.key"),
            format!("--labels=topology.kubernetes.io/zone=zone-{}", (node.number - 1) % 3 + 1),
            "--port=10250".to_owned(),
        ]);
        let mut daemon = Daemon::new(&format!("{name}-agent"), name, command);
        // Mounts for volumes stay the node's own.
        daemon.mounts = Some(format!("mkdir -p {STATE_DIR}/nodes/{name}"));
        daemon
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flag_is_left_unexpanded() {
        let settings = ClusterSettings::default();
        let cluster = Cluster { kubernetes: "/k", node_agent: "/a", settings };
        let node = NodeAddresses::of(2);
        let daemons = [
            cluster.etcd(),
            cluster.api_server(),
            cluster.controller_manager(),
            cluster.scheduler(),
            cluster.proxy(&node),
            cluster.agent(&node),
        ];
        for daemon in &daemons {
            assert!(daemon.command.iter().all(|flag| !flag.contains('$')), "{:?}", daemon.command);
        }
        assert!(daemons[5].command.contains(&"--node-ips=10.77.0.12,fd77::12".to_owned()));
    }
}
