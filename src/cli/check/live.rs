//! Reads what [`super::rules`] judges. I/O; nothing is written but reviews of rights, which the API server keeps nowhere.
//!
//! What one may not read is a warning: the person who asks may have fewer rights than the controller.

use anyhow::bail;
use causeway_api::names;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};
use prometheus_client::registry::Registry;

use super::rights::{self, Place};
use super::{Finding, Report, rules};
use crate::cli::config::CheckConfig;
use crate::cli::provider::Provider;
use crate::kube::client::{Connection, explain};
use crate::kube::records::{self, Skipped};
use crate::kube::{types, webhooks};
use crate::translate::ClassRules;

/// Reviews asked for at once.
const AT_ONCE: usize = 16;

/// Looks at everything.
///
/// # Errors
/// No way to the API server.
pub async fn check(config: &CheckConfig) -> anyhow::Result<Report> {
    let connection = Connection::configure(&(&config.kube).into(), &mut Registry::default()).await?;
    let client = connection.client();
    let mut report = Report::default();
    match client.apiserver_version().await {
        Ok(v) => report.findings.push(rules::version(&v.git_version, &v.major, &v.minor)),
        Err(error) => bail!("the API server {} does not answer: {}", connection.address(), explain(&error)),
    }
    let look = Look { client, config };
    let overlay = match config.provider.provider {
        #[cfg(feature = "aws")]
        Provider::Aws => "aws-eks or aws-self-managed",
        _ => config.provider.provider.name(),
    };
    report.findings.extend(look.controller(overlay).await);
    report.findings.extend(look.rights().await);
    let classes = match config.provider.provider {
        #[cfg(feature = "metal")]
        Provider::Metal => {
            report.findings.extend(look.metal().await);
            config.provider.class_rules(&causeway_api::CloudProvider::capabilities(&config.provider.metal()))
        }
        #[cfg(feature = "aws")]
        Provider::Aws => {
            report.findings.extend(look.aws(&connection).await);
            config.provider.class_rules(&causeway_api::CloudProvider::capabilities(&config.provider.aws()))
        }
        #[cfg(feature = "openstack")]
        Provider::OpenStack => {
            report.findings.extend(look.openstack(&connection).await);
            let offline = config.provider.openstack();
            config.provider.class_rules(&causeway_api::CloudProvider::capabilities(&offline))
        }
        // Refused with the flags.
        #[allow(unreachable_patterns, reason = "only with some features there are others")]
        other => bail!("there is nothing to check for provider {other}"),
    };
    report.findings.extend(look.services(&classes).await);
    Ok(report)
}

pub(super) struct Look<'a> {
    pub(super) client: Client,
    pub(super) config: &'a CheckConfig,
}

/// A read that failed: what cannot be said for it.
pub(super) fn unread(about: &str, error: &kube::Error) -> Finding {
    Finding::warning(about, format!("cannot be read: {}", explain(error)))
}

impl Look<'_> {
    async fn controller(&self, overlay: &str) -> [Finding; 2] {
        let namespace = &self.config.namespace;
        let about = format!("Deployment {namespace}/causeway");
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let deployment = match deployments.get_opt("causeway").await {
            Ok(found) => rules::deployment(&about, overlay, found.as_ref()),
            Err(error) => unread(&about, &error),
        };
        let name = names::lease(self.config.provider.provider.name());
        let about = format!("Lease {namespace}/{name}");
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let lease = match leases.get_opt(&name).await {
            Ok(found) => rules::lease(&about, found.as_ref(), jiff::Timestamp::now()),
            Err(error) => unread(&about, &error),
        };
        [deployment, lease]
    }

    async fn rights(&self) -> Vec<Finding> {
        let place = Place {
            namespace: self.config.namespace.clone(),
            config_namespace: self.config.provider.config_namespace.clone(),
        };
        let needed = match rights::needed(self.config.provider.provider, &place) {
            Ok(needed) => needed,
            Err(error) => return vec![Finding::error("Rights", format!("deploy/ cannot be read: {error}"))],
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let answers: kube::Result<Vec<_>> = stream::iter(needed)
            .map(async |right| {
                let answer = api.create(&params, &right.review(&place)).await?;
                Ok((right, answer.status.unwrap_or_default()))
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await;
        match answers {
            Ok(answers) => rights::judge(&place, &answers),
            Err(error) => vec![Finding::warning(
                "Rights of the ServiceAccounts",
                format!("not looked at: you may not create subjectaccessreviews ({})", explain(&error)),
            )],
        }
    }

    /// Webhooks of the peer's that whoever looks may have left behind.
    pub(super) async fn webhooks(&self, traits: &webhooks::Traits) -> Vec<Finding> {
        match webhooks::look(&self.client, traits).await {
            Ok(found) => found.iter().map(rules::webhook).collect(),
            Err(webhooks::Unread { about, error }) => vec![unread(&about, &error)],
        }
    }

    /// The nodes that may take traffic; else why they are not known.
    #[cfg(any(feature = "aws", feature = "openstack"))]
    pub(super) async fn nodes(&self) -> Result<causeway_api::NodeSet, Finding> {
        let api: Api<types::Node> = Api::all(self.client.clone());
        match crate::cli::release::pages(&api).await {
            Ok(nodes) => {
                let nodes: Vec<_> =
                    nodes.into_iter().map(|o| records::node(o, &mut Skipped::default())).collect();
                Ok(crate::translate::node_set(&nodes))
            }
            Err(error) => Err(unread("Nodes", &error)),
        }
    }

    async fn services(&self, classes: &ClassRules) -> Vec<Finding> {
        let api: Api<types::Service> = Api::all(self.client.clone());
        match crate::cli::release::pages(&api).await {
            Ok(all) => {
                let records: Vec<_> =
                    all.into_iter().map(|o| records::service(o, &mut Skipped::default())).collect();
                rules::services(classes, &records)
            }
            Err(error) => vec![unread("Services", &error)],
        }
    }
}
