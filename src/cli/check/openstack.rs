//! What OpenStack has besides: the configuration, nodes, what Services and Ingresses ask for, and the project. I/O; the project is judged by [`causeway_openstack::check`].

use std::sync::Arc;

use causeway_api::{CloudProvider as _, LoadBalancer, Problem, Severity};
use causeway_openstack::check::{Asked, judge, look};

use super::Finding;
use super::live::Look;
use crate::kube::client::Connection;
use crate::run::openstack::{Project, project};

impl Look<'_> {
    pub(super) async fn openstack(&self, connection: &Connection) -> Vec<Finding> {
        let config = &self.config.provider;
        // Neither controller that load balancers are taken over from has webhooks that could be left behind.
        let project = match project(config, connection).await {
            Ok(project) => project,
            Err(problems) => return problems.iter().map(of_file).collect(),
        };
        let Project { client, conf, warnings, cluster, options, complaints, .. } = project;
        let mut findings: Vec<Finding> = warnings.iter().map(of_file).collect();
        let from = if conf.file.name.is_empty() { "environment and clouds.yaml" } else { &conf.file.name };
        findings.push(Finding::ok("Configuration", format!("{from} is read: {}", conf.credentials.auth_url)));
        let nodes = match self.nodes().await {
            Ok(nodes) => nodes,
            Err(unread) => {
                findings.push(unread);
                return findings;
            }
        };
        let (load_balancers, unread) = self.asked(connection).await;
        findings.extend(unread);
        let seen = look(client).await;
        let overrides = config.openstack_overrides();
        let asked = Asked {
            cluster: &cluster,
            options: &options,
            complaints: &complaints,
            overrides: &overrides,
            nodes: &nodes,
            load_balancers: &load_balancers,
        };
        findings.extend(judge(&seen, &asked));
        findings
    }

    /// What Services and Ingresses ask for, as the controller sees them; and what of the cluster could not be listed.
    async fn asked(&self, connection: &Connection) -> (Vec<LoadBalancer>, Vec<Finding>) {
        let provider = Arc::new(self.config.provider.openstack());
        let wants = provider.wants();
        let index =
            crate::cli::live::index(&provider, wants, &self.config.provider, connection, &mut |_| ()).await;
        let (index, errors) = match index {
            Ok(index) => index,
            Err(error) => {
                let unread = Finding::warning("Services and Ingresses", format!("not looked at: {error:#}"));
                return (Vec::new(), vec![unread]);
            }
        };
        let mut findings: Vec<Finding> =
            errors.into_iter().map(|error| Finding::warning(error.object, error.message)).collect();
        let mut keys: Vec<_> = index.keys().cloned().collect();
        keys.sort();
        let mut all = Vec::new();
        for snapshot in keys.iter().map(|key| index.snapshot(key)) {
            findings.extend(snapshot.problems.iter().map(of_object));
            if !snapshot.lb.members.is_empty() {
                all.push(snapshot.lb);
            }
        }
        (all, findings)
    }
}

/// What is wrong in a file: the place is its file and line.
fn of_file(problem: &Problem) -> Finding {
    let about = problem.object.name.clone();
    levelled(problem, about)
}

fn of_object(problem: &Problem) -> Finding {
    levelled(problem, problem.object.to_string())
}

fn levelled(problem: &Problem, about: String) -> Finding {
    let text = match problem.field.as_str() {
        "" => problem.message.clone(),
        field => format!("{field}: {}", problem.message),
    };
    if problem.severity == Severity::Error {
        Finding::error(about, text)
    } else {
        Finding::warning(about, text)
    }
}
