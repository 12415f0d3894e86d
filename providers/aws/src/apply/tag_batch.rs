//! Tags that many resources get at the same time are set by one call: up to 20 resources a call, all with the same tags.
//!
//! A change of the nodes touches every target group of the cluster; without this each would cost two calls more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use causeway_api::Fence;
use tokio::sync::watch;

use crate::calls::{CallError, Calls};
use crate::cloud::{Answer, Api, Call};
use crate::stack::Tags;

/// Most resources of one call.
const MOST: usize = 20;
/// How long a call waits for more before something else can be done.
pub const SOON: Duration = Duration::from_millis(200);
/// How long a call waits for more that nothing waits for: about as long as AWS takes to register targets of ten target groups.
pub const LATER: Duration = Duration::from_secs(4);

type Ended = Option<Result<(), CallError>>;

struct Batch {
    arns: BTreeSet<String>,
    ended: watch::Sender<Ended>,
}

/// Takes a batch out of the way when its leader goes, whichever way.
struct Leaving<'a> {
    batches: &'a TagBatch,
    tags: &'a Tags,
    mine: &'a watch::Receiver<Ended>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.batches.close(self.tags, self.mine);
    }
}

/// Calls that wait for more resources.
#[derive(Default)]
pub struct TagBatch {
    open: Mutex<BTreeMap<Tags, Batch>>,
}

impl TagBatch {
    /// Takes the batch with these tags if it is the one that `ended` belongs to.
    fn close(&self, tags: &Tags, mine: &watch::Receiver<Ended>) -> Option<Batch> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_mine = open.get(tags).is_some_and(|batch| mine.same_channel(&batch.ended.subscribe()));
        is_mine.then(|| open.remove(tags)).flatten()
    }

    /// Sets these tags on resources.
    ///
    /// # Errors
    /// The call's. One that is gone fails the call for all: then each is told, and must look.
    pub async fn set<A: Api>(
        &self,
        calls: &Calls<A>,
        arns: BTreeSet<String>,
        tags: Tags,
        gather: Duration,
        fence: &Fence,
    ) -> Result<(), CallError> {
        let (mut ended, leads, full) = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            match open.get_mut(&tags) {
                Some(batch) if batch.arns.len() + arns.len() <= MOST => {
                    batch.arns.extend(arns);
                    (batch.ended.subscribe(), false, None)
                }
                _ => {
                    let (sender, receiver) = watch::channel(None);
                    let full = open.insert(tags.clone(), Batch { arns, ended: sender });
                    (receiver, true, full)
                }
            }
        };
        // A full one goes at once; those who wait for it hold its channel.
        if let Some(full) = full {
            self.send(calls, full, &tags, fence).await;
        }
        if leads {
            // Should its leader be given up meanwhile, nobody may go on waiting for it.
            let _left = Leaving { batches: self, tags: &tags, mine: &ended };
            tokio::time::sleep(gather).await;
            if let Some(batch) = self.close(&tags, &ended) {
                self.send(calls, batch, &tags, fence).await;
            }
        }
        let told = ended.wait_for(Option::is_some).await.map(|told| told.clone());
        match told {
            Ok(Some(result)) => result,
            // Its leader was given up: whether the call was made is not known.
            _ => Err(CallError::Failed(crate::cloud::Failure::NoAnswer("given up".to_owned()))),
        }
    }

    async fn send<A: Api>(&self, calls: &Calls<A>, batch: Batch, tags: &Tags, fence: &Fence) {
        let call = Call::AddTags { arns: batch.arns.clone(), tags: tags.clone() };
        let mut result = calls.write(call, fence).await.map(|_: Answer| ());
        let missing = result.as_ref().is_err_and(|e| e.state() == Some(crate::errors::State::NotFound));
        if missing && batch.arns.len() > 1 {
            // The others must not suffer; whoever misses one sees it when it looks.
            result = Ok(());
            for arn in &batch.arns {
                let call = Call::AddTags { arns: BTreeSet::from([arn.clone()]), tags: tags.clone() };
                if let Err(e) = calls.write(call, fence).await
                    && e.state() != Some(crate::errors::State::NotFound)
                {
                    result = Err(e);
                }
            }
        }
        batch.ended.send_replace(Some(result));
    }
}
