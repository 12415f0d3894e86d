//! Target groups and their targets. Pure.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::{Mark, Verb, digest};

use super::marks::{DIRTY, TAG_TARGETS, targets_digest};
use super::{Draft, Op, defaults, shares};
use crate::cloud::Attributed;
use crate::cloud::records::TargetGroup;
use crate::naming;
use crate::stack::{Matcher, PortOrName, ResourceType, Tags, Target, TargetGroupSpec, Token};

/// Most targets of one call.
pub const MOST_PER_CALL: usize = 200;

const KIND: ResourceType = ResourceType::TargetGroup;

/// Whether two health checks are the same, with what AWS fills in.
fn same_check(want: &TargetGroupSpec, have: &TargetGroupSpec) -> bool {
    let (w, h) = (&want.health_check_config, &have.health_check_config);
    let path = |p: &Option<String>| p.clone().unwrap_or_else(|| "/".to_owned());
    let port = |p: &PortOrName| match p {
        PortOrName::Number(number) => number.to_string(),
        PortOrName::Name(name) => name.clone(),
    };
    let http = matches!(w.protocol, crate::stack::ElbProtocol::Http | crate::stack::ElbProtocol::Https);
    let code = |m: &Option<Matcher>| m.clone();
    w.protocol == h.protocol
        && port(&w.port) == port(&h.port)
        && w.interval_seconds == h.interval_seconds
        && w.timeout_seconds == h.timeout_seconds
        && w.healthy_threshold_count == h.healthy_threshold_count
        && w.unhealthy_threshold_count == h.unhealthy_threshold_count
        && (!http || path(&w.path) == path(&h.path))
        && (!http || w.matcher.is_none() || code(&w.matcher) == code(&h.matcher))
}

/// Another name for a target group whose own name is taken by one that cannot become it: it ends in a digest of both.
fn another_name(name: &str, beside: &str) -> String {
    let kept: String = name.chars().take(naming::LIMIT - 11).collect();
    format!("{}-{}", kept.trim_end_matches('-'), &digest(&(name, beside))[..10])
}

/// How targets of one target group are to change.
struct Moves {
    id: String,
    group: Token,
    add: BTreeSet<Target>,
    take: BTreeSet<Target>,
    /// The digest that the tag shall have.
    digest: String,
    /// The digest that the tag has.
    noted: Option<String>,
    /// What says which are ours, where others register targets too.
    record: Option<Record>,
}

impl Moves {
    fn moves(&self) -> bool {
        !(self.add.is_empty() && self.take.is_empty())
    }

    fn records(&self) -> bool {
        self.record.as_ref().is_some_and(|r| r.after != shares::recorded(&r.have, &r.key))
    }
}

/// What says which targets are ours, see [`shares`].
struct Record {
    key: String,
    /// Tags that are there.
    have: Tags,
    /// What is to be written down before any is added.
    before: BTreeSet<String>,
    /// What is to be written down after any was taken away.
    after: BTreeSet<String>,
}

impl Draft<'_> {
    /// The targets that a target group shall have.
    fn wanted(&self, id: &str) -> BTreeSet<Target> {
        self.want.targets.get(id).into_iter().flatten().map(|t| self.resolve(t)).collect()
    }

    /// Those of other clusters, or of the user, are left alone.
    fn shared_with_others(&self, id: &str) -> bool {
        self.want.bindings.get(id).is_some_and(|b| b.template.spec.multi_cluster_target_group)
    }

    /// Whether a target group of the stack shall have any target.
    pub(super) fn shall_have_targets(&self, arn: &str) -> bool {
        let id = self.chosen.target_groups.iter().find(|(_, g)| g.arn == arn).map(|(id, _)| *id);
        id.is_none_or(|id| !self.wanted(id).is_empty())
    }

    /// VPC that target groups lie in.
    fn vpc(&self, id: &str) -> String {
        self.want.bindings.get(id).map(|b| b.template.spec.vpc_id.clone()).unwrap_or_default()
    }

    /// Makes and changes target groups; adds targets.
    pub(super) fn target_groups(&mut self) {
        let mut moves = Vec::new();
        for (id, spec) in &self.want.target_groups {
            let tags = self.tags(KIND, id, &spec.tags);
            let wanted = self.wanted(id);
            if let Some(have) = self.chosen.target_groups.get(id.as_str()).copied() {
                self.change_group(id, spec, have);
                self.retag(KIND, id, &have.arn, tags, &have.spec.tags);
                moves.extend(self.moves(id, have));
                continue;
            }
            let mut made = spec.clone();
            let taken = |name: &str| self.have.target_groups.iter().any(|g| g.spec.name == name);
            while taken(&made.name) {
                made.name = another_name(&made.name, &self.want.owner);
            }
            made.tags = tags;
            made.tags.insert(TAG_TARGETS.to_owned(), DIRTY.to_owned());
            if self.shared_with_others(id) {
                made.tags.extend(shares::tags(&self.record_key(id), &shares::marks(&wanted)));
            }
            let attributes = std::mem::take(&mut made.target_group_attributes);
            let changed = defaults::changes(&attributes, &[], &|key| defaults::target_group(spec, key));
            let (port, vpc) = (made.port, self.vpc(id));
            let summary = format!("make target group {} ({})", made.name, made.protocol.as_str());
            let op = Op::CreateTargetGroup { id: id.clone(), vpc, spec: Box::new(made) };
            self.push(op, Verb::Create, KIND, id, summary);
            let group = Token::of(KIND, id.clone());
            self.group_attributes(id, group.clone(), changed);
            let digest = targets_digest(port, &wanted);
            moves.push(Moves {
                id: id.clone(),
                group,
                add: wanted,
                take: BTreeSet::new(),
                digest,
                noted: Some(DIRTY.to_owned()),
                // It was written down when the target group was made.
                record: None,
            });
        }
        moves.extend(self.moves_of_former());
        self.note_dirty(&moves);
        self.register(&moves);
    }

    fn group_attributes(&mut self, id: &str, at: Token, attributes: Vec<crate::stack::Attribute>) {
        if attributes.is_empty() {
            return;
        }
        let summary = format!("set {} attributes of target group {id}", attributes.len());
        let op = Op::SetAttributes { of: Attributed::TargetGroup, at, attributes };
        self.push(op, Verb::Update, KIND, id, summary);
    }

    fn change_group(&mut self, id: &str, spec: &TargetGroupSpec, have: &TargetGroup) {
        if !same_check(spec, &have.spec) {
            let summary = format!("change the health check of target group {id}");
            let health = Box::new(spec.health_check_config.clone());
            let op = Op::ModifyTargetGroup { group: have.arn.clone(), health };
            self.push(op, Verb::Update, KIND, id, summary);
        }
        let default = |key: &str| defaults::target_group(&have.spec, key);
        let changes =
            defaults::changes(&spec.target_group_attributes, &have.spec.target_group_attributes, &default);
        self.group_attributes(id, Token::literal(have.arn.as_str()), changes);
    }

    /// How the targets of one that is there must change; `None` if that is not known, or they need not.
    fn moves(&self, id: &str, have: &TargetGroup) -> Option<Moves> {
        let wanted = self.wanted(id);
        let port = have.spec.port;
        let digest = targets_digest(port, &wanted);
        let noted = have.spec.tags.get(TAG_TARGETS).cloned();
        let held = self.have.targets.get(&have.arn);
        let Some(held) = held else {
            // Whoever needs to know asks by `ReadTargets`.
            return None;
        };
        let (add, take, record) = self.compared(id, &wanted, held, &have.spec.tags, false);
        let group = Token::literal(have.arn.as_str());
        let moves = Moves { id: id.to_owned(), group, add, take, digest, noted, record };
        let settled = moves.noted.as_ref() == Some(&moves.digest);
        (moves.moves() || moves.records() || !settled).then_some(moves)
    }

    fn record_key(&self, id: &str) -> String {
        shares::key(&self.want.cluster, &self.want.owner, id)
    }

    /// What to add and to take, and what to write down of it. Of a target group that others use too only what is written down as ours is ever taken; `leaving`:
    /// all of that.
    fn compared(
        &self,
        id: &str,
        wanted: &BTreeSet<Target>,
        held: &BTreeSet<Target>,
        tags: &Tags,
        leaving: bool,
    ) -> (BTreeSet<Target>, BTreeSet<Target>, Option<Record>) {
        let key = self.record_key(id);
        let have: Tags =
            tags.iter().filter(|(k, _)| k.starts_with(&key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let none = BTreeSet::new();
        let wanted = if leaving { &none } else { wanted };
        if !self.shared_with_others(id) {
            let (add, take) =
                (wanted.difference(held).cloned().collect(), held.difference(wanted).cloned().collect());
            // It was shared once: what is written down says nothing any more.
            let record = (!have.is_empty()).then(|| Record {
                key,
                have,
                before: BTreeSet::new(),
                after: BTreeSet::new(),
            });
            return (add, take, record);
        }
        let recorded = shares::recorded(&have, &key);
        let own: BTreeSet<Target> =
            held.iter().filter(|target| recorded.contains(&shares::mark(target))).cloned().collect();
        let after = shares::marks(wanted);
        let before = recorded.union(&after).cloned().collect();
        let (add, take) =
            (wanted.difference(&own).cloned().collect(), own.difference(wanted).cloned().collect());
        (add, take, Some(Record { key, have, before, after }))
    }

    /// Former load balancers serve until they are gone: their targets follow too.
    fn moves_of_former(&self) -> Vec<Moves> {
        let mut moves = Vec::new();
        for lb in &self.chosen.former {
            for group in self.have.target_groups.iter().filter(|g| g.load_balancers.contains(&lb.arn)) {
                let id = super::marks::resource_id(&group.spec.tags, KIND);
                if let Some(id) = id.filter(|id| self.want.target_groups.contains_key(*id)) {
                    moves.extend(self.moves(id, group));
                }
            }
        }
        moves
    }

    /// Targets that are to move must not look settled should we die meanwhile.
    fn note_dirty(&mut self, moves: &[Moves]) {
        let groups: Vec<Token> = moves
            .iter()
            .filter(|m| m.moves() && m.noted.as_deref() != Some(DIRTY))
            .map(|m| m.group.clone())
            .collect();
        self.note(groups, DIRTY.to_owned());
    }

    fn note(&mut self, groups: Vec<Token>, value: String) {
        for groups in groups.chunks(20) {
            let summary = format!("note {value:?} as the targets of {} target groups", groups.len());
            let op = Op::NoteTargets { groups: groups.to_vec(), value: value.clone() };
            self.push(op, Verb::Register, KIND, "", summary);
        }
    }

    fn register(&mut self, moves: &[Moves]) {
        for m in moves {
            if let Some(record) = m.record.as_ref().filter(|_| !m.add.is_empty()) {
                self.write_down(m, &record.have, record, &record.before);
            }
            let targets: Vec<&Target> = m.add.iter().collect();
            for chunk in targets.chunks(MOST_PER_CALL) {
                let targets: BTreeSet<Target> = chunk.iter().map(|t| (*t).clone()).collect();
                let plural = if targets.len() == 1 { "" } else { "s" };
                let summary = format!("add {} target{plural} to {}", targets.len(), m.id);
                let op = Op::Register { group: m.group.clone(), targets };
                self.push(op, Verb::Register, KIND, &m.id, summary);
            }
        }
    }

    /// The targets of a group that a user made and named (`TargetGroupBinding`): nothing else of it is ours. What it holds is read first.
    pub(super) fn bind(&mut self) {
        let (from, want) = (self.changes.len(), self.want);
        let named = want.bindings.values().map(|b| &b.template.spec.target_group_arn);
        let arns = named.filter_map(|token| match token {
            Token::Literal(arn) => Some(arn.to_string()),
            Token::Ref { .. } => None,
        });
        let shared = want.bindings.keys().any(|id| self.shared_with_others(id));
        let known = |arn: &String| {
            self.have.targets.contains_key(arn) && (!shared || self.have.records.contains_key(arn))
        };
        let unknown: Vec<String> = arns.filter(|arn| !known(arn)).collect();
        if unknown.is_empty() {
            self.shared();
            for id in want.bindings.keys() {
                let moves = self.bound(id);
                self.register(&moves);
                self.deregister(&moves);
            }
        } else {
            let summary = format!("read the targets of {} target groups", unknown.len());
            let op = Op::ReadTargets { groups: unknown, records: shared };
            self.push(op, Verb::Register, KIND, "", summary);
        }
        self.changes[from..].iter_mut().for_each(|change| change.info.mark = Mark::UserNamed);
    }

    /// What is to be added to and taken from the target group of a binding.
    fn bound(&self, id: &str) -> Vec<Moves> {
        let Some(binding) = self.want.bindings.get(id) else { return Vec::new() };
        let group = &binding.template.spec.target_group_arn;
        let Token::Literal(arn) = group else { return Vec::new() };
        let wanted = self.wanted(id);
        let held = self.have.targets.get(&**arn).cloned().unwrap_or_default();
        let tags = self.have.records.get(&**arn).cloned().unwrap_or_default();
        let (add, take, record) = self.compared(id, &wanted, &held, &tags, self.want.leaving);
        let (id, group) = (id.to_owned(), group.clone());
        vec![Moves { id, group, add, take, digest: String::new(), noted: None, record }]
    }

    /// Writes down which targets are ours, where that changes anything.
    fn write_down(&mut self, m: &Moves, have: &Tags, record: &Record, marks: &BTreeSet<String>) {
        let (tags, gone) = shares::changes(have, &record.key, marks);
        if tags.is_empty() && gone.is_empty() {
            return;
        }
        let summary = format!("write down which {} targets of {} are ours", marks.len(), m.id);
        let op = Op::RecordTargets { group: m.group.clone(), tags, gone };
        self.push(op, Verb::Register, KIND, &m.id, summary);
    }

    fn deregister(&mut self, moves: &[Moves]) {
        for m in moves {
            let super::Token::Literal(arn) = &m.group else { continue };
            let targets: Vec<&Target> = m.take.iter().collect();
            for chunk in targets.chunks(MOST_PER_CALL) {
                let targets: BTreeSet<Target> = chunk.iter().map(|t| (*t).clone()).collect();
                let plural = if targets.len() == 1 { "" } else { "s" };
                let summary = format!("take {} target{plural} from {}", targets.len(), m.id);
                let op = Op::Deregister { group: arn.to_string(), targets };
                self.push(op, Verb::Deregister, KIND, &m.id, summary);
            }
            if let Some(record) = &m.record {
                // As it is by then.
                let mut have = record.have.clone();
                if !m.add.is_empty() {
                    let (set, gone) = shares::changes(&have, &record.key, &record.before);
                    have.extend(set);
                    have.retain(|key, _| !gone.contains(key));
                }
                self.write_down(m, &have, record, &record.after);
            }
        }
    }

    fn standing_moves(&self) -> Vec<Moves> {
        let chosen = self.chosen.target_groups.iter();
        let mut moves: Vec<Moves> = chosen.filter_map(|(id, group)| self.moves(id, group)).collect();
        moves.extend(self.moves_of_former());
        moves
    }

    /// Takes targets away, after everything else has its place.
    pub(super) fn leave_targets(&mut self) {
        let moves = self.standing_moves();
        self.deregister(&moves);
    }

    /// Notes what target groups hold, where nothing else is to be noted.
    pub(super) fn note_targets(&mut self) {
        let moves = self.standing_moves();
        self.note_digests(&moves);
    }

    fn note_digests(&mut self, moves: &[Moves]) {
        let mut by_digest: BTreeMap<&str, Vec<Token>> = BTreeMap::new();
        for m in moves {
            if m.moves() || m.noted.as_ref() != Some(&m.digest) {
                by_digest.entry(&m.digest).or_default().push(m.group.clone());
            }
        }
        let notes: Vec<(String, Vec<Token>)> =
            by_digest.into_iter().map(|(digest, groups)| (digest.to_owned(), groups)).collect();
        for (digest, groups) in notes {
            self.note(groups, digest);
        }
    }

    /// Target groups whose digest is noted by the call that writes the hash: those that share the most common one. Others get calls of their own.
    pub(super) fn note_with_the_hash(&mut self) -> (Vec<Token>, Option<String>) {
        let mut by_digest: BTreeMap<String, Vec<Token>> = BTreeMap::new();
        for (id, spec) in &self.want.target_groups {
            let have = self.chosen.target_groups.get(id.as_str());
            if have.is_some_and(|g| !self.have.targets.contains_key(&g.arn)) {
                continue;
            }
            let digest = targets_digest(have.map_or(spec.port, |g| g.spec.port), &self.wanted(id));
            let noted = have.and_then(|g| g.spec.tags.get(TAG_TARGETS));
            let moves = have.and_then(|g| self.moves(id, g)).is_some_and(|m| m.moves());
            if moves || noted != Some(&digest) {
                let token = Token::of(KIND, id.clone());
                by_digest.entry(digest).or_default().push(self.resolve(&token));
            }
        }
        let most = by_digest.iter().max_by_key(|(_, groups)| groups.len()).map(|(digest, _)| digest.clone());
        // One call tags at most 20 resources, of which the load balancer is one.
        let with = most.as_ref().and_then(|digest| by_digest.get_mut(digest)).map(|groups| {
            let at = groups.len().min(19);
            let rest = groups.split_off(at);
            std::mem::replace(groups, rest)
        });
        for (digest, groups) in by_digest {
            if !groups.is_empty() {
                self.note(groups, digest);
            }
        }
        let former = self.moves_of_former();
        self.note_digests(&former);
        (with.unwrap_or_default(), most)
    }

    /// Nothing but targets can differ.
    pub(super) fn move_targets(&mut self) {
        let unknown: Vec<String> = self
            .chosen
            .target_groups
            .iter()
            .filter(|(id, group)| {
                let noted = group.spec.tags.get(TAG_TARGETS);
                !self.have.targets.contains_key(&group.arn)
                    && noted != Some(&targets_digest(group.spec.port, &self.wanted(id)))
            })
            .map(|(_, group)| group.arn.clone())
            .collect();
        if !unknown.is_empty() {
            let summary = format!("read the targets of {} target groups", unknown.len());
            let op = Op::ReadTargets { groups: unknown, records: false };
            self.push(op, Verb::Register, KIND, "", summary);
            return;
        }
        let moves = self.standing_moves();
        self.note_dirty(&moves);
        self.register(&moves);
        self.deregister(&moves);
    }
}
