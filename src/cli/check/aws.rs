//! What AWS has besides: the peer's webhooks, nodes, and the account. I/O; the account is judged by [`causeway_aws::check`].

use kube::Api;

use super::Finding;
use super::live::{Look, unread};
use crate::kube::client::Connection;
use crate::kube::records::{self, Skipped};
use crate::kube::types;
use crate::translate::node_set;

impl Look<'_> {
    pub(super) async fn aws(&self, connection: &Connection) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(traits) = self.config.provider.provider.webhooks_of() {
            findings.extend(self.webhooks(&traits).await);
        }
        let nodes: Api<types::Node> = Api::all(self.client.clone());
        let nodes = match crate::cli::release::pages(&nodes).await {
            Ok(nodes) => {
                let nodes: Vec<_> =
                    nodes.into_iter().map(|o| records::node(o, &mut Skipped::default())).collect();
                node_set(&nodes)
            }
            Err(error) => {
                findings.push(unread("Nodes", &error));
                return findings;
            }
        };
        match crate::run::aws::account(&self.config.provider, connection).await {
            Ok(account) => {
                let seen = causeway_aws::check::look(account.sdk, &account.cluster, &account.options).await;
                findings.extend(causeway_aws::check::judge(
                    &seen,
                    &account.cluster,
                    &account.options,
                    &nodes,
                ));
            }
            Err(error) => findings.push(Finding::error("AWS", format!("{error:#}"))),
        }
        findings
    }
}
