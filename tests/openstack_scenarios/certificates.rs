//! Certificates of Ingresses and Services: put into Barbican, served by SNI, changed while they are served, and gone with the load balancer.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use causeway_bed::wait;
use serde_json::{Value, json};

use crate::lab::{LOOK, Lab, MADE, text};

/// Makes pairs of certificate and key, in the forms in which people have them.
const PAIRS: &str = "
import datetime, json
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
def pair(host, key, form):
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, host)])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - day).not_valid_after(now + 30 * day)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    return {'tls.crt': made.public_bytes(pem).decode(), 'tls.key': key.private_bytes(pem, form, serialization.NoEncryption()).decode()}
older, newer = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8
print(json.dumps({
    'a': pair('a.example', rsa.generate_private_key(65537, 2048), older),
    'b': pair('b.example', ec.generate_private_key(ec.SECP256R1()), older),
    'a-new': pair('a.example', ec.generate_private_key(ec.SECP384R1()), newer),
    'svc': pair('svc.example', rsa.generate_private_key(65537, 2048), newer),
}))
";

const INGRESS: &str = "tls: [{hosts: [a.example], secretName: a}, {hosts: [b.example], secretName: b}], rules: [
   {host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: hello, port: {name: http}}}}]}},
   {host: b.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: hello, port: {name: http}}}}]}}]";

type Pair = BTreeMap<String, String>;

fn secret(lab: &Lab, name: &str, pair: &Pair) -> Result<()> {
    lab.apply(&json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name}, "stringData": pair}).to_string())
}

/// Waits until this certificate, and no other, is served for a host.
async fn served(lab: &Lab, address: &str, host: &str, pair: &Pair) -> Result<()> {
    let trusted = tempfile::NamedTempFile::new()?;
    std::fs::write(trusted.path(), &pair["tls.crt"])?;
    let (to, trusted) = (format!("{host}:443:{address}"), trusted.path().display().to_string());
    lab.answers(&["--resolve", &to, "--cacert", &trusted, &format!("https://{host}/hostname")], "200 hello-")
        .await?;
    Ok(())
}

#[tokio::test]
async fn certificates_are_served_by_name_and_follow_their_secrets() {
    Lab::run("tls", scenario).await;
}

async fn scenario(lab: &Lab) -> Result<()> {
    let pairs = lab.cloud().python(PAIRS)?;
    let pairs: BTreeMap<String, Pair> = serde_json::from_str(&pairs).context("pairs")?;
    secret(lab, "a", &pairs["a"])?;
    secret(lab, "b", &pairs["b"])?;
    secret(lab, "svc", &pairs["svc"])?;
    lab.ingress("web", "", INGRESS)?;
    lab.service(
        "plain",
        "causeway.io/tls-secret: svc",
        "ports: [{name: https, port: 443, targetPort: 8080}]",
    )?;
    let (ingress, service) = (lab.address("ingress/web").await?, lab.address("service/plain").await?);
    served(lab, &ingress, "a.example", &pairs["a"]).await?;
    served(lab, &ingress, "b.example", &pairs["b"]).await?;
    served(lab, &service, "svc.example", &pairs["svc"]).await?;
    let redirected = ["-H", "Host: b.example", "-o", "/dev/null", "-w", "%{redirect_url}\n%{http_code}"];
    let redirected =
        lab.answers(&[&redirected[..], &[&format!("http://{ingress}/x?y=1")]].concat(), "308").await?;
    ensure!(redirected.ends_with("https://b.example/x?y=1"), "{redirected}");
    ensure!(lab.secrets().await?.len() == 3, "{:?}", lab.secrets().await?);

    // What is not the content changes nothing.
    let (before, made) = (lab.secrets().await?, lab.count("key-manager:POST /v1/secrets"));
    lab.kubectl(&["label", "secret", "a", "of=nobody"])?;
    // The content: another certificate, and for b one that cannot be used, so that the former goes on.
    secret(lab, "a", &pairs["a-new"])?;
    lab.kubectl(&[
        "patch",
        "secret",
        "b",
        "--type=merge",
        "-p",
        &json!({"stringData": {"tls.key": pairs["a"]["tls.key"]}}).to_string(),
    ])?;
    served(lab, &ingress, "a.example", &pairs["a-new"]).await?;
    served(lab, &ingress, "b.example", &pairs["b"]).await?;
    wait::until_every(LOOK, "the former secret to be gone, and it alone", MADE, async || {
        let now = lab.secrets().await?;
        ensure!(now.len() == 3 && before.iter().filter(|name| !now.contains(name)).count() == 1, "{now:?}");
        Ok(())
    })
    .await?;
    ensure!(lab.count("key-manager:POST /v1/secrets") == made + 1, "more secrets than one were made");
    lab.says("ingress/web", "belongs together").await?;
    ensure!(lab.address("ingress/web").await? == ingress, "another address");

    let said = crate::support::causeway_logs(lab.bed());
    let key = pairs["a"]["tls.key"].lines().nth(1).context("a key")?;
    ensure!(!said.contains(key) && !said.contains("PRIVATE KEY"), "the log holds a key");
    lab.delete("ingress/web").await?;
    lab.delete("service/plain").await?;
    lab.nothing_is_left().await
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_keeps_nobody_from_http() {
    Lab::run("no-tls", async |lab| {
        let broken: Pair =
            [("tls.crt", "none"), ("tls.key", "none")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let made =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringData": broken});
        lab.apply(&made.to_string())?;
        lab.ingress("web", "", &INGRESS.replace(", {hosts: [b.example], secretName: b}", ""))?;
        let address = lab.address("ingress/web").await?;
        lab.says("ingress/web", "tls.crt").await?;
        let url = format!("http://{address}/hostname");
        lab.answers(&["-H", "Host: a.example", &url], "200 hello-").await?;
        let lb = lab.load_balancer("web").await?;
        let listeners = lab.parts(&lb, "listeners").await?;
        let ports: Vec<&Value> = listeners.iter().map(|l| &l["protocol_port"]).collect();
        ensure!(ports == [&json!(80)] && text(&lb, "provisioning_status") != "ERROR", "{listeners:?}");
        lab.delete("ingress/web").await?;
        lab.nothing_is_left().await
    })
    .await;
}
