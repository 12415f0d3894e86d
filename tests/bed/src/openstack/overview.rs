//! What there is in the cloud, as a person wants to see it. I/O: asks the services themselves, as the administrator, uncounted.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::service::Service;
use crate::cloud::http::{self as wire, Whole};

/// Load balancers, a line each, with what belongs to them in lines below.
pub async fn read() -> Result<Value> {
    let token = token().await?;
    let get = async |service: Service, path: &str| ask(service, path, &token).await;
    let balancers = get(Service::LoadBalancer, "/v2.0/lbaas/loadbalancers").await?;
    let floating = get(Service::Network, "/v2.0/floatingips").await?;
    let mut text = String::new();
    for balancer in entries(&balancers["loadbalancers"]) {
        let id = balancer["id"].as_str().unwrap_or_default();
        let path = format!("/v2.0/lbaas/loadbalancers/{id}/status");
        let status = get(Service::LoadBalancer, &path).await?;
        let own = entries(&floating["floatingips"])
            .find(|address| address["port_id"] == balancer["vip_port_id"])
            .map_or(&Value::Null, |address| &address["floating_ip_address"]);
        describe(&mut text, balancer, own, &status["statuses"]["loadbalancer"]);
    }
    for address in entries(&floating["floatingips"]).filter(|address| address["port_id"].is_null()) {
        let _ = writeln!(text, "floating IP {} of nobody", word(&address["floating_ip_address"]));
    }
    Ok(Value::String(text))
}

/// One load balancer. Pure.
fn describe(text: &mut String, balancer: &Value, floating: &Value, status: &Value) {
    let mut addresses = vec![word(&balancer["vip_address"])];
    addresses.extend(entries(&balancer["additional_vips"]).map(|vip| word(&vip["ip_address"])));
    let outside = floating.as_str().map(|address| format!(", floating IP {address}")).unwrap_or_default();
    let _ = writeln!(
        text,
        "{} {} {} {} at {}{outside}",
        word(&balancer["name"]),
        word(&balancer["id"]),
        word(&balancer["provisioning_status"]),
        word(&balancer["operating_status"]),
        addresses.join(" ")
    );
    for listener in entries(&status["listeners"]) {
        let _ = writeln!(
            text,
            "  listener {} {} {}",
            word(&listener["name"]),
            word(&listener["provisioning_status"]),
            word(&listener["operating_status"])
        );
        for pool in entries(&listener["pools"]) {
            let _ = writeln!(text, "    pool {} {}", word(&pool["name"]), word(&pool["operating_status"]));
            for member in entries(&pool["members"]) {
                let at = format!("{} {}", word(&member["address"]), word(&member["protocol_port"]));
                let _ = writeln!(text, "      member {at} {}", word(&member["operating_status"]));
            }
        }
    }
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

async fn token() -> Result<String> {
    let body = super::client::password_login("admin");
    let request = http::Request::post("/v3/auth/tokens")
        .header("host", "bed")
        .header("content-type", "application/json")
        .body(Whole::from(body.to_string()))?;
    let answer = wire::send(Service::Identity.behind(), request).await?;
    let token =
        answer.headers().get("x-subject-token").context("Keystone gives the administrator no token")?;
    Ok(token.to_str()?.to_owned())
}

async fn ask(service: Service, path: &str, token: &str) -> Result<Value> {
    let request = http::Request::get(path)
        .header("host", "bed")
        .header("x-auth-token", token)
        .body(Whole::from(String::new()))?;
    let answer = wire::send(service.behind(), request).await?;
    ensure!(answer.status().is_success(), "{path}: {}", answer.status());
    Ok(serde_json::from_slice(answer.body()).unwrap_or_else(|_| json!({})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_balancer_is_a_line_with_its_parts_below() {
        let balancer = json!({
            "id": "1", "name": "web", "vip_address": "10.77.128.5", "additional_vips": [{"ip_address": "fd77::1:0:5"}],
            "provisioning_status": "ACTIVE", "operating_status": "ONLINE",
        });
        let status = json!({"listeners": [{
            "name": "", "provisioning_status": "ACTIVE", "operating_status": "ONLINE",
            "pools": [{"name": "p", "operating_status": "ONLINE",
                "members": [{"address": "10.77.0.11", "protocol_port": 30080, "operating_status": "ONLINE"}]}],
        }]});
        let mut text = String::new();
        describe(&mut text, &balancer, &json!("203.0.113.10"), &status);
        let expected = "web 1 ACTIVE ONLINE at 10.77.128.5 fd77::1:0:5, floating IP 203.0.113.10\n  listener - ACTIVE ONLINE\n    pool p ONLINE\n      member 10.77.0.11 30080 ONLINE\n";
        assert_eq!(text, expected);
    }
}
