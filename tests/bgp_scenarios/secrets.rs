//! Passwords.

use anyhow::Result;
use causeway_bed::router::RouterConfig;
use serde_json::json;

use super::scene::{ALL, CONFIG, TOR, host, scenario};
use super::service::plain;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_comes_from_a_secret_and_a_new_one_is_used_at_once() {
    let config = |password: &'static str| RouterConfig::top_of_rack(TOR).every(move |n| n.password(password));
    scenario("secret", config("sesame"), async |scene| {
        let bed = scene.lab.bed;
        let secret = |kind: &str, password: &str| -> Result<()> {
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "stringData": {"password": password},
                "metadata": {"name": "tor", "namespace": CONFIG, "labels": {"scene": "secret"}}});
            bed.apply(&secret.to_string()).map(drop)
        };
        const BASIC: &str = "kubernetes.io/basic-auth";
        let refused = async |part: &str| {
            scene.said("BGPPeer", "secret", "InvalidPeer", &["spec.passwordSecret", part]).await
        };
        scene.peer(&json!({"passwordSecret": {"name": "tor"}}))?;
        scene.advertise(&json!({}), &json!({}))?;
        refused("there is no Secret tor").await?;
        secret("Opaque", "sesame")?;
        refused("is of type Opaque").await?;
        scene.delete("secret", "tor")?;
        secret(BASIC, "sesame")?;
        let prefix = host(scene.service_v4("web", &ALL, plain()).await?);
        scene.routed(prefix, &ALL).await?;
        // The router has another one: to us it does not answer any more.
        scene.reconfigure(config("open")).await?;
        scene.said("BGPPeer", "secret", "BGPSessionDown", &["cannot connect", "the same password"]).await?;
        secret(BASIC, "open")?;
        scene.routed(prefix, &ALL).await?;
        // Gone, and with it the right to speak.
        scene.delete("secret", "tor")?;
        scene.routed(prefix, &[]).await.map(drop)
    })
    .await;
}
