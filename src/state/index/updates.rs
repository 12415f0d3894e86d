//! How updates change the index, and which load balancers they make dirty. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use causeway_api::{Kind, Node, OwnObject, References};

use super::super::records::{
    BackendRef, ClassRecord, Delta, IngressRecord, NamespaceRecord, NodeRecord, Path, SecretRecord,
    ServiceRecord, SliceRecord,
};
use super::{Effects, Index, MemberId, MemberOrSecret};
use crate::engine::queue::Cause;
use crate::translate;

impl Index {
    pub(super) fn services_delta(&mut self, delta: Delta<ServiceRecord>, effects: &mut Effects) {
        match delta {
            Delta::Apply(record) => {
                let path = record.meta.path();
                if let Some(old) = self.services.get_mut(&path)
                    && same_service(old, &record)
                {
                    *old = Arc::new(record);
                    return;
                }
                self.unlink_uses(&MemberId::Service(path.clone()));
                // What a Service that asks for nothing says with its annotations makes no difference to anybody.
                if record.load_balancer {
                    self.link_uses(&MemberId::Service(path.clone()), self.service_uses(&record));
                }
                self.services.insert(path.clone(), Arc::new(record));
                self.place_service(&path, Cause::User, effects);
                self.touch_users(&MemberOrSecret::Service(path), Cause::User, effects);
            }
            Delta::Delete(path) => {
                self.unlink_uses(&MemberId::Service(path.clone()));
                if self.services.remove(&path).is_some() {
                    self.place(MemberId::Service(path.clone()), None, Cause::User, effects);
                    self.touch_users(&MemberOrSecret::Service(path), Cause::User, effects);
                }
            }
            Delta::Reset(records) => {
                let present: HashSet<Path> = records.iter().map(|r| r.meta.path()).collect();
                let gone: Vec<Path> =
                    self.services.keys().filter(|p| !present.contains(p)).cloned().collect();
                for path in gone {
                    self.services_delta(Delta::Delete(path), effects);
                }
                for record in records {
                    self.services_delta(Delta::Apply(record), effects);
                }
            }
        }
    }

    pub(super) fn ingresses_delta(&mut self, delta: Delta<IngressRecord>, effects: &mut Effects) {
        match delta {
            Delta::Apply(record) => {
                let path = record.meta.path();
                if let Some(old) = self.ingresses.get_mut(&path) {
                    let mut comparable = record.clone();
                    comparable.meta.resource_version.clone_from(&old.meta.resource_version);
                    let same = **old == comparable;
                    if same {
                        *old = Arc::new(record);
                        return;
                    }
                }
                self.unlink_uses(&MemberId::Ingress(path.clone()));
                self.link_uses(&MemberId::Ingress(path.clone()), self.ingress_uses(&record));
                self.ingresses.insert(path.clone(), Arc::new(record));
                self.place_ingress(&path, Cause::User, effects);
            }
            Delta::Delete(path) => {
                self.unlink_uses(&MemberId::Ingress(path.clone()));
                if self.ingresses.remove(&path).is_some() {
                    self.place(MemberId::Ingress(path), None, Cause::User, effects);
                }
            }
            Delta::Reset(records) => {
                let present: HashSet<Path> = records.iter().map(|r| r.meta.path()).collect();
                let gone: Vec<Path> =
                    self.ingresses.keys().filter(|p| !present.contains(p)).cloned().collect();
                for path in gone {
                    self.ingresses_delta(Delta::Delete(path), effects);
                }
                for record in records {
                    self.ingresses_delta(Delta::Apply(record), effects);
                }
            }
        }
    }

    fn link_uses(&mut self, member: &MemberId, uses: Vec<MemberOrSecret>) {
        for used in uses {
            self.used_by.entry(used).or_default().insert(member.clone());
        }
    }

    /// Forgets what the known record of a member uses.
    fn unlink_uses(&mut self, member: &MemberId) {
        let old = match member {
            MemberId::Service(path) => self.services.get(path).map(|record| self.service_uses(record)),
            MemberId::Ingress(path) => self.ingresses.get(path).map(|record| self.ingress_uses(record)),
            MemberId::Own(kind, path) => {
                self.own.get(&(kind.clone(), path.clone())).map(|object| self.own_uses(object))
            }
        };
        for used in old.into_iter().flatten() {
            if let Some(users) = self.used_by.get_mut(&used) {
                users.remove(member);
                if users.is_empty() {
                    self.used_by.remove(&used);
                }
            }
        }
    }

    fn service_uses(&self, record: &ServiceRecord) -> Vec<MemberOrSecret> {
        let references = (self.references_of)(&Kind::Service, &record.meta.annotations);
        referred(&record.meta.namespace, &references).collect()
    }

    fn ingress_uses(&self, record: &IngressRecord) -> Vec<MemberOrSecret> {
        let references = (self.references_of)(&Kind::Ingress, &record.meta.annotations);
        uses(record).into_iter().chain(referred(&record.meta.namespace, &references)).collect()
    }

    fn own_uses(&self, object: &OwnObject) -> Vec<MemberOrSecret> {
        referred(&object.object.namespace, &self.own_references(object)).collect()
    }

    pub(super) fn touch_users(&mut self, used: &MemberOrSecret, cause: Cause, effects: &mut Effects) {
        let users: Vec<MemberId> = self.used_by.get(used).into_iter().flatten().cloned().collect();
        for user in users {
            match user {
                MemberId::Service(path) => self.place_service(&path, cause, effects),
                MemberId::Ingress(path) => self.place_ingress(&path, cause, effects),
                MemberId::Own(kind, path) => self.place_own(&kind, &path, cause, effects),
            }
        }
    }

    pub(super) fn classes_delta(&mut self, delta: Delta<ClassRecord>, effects: &mut Effects) {
        let before = self.classes.clone();
        match delta {
            Delta::Apply(record) => {
                self.classes.insert(record.meta.name.clone(), record);
            }
            Delta::Delete(path) => {
                self.classes.remove(&path.name);
            }
            Delta::Reset(records) => {
                self.classes = records.into_iter().map(|r| (r.meta.name.clone(), r)).collect();
            }
        }
        let essence = |classes: &BTreeMap<String, ClassRecord>| -> Vec<_> {
            let all = classes.values().cloned();
            all.map(|c| (c.meta.name, c.controller, c.parameters, c.default, c.meta.created)).collect()
        };
        if essence(&before) != essence(&self.classes) {
            let paths: Vec<Path> = self.ingresses.keys().cloned().collect();
            for path in paths {
                self.place_ingress(&path, Cause::User, effects);
            }
        }
    }

    pub(super) fn nodes_delta(&mut self, delta: Delta<NodeRecord>, effects: &mut Effects) {
        // Where an address is a fact, it matters of nodes too that are no targets.
        let moved;
        let changed = match delta {
            Delta::Apply(record) => {
                let old = self.nodes.get(&record.name);
                let changed = node(&record) != old.and_then(node);
                moved = old.is_none_or(|old| old.addresses != record.addresses);
                self.nodes.insert(record.name.clone(), record);
                changed
            }
            Delta::Delete(path) => {
                let old = self.nodes.remove(&path.name);
                moved = old.is_some();
                old.as_ref().and_then(node).is_some()
            }
            Delta::Reset(records) => {
                self.nodes = records.into_iter().map(|r| (r.name.clone(), r)).collect();
                moved = true;
                true
            }
        };
        effects.facts |= moved && self.rules.wants.node_addresses;
        if !changed {
            return;
        }
        let nodes = translate::node_set(self.nodes.values());
        if nodes == *self.node_set {
            return;
        }
        self.node_set = Arc::new(nodes);
        let mut hasher = DefaultHasher::new();
        self.node_set.hash(&mut hasher);
        self.node_hash = hasher.finish();
        if self.rules.wants.nodes {
            effects.dirty.extend(self.members.keys().map(|key| (key.clone(), Cause::Nodes)));
        }
    }

    pub(super) fn slices_delta(&mut self, delta: Delta<SliceRecord>, effects: &mut Effects) {
        effects.pods |= !self.pods.is_empty();
        let mut touched = BTreeSet::new();
        match delta {
            Delta::Apply(record) => {
                if self.slices.get(&record.path) == Some(&record) {
                    return;
                }
                if let Some(old) = self.slices.get(&record.path) {
                    touched.insert(self.unlink_slice(&old.clone()));
                }
                let service = Path { namespace: record.path.namespace.clone(), name: record.service.clone() };
                self.slices_of.entry(service.clone()).or_default().insert(record.path.clone());
                self.slices.insert(record.path.clone(), record);
                touched.insert(service);
            }
            Delta::Delete(path) => {
                if let Some(old) = self.slices.remove(&path) {
                    touched.insert(self.unlink_slice(&old));
                }
            }
            Delta::Reset(records) => {
                touched.extend(self.slices_of.drain().map(|(service, _)| service));
                self.slices.clear();
                for record in records {
                    let service =
                        Path { namespace: record.path.namespace.clone(), name: record.service.clone() };
                    self.slices_of.entry(service.clone()).or_default().insert(record.path.clone());
                    self.slices.insert(record.path.clone(), record);
                    touched.insert(service);
                }
            }
        }
        for service in touched {
            self.touch_endpoints(service, effects);
        }
    }

    fn unlink_slice(&mut self, slice: &SliceRecord) -> Path {
        let service = Path { namespace: slice.path.namespace.clone(), name: slice.service.clone() };
        if let Some(paths) = self.slices_of.get_mut(&service) {
            paths.remove(&slice.path);
            if paths.is_empty() {
                self.slices_of.remove(&service);
            }
        }
        service
    }

    pub(super) fn secrets_delta(&mut self, delta: Delta<SecretRecord>, effects: &mut Effects) {
        match delta {
            Delta::Apply(record) => {
                let path = record.path.clone();
                if self.secrets.insert(path.clone(), record.clone()).as_ref() != Some(&record) {
                    self.touch_users(&MemberOrSecret::Secret(path), Cause::User, effects);
                }
            }
            Delta::Delete(path) => {
                if self.secrets.remove(&path).is_some() {
                    self.touch_users(&MemberOrSecret::Secret(path), Cause::User, effects);
                }
            }
            Delta::Reset(records) => {
                let present: HashSet<Path> = records.iter().map(|r| r.path.clone()).collect();
                let gone: Vec<Path> = self.secrets.keys().filter(|p| !present.contains(p)).cloned().collect();
                for path in gone {
                    self.secrets_delta(Delta::Delete(path), effects);
                }
                for record in records {
                    self.secrets_delta(Delta::Apply(record), effects);
                }
            }
        }
    }

    pub(super) fn namespaces_delta(&mut self, delta: Delta<NamespaceRecord>, effects: &mut Effects) {
        match delta {
            Delta::Apply(record) => {
                if self.namespaces.get(&record.name) == Some(&record.labels) {
                    return;
                }
                self.namespaces.insert(record.name.clone(), record.labels);
                self.touch_namespace(&record.name, effects);
            }
            Delta::Delete(path) => {
                self.namespaces.remove(&path.name);
            }
            Delta::Reset(records) => {
                let present: HashSet<String> = records.iter().map(|r| r.name.clone()).collect();
                self.namespaces.retain(|name, _| present.contains(name));
                for record in records {
                    self.namespaces_delta(Delta::Apply(record), effects);
                }
            }
        }
    }

    fn touch_namespace(&mut self, namespace: &str, effects: &mut Effects) {
        let services: Vec<Path> =
            self.services.keys().filter(|p| p.namespace == namespace).cloned().collect();
        for path in services {
            self.place_service(&path, Cause::Facts, effects);
        }
        let ingresses: Vec<Path> =
            self.ingresses.keys().filter(|p| p.namespace == namespace).cloned().collect();
        for path in ingresses {
            self.place_ingress(&path, Cause::Facts, effects);
        }
    }

    pub(super) fn own_delta(&mut self, kind: &'static str, delta: Delta<OwnObject>, effects: &mut Effects) {
        let facts = std::mem::take(&mut effects.facts);
        if self.are_members(kind) {
            self.own_members_delta(kind, delta, effects);
        } else {
            self.own_objects_delta(kind, delta, effects);
        }
        // Parameters of its class decide even to which load balancer an Ingress belongs.
        let named = self.classes.values().any(|c| c.parameters.as_ref().is_some_and(|p| p.kind == kind));
        if effects.facts && named {
            let paths: Vec<Path> = self.ingresses.keys().cloned().collect();
            for path in paths {
                self.place_ingress(&path, Cause::Facts, effects);
            }
        }
        effects.facts |= facts;
    }

    /// Objects that are members: no facts, but load balancers change with them.
    fn own_members_delta(&mut self, kind: &'static str, delta: Delta<OwnObject>, effects: &mut Effects) {
        match delta {
            Delta::Apply(object) => {
                let path =
                    Path { namespace: object.object.namespace.clone(), name: object.object.name.clone() };
                let slot = (kind.to_owned(), path.clone());
                let old = self.own.get(&slot);
                effects.own_status |= old.is_none_or(|old| old.status != object.status);
                let same = old.is_some_and(|old| {
                    (&old.object, &old.spec, &old.labels, &old.annotations)
                        == (&object.object, &object.spec, &object.labels, &object.annotations)
                        && (&old.finalizers, old.deleting, &old.status)
                            == (&object.finalizers, object.deleting, &object.status)
                });
                if same {
                    self.own.insert(slot, object);
                    return;
                }
                let id = MemberId::Own(kind.to_owned(), path.clone());
                self.unlink_uses(&id);
                self.link_uses(&id, self.own_uses(&object));
                self.own.insert(slot, object);
                self.place_own(kind, &path, Cause::User, effects);
            }
            Delta::Delete(path) => {
                self.unlink_uses(&MemberId::Own(kind.to_owned(), path.clone()));
                if self.own.remove(&(kind.to_owned(), path.clone())).is_some() {
                    self.place_own(kind, &path, Cause::User, effects);
                }
            }
            Delta::Reset(objects) => {
                let path = |o: &OwnObject| Path {
                    namespace: o.object.namespace.clone(),
                    name: o.object.name.clone(),
                };
                let present: HashSet<Path> = objects.iter().map(path).collect();
                let known = self.own.keys().filter(|(k, p)| k == kind && !present.contains(p));
                let gone: Vec<Path> = known.map(|(_, p)| p.clone()).collect();
                for path in gone {
                    self.own_members_delta(kind, Delta::Delete(path), effects);
                }
                for object in objects {
                    self.own_members_delta(kind, Delta::Apply(object), effects);
                }
            }
        }
    }

    fn own_objects_delta(&mut self, kind: &'static str, delta: Delta<OwnObject>, effects: &mut Effects) {
        match delta {
            Delta::Apply(object) => {
                let path =
                    Path { namespace: object.object.namespace.clone(), name: object.object.name.clone() };
                let old = self.own.insert((kind.to_owned(), path), object.clone());
                // A status that we or others wrote changes no decision.
                effects.own_status |= old.as_ref().is_none_or(|old| old.status != object.status);
                effects.facts |= old.is_none_or(|old| {
                    (&old.object, &old.spec, &old.labels, &old.annotations)
                        != (&object.object, &object.spec, &object.labels, &object.annotations)
                });
            }
            Delta::Delete(path) => {
                effects.facts |= self.own.remove(&(kind.to_owned(), path)).is_some();
            }
            Delta::Reset(objects) => {
                self.own.retain(|(k, _), _| k != kind);
                for object in objects {
                    let path =
                        Path { namespace: object.object.namespace.clone(), name: object.object.name.clone() };
                    self.own.insert((kind.to_owned(), path), object);
                }
                effects.facts = true;
                effects.own_status = true;
            }
        }
    }
}

/// What a node is to load balancers, if it is eligible.
fn node(record: &NodeRecord) -> Option<Node> {
    translate::node_set([record]).nodes.pop()
}

/// Equal in all that decisions or our writes depend on.
fn same_service(old: &ServiceRecord, new: &ServiceRecord) -> bool {
    let mut comparable = new.clone();
    comparable.meta.resource_version.clone_from(&old.meta.resource_version);
    *old == comparable
}

/// What annotations refer to, of an object in a namespace.
fn referred<'a>(namespace: &'a str, references: &'a References) -> impl Iterator<Item = MemberOrSecret> + 'a {
    let path = move |name: &str| Path { namespace: namespace.to_owned(), name: name.to_owned() };
    let services = references.services.iter().map(move |(name, _)| MemberOrSecret::Service(path(name)));
    services.chain(references.secrets.iter().map(move |name| MemberOrSecret::Secret(path(name))))
}

fn uses(ingress: &IngressRecord) -> Vec<MemberOrSecret> {
    let path = |name: &str| Path { namespace: ingress.meta.namespace.clone(), name: name.to_owned() };
    let backends =
        ingress.rules.iter().flat_map(|r| r.paths.iter().map(|p| &p.backend)).chain(&ingress.default_backend);
    let services = backends.filter_map(|b| match b {
        BackendRef::Service { name, .. } => Some(MemberOrSecret::Service(path(name))),
        BackendRef::Resource(_) => None,
    });
    let secrets = ingress.tls.iter().filter_map(|t| Some(MemberOrSecret::Secret(path(t.secret.as_deref()?))));
    services.chain(secrets).collect()
}
