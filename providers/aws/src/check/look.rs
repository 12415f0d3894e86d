//! Reads an account for `causeway check`: each read that the controller makes once, and dry runs of what it writes in EC2. I/O; nothing is changed.
//!
//! AWS looks at the right before it looks for the resource. So where there is nothing yet to ask about, an ARN is asked about that nothing has: "not found" means
//! that one may ask.

use std::collections::BTreeSet;

use causeway_api::check::{Outcome, Tried, note};
use causeway_api::names::{KUBE_PROXY_HEALTH_PORT, TAG_CLUSTER};

use super::{Identity, Seen, facts, said};
use crate::calls::{CallError, Calls, Patience};
use crate::cloud::{Answer, Api, Attributed, Call, Failure, Query, Which};
use crate::errors;
use crate::inventory::{Answers, Cluster};
use crate::limits::Priority;
use crate::live::merge;
use crate::options::Options;
use crate::plan::marks::ownership;
use crate::plan::tokens::literal;
use crate::security::{self, BACKEND_GROUP};
use crate::stack::{GroupPair, IpPermission, ResourceType, SecurityGroupSpec, Tags, Token};

/// Name in what is asked about and is not there.
const NOBODY: &str = "causeway-check";
/// Id of the same.
const NO_ID: &str = "0000000000000000";

struct Look<A> {
    calls: Calls<A>,
    reads: Vec<Tried>,
    writes: Vec<Tried>,
}

/// How a call ended, as far as the right to it goes.
fn outcome(answer: &Result<Answer, CallError>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Allowed,
        Err(CallError::Failed(failure)) if errors::denied(failure) => Outcome::Denied(failure.to_string()),
        Err(CallError::Failed(failure)) if errors::permitted(failure) => Outcome::Allowed,
        Err(error) => Outcome::Unknown(said(error)),
    }
}

impl<A: Api> Look<A> {
    async fn read(&mut self, call: Call) -> Option<Answer> {
        let permission = format!("{}:{}", call.service(), call.action());
        let answer = self.calls.read(call, Priority::Create).await;
        note(&mut self.reads, permission, outcome(&answer));
        answer.ok()
    }

    /// All pages of a list; `None` if one could not be read.
    async fn pages<T>(
        &mut self,
        call: impl Fn(Option<String>) -> Call,
        mut take: impl FnMut(Answer) -> Option<(Vec<T>, Option<String>)>,
    ) -> Option<Vec<T>> {
        let (mut all, mut marker) = (Vec::new(), None);
        loop {
            let answer = self.read(call(marker)).await?;
            let (items, next) = take(answer)?;
            all.extend(items);
            if next.is_none() {
                return Some(all);
            }
            marker = next;
        }
    }

    async fn dry_run(&mut self, call: Call) {
        let permission = format!("{}:{}", call.service(), call.action());
        let answer = self.calls.read(Call::DryRun(Box::new(call)), Priority::Create).await;
        note(&mut self.writes, permission, outcome(&answer));
    }

    async fn inventory(&mut self, vpc: &str) -> Answers {
        let mut all = Answers::default();
        let queries = [
            Query::Vpc(vpc.to_owned()),
            Query::Subnets(vpc.to_owned()),
            Query::RouteTables(vpc.to_owned()),
            Query::SecurityGroups(vpc.to_owned()),
            Query::Zones,
            Query::Addresses,
            Query::Instances(vpc.to_owned()),
            Query::AccountLimits,
            Query::Certificates,
        ];
        for query in queries {
            let pages = self
                .pages(
                    |marker| Call::Inventory { query: query.clone(), marker },
                    |answer| match answer {
                        Answer::Inventory(some, next) => Some((vec![*some], next)),
                        _ => None,
                    },
                )
                .await;
            pages.into_iter().flatten().for_each(|some| merge(&mut all, some));
        }
        all
    }
}

/// Looks at an account.
pub async fn look<A: Api>(api: A, cluster: &Cluster, options: &Options) -> Seen {
    let mut look =
        Look { calls: Calls::new(api, Patience::default()), reads: Vec::new(), writes: Vec::new() };
    let identity = match look.calls.read(Call::GetCallerIdentity, Priority::Create).await {
        Ok(Answer::Identity { arn, account }) => Ok(Identity { arn, account }),
        Ok(_) => Err(CallError::Failed(Failure::NoAnswer("an answer to another call".to_owned()))),
        Err(error) => Err(error),
    };
    // A network may have a way to EC2 and none to STS.
    if identity.is_err() {
        let zones = Call::Inventory { query: Query::Zones, marker: None };
        match look.calls.read(zones, Priority::Create).await {
            Err(CallError::Failed(failure)) if !errors::denied(&failure) => return Seen::nothing(identity),
            Err(CallError::Later(_) | CallError::Fenced) => return Seen::nothing(identity),
            _ => {}
        }
    }
    let arn = identity.as_ref().map(|who| who.arn.as_str()).unwrap_or_default();
    let partition = arn.split(':').nth(1).unwrap_or("aws");
    let account = identity.as_ref().map(|who| who.account.as_str()).unwrap_or("000000000000");
    let region = &cluster.region;
    let made_up = |what: &str| format!("arn:{partition}:elasticloadbalancing:{region}:{account}:{what}");

    let answers = look.inventory(&cluster.vpc_id).await;
    let listed = answers.list_certificates.iter().flat_map(|list| &list.certificate_summary_list).next();
    let certificate = listed.map(|c| c.certificate_arn.clone()).unwrap_or_else(|| {
        format!("arn:{partition}:acm:{region}:{account}:certificate/00000000-0000-0000-0000-000000000000")
    });
    look.read(Call::Inventory { query: Query::Certificate(certificate), marker: None }).await;

    let mark = Tags::from([(TAG_CLUSTER.to_owned(), cluster.id.clone())]);
    let tagged = look
        .pages(
            |marker| Call::GetResources { tags: mark.clone(), marker },
            |answer| match answer {
                Answer::Tagged(page) => Some((page.items, page.next)),
                _ => None,
            },
        )
        .await;
    let ours: BTreeSet<String> = tagged.into_iter().flatten().map(|item| item.arn).collect();
    let load_balancers = look
        .pages(
            |marker| Call::DescribeLoadBalancers { which: Which::All, marker },
            |answer| match answer {
                Answer::LoadBalancers(page) => Some((page.items, page.next)),
                _ => None,
            },
        )
        .await;
    let target_groups = look
        .pages(
            |marker| Call::DescribeTargetGroups { which: Which::All, marker },
            |answer| match answer {
                Answer::TargetGroups(page) => Some((page.items, page.next)),
                _ => None,
            },
        )
        .await;

    // One of each kind is asked about, ours if there is one.
    let balancers = || load_balancers.iter().flatten().map(|lb| lb.arn.as_str());
    let balancer = balancers().find(|arn| ours.contains(*arn)).or_else(|| balancers().next());
    let balancer =
        balancer.map_or_else(|| made_up(&format!("loadbalancer/net/{NOBODY}/{NO_ID}")), str::to_owned);
    let group = target_groups.iter().flatten().map(|group| group.arn.as_str()).next();
    let group = group.map_or_else(|| made_up(&format!("targetgroup/{NOBODY}/{NO_ID}")), str::to_owned);
    look.read(Call::DescribeTags { arns: vec![balancer.clone()] }).await;
    look.read(Call::DescribeAttributes { of: Attributed::LoadBalancer, arn: balancer.clone() }).await;
    look.read(Call::DescribeAttributes { of: Attributed::TargetGroup, arn: group.clone() }).await;
    look.read(Call::DescribeTargetHealth { group }).await;
    let listeners = look.read(Call::DescribeListeners { load_balancer: balancer, marker: None }).await;
    let listener = match listeners {
        Some(Answer::Listeners(page)) => page.items.into_iter().map(|listener| listener.arn).next(),
        _ => None,
    };
    let listener = listener.unwrap_or_else(|| made_up(&format!("listener/net/{NOBODY}/{NO_ID}/{NO_ID}")));
    look.read(Call::DescribeRules { listener: listener.clone(), marker: None }).await;
    look.read(Call::DescribeListenerCertificates { listener: listener.clone(), marker: None }).await;
    look.read(Call::DescribeAttributes { of: Attributed::Listener, arn: listener }).await;

    let facts = facts(cluster, options, &answers);
    let ids: Vec<String> = security::node_groups(&facts).into_iter().collect();
    let node_groups = match ids.is_empty() {
        true => None,
        false => look.read(Call::DescribeSecurityGroups { ids: ids.clone() }).await,
    };
    let node_groups = match node_groups {
        Some(Answer::SecurityGroups(groups)) => groups,
        _ => Vec::new(),
    };
    // One that the user named has not our mark, and need not be ours to change.
    let shared = match options.backend_security_group {
        None => literal(&security::backend(&facts).0).to_owned(),
        Some(_) => String::new(),
    };
    try_writes(&mut look, cluster, ids.first(), &shared).await;
    let Look { reads, writes, .. } = look;
    Seen {
        identity,
        unreached: false,
        answers,
        load_balancers,
        target_groups,
        ours,
        node_groups,
        reads,
        writes,
    }
}

/// Tries what the controller writes in EC2, as it would write it: with its marks, on the groups that it changes.
async fn try_writes<A: Api>(look: &mut Look<A>, cluster: &Cluster, nodes: Option<&String>, shared: &str) {
    let tags = ownership(&cluster.id, NOBODY, ResourceType::SecurityGroup, BACKEND_GROUP);
    let spec = SecurityGroupSpec {
        group_name: NOBODY.to_owned(),
        description: NOBODY.to_owned(),
        tags: tags.clone(),
        ingress: Vec::new(),
    };
    look.dry_run(Call::CreateSecurityGroup { vpc: cluster.vpc_id.clone(), spec: Box::new(spec) }).await;
    if let Some(group) = nodes {
        let rule = IpPermission {
            ip_protocol: "tcp".to_owned(),
            from_port: Some(KUBE_PROXY_HEALTH_PORT),
            to_port: Some(KUBE_PROXY_HEALTH_PORT),
            group_pairs: vec![GroupPair {
                group_id: Token::literal(group.as_str()),
                description: NOBODY.to_owned(),
            }],
            ..IpPermission::default()
        };
        let rules = BTreeSet::from([rule]);
        let group = group.clone();
        look.dry_run(Call::AuthorizeSecurityGroupIngress { group: group.clone(), rules: rules.clone() })
            .await;
        look.dry_run(Call::RevokeSecurityGroupIngress { group, rules }).await;
    }
    // What may be done with our mark only can be tried only on something that has it.
    if !shared.is_empty() {
        let ids = BTreeSet::from([shared.to_owned()]);
        look.dry_run(Call::CreateTags { ids: ids.clone(), tags }).await;
        look.dry_run(Call::DeleteTags { ids, keys: BTreeSet::from([NOBODY.to_owned()]) }).await;
        look.dry_run(Call::DeleteSecurityGroup { id: shared.to_owned() }).await;
    }
}
