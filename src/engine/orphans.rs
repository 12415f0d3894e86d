//! Load balancers that carry our mark and that nobody wants: their objects went while nobody looked, or by force.
//!
//! One is deleted only if the lists are complete, a live read says that its object is gone, it has been so for the provider's grace
//! period, and not too many go in one hour.

use causeway_api::{CloudProvider, Fence, LbKey, ObjectRef, Owner};
use tracing::{debug, error, info, warn};

use super::cluster::Cluster;
use super::queue::Cause;
use super::{Engine, lock};

impl<P: CloudProvider, C: Cluster> Engine<P, C> {
    /// One sweep.
    pub(super) async fn sweep(&self, fence: &Fence) {
        if self.config.dry_run || self.config.paused || !self.missing().is_empty() {
            return;
        }
        let owned = match self.provider.owned().await {
            Ok(owned) => owned,
            Err(error) => {
                debug!(%error, "orphans will be looked for again");
                return;
            }
        };
        let total = owned.len();
        let orphans: Vec<LbKey> = {
            let index = lock(&self.index);
            let wanted: std::collections::HashSet<String> = index.keys().map(LbKey::owner_tag).collect();
            owned.into_iter().map(|o| o.key).filter(|key| !wanted.contains(&key.owner_tag())).collect()
        };
        self.metrics.orphans.set(i64::try_from(orphans.len()).unwrap_or(i64::MAX));
        let tags: Vec<String> = orphans.iter().map(LbKey::owner_tag).collect();
        let grace = self.provider.capabilities().orphan_grace;
        let ripe = lock(&self.orphans).ripe(&tags, grace, self.now());
        self.metrics.mass_delete_stopped.set(0);
        for key in orphans.into_iter().filter(|key| ripe.contains(&key.owner_tag())) {
            if fence.check().is_err() {
                return;
            }
            if lock(&self.orphans_to_remove).contains(&key) {
                continue;
            }
            match self.owner_exists(&key).await {
                Ok(true) => {
                    // The watch will bring it; until then it is no orphan.
                    warn!(%key, "the object exists, though the watch does not show it yet");
                    continue;
                }
                Ok(false) => {}
                Err(error) => {
                    debug!(%key, %error, "whether its object is gone is not known");
                    continue;
                }
            }
            if !lock(&self.guard).allow(total, self.now()) {
                self.metrics.mass_delete_stopped.set(1);
                error!(
                    %key, total,
                    "deleting orphans is stopped: more than 3 and more than a tenth of all load balancers in an hour. If this is right, start \
                     once with --confirm-mass-delete"
                );
                self.mass_delete_event();
                return;
            }
            info!(%key, "its object is gone: deleting what it left in the cloud");
            lock(&self.orphans_to_remove).insert(key.clone());
            self.push([(key, Cause::Resync)]);
        }
    }

    async fn owner_exists(&self, key: &LbKey) -> Result<bool, super::cluster::ClusterError> {
        match &key.owner {
            Owner::Object(object) => self.cluster.exists(object).await,
            // The lists are complete and show no member.
            Owner::Group(_) => Ok(false),
        }
    }

    fn mass_delete_event(&self) {
        // There is no object left to tell: the namespace that the controller lives in is where an operator looks.
        let object = ObjectRef {
            kind: causeway_api::Kind::Own("Namespace".to_owned()),
            namespace: String::new(),
            name: "kube-system".to_owned(),
            uid: "".into(),
        };
        self.warn(&causeway_api::Problem::warning(
            object,
            "",
            "MassDeletionStopped",
            "Deleting load balancers without an object is stopped: too many in an hour. If this is right, start causeway once with \
             --confirm-mass-delete; if not, check --cluster-id and --load-balancer-class.",
        ));
    }
}
