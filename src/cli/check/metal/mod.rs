//! What bare metal has besides: speakers and their key, kube-proxy's mode, MetalLB's webhooks, pools and advertisements. I/O; [`rules`] judges.

pub mod rules;

use causeway_api::OwnObjects;
use causeway_metal::kinds::ConfigurationStateStatus;
use causeway_metal::provider::own_kinds;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;

use super::Finding;
use super::live::{Look, unread};
use crate::kube::records::{self, Skipped};
use crate::kube::types;
use crate::kube::watch::api_resource;
use crate::kube::webhooks::Traits;

/// MetalLB's webhooks.
const WEBHOOKS: Traits = Traits { peer: "MetalLB", suffix: "", group: causeway_metal::kinds::GROUP };

impl Look<'_> {
    pub(super) async fn metal(&self) -> Vec<Finding> {
        let mut findings = Vec::from(self.speakers().await);
        findings.push(self.kube_proxy().await);
        findings.extend(self.webhooks(&WEBHOOKS).await);
        findings.extend(self.pools().await);
        findings.extend(self.states().await);
        findings
    }

    async fn speakers(&self) -> [Finding; 2] {
        let namespace = &self.config.namespace;
        let about = format!("DaemonSet {namespace}/causeway-speaker");
        let daemon_sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), namespace);
        let speakers = match daemon_sets.get_opt("causeway-speaker").await {
            Ok(found) => rules::daemon_set(&about, found.as_ref()),
            Err(error) => unread(&about, &error),
        };
        let about = format!("Secret {namespace}/causeway-membership");
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let key = match secrets.get_opt("causeway-membership").await {
            Ok(found) => rules::membership(&about, found.as_ref()),
            Err(error) => unread(&about, &error),
        };
        [speakers, key]
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

    async fn pools(&self) -> Vec<Finding> {
        let namespace = &self.config.provider.config_namespace;
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
            Api::namespaced_with(self.client.clone(), &self.config.provider.config_namespace, &kind);
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
}
