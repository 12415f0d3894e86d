//! The whole way from desired stacks to a converged AWS, in memory and in virtual time: crashes and faults at every call.

mod addons;
mod adoption;
mod crashes;
mod numbers;
mod scenarios;
mod shared;
mod stacks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use causeway_api::names::{TAG_APPLIED, TAG_CLUSTER, TAG_OWNER};
use causeway_api::{
    ChangeInfo, CloudError, Fence, IngressPoint, LbKey, Outcome, Peer, Plan, PlannedChange, Problem,
};

use self::stacks::target_ids;
pub(crate) use self::stacks::{CLUSTER, Front};
use crate::cloud::Cloud;
use crate::cloud::records::{Health, LoadBalancer, SecurityGroup, State, TargetGroup};
use crate::fake::{Fake, Settings as FakeSettings};
use crate::inventory::Cluster;
use crate::live::{Live, Settings};
use crate::plan::choose::serving;
use crate::plan::forward::same;
use crate::plan::marks::{TAG_TARGETS, resource_id, targets_digest};
use crate::plan::tokens::{Tokens, literal};
use crate::plan::{Change, bare, plan};
use crate::secrets::Secrets;
use crate::security::{signed, signer};
use crate::stack::{AwsStack, IpPermission, ResourceType, SecurityGroupSpec, Tags, Target, Token};

/// The engine's own linter, so that no plan passes here that it would refuse.
#[path = "../../../../src/engine/lint.rs"]
mod lint;

/// What came of bringing a stack to what is wanted.
type Ended = Result<Vec<Problem>, CloudError>;

struct Sim {
    fake: Arc<Fake>,
    live: Live<Arc<Fake>>,
    /// What each member shows.
    shown: BTreeMap<String, Vec<IngressPoint>>,
    /// What the peer made may be taken over.
    adopt: Option<&'static Peer>,
    /// A fault means that the process dies.
    dies: bool,
    deaths: usize,
    /// The cluster's Secrets.
    secrets: Arc<addons::Held>,
}

fn live(fake: &Arc<Fake>, adopt: Option<&'static Peer>, secrets: &Arc<addons::Held>) -> Live<Arc<Fake>> {
    let (id, name, vpc_id) = (CLUSTER.to_owned(), "bed".to_owned(), "vpc-1".to_owned());
    let cluster = Cluster { id, name, vpc_id, ..Cluster::default() };
    let settings = Settings { cluster, adopt, ..Settings::default() };
    Live::new(Arc::clone(fake), settings).with_secrets(Arc::clone(secrets) as Arc<dyn Secrets>)
}

/// The key of a stack; of one without members nothing but the owner is known.
fn key(want: &AwsStack) -> LbKey {
    let key = LbKey::of_owner_tag(&want.owner).expect("an owner");
    match want.members.first() {
        Some(member) => LbKey::object(key.layer, member.object.clone()),
        None => key,
    }
}

impl Sim {
    async fn new(settings: FakeSettings) -> Self {
        let fake = Arc::new(Fake::new(settings));
        {
            let mut world = fake.world();
            let group = |id: &str, tags: Tags| SecurityGroup {
                id: id.to_owned(),
                vpc_id: "vpc-1".to_owned(),
                spec: SecurityGroupSpec {
                    group_name: id.to_owned(),
                    description: String::new(),
                    tags,
                    ingress: vec![IpPermission { ip_protocol: "-1".to_owned(), ..IpPermission::default() }],
                },
            };
            world.security_groups.insert("sg-node".to_owned(), group("sg-node", Tags::new()));
            // Another cluster's.
            let foreign = Tags::from([
                (TAG_CLUSTER.to_owned(), "c-2".to_owned()),
                (TAG_OWNER.to_owned(), "service/web".to_owned()),
            ]);
            world.security_groups.insert("sg-foreign".to_owned(), group("sg-foreign", foreign.clone()));
            let mut stack = Front::nlb("other").stack();
            let mut spec = stack.load_balancers.pop_first().expect("one").1;
            spec.security_groups.clear();
            spec.tags = foreign.clone();
            let arn = format!("{}:loadbalancer/net/other/1", crate::fake::REGION);
            let lb = LoadBalancer {
                arn: arn.clone(),
                dns_name: "other".to_owned(),
                zone_id: String::new(),
                state: State::Active,
                vpc_id: "vpc-1".to_owned(),
                spec,
            };
            world.load_balancers.insert(arn, (lb, Duration::ZERO));
            let mut spec = stack.target_groups.pop_first().expect("one").1;
            spec.tags = foreign;
            let arn = format!("{}:targetgroup/other/1", crate::fake::REGION);
            let group = TargetGroup {
                arn: arn.clone(),
                vpc_id: "vpc-1".to_owned(),
                load_balancers: BTreeSet::new(),
                spec,
            };
            world.target_groups.insert(arn, group);
        }
        let secrets = Arc::<addons::Held>::default();
        let mut sim = Self {
            live: live(&fake, None, &secrets),
            secrets,
            fake,
            shown: BTreeMap::new(),
            adopt: None,
            dies: false,
            deaths: 0,
        };
        sim.restart().await;
        sim
    }

    /// A new process.
    async fn restart(&mut self) {
        self.live = live(&self.fake, self.adopt, &self.secrets);
        let groups = BTreeSet::from(["sg-node".to_owned()]);
        loop {
            if self.start(&groups).await.is_ok() {
                return;
            }
            self.dead().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn start(&self, groups: &BTreeSet<String>) -> Result<(), CloudError> {
        self.live.inventory().await?;
        self.live.start(groups).await
    }

    /// If a fault struck, and that means death: a new process.
    async fn dead(&mut self) -> bool {
        let struck = std::mem::take(&mut self.fake.world().struck);
        if struck && self.dies {
            self.deaths += 1;
            self.live = live(&self.fake, self.adopt, &self.secrets);
            return true;
        }
        false
    }

    fn with_status(&self, want: &AwsStack) -> AwsStack {
        let mut want = want.clone();
        for member in &mut want.members {
            member.current = self.shown.get(&want.owner).cloned().unwrap_or_default();
        }
        want
    }

    fn linted(plan: &Plan<Change>) {
        let infos: Vec<ChangeInfo> = plan.changes.iter().map(PlannedChange::info).collect();
        let violations = lint::lint(&infos, plan.context);
        assert!(violations.is_empty(), "{violations:?}\n{infos:#?}");
    }

    /// Works as the engine does, until nothing is left to do.
    async fn converge(&mut self, want: &AwsStack) -> Ended {
        for _ in 0..400 {
            let want = self.with_status(want);
            match self.round(&want).await {
                Ok(Some(problems)) => {
                    if self.dead().await {
                        self.restart().await;
                        continue;
                    }
                    return Ok(problems);
                }
                Ok(None) => {}
                Err(error) => {
                    if !self.dead().await {
                        match error {
                            CloudError::Throttled(after) | CloudError::Pending(after) => {
                                tokio::time::sleep(after).await;
                            }
                            CloudError::Conflict(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                            CloudError::Transient(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                            other => return Err(other),
                        }
                        continue;
                    }
                }
            }
            if self.dead().await || self.live.known.lock().is_ok_and(|k| !k.complete) {
                self.restart().await;
            }
        }
        let observed = self.live.observe(&key(want)).await;
        let left = observed.map(|have| plan(&self.with_status(want), &have));
        panic!("does not converge: {left:#?}");
    }

    /// One plan; `Some`: there was none to make.
    async fn round(&mut self, want: &AwsStack) -> Result<Option<Vec<Problem>>, CloudError> {
        let have = self.live.observe(&key(want)).await?;
        let plan = plan(want, &have);
        Self::linted(&plan);
        if plan.is_empty() {
            if let Some(lb) = serving(want, &have, crate::stack::LOAD_BALANCER) {
                let hostname = Some(lb.dns_name.to_ascii_lowercase());
                let point = IngressPoint { hostname, ..IngressPoint::default() };
                self.shown.insert(want.owner.clone(), vec![point]);
            }
            return Ok(Some(plan.problems));
        }
        for change in &plan.changes {
            let outcome = self.live.apply(change, &Fence::open()).await?;
            if self.dies && self.fake.world().struck {
                return Ok(None);
            }
            if let Outcome::Pending(after) = outcome {
                return Err(CloudError::Pending(after));
            }
        }
        Ok(None)
    }

    /// Lets time pass, with the inventories and audits that the engine makes meanwhile, and does what they ask for.
    async fn pass(&mut self, seconds: u64, wants: &[&AwsStack]) {
        let round = crate::live::REFRESH.calm.as_secs();
        for _ in 0..seconds / round {
            self.audits(round, wants).await;
            // Where a fault of the test's hides it, there is another one soon.
            let _ = self.live.inventory().await;
        }
        self.audits(seconds % round + crate::live::AUDIT_PERIOD.as_secs(), wants).await;
    }

    /// The same without inventories.
    async fn audits(&mut self, seconds: u64, wants: &[&AwsStack]) {
        let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
        while tokio::time::Instant::now() < until {
            tokio::time::sleep(crate::live::AUDIT_PERIOD).await;
            let Ok(keys) = self.live.audit().await else { continue };
            for want in wants {
                if keys.iter().any(|k| k.owner_tag() == want.owner) {
                    self.converge(want).await.expect("converges");
                }
            }
        }
    }

    /// Everything is as these stacks ask, nothing else is left, and what is not ours is as it was.
    fn check(&self, wants: &[&AwsStack]) {
        let world = self.fake.world();
        assert_eq!(world.gaps, Vec::<String>::new(), "service stopped");
        for want in wants {
            check_one(&world, want);
        }
        let owners: BTreeSet<&str> = wants.iter().map(|w| w.owner.as_str()).collect();
        let stray = |tags: &Tags| {
            tags.get(TAG_CLUSTER).is_some_and(|c| c == CLUSTER)
                && tags.get(TAG_OWNER).is_none_or(|o| o != "shared" && !owners.contains(o.as_str()))
        };
        let lbs = world.load_balancers.values().filter(|(lb, _)| stray(&lb.spec.tags)).count();
        let groups = world.target_groups.values().filter(|g| stray(&g.spec.tags)).count();
        let security = world.security_groups.values().filter(|g| stray(&g.spec.tags)).count();
        assert_eq!((lbs, groups, security), (0, 0, 0), "leaked");
        // Those of the other cluster and the nodes' own.
        assert_eq!(world.security_groups["sg-foreign"].spec.ingress.len(), 1);
        let foreign = world
            .load_balancers
            .values()
            .filter(|(lb, _)| lb.spec.tags.get(TAG_CLUSTER).is_some_and(|c| c == "c-2"));
        assert_eq!(foreign.count(), 1);
        let names: Vec<&String> = world.load_balancers.values().map(|(lb, _)| &lb.spec.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "names are unique");
        let of_nodes = &world.security_groups["sg-node"].spec.ingress;
        let (alone, shared): (Vec<_>, Vec<_>) = of_nodes.iter().partition(|r| signer(r).is_some());
        if wants.iter().any(|w| !w.security_groups.is_empty()) {
            assert_eq!(shared.len(), 2, "one rule for all load balancers with groups");
        }
        if wants.is_empty() {
            assert_eq!(shared.len(), 1, "the nodes' own");
            let is_shared = |g: &&SecurityGroup| g.spec.tags.get(TAG_CLUSTER).is_some_and(|c| c == CLUSTER);
            assert_eq!(
                world.security_groups.values().find(is_shared),
                None,
                "what all share goes with the last"
            );
        }
        let alone: BTreeSet<IpPermission> = alone.into_iter().cloned().collect();
        let wanted =
            wants.iter().flat_map(|w| w.shared.node_rules.iter().map(|r| signed(r.clone(), &w.owner)));
        let wanted: BTreeSet<IpPermission> = wanted.filter(|r| signer(r).is_some()).collect();
        assert_eq!(alone, wanted, "rules for one load balancer alone");
    }
}

/// One stack is in AWS as it is wanted.
fn check_one(world: &crate::fake::World, want: &AwsStack) {
    let ours = |tags: &Tags| {
        tags.get(TAG_CLUSTER).is_some_and(|c| c == CLUSTER) && tags.get(TAG_OWNER) == Some(&want.owner)
    };
    let lbs: Vec<&LoadBalancer> =
        world.load_balancers.values().map(|(lb, _)| lb).filter(|lb| ours(&lb.spec.tags)).collect();
    assert_eq!(lbs.len(), want.load_balancers.len(), "{lbs:#?}");
    let mut known: BTreeMap<Token, String> = BTreeMap::new();
    for lb in &lbs {
        let id = resource_id(&lb.spec.tags, ResourceType::LoadBalancer).expect("its id");
        known.insert(Token::of(ResourceType::LoadBalancer, id), lb.arn.clone());
        let spec = &want.load_balancers[id];
        assert_eq!((lb.spec.kind, lb.spec.scheme), (spec.kind, spec.scheme));
        assert_eq!(lb.spec.security_groups.len(), spec.security_groups.len());
        assert_eq!(lb.spec.tags.get(TAG_APPLIED), Some(&want.applied().to_string()));
        for attribute in &spec.load_balancer_attributes {
            // What is AWS's default anyway is not set.
            let default = attribute.value == "false";
            assert!(default || lb.spec.load_balancer_attributes.contains(attribute));
        }
    }
    let groups: Vec<&TargetGroup> = world.target_groups.values().filter(|g| ours(&g.spec.tags)).collect();
    assert_eq!(groups.len(), want.target_groups.len(), "{groups:#?}");
    for group in &groups {
        let id = resource_id(&group.spec.tags, ResourceType::TargetGroup).expect("its id");
        known.insert(Token::of(ResourceType::TargetGroup, id), group.arn.clone());
        assert_eq!(group.spec.protocol, want.target_groups[id].protocol);
        assert_eq!(group.spec.health_check_config, want.target_groups[id].health_check_config);
        let standing: BTreeSet<Target> = world.standing(&group.arn);
        assert_eq!(&standing, target_ids(want)[id], "targets of {id}");
        let digest = targets_digest(group.spec.port, &standing);
        assert_eq!(group.spec.tags.get(TAG_TARGETS), Some(&digest), "digest of {id}");
    }
    let security: Vec<&SecurityGroup> =
        world.security_groups.values().filter(|g| ours(&g.spec.tags)).collect();
    assert_eq!(security.len(), want.security_groups.len());
    for group in security {
        let id = resource_id(&group.spec.tags, ResourceType::SecurityGroup).expect("its id");
        let rules = |all: &[IpPermission]| -> BTreeSet<IpPermission> { all.iter().map(bare).collect() };
        assert_eq!(rules(&group.spec.ingress), rules(&want.security_groups[id].ingress));
    }
    let resolve = |token: &Token| known.get(token).cloned();
    let current: BTreeSet<&String> = known.values().collect();
    let listeners: Vec<_> = world
        .listeners
        .values()
        .filter(|l| current.contains(&literal(&l.spec.load_balancer_arn).to_owned()))
        .collect();
    assert_eq!(listeners.len(), want.listeners.len());
    for listener in listeners {
        let spec = want.listeners[&listener.spec.port.to_string()].resolved(&resolve);
        assert_eq!(listener.spec.protocol, spec.protocol);
        assert!(same(&listener.spec.default_actions, &spec.default_actions), "{listener:#?}");
        let idle = |s: &crate::stack::ListenerSpec| {
            let of = s.listener_attributes.iter().find(|a| a.key == "tcp.idle_timeout.seconds");
            of.map_or("350".to_owned(), |a| a.value.clone())
        };
        assert_eq!(idle(&listener.spec), idle(&spec));
        let mut rules: Vec<_> =
            world.rules.values().filter(|r| literal(&r.spec.listener_arn) == listener.arn).collect();
        rules.sort_by_key(|r| r.spec.priority);
        let token = Token::of(ResourceType::Listener, listener.spec.port.to_string());
        let mut wanted: Vec<_> = want.listener_rules.values().filter(|r| r.listener_arn == token).collect();
        wanted.sort_by_key(|r| r.priority);
        assert_eq!(rules.len(), wanted.len());
        for (rule, want) in rules.iter().zip(wanted) {
            assert_eq!(rule.spec.conditions, want.conditions);
            assert!(same(&rule.spec.actions, &want.actions.resolved(&resolve)));
        }
    }
}

impl crate::fake::World {
    fn standing(&self, arn: &str) -> BTreeSet<Target> {
        self.registered(arn).into_iter().filter(|(_, h)| *h != Health::Draining).map(|(t, _)| t).collect()
    }
}
