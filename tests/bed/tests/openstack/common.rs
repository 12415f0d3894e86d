//! Calls of the cloud's APIs as tests make them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use causeway_bed::openstack::{Cloud, Service};
use causeway_bed::wait;
use serde_json::Value;

/// Long enough for a load balancer to be made on a machine with much other work to do.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// Makes something as user `k8s`; the call succeeds.
pub async fn post(cloud: &Cloud, service: Service, path: &str, body: Value) -> Result<Value> {
    let reply = cloud.client().ask("k8s", service, "POST", path, Some(body)).await?;
    reply.ok().with_context(|| format!("POST {path}"))
}

/// Reads as user `k8s`, uncounted.
pub async fn look(cloud: &Cloud, service: Service, path: &str) -> Result<Value> {
    cloud.client().look("k8s", service, path).await
}

/// The id in an answer such as `{"port": {"id": ...}}`.
pub fn id(answer: &Value) -> Result<String> {
    let inner = answer.as_object().and_then(|members| members.values().next());
    let id = inner.and_then(|inner| inner["id"].as_str());
    Ok(id.with_context(|| format!("no id in {answer}"))?.to_owned())
}

/// Waits until a load balancer is ACTIVE. One that has gone to ERROR does not come back.
pub async fn active(cloud: &Cloud, balancer: &str) -> Result<Value> {
    let path = format!("/v2.0/lbaas/loadbalancers/{balancer}");
    let found = wait::until("the load balancer to be ACTIVE", PATIENCE, async || {
        let answer = look(cloud, Service::LoadBalancer, &path).await?;
        let status = answer["loadbalancer"]["provisioning_status"].as_str().unwrap_or_default().to_owned();
        match status.as_str() {
            "ACTIVE" => Ok(Ok(answer["loadbalancer"].clone())),
            "ERROR" => Ok(Err(answer.to_string())),
            _ => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                bail!("{status}")
            }
        }
    })
    .await?;
    match found {
        Ok(balancer) => Ok(balancer),
        Err(answer) => bail!("the load balancer has gone to ERROR: {answer}"),
    }
}

/// Waits until a load balancer is gone.
pub async fn gone(cloud: &Cloud, balancer: &str) -> Result<()> {
    wait::until("the load balancer to be gone", PATIENCE, async || {
        let list = look(cloud, Service::LoadBalancer, "/v2.0/lbaas/loadbalancers").await?;
        let left: Vec<&Value> = list["loadbalancers"].as_array().into_iter().flatten().collect();
        let own = left.iter().find(|entry| entry["id"] == balancer);
        if own.is_some() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        ensure!(own.is_none(), "{own:?}");
        Ok(())
    })
    .await
}
