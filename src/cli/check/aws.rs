//! What AWS has besides: the peer's webhooks, nodes, and the account. I/O; the account is judged by [`causeway_aws::check`].

use super::Finding;
use super::live::Look;
use crate::kube::client::Connection;

impl Look<'_> {
    pub(super) async fn aws(&self, connection: &Connection) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(traits) = self.config.provider.provider.webhooks_of() {
            findings.extend(self.webhooks(&traits).await);
        }
        let nodes = match self.nodes().await {
            Ok(nodes) => nodes,
            Err(unread) => {
                findings.push(unread);
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
