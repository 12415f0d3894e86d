//! The inventory: what decisions need of OpenStack, in few calls. I/O.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{CallError, Collection, Failure, Priority, Query, Request, Service, neutron, octavia};
use crate::inventory::{Answers, Rare};
use crate::live::{Account, Live};
use crate::observe::read::PAGE;

/// Whether a service does not offer this, or not to this user: decisions do without.
fn not_offered(error: &CallError) -> bool {
    matches!(error, CallError::Failed(Failure::Refused { status: 400 | 403 | 404 | 405 | 501, .. }))
}

fn garbled(text: String) -> CallError {
    CallError::Failed(Failure::Garbled { text })
}

impl<A: Account> Live<A> {
    /// What OpenStack answers, `rare` things with it.
    pub(crate) async fn answers(&self, rare: &BTreeSet<Rare>) -> Result<Answers, CallError> {
        let priority = Priority::Change;
        let mut answers = Answers { unasked: Rare::ALL.into(), ..Answers::default() };
        let services = self.calls.api.services().await?;
        let catalog: Vec<Value> = services.into_iter().map(|kind| json!({"type": kind})).collect();
        answers.put("GET /v3/auth/catalog", json!({"catalog": catalog})).map_err(garbled)?;
        let versions = self.calls.read(&Request::versions(Service::LoadBalancer), priority).await?;
        answers.put("GET /", versions).map_err(garbled)?;
        let all = || Query::all().page(PAGE);
        self.list(&mut answers, &neutron::NETWORKS, all()).await?;
        self.list(&mut answers, &neutron::SUBNETS, all()).await?;
        let ports = all().fields(&["id", "device_id", "fixed_ips"]);
        self.list(&mut answers, &neutron::PORTS, ports).await?;
        let now = Instant::now();
        let lbs = self.calls.list(&octavia::LOAD_BALANCERS, all(), priority).await?;
        put(&mut answers, "GET /v2.0/lbaas/loadbalancers", &json!({"loadbalancers": lbs}))?;
        self.load_balancers.learn(now, self.of_cluster(lbs)).await;
        match self.floating_ips(now, Duration::ZERO).await {
            Ok(addresses) => {
                put(&mut answers, "GET /v2.0/floatingips", &json!({"floatingips": &*addresses}))?
            }
            // A cloud may have none, which its extensions say.
            Err(error) if not_offered(&error) => {
                self.list(&mut answers, &neutron::EXTENSIONS, Query::all()).await?
            }
            Err(error) => return Err(error),
        }
        self.ask(&mut answers, rare).await?;
        Ok(answers)
    }

    /// Adds `rare` things that were not asked for.
    pub(crate) async fn ask(&self, answers: &mut Answers, rare: &BTreeSet<Rare>) -> Result<(), CallError> {
        for thing in rare.intersection(&answers.unasked.clone()) {
            match thing {
                Rare::Providers => self.list(answers, &octavia::PROVIDERS, Query::all()).await?,
                Rare::Flavors => self.list(answers, &octavia::FLAVORS, Query::all()).await?,
                Rare::AvailabilityZones => {
                    self.list(answers, &octavia::AVAILABILITY_ZONES, Query::all()).await?
                }
                Rare::Quotas => {
                    let project = self.calls.api.project().await?;
                    let (of_octavia, of_neutron) = (octavia::QUOTAS.untyped(), neutron::QUOTAS.untyped());
                    self.quota(answers, "GET /v2.0/lbaas/quotas/PROJECT", &of_octavia, &project).await?;
                    self.quota(answers, "GET /v2.0/quotas/PROJECT", &of_neutron, &project).await?;
                }
            }
            answers.unasked.remove(thing);
        }
        Ok(())
    }

    async fn list<R>(
        &self,
        answers: &mut Answers,
        of: &Collection<R>,
        query: Query,
    ) -> Result<(), CallError> {
        match self.calls.answer(of, query, Priority::Change).await {
            Ok((key, answer)) => put(answers, &key, &answer),
            Err(error) if not_offered(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn quota(
        &self,
        answers: &mut Answers,
        key: &str,
        of: &Collection<Value>,
        project: &str,
    ) -> Result<(), CallError> {
        match self.calls.get(of, project, Priority::Change).await {
            Ok(Some(quota)) => put(answers, key, &json!({"quota": numbers(quota)})),
            Ok(None) => Ok(()),
            Err(error) if not_offered(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Only the numbers of quotas: some releases say whose they are among them.
fn numbers(quota: Value) -> Value {
    match quota {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, v)| v.is_number() || v.is_null())
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other,
    }
}

fn put(answers: &mut Answers, key: &str, answer: &Value) -> Result<(), CallError> {
    answers.put(key, answer.clone()).map_err(garbled)
}
