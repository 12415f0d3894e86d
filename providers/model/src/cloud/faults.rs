//! What goes wrong, by script or by chance from a seed. Pure: the same seed and calls give the same faults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One way for a call to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Refused as one call too many; no effect.
    Throttle,
    /// 5xx, no effect.
    ErrorBefore,
    /// 5xx although it took effect.
    ErrorAfter,
    /// No answer, no effect.
    LostBefore,
    /// No answer although it took effect.
    LostAfter,
    /// No answer now, and it takes effect this many milliseconds later.
    Late(u64),
    /// Over HTTP: the answer is held back, before the effect, until released; for killing the client at exactly this call.
    HoldBefore,
    /// The same, after the effect.
    HoldAfter,
}

/// A fault for one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptedFault {
    /// Only calls of this action are counted; `None`: all.
    pub action: Option<String>,
    /// Whether calls that only read are counted.
    pub reads: bool,
    /// How many such calls go well before the one that does not.
    pub skip: u64,
    /// What goes wrong.
    pub fault: Fault,
}

/// Script and dice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Faults to come. Each is used once.
    pub script: Vec<ScriptedFault>,
    /// Random faults per thousand calls.
    pub per_mille: u32,
    /// State of the dice; begins as the seed.
    pub seed: u64,
    /// Faults so far, by kind.
    pub injected: BTreeMap<String, u64>,
}

impl Faults {
    /// The fault for the next call, if any.
    pub fn draw(&mut self, action: &str, reads: bool) -> Option<Fault> {
        let scripted = self.scripted(action, reads);
        let fault = scripted.or_else(|| self.random(reads))?;
        let kind = match fault {
            Fault::Late(_) => "late".to_owned(),
            other => format!("{other:?}"),
        };
        *self.injected.entry(kind).or_default() += 1;
        Some(fault)
    }

    fn scripted(&mut self, action: &str, reads: bool) -> Option<Fault> {
        let mut due = None;
        for (index, entry) in self.script.iter_mut().enumerate() {
            if entry.action.as_deref().is_some_and(|a| a != action) || (reads && !entry.reads) {
                continue;
            }
            if entry.skip == 0 {
                due = due.or(Some(index));
            } else {
                entry.skip -= 1;
            }
        }
        due.map(|index| self.script.remove(index).fault)
    }

    fn random(&mut self, reads: bool) -> Option<Fault> {
        if self.per_mille == 0 || self.next() % 1000 >= u64::from(self.per_mille) {
            return None;
        }
        Some(match self.next() % 5 {
            0 => Fault::Throttle,
            1 => Fault::ErrorBefore,
            2 => Fault::LostBefore,
            _ if reads => Fault::ErrorBefore,
            3 => Fault::ErrorAfter,
            _ => Fault::LostAfter,
        })
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough for dice.
    fn next(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripted_fault_hits_its_call_once() {
        let fault = Fault::LostAfter;
        let entry = ScriptedFault { action: Some("SetTags".into()), reads: false, skip: 1, fault };
        let mut faults = Faults { script: vec![entry], ..Faults::default() };
        let drawn: Vec<_> =
            ["SetTags", "DeleteRule", "SetTags", "SetTags"].iter().map(|a| faults.draw(a, false)).collect();
        assert_eq!(drawn, [None, None, Some(fault), None]);
    }

    #[test]
    fn chance_keeps_its_rate_and_repeats() {
        let mut faults = Faults { per_mille: 200, seed: 7, ..Faults::default() };
        let mut again = faults.clone();
        let hits = (0..10_000).filter(|_| faults.draw("SetTags", false).is_some()).count();
        assert!((1_800..2_200).contains(&hits), "{hits}");
        assert_eq!(hits, (0..10_000).filter(|_| again.draw("SetTags", false).is_some()).count());
    }
}
