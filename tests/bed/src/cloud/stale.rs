//! Reads that lag behind: an earlier answer is served again for a while. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::pattern::Pattern;

/// How many answers are remembered.
const KEPT: usize = 10_000;

/// Answers of reads, and which reads may be stale.
#[derive(Clone, Debug)]
pub struct StaleReads<A> {
    rules: Vec<(Pattern, Duration)>,
    answers: BTreeMap<String, (Duration, A)>,
}

impl<A> Default for StaleReads<A> {
    fn default() -> StaleReads<A> {
        StaleReads { rules: Vec::new(), answers: BTreeMap::new() }
    }
}

impl<A: Clone> StaleReads<A> {
    /// From now on the calls of a pattern may be answered by what they were answered up to `lag` ago. A lag of zero ends it.
    pub fn set(&mut self, calls: Pattern, lag: Duration) {
        self.rules.retain(|(pattern, _)| *pattern != calls);
        if lag > Duration::ZERO {
            self.rules.push((calls, lag));
        }
    }

    /// All reads are fresh again.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The earlier answer to the same question, if it is to be served. `question` is all that the answer depends on.
    pub fn earlier(&self, service: &str, action: &str, question: &str, now: Duration) -> Option<A> {
        let (_, lag) = self.rules.iter().find(|(pattern, _)| pattern.covers(service, action))?;
        let (at, answer) = self.answers.get(question)?;
        (now.saturating_sub(*at) < *lag).then(|| answer.clone())
    }

    /// Remembers a fresh answer.
    pub fn remember(&mut self, question: String, now: Duration, answer: A) {
        if self.answers.len() >= KEPT && !self.answers.contains_key(&question) {
            self.answers.pop_first();
        }
        self.answers.insert(question, (now, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_answer_is_served_until_it_is_too_old() {
        let mut reads = StaleReads::default();
        let at = Duration::from_secs;
        reads.remember("q".into(), at(10), "old");
        assert_eq!(
            reads.earlier("s", "DescribeTags", "q", at(11)),
            None,
            "nothing is stale unless asked for"
        );
        reads.set("Describe*".into(), at(5));
        assert_eq!(reads.earlier("s", "DescribeTags", "q", at(14)), Some("old"));
        assert_eq!(reads.earlier("s", "DescribeTags", "other", at(14)), None);
        assert_eq!(reads.earlier("s", "ListTags", "q", at(14)), None);
        assert_eq!(reads.earlier("s", "DescribeTags", "q", at(15)), None);
        reads.set("Describe*".into(), Duration::ZERO);
        assert_eq!(reads.earlier("s", "DescribeTags", "q", at(11)), None);
    }
}
