//! Reads what [`super::rules`] judges. I/O; nothing is written but reviews of rights, which the API server keeps nowhere.
//!
//! What one may not read is a warning: the person who asks may have fewer rights than the controller.

use std::collections::BTreeMap;

use anyhow::bail;
use causeway_api::{OwnObjects, names};
use causeway_metal::kinds::ConfigurationStateStatus;
use causeway_metal::provider::own_kinds;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use prometheus_client::registry::Registry;

use super::rights::{self, Place};
use super::{Finding, Report, rules};
use crate::cli::config::CheckConfig;
use crate::kube::client::{Connection, explain};
use crate::kube::records::{self, Skipped};
use crate::kube::types;
use crate::kube::watch::api_resource;
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
    report.findings.extend(look.workloads().await);
    report.findings.extend(look.rights().await);
    report.findings.push(look.kube_proxy().await);
    report.findings.extend(look.webhooks().await);
    report.findings.extend(look.pools().await);
    report.findings.extend(look.states().await);
    report.findings.extend(look.services().await);
    Ok(report)
}

struct Look<'a> {
    client: Client,
    config: &'a CheckConfig,
}

/// A read that failed: what cannot be said for it.
fn unread(about: &str, error: &kube::Error) -> Finding {
    Finding::warning(about, format!("cannot be read: {}", explain(error)))
}

impl Look<'_> {
    async fn workloads(&self) -> Vec<Finding> {
        let namespace = &self.config.namespace;
        let mut findings = Vec::new();
        let about = format!("Deployment {namespace}/causeway");
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        findings.push(match deployments.get_opt("causeway").await {
            Ok(found) => rules::deployment(&about, found.as_ref()),
            Err(error) => unread(&about, &error),
        });
        let name = names::lease(self.config.provider.name());
        let about = format!("Lease {namespace}/{name}");
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        findings.push(match leases.get_opt(&name).await {
            Ok(found) => rules::lease(&about, found.as_ref(), jiff::Timestamp::now()),
            Err(error) => unread(&about, &error),
        });
        let about = format!("DaemonSet {namespace}/causeway-speaker");
        let daemon_sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), namespace);
        findings.push(match daemon_sets.get_opt("causeway-speaker").await {
            Ok(found) => rules::daemon_set(&about, found.as_ref()),
            Err(error) => unread(&about, &error),
        });
        let about = format!("Secret {namespace}/causeway-membership");
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        findings.push(match secrets.get_opt("causeway-membership").await {
            Ok(found) => rules::membership(&about, found.as_ref()),
            Err(error) => unread(&about, &error),
        });
        findings
    }

    async fn rights(&self) -> Vec<Finding> {
        let place = Place {
            namespace: self.config.namespace.clone(),
            config_namespace: self.config.config_namespace.clone(),
        };
        let needed = match rights::needed(&place) {
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

    async fn kube_proxy(&self) -> Finding {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "kube-system");
        match maps.get_opt("kube-proxy").await {
            Ok(map) => {
                let data = map.and_then(|map| map.data).unwrap_or_default();
                rules::kube_proxy(data.get(rules::KUBE_PROXY_ENTRY).map(String::as_str))
            }
            Err(error) => unread(rules::KUBE_PROXY, &error),
        }
    }

    /// Webhooks that are called for MetalLB's kinds, as MetalLB's own.
    async fn webhooks(&self) -> Vec<Finding> {
        let about = "ValidatingWebhookConfigurations";
        let all: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let all = match all.list(&ListParams::default()).await {
            Ok(all) => all,
            Err(error) => return vec![unread(about, &error)],
        };
        let mut called: BTreeMap<(String, String), (String, String)> = BTreeMap::new();
        for configuration in all {
            for webhook in configuration.webhooks.unwrap_or_default() {
                let groups = webhook.rules.iter().flatten().flat_map(|r| r.api_groups.iter().flatten());
                let (ours, Some(service)) = (
                    groups.into_iter().any(|g| g == causeway_metal::kinds::GROUP),
                    webhook.client_config.service,
                ) else {
                    continue;
                };
                if ours && webhook.failure_policy.as_deref() != Some("Ignore") {
                    let name = configuration.metadata.name.clone().unwrap_or_default();
                    called.insert((service.namespace.clone(), service.name.clone()), (name, service.name));
                }
            }
        }
        let mut findings = Vec::new();
        for ((namespace, service), (name, _)) in called {
            let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &namespace);
            let label = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
            let path = format!("{namespace}/{service}");
            findings.push(match slices.list(&label).await {
                Ok(slices) => {
                    let mut endpoints = slices.items.iter().flat_map(|slice| &slice.endpoints);
                    let ready = endpoints.any(|e| {
                        e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true) && !e.addresses.is_empty()
                    });
                    rules::webhook(&name, &path, ready)
                }
                Err(error) => unread(&format!("EndpointSlices of Service {path}"), &error),
            });
        }
        findings
    }

    async fn pools(&self) -> Vec<Finding> {
        let namespace = &self.config.config_namespace;
        let mut findings = Vec::new();
        let mut objects = OwnObjects::default();
        let mut complete = true;
        let nodes: Api<types::Node> = Api::all(self.client.clone());
        match crate::cli::release::pages(&nodes).await {
            Ok(nodes) => {
                for node in nodes.into_iter().map(|o| records::node(o, &mut Skipped::default())) {
                    let addresses = node.addresses.iter().map(|address| (*address, node.name.clone()));
                    objects.node_addresses.extend(addresses);
                }
            }
            Err(error) => findings.push(unread("Nodes", &error)),
        }
        for kind in own_kinds() {
            let about = format!("CRD {}.{}", kind.plural, kind.group);
            let api: Api<types::Own> =
                Api::namespaced_with(self.client.clone(), namespace, &api_resource(&kind));
            match api.list(&ListParams::default()).await {
                Ok(list) => {
                    findings.push(Finding::ok(about, format!("{} in {namespace}", list.items.len())));
                    objects.objects.extend(list.items.into_iter().map(|o| records::own(kind.kind, o)));
                }
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    complete = false;
                    findings.push(Finding::error(about, "is not installed: kubectl apply -k deploy/crds"));
                }
                Err(error) => {
                    complete = false;
                    findings.push(unread(&about, &error));
                }
            }
        }
        if complete {
            objects.objects.sort_by(|a, b| a.object.cmp(&b.object));
            findings.extend(rules::pools(namespace, &objects));
            findings.extend(rules::conflicts(&objects));
        }
        findings
    }

    async fn states(&self) -> Vec<Finding> {
        let kind = ApiResource {
            group: causeway_metal::kinds::GROUP.to_owned(),
            version: causeway_metal::kinds::VERSION.to_owned(),
            api_version: format!("{}/{}", causeway_metal::kinds::GROUP, causeway_metal::kinds::VERSION),
            kind: "ConfigurationState".to_owned(),
            plural: "configurationstates".to_owned(),
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.config.config_namespace, &kind);
        match api.list(&ListParams::default()).await {
            Ok(list) => {
                let states = list.items.into_iter().map(|object| {
                    let status = object.data.get("status").cloned().unwrap_or_default();
                    let status: ConfigurationStateStatus = serde_json::from_value(status).unwrap_or_default();
                    (object.metadata.name.unwrap_or_default(), status)
                });
                rules::states(&states.collect())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => vec![Finding::warning(
                "CRD configurationstates.metallb.io",
                "is not installed, so that speakers cannot report what is wrong on their nodes: kubectl apply -k deploy/crds",
            )],
            Err(error) => vec![unread("ConfigurationStates", &error)],
        }
    }

    async fn services(&self) -> Vec<Finding> {
        let classes = ClassRules {
            classes: self.config.load_balancer_classes.clone(),
            own_classless: self.config.own_classless,
            ..ClassRules::default()
        };
        let api: Api<types::Service> = Api::all(self.client.clone());
        match crate::cli::release::pages(&api).await {
            Ok(all) => {
                let records: Vec<_> =
                    all.into_iter().map(|o| records::service(o, &mut Skipped::default())).collect();
                rules::services(&classes, &records)
            }
            Err(error) => vec![unread("Services", &error)],
        }
    }
}
