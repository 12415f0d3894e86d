//! `causeway plan` without files: the running cluster and the cloud as they are, and what would be changed. Reads only.
//!
//! One complete list of every kind makes the index, as at the start of a controller; then the plan is made once, and printed. What has no
//! object any more (orphans) is not part of it: that needs the time that only a running controller has. `causeway check` reads the cluster by the same [`index`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use causeway_api::{CloudProvider, Wants};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::config::{PlanConfig, ProviderConfig};
use super::plan::{self, PlanError, PlanOutput};
use super::provider::Provider;
use crate::kube::client::Connection;
use crate::kube::watch::{self, Cause, Interest, KindStates};
use crate::state::index::{Index, Rules};
use crate::state::records::Update;

/// Longest time that the first complete lists may take.
const LISTS: Duration = Duration::from_secs(30);

/// Plans for the running cluster.
///
/// # Errors
/// No way to the API server or to the cloud.
pub async fn plan(config: &PlanConfig) -> anyhow::Result<PlanOutput> {
    let connection = Connection::configure(&(&config.kube).into(), &mut Registry::default()).await?;
    match config.provider.provider {
        #[cfg(feature = "aws")]
        Provider::Aws => {
            let provider = crate::run::aws::aws(&config.provider, &connection).await?;
            let wants = provider.wants();
            plan_with(provider, wants, config, &connection, &mut |_| ()).await
        }
        #[cfg(feature = "metal")]
        Provider::Metal => metal(config, &connection).await,
        #[cfg(feature = "openstack")]
        Provider::OpenStack => {
            let provider = crate::run::openstack::openstack(&config.provider, &connection).await?;
            provider.ask_everything();
            let wants = provider.wants();
            plan_with(provider, wants, config, &connection, &mut |_| ()).await
        }
        #[cfg(feature = "model")]
        Provider::Model => {
            let provider = crate::run::controller::model(&config.provider, &connection).await?;
            let wants = provider.wants();
            plan_with(provider, wants, config, &connection, &mut |_| ()).await
        }
    }
}

/// Addresses, and who would announce them: compared with what status objects say, of MetalLB's speakers or of ours.
#[cfg(feature = "metal")]
async fn metal(config: &PlanConfig, connection: &Connection) -> anyhow::Result<PlanOutput> {
    use super::announcing::{Announcing, Now};
    use crate::kube::metallb::{self, Part};
    use causeway_metal::candidates::LiveSet;
    use causeway_metal::kinds::ServiceL2Status;

    let provider = config.provider.metal();
    let namespace = &config.provider.config_namespace;
    let mut announcing = Announcing::new(config.provider.class_rules(&provider.capabilities()));
    let speaker = crate::speaker::world::wants(Vec::new());
    // What the speakers read is read too.
    let wants = Wants { nodes: speaker.nodes, endpoints: speaker.endpoints, ..provider.wants() };
    let mut output = plan_with(provider, wants, config, connection, &mut |u| announcing.see(u)).await?;

    let client = connection.client();
    let mut cannot = |what: &str, error: &kube::Error| {
        output.errors.push(PlanError {
            object: what.to_owned(),
            field: String::new(),
            reason: "CannotCompare".to_owned(),
            message: format!("who announces now is not compared: {}", crate::kube::client::explain(error)),
        });
    };
    let metallb = match metallb::nodes(&client, namespace, Part::Speaker).await {
        Ok(nodes) => nodes,
        Err(error) => {
            cannot("pods", &error);
            return Ok(output.sorted());
        }
    };
    let api: kube::Api<ServiceL2Status> = kube::Api::namespaced(client, namespace);
    let statuses = match api.list(&Default::default()).await {
        Ok(list) => Some(list.items),
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => {
            cannot("servicel2statuses.metallb.io", &error);
            None
        }
    };
    // None at all is news only where somebody would write them.
    let statuses = statuses.filter(|statuses| !statuses.is_empty() || !metallb.is_empty());
    let live = if metallb.is_empty() { LiveSet::Everyone } else { LiveSet::Nodes(metallb) };
    announcing.amend(&mut output, &Now::new(live, statuses));
    Ok(output.sorted())
}

async fn plan_with<P: CloudProvider>(
    provider: P,
    wants: Wants,
    config: &PlanConfig,
    connection: &Connection,
    see: &mut (dyn FnMut(&Update) + Send),
) -> anyhow::Result<PlanOutput> {
    let provider = Arc::new(provider);
    let (index, errors) = index(&provider, wants, &config.provider, connection, see).await?;
    let output = PlanOutput { errors, ..PlanOutput::default() };
    let inventory = provider.inventory().await?;
    Ok(plan::of_index(&*provider, &index, &inventory, output).await?)
}

/// The index of the running cluster, and what could not be listed or belongs to nobody.
///
/// # Errors
/// No way to the API server.
pub(super) async fn index<P: CloudProvider>(
    provider: &Arc<P>,
    wants: Wants,
    config: &ProviderConfig,
    connection: &Connection,
    see: &mut (dyn FnMut(&Update) + Send),
) -> anyhow::Result<(Index, Vec<PlanError>)> {
    let capabilities = provider.capabilities();
    let all_services = wants.ingresses && capabilities.l7;
    let rules = Rules {
        classes: config.class_rules(&capabilities),
        capabilities,
        wants: provider.wants(),
        cluster_health: config.cluster_health,
    };
    let optional: Vec<String> =
        wants.kinds.iter().filter(|k| !k.required).map(|k| format!("{}.{}", k.plural, k.group)).collect();
    let (keys, referring) = (Arc::clone(provider), Arc::clone(provider));
    let mut index = Index::new(rules, Arc::new(move |member| keys.key(member)))
        .with_references(Arc::new(move |kind, annotations| referring.references(kind, annotations)));
    let mut errors = Vec::new();

    let interest = Interest { wants, config_namespace: config.config_namespace.clone(), all_services };
    let (tx, mut rx) = mpsc::channel(1024);
    let watches = watch::watch(&connection.client(), &interest, &tx);
    drop(tx);
    let mut states = watches.states();
    let mut feed = |update: Update| {
        see(&update);
        errors.extend(index.update(update).problems.into_iter().map(PlanError::from));
    };
    let listed = timeout(LISTS, async {
        loop {
            tokio::select! {
                Some(update) = rx.recv() => feed(update),
                settled = states.wait_for(settled) => return settled.is_ok(),
            }
        }
    })
    .await;
    // A list is in the channel before its state says so.
    while let Ok(update) = rx.try_recv() {
        feed(update);
    }
    let states = watches.states().borrow().clone();
    for (resource, state) in &states {
        let Some(problem) = &state.problem else { continue };
        if matches!(problem.cause, Cause::Unreachable | Cause::Unauthorized) {
            bail!("{}", problem.message);
        }
        // Before an installation some kinds are not there yet, and none of them is missed.
        if problem.cause == Cause::NotInstalled && optional.contains(resource) {
            continue;
        }
        errors.push(PlanError {
            object: resource.clone(),
            field: String::new(),
            reason: format!("{:?}", problem.cause),
            message: problem.message.clone(),
        });
    }
    if !matches!(listed, Ok(true)) {
        bail!(
            "no complete list of {} within {} s: is the API server overloaded?",
            watch::missing(&states).join(", "),
            LISTS.as_secs()
        );
    }
    Ok((index, errors))
}

/// Every kind was listed, or cannot be.
fn settled(states: &KindStates) -> bool {
    states.values().all(|state| state.synced || state.problem.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::watch::{KindState, WatchProblem};

    #[test]
    fn a_kind_that_cannot_be_listed_holds_up_nobody() {
        let listed = KindState { synced: true, problem: None };
        let refused = KindState {
            synced: false,
            problem: Some(WatchProblem { cause: Cause::Forbidden, message: "may not".to_owned() }),
        };
        let states = |all: Vec<KindState>| -> KindStates {
            all.into_iter().enumerate().map(|(i, s)| (i.to_string(), s)).collect()
        };
        assert!(settled(&states(vec![listed.clone(), refused.clone()])));
        assert!(!settled(&states(vec![listed, refused, KindState::default()])));
    }
}
