//! Each way to log in, as `[Global]` says it; what is refused; and tokens that end.

use anyhow::{Context, Result, anyhow, bail, ensure};
use causeway_bed::openstack::{PASSWORD, Reply, Service as Bedded};
use causeway_openstack::api::octavia::LOAD_BALANCERS;
use causeway_openstack::api::{CallError, Calls, Failure, Priority, Query, Service};
use causeway_openstack::client::Client;
use serde_json::{Value, json};

use crate::{Real, conf, settings};

pub async fn all(real: &Real) -> Result<()> {
    every_way(real).await?;
    wrong_ways(real).await?;
    regions_and_interfaces(real).await?;
    a_token_is_got_once_and_again_when_it_has_ended(real).await
}

/// A client of what `[Global]` says beside the URL.
fn client(real: &Real, global: &str) -> Result<Calls<Client>> {
    let text = format!("[Global]\nauth-url = {}\n{global}\n", real.keystone());
    let client = Client::new(conf(&text)?.credentials, settings()).map_err(|error| anyhow!(error))?;
    Ok(Calls::new(client))
}

async fn identity(real: &Real, user: &str, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
    let reply: Reply = real.cloud.client().ask(user, Bedded::Identity, method, path, body).await?;
    reply.ok().with_context(|| format!("{method} {path}"))
}

/// Id of a user, as an administrator sees it.
async fn user(real: &Real, name: &str) -> Result<String> {
    let found = identity(real, "admin", "GET", &format!("/v3/users?name={name}"), None).await?;
    Ok(found["users"][0]["id"].as_str().context("no such user")?.to_owned())
}

async fn every_way(real: &Real) -> Result<()> {
    let project = real.cloud.seed().projects.get("k8s").context("a project")?.clone();
    let (id, other) = (user(real, "k8s").await?, user(real, "other").await?);
    let body = json!({"application_credential": {"name": "causeway", "secret": "s3cret # \"quoted\""}});
    let path = format!("/v3/users/{id}/application_credentials");
    let made = identity(real, "k8s", "POST", &path, Some(body)).await?;
    let credential = made["application_credential"]["id"].as_str().context("an id")?.to_owned();
    let body = json!({"trust": {
        "trustor_user_id": id, "trustee_user_id": other, "project_id": project, "impersonation": true,
        "roles": [{"name": "member"}, {"name": "load-balancer_member"}]}});
    let trust = identity(real, "k8s", "POST", "/v3/OS-TRUST/trusts", Some(body)).await?;
    let trust = trust["trust"]["id"].as_str().context("an id")?.to_owned();
    let token = real.cloud.client().token("k8s").await?;
    let secret = "application-credential-secret = \"s3cret # \\\"quoted\\\"\"";
    let ways = [
        (
            "password, names, ids of domains",
            format!(
                "username = k8s\npassword = {PASSWORD}\nuser-domain-id = default\ntenant-name = k8s\ntenant-domain-id = default"
            ),
        ),
        (
            "password, one domain by name",
            format!("username = k8s\npassword = {PASSWORD}\ndomain-name = Default\ntenant-name = k8s"),
        ),
        ("password, ids", format!("user-id = {id}\npassword = {PASSWORD}\ntenant-id = {project}")),
        ("application credential by id", format!("application-credential-id = {credential}\n{secret}")),
        (
            "application credential by name",
            format!(
                "application-credential-name = causeway\nusername = k8s\nuser-domain-id = default\n{secret}"
            ),
        ),
        ("token", format!("token = {token}")),
        ("token for a project", format!("token = {token}\ntenant-id = {project}")),
        ("trust", format!("trust-id = {trust}\ntrustee-id = {other}\ntrustee-password = {PASSWORD}")),
        ("trust of the user itself", format!("trust-id = {trust}\nuser-id = {other}\npassword = {PASSWORD}")),
    ];
    for (way, global) in ways {
        let calls = client(real, &format!("{global}\nregion = RegionOne"))?;
        let got = calls.api.project().await.with_context(|| way.to_owned())?;
        ensure!(got == project, "{way}: project {got}");
        calls.list(&LOAD_BALANCERS, Query::all(), Priority::Audit).await.with_context(|| way.to_owned())?;
    }
    Ok(())
}

async fn wrong_ways(real: &Real) -> Result<()> {
    let wrong = [
        ("password", "username = k8s\npassword = nonsense\ndomain-id = default\ntenant-name = k8s"),
        ("user", "username = nobody\npassword = secret\ndomain-id = default\ntenant-name = k8s"),
        ("project", "username = k8s\npassword = secret\ndomain-id = default\ntenant-name = other"),
        ("credential", "application-credential-id = 0123\napplication-credential-secret = nonsense"),
        ("token", "token = nonsense"),
        ("trust", "trust-id = 0123\nusername = k8s\npassword = secret\nuser-domain-id = default"),
    ];
    for (what, global) in wrong {
        let refused = client(real, global)?.api.project().await;
        let Err(CallError::Failed(Failure::Login { refused: true, text })) = &refused else {
            bail!("{what}: {refused:?}")
        };
        ensure!(!text.contains("nonsense"), "{text}");
    }
    let elsewhere = Client::new(
        conf(&format!(
            "[Global]\nauth-url = {}\nusername = k8s\npassword = {PASSWORD}\ndomain-id = default\ntenant-name = k8s\n",
            real.cloud.outside_endpoint(Bedded::Network)
        ))?
        .credentials,
        settings(),
    );
    let error = elsewhere.map_err(|error| anyhow!(error))?.project().await;
    ensure!(
        matches!(error, Err(CallError::Failed(Failure::Login { .. }))),
        "Neutron is no Keystone: {error:?}"
    );
    Ok(())
}

async fn regions_and_interfaces(real: &Real) -> Result<()> {
    let global = format!("username = k8s\npassword = {PASSWORD}\ndomain-id = default\ntenant-name = k8s");
    for interface in ["public", "internal", "adminURL"] {
        let calls = client(real, &format!("{global}\nos-endpoint-type = {interface}"))?;
        for service in Service::ALL {
            ensure!(calls.api.has(service).await?, "{interface}: no {service:?}");
        }
        // The others are addresses within the cloud, which lead nowhere from here.
        if interface == "public" {
            calls.list(&LOAD_BALANCERS, Query::all(), Priority::Audit).await?;
        }
    }
    let calls = client(real, &format!("{global}\nregion = elsewhere"))?;
    let error = calls.list(&LOAD_BALANCERS, Query::all(), Priority::Audit).await;
    let Err(CallError::Failed(Failure::NoService { text, .. })) = &error else { bail!("{error:?}") };
    ensure!(text.contains("RegionOne"), "{text}");
    Ok(())
}

async fn a_token_is_got_once_and_again_when_it_has_ended(real: &Real) -> Result<()> {
    let list = async || real.calls.list(&LOAD_BALANCERS, Query::all(), Priority::Audit).await;
    list().await?;
    real.afresh();
    let many = async || {
        let (a, b, c, d) = tokio::join!(list(), list(), list(), list());
        a.and(b).and(c).and(d)
    };
    many().await?;
    ensure!(real.count("identity:POST *") == 0, "a token is good for longer");
    ensure!(real.cloud.expire_tokens() > 0);
    many().await?;
    ensure!(real.count("identity:POST *") == 1, "{} logins", real.count("identity:POST *"));
    Ok(())
}
