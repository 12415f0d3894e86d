//! Reads AWS: whole stacks, and lists of everything that carries our mark.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::names::{TAG_CLUSTER, TAG_OWNER};

use super::edit::associate;
use super::known::standing;
use super::{Addons, Observed};
use crate::calls::{CallError, Calls};
use crate::cloud::records::{
    Healths, Listener, LoadBalancer, Rule, SecurityGroup, Tagged, TargetGroup, WebAcl, Whys,
};
use crate::cloud::{Answer, Api, Attributed, Call, Failure, GroupsBy, Page, Which};
use crate::errors::State;
use crate::limits::Priority;
use crate::plan::marks::resource_id;
use crate::plan::secrets;
use crate::stack::{
    Attribute, ElbProtocol, ListenerCertificate, LoadBalancerType, ResourceType, SecurityGroupSpec, Tags,
};

/// Most ARNs of one Describe.
pub const MOST_IDS: usize = 20;

type Result<T> = std::result::Result<T, CallError>;

fn odd<T>() -> Result<T> {
    Err(CallError::Failed(Failure::NoAnswer("an answer to another call".to_owned())))
}

/// A way to read.
pub struct Reader<'a, A> {
    /// The calls.
    pub calls: &'a Calls<A>,
    /// How urgent this is.
    pub priority: Priority,
}

/// Takes all pages of a list.
macro_rules! pages {
    ($reader:expr, $answer:ident, |$marker:ident| $call:expr) => {{
        let mut all = Vec::new();
        let mut $marker: Option<String> = None;
        loop {
            match $reader.calls.read($call, $reader.priority).await? {
                Answer::$answer(Page { items, next }) => {
                    all.extend(items);
                    if next.is_none() {
                        break Ok(all);
                    }
                    $marker = next;
                }
                _ => break odd(),
            }
        }
    }};
}

impl<A: Api> Reader<'_, A> {
    /// Load balancers.
    ///
    /// # Errors
    /// The call's.
    pub async fn load_balancers(&self, which: &Which) -> Result<Vec<LoadBalancer>> {
        pages!(self, LoadBalancers, |marker| Call::DescribeLoadBalancers { which: which.clone(), marker })
    }

    /// Target groups.
    ///
    /// # Errors
    /// The call's.
    pub async fn target_groups(&self, which: &Which) -> Result<Vec<TargetGroup>> {
        pages!(self, TargetGroups, |marker| Call::DescribeTargetGroups { which: which.clone(), marker })
    }

    /// Load balancers by ARN; those that are gone are left out.
    ///
    /// # Errors
    /// The calls'.
    pub async fn load_balancers_by_arn(&self, arns: &BTreeSet<String>) -> Result<Vec<LoadBalancer>> {
        let (mut found, arns) = (Vec::new(), arns.iter().cloned().collect::<Vec<_>>());
        for chunk in arns.chunks(MOST_IDS) {
            match self.load_balancers(&Which::Ids(chunk.to_vec())).await {
                Ok(some) => found.extend(some),
                Err(e) if e.state() == Some(State::NotFound) && chunk.len() == 1 => {}
                // One that is missing fails the call for all.
                Err(e) if e.state() == Some(State::NotFound) => {
                    for arn in chunk {
                        match self.load_balancers(&Which::Ids(vec![arn.clone()])).await {
                            Ok(some) => found.extend(some),
                            Err(e) if e.state() == Some(State::NotFound) => {}
                            Err(e) => return Err(e),
                        }
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }

    /// Target groups by ARN; those that are gone are left out.
    ///
    /// # Errors
    /// The calls'.
    pub async fn target_groups_by_arn(&self, arns: &BTreeSet<String>) -> Result<Vec<TargetGroup>> {
        let (mut found, arns) = (Vec::new(), arns.iter().cloned().collect::<Vec<_>>());
        for chunk in arns.chunks(MOST_IDS) {
            match self.target_groups(&Which::Ids(chunk.to_vec())).await {
                Ok(some) => found.extend(some),
                Err(e) if e.state() == Some(State::NotFound) && chunk.len() == 1 => {}
                Err(e) if e.state() == Some(State::NotFound) => {
                    for arn in chunk {
                        match self.target_groups(&Which::Ids(vec![arn.clone()])).await {
                            Ok(some) => found.extend(some),
                            Err(e) if e.state() == Some(State::NotFound) => {}
                            Err(e) => return Err(e),
                        }
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }

    /// Tags by ARN, of ELBv2's resources.
    ///
    /// # Errors
    /// The calls'.
    pub async fn tags(&self, arns: &[String]) -> Result<BTreeMap<String, Tags>> {
        let mut found = BTreeMap::new();
        for chunk in arns.chunks(MOST_IDS) {
            match self.calls.read(Call::DescribeTags { arns: chunk.to_vec() }, self.priority).await? {
                Answer::Tagged(page) => found.extend(page.items.into_iter().map(|t| (t.arn, t.tags))),
                _ => return odd(),
            }
        }
        Ok(found)
    }

    /// Everything with these tags that the tagging API knows of; it may lag behind.
    ///
    /// # Errors
    /// The calls'.
    pub async fn tagged(&self, tags: &Tags) -> Result<Vec<Tagged>> {
        pages!(self, Tagged, |marker| Call::GetResources { tags: tags.clone(), marker })
    }

    /// Targets.
    ///
    /// # Errors
    /// The call's.
    pub async fn health(&self, group: &str) -> Result<Healths> {
        Ok(self.health_and_why(group).await?.0)
    }

    /// Targets, and why they are not healthy.
    ///
    /// # Errors
    /// The call's.
    pub async fn health_and_why(&self, group: &str) -> Result<(Healths, Whys)> {
        let call = Call::DescribeTargetHealth { group: group.to_owned() };
        match self.calls.read(call, self.priority).await? {
            Answer::Healths(healths, whys) => Ok((healths, whys)),
            _ => odd(),
        }
    }

    /// Web ACL and protection of a load balancer, as far as they are asked for.
    ///
    /// # Errors
    /// The first call's.
    pub async fn addons(&self, load_balancer: &str, web_acl: bool, protection: bool) -> Result<Addons> {
        let mut found = Addons::default();
        if web_acl {
            let call = Call::GetWebAclForResource { resource: load_balancer.to_owned() };
            match self.calls.read(call, self.priority).await? {
                Answer::WebAcl(acl) => found.web_acl = Some(acl),
                _ => return odd(),
            }
        }
        if protection {
            let call = Call::DescribeProtection { resource: load_balancer.to_owned() };
            match self.calls.read(call, self.priority).await? {
                Answer::Protection(protection) => found.protection = Some(protection),
                _ => return odd(),
            }
        }
        Ok(found)
    }

    /// Web ACLs of the region.
    ///
    /// # Errors
    /// The calls'.
    pub async fn web_acls(&self) -> Result<Vec<WebAcl>> {
        pages!(self, WebAcls, |marker| Call::ListWebAcls { marker })
    }

    /// Security groups by id; those that are gone are left out.
    ///
    /// # Errors
    /// The calls'.
    pub async fn security_groups(&self, ids: &BTreeSet<String>) -> Result<Vec<SecurityGroup>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let call = |ids: Vec<String>| self.calls.read(Call::DescribeSecurityGroups { ids }, self.priority);
        match call(ids.iter().cloned().collect()).await {
            Ok(Answer::SecurityGroups(groups)) => return Ok(groups),
            Ok(_) => return odd(),
            Err(e) if e.state() == Some(State::NotFound) => {}
            Err(e) => return Err(e),
        }
        let mut found = Vec::new();
        for id in ids {
            match call(vec![id.clone()]).await {
                Ok(Answer::SecurityGroups(groups)) => found.extend(groups),
                Ok(_) => return odd(),
                Err(e) if e.state() == Some(State::NotFound) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }

    /// A security group by its name.
    ///
    /// # Errors
    /// The call's.
    pub async fn security_group_named(&self, vpc: &str, name: &str) -> Result<Option<SecurityGroup>> {
        Ok(self.find_groups(vpc, GroupsBy::Name(name.to_owned())).await?.into_iter().next())
    }

    /// Security groups of which a rule lets this one in.
    ///
    /// # Errors
    /// The call's.
    pub async fn security_groups_from(&self, vpc: &str, source: &str) -> Result<Vec<SecurityGroup>> {
        self.find_groups(vpc, GroupsBy::From(source.to_owned())).await
    }

    async fn find_groups(&self, vpc: &str, by: GroupsBy) -> Result<Vec<SecurityGroup>> {
        let call = Call::FindSecurityGroup { vpc: vpc.to_owned(), by };
        match self.calls.read(call, self.priority).await? {
            Answer::SecurityGroups(groups) => Ok(groups),
            _ => odd(),
        }
    }

    pub(super) async fn attributes(&self, of: Attributed, arn: &str) -> Result<Vec<Attribute>> {
        let call = Call::DescribeAttributes { of, arn: arn.to_owned() };
        match self.calls.read(call, self.priority).await? {
            Answer::Attributes(all) => {
                Ok(all.into_iter().map(|(key, value)| Attribute { key, value }).collect())
            }
            _ => odd(),
        }
    }

    /// The whole stack of an owner. `known` says which ARNs and ids it was last seen with: the tagging API may not know them yet.
    ///
    /// # Errors
    /// The calls'.
    pub async fn whole(&self, cluster: &str, owner: &str, known: &Observed) -> Result<Observed> {
        let mark = Tags::from([
            (TAG_CLUSTER.to_owned(), cluster.to_owned()),
            (TAG_OWNER.to_owned(), owner.to_owned()),
        ]);
        let ours = |tags: &Tags| mark.iter().all(|(k, v)| tags.get(k) == Some(v));
        let tagged = self.tagged(&mark).await?;
        let of = |part: &str| tagged.iter().filter(|t| t.arn.contains(part)).map(|t| t.arn.clone()).collect();
        let mut lb_arns: BTreeSet<String> = of(":loadbalancer/");
        lb_arns.extend(known.load_balancers.iter().map(|x| x.arn.clone()));
        let mut group_arns: BTreeSet<String> = of(":targetgroup/");
        group_arns.extend(known.target_groups.iter().map(|x| x.arn.clone()));
        let mut security_ids: BTreeSet<String> =
            tagged.iter().filter_map(|t| security_group_id(&t.arn)).collect();
        security_ids.extend(known.security_groups.iter().map(|x| x.id.clone()));

        let mut tree = Observed { whole: true, ..Observed::default() };
        tree.load_balancers = self.load_balancers_by_arn(&lb_arns).await?;
        for lb in &tree.load_balancers {
            match self.target_groups(&Which::Of(lb.arn.clone())).await {
                Ok(groups) => group_arns.extend(groups.into_iter().map(|g| g.arn)),
                // Some answer so where there is none.
                Err(e) if e.state() == Some(State::NotFound) => {}
                Err(e) => return Err(e),
            }
        }
        tree.target_groups = self.target_groups_by_arn(&group_arns).await?;
        let arns: Vec<String> = tree
            .load_balancers
            .iter()
            .map(|x| x.arn.clone())
            .chain(tree.target_groups.iter().map(|x| x.arn.clone()))
            .collect();
        let mut tags = self.tags(&arns).await?;
        for lb in &mut tree.load_balancers {
            lb.spec.tags = tags.remove(&lb.arn).unwrap_or_default();
        }
        for group in &mut tree.target_groups {
            group.spec.tags = tags.remove(&group.arn).unwrap_or_default();
        }
        tree.load_balancers.retain(|lb| ours(&lb.spec.tags));
        tree.target_groups.retain(|group| ours(&group.spec.tags));
        for lb in &mut tree.load_balancers {
            lb.spec.load_balancer_attributes = self.attributes(Attributed::LoadBalancer, &lb.arn).await?;
            let (listeners, rules) = self.listeners(lb).await?;
            tree.listeners.extend(listeners);
            tree.rules.extend(rules);
        }
        for group in &mut tree.target_groups {
            group.spec.target_group_attributes = self.attributes(Attributed::TargetGroup, &group.arn).await?;
            let healths = self.health(&group.arn).await?;
            if healths.values().any(|h| *h == crate::cloud::records::Health::Healthy) {
                tree.healthy.insert(group.arn.clone());
            }
            tree.targets.insert(group.arn.clone(), standing(&healths));
        }
        tree.security_groups = self.security_groups(&security_ids).await?;
        tree.security_groups.retain(|group| ours(&group.spec.tags));
        associate(&mut tree);
        Ok(tree)
    }

    /// The listeners of a load balancer, and their rules, with tags.
    ///
    /// # Errors
    /// The calls'.
    pub async fn listeners(&self, lb: &LoadBalancer) -> Result<(Vec<Listener>, Vec<Rule>)> {
        let (mut listeners, mut rules) = self.listeners_without_tags(lb).await?;
        self.tag_listeners(&mut listeners, &mut rules).await?;
        Ok((listeners, rules))
    }

    /// Listeners and rules of a load balancer, but for their tags.
    ///
    /// # Errors
    /// The calls'.
    pub(super) async fn listeners_without_tags(
        &self,
        lb: &LoadBalancer,
    ) -> Result<(Vec<Listener>, Vec<Rule>)> {
        let mut listeners: Vec<Listener> = pages!(self, Listeners, |marker| Call::DescribeListeners {
            load_balancer: lb.arn.clone(),
            marker
        })?;
        let mut rules = Vec::new();
        for listener in &mut listeners {
            let arn = listener.arn.clone();
            if matches!(listener.spec.protocol, ElbProtocol::Tls | ElbProtocol::Https) {
                let all: Vec<(String, bool)> = pages!(self, Certificates, |marker| {
                    Call::DescribeListenerCertificates { listener: arn.clone(), marker }
                })?;
                let further = all.into_iter().filter(|(_, default)| !default).map(|(arn, _)| arn);
                listener.spec.certificates.truncate(1);
                let further = further.map(|certificate_arn| ListenerCertificate { certificate_arn });
                listener.spec.certificates.extend(further);
            }
            listener.spec.listener_attributes = self.attributes(Attributed::Listener, &arn).await?;
            if lb.spec.kind == LoadBalancerType::Application {
                let some: Vec<Rule> =
                    pages!(self, Rules, |marker| Call::DescribeRules { listener: arn.clone(), marker })?;
                rules.extend(some);
            }
        }
        Ok((listeners, rules))
    }

    /// Adds the tags of listeners and rules.
    ///
    /// # Errors
    /// The calls'.
    pub(super) async fn tag_listeners(&self, listeners: &mut [Listener], rules: &mut [Rule]) -> Result<()> {
        let arns: Vec<String> =
            listeners.iter().map(|x| x.arn.clone()).chain(rules.iter().map(|x| x.arn.clone())).collect();
        let mut tags = self.tags(&arns).await?;
        for listener in listeners {
            listener.spec.tags = tags.remove(&listener.arn).unwrap_or_default();
            secrets::told(&mut listener.spec.default_actions, &listener.spec.tags);
        }
        for rule in rules {
            rule.spec.tags = tags.remove(&rule.arn).unwrap_or_default();
            secrets::told(&mut rule.spec.actions, &rule.spec.tags);
        }
        Ok(())
    }
}

/// The id in the ARN of a security group.
#[must_use]
pub fn security_group_id(arn: &str) -> Option<String> {
    arn.split_once(":security-group/").map(|(_, id)| id.to_owned())
}

/// A security group of which only the tags are known.
#[must_use]
pub fn only_tags(id: String, tags: Tags) -> SecurityGroup {
    let name = resource_id(&tags, ResourceType::SecurityGroup).unwrap_or_default().to_owned();
    SecurityGroup {
        id,
        vpc_id: String::new(),
        spec: SecurityGroupSpec { group_name: name, description: String::new(), tags, ingress: Vec::new() },
    }
}
