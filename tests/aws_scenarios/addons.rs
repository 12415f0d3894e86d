//! What goes with load balancers: web ACLs, Shield Advanced, logins, checks of tokens.

use anyhow::{Context, Result, ensure};
use causeway_bed::wait;
use serde_json::Value;

use crate::ingresses::{PUBLIC, WEB, backends, import, ingress};
use crate::lab::{Lab, MADE};

/// Prints what goes with the load balancer of this name, and what its rules do.
const SEEN: &str = r#"
import boto3, json
elb, waf, shield = boto3.client("elbv2"), boto3.client("wafv2"), boto3.client("shield")
arn = [lb["LoadBalancerArn"] for lb in elb.describe_load_balancers()["LoadBalancers"] if lb["DNSName"].lower() == NAME][0]
try:
    protection = shield.describe_protection(ResourceArn=arn)["Protection"]["Name"]
except shield.exceptions.ResourceNotFoundException:
    protection = None
acl = waf.get_web_acl_for_resource(ResourceArn=arn).get("WebACL") or {}
listeners = [listener["ListenerArn"] for listener in elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]]
rules = [rule for listener in listeners for rule in elb.describe_rules(ListenerArn=listener)["Rules"] if not rule["IsDefault"]]
print(json.dumps({"acl": acl.get("Name"), "protection": protection, "actions": [rule["Actions"] for rule in rules]}))
"#;

/// Makes a web ACL; its ARN.
fn web_acl(lab: &Lab, name: &str) -> Result<String> {
    let program = format!(
        "import boto3\nprint(boto3.client('wafv2').create_web_acl(Name='{name}', Scope='REGIONAL', DefaultAction={{'Allow': {{}}}}, VisibilityConfig={{\
         'SampledRequestsEnabled': False, 'CloudWatchMetricsEnabled': False, 'MetricName': '{name}'}})['Summary']['ARN'])"
    );
    Ok(lab.world.aws.python(&program)?.trim().to_owned())
}

async fn until_seen(lab: &Lab, what: &str, name: &str, right: impl Fn(&Value) -> bool) -> Result<Value> {
    let program = SEEN.replace("NAME", &format!("{name:?}"));
    wait::until(what, MADE, async || {
        let seen: Value = serde_json::from_str(&lab.world.aws.python(&program)?).context("no JSON")?;
        ensure!(right(&seen), "{seen}");
        Ok(seen)
    })
    .await
}

fn rules(host: &str) -> String {
    format!("rules: [{{host: {host}, http: {{paths: [{{path: /, pathType: Prefix, {WEB}}}]}}}}]")
}

fn client(lab: &Lab, id: &str) -> Result<()> {
    lab.apply(&format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: client, namespace: NAMESPACE}}, stringData: {{clientID: {id}, clientSecret: hush}}}}"
    ))
}

const LOGIN: &str = r#"alb.ingress.kubernetes.io/auth-type: oidc, alb.ingress.kubernetes.io/auth-idp-oidc: '{"issuer":"https://id.example","authorizationEndpoint":"https://id.example/a","tokenEndpoint":"https://id.example/t","userInfoEndpoint":"https://id.example/u","secretName":"client"}'"#;
const TOKENS: &str = r#"alb.ingress.kubernetes.io/jwt-validation: '{"jwksEndpoint":"https://id.example/keys","issuer":"https://id.example","additionalClaims":[{"format":"single-string","name":"aud","values":["shop"]}]}'"#;
const HTTPS: &str = "alb.ingress.kubernetes.io/listen-ports: '[{\"HTTPS\":443}]'";

#[tokio::test]
async fn web_acls_protections_logins_and_checks_of_tokens_are_set_followed_and_taken_away() {
    Lab::run("addons", async |lab| {
        backends(lab)?;
        let waf = |acl: &str| format!("alb.ingress.kubernetes.io/wafv2-acl-{acl}");
        let shield = "alb.ingress.kubernetes.io/shield-advanced-protection: 'true'";
        // What cannot be is said, and the rest is served.
        let annotations = format!("{PUBLIC}, {}, {shield}", waf("name: missing"));
        ingress(lab, "wrong", "causeway", &annotations, &rules("wrong.example"))?;
        let about = ("Ingress", "wrong");
        println!("{}", lab.event(about, "AddonRefused", &["no regional web ACL \"missing\""]).await?);
        println!("{}", lab.event(about, "AddonRefused", &["no subscription to Shield Advanced"]).await?);
        let name = lab.hostname("ingress/wrong").await?;
        lab.answers(&["-H", "Host: wrong.example", &format!("http://{name}/hostname")], "200 hello-").await?;

        lab.world.aws.python("import boto3\nboto3.client('shield').create_subscription()")?;
        let (acl, certificate) = (web_acl(lab, "guard")?, import(lab, "guarded.example")?);
        let https = format!("{PUBLIC}, {HTTPS}, alb.ingress.kubernetes.io/certificate-arn: '{certificate}'");
        client(lab, "one")?;
        let annotations = format!("{https}, {}, {shield}, {LOGIN}", waf(&format!("arn: '{acl}'")));
        ingress(lab, "guarded", "causeway", &annotations, &rules("guarded.example"))?;
        ingress(lab, "tokens", "causeway", &format!("{https}, {TOKENS}"), &rules("tokens.example"))?;
        let name = lab.hostname("ingress/guarded").await?;
        let logs_in = |seen: &Value, id: &str| {
            let action = &seen["actions"][0][0];
            action["Type"] == "authenticate-oidc" && action["AuthenticateOidcConfig"]["ClientId"] == id
        };
        until_seen(lab, "web ACL, protection and login", &name, |seen| {
            let protected = seen["protection"].as_str().is_some_and(|name| name.starts_with("causeway "));
            seen["acl"] == "guard" && protected && logs_in(seen, "one")
        })
        .await?;
        // The bed's load balancers pass over what logs people in.
        let connect = format!("guarded.example:443:{name}:443");
        let url = "https://guarded.example/hostname";
        lab.answers(&["-k", "--connect-to", &connect, url], "200 hello-").await?;

        client(lab, "two")?;
        until_seen(lab, "the other client", &name, |seen| logs_in(seen, "two")).await?;
        let key = |suffix: &str| format!("alb.ingress.kubernetes.io/{suffix}");
        let none = [key("wafv2-acl-arn=none"), key("shield-advanced-protection=false"), key("auth-type-")];
        let mut annotate = vec!["annotate", "--overwrite", "ingress", "guarded"];
        annotate.extend(none.iter().map(String::as_str));
        lab.kubectl(&annotate)?;
        until_seen(lab, "neither web ACL nor protection nor login", &name, |seen| {
            let plain = seen["actions"][0].as_array().is_some_and(|actions| actions.len() == 1);
            seen["acl"].is_null() && seen["protection"].is_null() && plain
        })
        .await?;
        let again = key("shield-advanced-protection=true");
        lab.kubectl(&["annotate", "--overwrite", "ingress", "guarded", &again])?;
        until_seen(lab, "the protection again", &name, |seen| seen["protection"].is_string()).await?;

        let tokens = lab.hostname("ingress/tokens").await?;
        until_seen(lab, "the check of tokens", &tokens, |seen| {
            let action = &seen["actions"][0][0];
            let config = &action["JwtValidationConfig"];
            action["Type"] == "jwt-validation" && config["AdditionalClaims"][0]["Values"][0] == "shop"
        })
        .await?;
        for name in ["wrong", "guarded", "tokens"] {
            lab.delete(&format!("ingress/{name}")).await?;
        }
        let left = lab
            .world
            .aws
            .python("import boto3\nprint(len(boto3.client('shield').list_protections()['Protections']))")?;
        ensure!(left.trim() == "0", "{left} protections are left");
        Ok(())
    })
    .await;
}
