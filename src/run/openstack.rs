//! OpenStack, reached by its own APIs: who we are, where the cloud is, and what its load balancers shall be like. I/O.
//!
//! `--cloud-config` names a cloud.conf as openstack-cloud-controller-manager reads it, or a clouds.yaml; without it the `OS_*` variables count, and a clouds.yaml in the
//! usual places, as for any client of OpenStack. Credentials that change in the files are used from then on; other settings take a restart. The cluster's id
//! is the uid of namespace kube-system unless `--cluster-id` says otherwise.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use causeway_api::Problem;
use causeway_openstack::client::{Client, Settings as ClientSettings};
use causeway_openstack::config::watch::{Last, Seen, watch};
use causeway_openstack::config::{self, CloudConf, Sources};
use causeway_openstack::instances::{Networking, Place};
use causeway_openstack::live::{CALL, Live, Settings};
use causeway_openstack::options::{Complaint, Options};
use causeway_openstack::{OpenStack, inventory};
use tracing::{info, warn};

use crate::cli::config::ProviderConfig;
use crate::kube::client::Connection;
use crate::kube::tls::TlsSecrets;

/// The provider that works on OpenStack.
pub(crate) type LiveOpenStack = OpenStack<Live<Arc<Client>>>;

/// How often the files with credentials are read again.
const REREAD: Duration = Duration::from_secs(60);

/// Who we are, where the cloud is, and what the configuration says besides.
pub(crate) struct Project {
    /// The way there. Nothing was sent yet.
    pub(crate) client: Arc<Client>,
    /// What files and variables say.
    pub(crate) conf: CloudConf,
    /// What of them has no effect.
    pub(crate) warnings: Vec<Problem>,
    /// The cluster; its id is known.
    pub(crate) cluster: inventory::Cluster,
    /// Options of load balancers.
    pub(crate) options: Options,
    /// What is wrong with them.
    pub(crate) complaints: Vec<Complaint>,
    /// Longest time of one call.
    call: Duration,
    servers: Place,
}

/// Reads the configuration; OpenStack itself is not asked.
///
/// # Errors
/// Files or variables that do not say who we are, or where.
pub(crate) async fn project(
    config: &ProviderConfig,
    connection: &Connection,
) -> Result<Project, Vec<Problem>> {
    let (conf, warnings) = read(config.cloud_config.as_deref())?;
    let (options, mut complaints) = Options::read(&conf.options());
    let (networking, others) = Networking::read(&conf.networking());
    complaints.extend(others);
    let region = conf.credentials.region.clone().unwrap_or_default();
    // One that is longer takes a longer Lease, which is said where that is too short.
    let call = conf.request_timeout.unwrap_or(CALL);
    let settings = ClientSettings { call, ..ClientSettings::default() };
    let client = Client::new(conf.credentials.clone(), settings)
        .map_err(|why| vec![conf.place("[Global] ca-file").error(why)])?;
    let id = match &config.cluster_id {
        Some(id) => id.clone(),
        None => connection.cluster_id(|_| ()).await,
    };
    let mut cluster = inventory::Cluster { id, ..inventory::Cluster::default() };
    if let Some(name) = &config.cluster_name {
        cluster.name.clone_from(name);
    }
    let (client, servers) = (Arc::new(client), Place { region, networking });
    Ok(Project { client, conf, warnings, cluster, options, complaints, call, servers })
}

/// The provider, for this cluster.
///
/// # Errors
/// See [`project`].
pub(crate) async fn openstack(
    config: &ProviderConfig,
    connection: &Connection,
) -> anyhow::Result<LiveOpenStack> {
    let path = config.cloud_config.clone();
    let project = project(config, connection).await;
    let Project { client, conf, warnings, cluster, options, complaints, call, servers } = match project {
        Ok(project) => project,
        Err(problems) => bail!("{}", lines(&problems)),
    };
    warnings.iter().for_each(|problem| warn!("{}", line(problem)));
    for complaint in &complaints {
        warn!("{}", line(&conf.place(&complaint.field).error(&complaint.message)));
    }
    info!(cluster = cluster.id, auth_url = %conf.credentials.auth_url, region = ?conf.credentials.region, "OpenStack");
    tokio::spawn(follow(Arc::clone(&client), path, Last::new(conf)));
    let secrets = Arc::new(TlsSecrets::new(connection.client()));
    let live = Live::new(client, Settings { cluster, options, complaints, call, servers }, secrets);
    Ok(OpenStack::on(live, config.openstack_overrides()))
}

/// Reads files and environment.
fn read(path: Option<&Path>) -> Result<(CloudConf, Vec<Problem>), Vec<Problem>> {
    let clouds = path.filter(|p| p.extension().is_some_and(|e| e == "yaml" || e == "yml"));
    let variable = |name: &str| match (name, clouds) {
        ("OS_CLIENT_CONFIG_FILE", Some(path)) => Some(path.display().to_string()),
        _ => std::env::var(name).ok(),
    };
    let read = |path: &Path| std::fs::read_to_string(path);
    config::load(&Sources { conf: path.filter(|_| clouds.is_none()), variable: &variable, read: &read })
}

/// Uses other credentials as soon as files have them.
async fn follow(client: Arc<Client>, path: Option<std::path::PathBuf>, last: Last) {
    let read = || read(path.as_deref()).map(|(conf, _)| conf);
    let refused = client.refused();
    let told = |seen: Seen| match seen {
        Seen::Same => {}
        Seen::Changed { credentials, others } => {
            match client.rotate(*credentials) {
                Ok(()) => info!("the cloud configuration has other credentials: they are used from now on"),
                Err(why) => {
                    warn!("the cloud configuration has other credentials, which cannot be used: {why}")
                }
            }
            if others {
                warn!("the cloud configuration has other settings too: restart to have them used");
            }
        }
        Seen::Others => warn!("the cloud configuration has other settings: restart to have them used"),
        Seen::Broken(problems) => {
            warn!(
                "the cloud configuration cannot be used, what was read before stays in use: {}",
                lines(&problems)
            );
        }
    };
    watch(last, REREAD, refused, read, told).await;
}

fn line(problem: &Problem) -> String {
    format!("{} {}: {}", problem.object.name, problem.field, problem.message)
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_of_cloud_conf_are_the_options() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cloud.conf");
        let text = "[Global]\nauth-url = http://k:5000/v3\nusername = u\npassword = p\ntenant-name = t\nuser-domain-id = default\ntenant-domain-id = default\n\
                    [LoadBalancer]\nsubnet-id = s\ninternal-lb\nfrob = 1\n[loadbalancerclass \"dmz\"]\nsubnet-id = d\n";
        std::fs::write(&path, text).expect("written");
        let (conf, _) = read(Some(&path)).expect("a configuration");
        let (options, complaints) = Options::read(&conf.options());
        assert!(options.internal && options.placement.subnet.as_deref() == Some("s"), "{options:?}");
        assert_eq!(options.classes["dmz"].subnet.as_deref(), Some("d"));
        assert_eq!(complaints.len(), 1, "{complaints:?}");
    }

    #[test]
    fn a_clouds_yaml_will_do_and_what_is_wrong_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clouds.yaml");
        let text = "clouds:\n  openstack:\n    auth: {auth_url: 'http://k:5000/v3', username: u, password: p, project_name: t, user_domain_id: default, project_domain_id: default}\n";
        std::fs::write(&path, text).expect("written");
        assert!(read(Some(&path)).is_ok());
        let problems = read(Some(&folder.path().join("cloud.conf"))).expect_err("no file");
        assert!(lines(&problems).contains("cloud.conf"), "{problems:?}");
    }
}
