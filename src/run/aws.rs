//! AWS, reached by its own SDKs: who the cluster is, and where. I/O.
//!
//! What is not said is found out: the cluster's id is the uid of namespace kube-system; region and credentials come by the SDK's chain; the VPC, and the region where
//! the chain has none, from the metadata of the instance that this runs on. `--cloud-config` names a file of the form of the inventory, of which `cluster` and
//! `options` count.

use std::sync::Arc;

use anyhow::{Context, bail};
use causeway_aws::cloud::sdk::{Connection as Endpoint, Sdk, metadata};
use causeway_aws::inventory::{Cluster, Inventory};
use causeway_aws::live::{Live, Settings};
use causeway_aws::options::Options;
use causeway_aws::stack::TargetType;
use causeway_aws::{Aws, Overrides};
use tracing::info;

use crate::cli::config::ProviderConfig;
use crate::kube::client::Connection;
use crate::kube::oidc::OidcSecrets;

/// The provider that works on AWS.
pub(crate) type LiveAws = Aws<Live<Sdk>>;

/// Who the cluster is, and the way to its account.
pub(crate) struct Account {
    /// The clients.
    pub(crate) sdk: Sdk,
    /// The cluster; its id, region and VPC are known.
    pub(crate) cluster: Cluster,
    /// Options.
    pub(crate) options: Options,
    overrides: Overrides,
}

/// Finds out what flags and file do not say; AWS itself is not asked.
///
/// # Errors
/// The file of `--cloud-config` cannot be read or names what it must not; region or VPC cannot be found out.
pub(crate) async fn account(config: &ProviderConfig, connection: &Connection) -> anyhow::Result<Account> {
    let overrides: Overrides = config.aws_overrides();
    let Inventory { cluster, options, aws } = read(config)?;
    if aws != Default::default() {
        bail!("--cloud-config: `aws` must not be there: it is read from AWS");
    }
    let (mut cluster, options) = overrides.amend(cluster, options).map_err(anyhow::Error::msg)?;
    if cluster.id.is_empty() {
        cluster.id = connection.cluster_id(|_| ()).await;
    }
    let region = (!cluster.region.is_empty()).then(|| cluster.region.clone());
    let sdk = Sdk::connect(&Endpoint { region, endpoint: None }).await;
    match sdk.region() {
        Some(region) => region.clone_into(&mut cluster.region),
        None => bail!(
            "no region: give --aws-region, or set AWS_REGION, or run on an instance whose metadata can be reached"
        ),
    }
    if cluster.vpc_id.is_empty() {
        cluster.vpc_id = metadata::vpc().await.map_err(|error| {
            anyhow::anyhow!("no VPC: give --aws-vpc-id; the instance's metadata does not say it: {error}")
        })?;
    }
    info!(cluster = cluster.id, region = cluster.region, vpc = cluster.vpc_id, "AWS");
    Ok(Account { sdk, cluster, options, overrides })
}

/// The provider, for this cluster.
///
/// # Errors
/// See [`account`].
pub(crate) async fn aws(config: &ProviderConfig, connection: &Connection) -> anyhow::Result<LiveAws> {
    let Account { sdk, cluster, options, overrides } = account(config, connection).await?;
    let pods = options.default_target_type == TargetType::Ip;
    let gates = options.readiness_gates;
    // Which Ingresses share a load balancer depends on it, wherever it was said.
    let overrides = Overrides { compat: Some(options.compat), ..overrides };
    let settings = Settings { cluster, options, adopt: overrides.adopt, ..Settings::default() };
    let secrets = Arc::new(OidcSecrets::new(connection.client()));
    let live = Live::new(sdk, settings).with_secrets(secrets);
    Ok(Aws::on(live, overrides, pods).with_readiness_gates(gates))
}

fn read(config: &ProviderConfig) -> anyhow::Result<Inventory> {
    let Some(path) = &config.cloud_config else { return Ok(Inventory::default()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("--cloud-config {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("--cloud-config {}", path.display()))
}

#[cfg(test)]
mod tests {
    use causeway_api::CloudProvider as _;
    use causeway_aws::calls::CALL_DEADLINE;

    use super::*;
    use crate::kube::lease::Timing;

    #[test]
    fn a_write_ends_within_what_the_default_lease_leaves_for_it() {
        let deadline = Aws::offline(Overrides::default()).capabilities().write_deadline;
        assert!(CALL_DEADLINE < deadline);
        assert_eq!(Timing::kubernetes(deadline).check(), Ok(()));
    }
}
