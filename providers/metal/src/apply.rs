//! Applying a change commits what planning reserved; the engine's write of the status makes it known. No call leaves the process.

use causeway_api::{CloudError, Fence, Outcome, Result};

use crate::observe::State;
use crate::plan::Change;

impl State {
    pub(crate) fn apply(&mut self, change: &Change, fence: &Fence) -> Result<Outcome> {
        fence.check()?;
        match change {
            Change::Assign { key, held, .. } => {
                let reserved = self.allocator.assignment(key).map(|a| a.addresses);
                if reserved.as_ref() != Some(&held.addresses) {
                    return Err(CloudError::Conflict(format!("the reservation of {key} is gone")));
                }
                self.committed.insert(key.clone(), held.clone());
            }
            Change::Release { key, unwanted, .. } => {
                if *unwanted {
                    self.allocator.release(key);
                }
                self.committed.remove(key);
            }
        }
        Ok(Outcome::Done)
    }
}
