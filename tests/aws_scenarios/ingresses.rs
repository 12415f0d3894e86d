//! Ingresses: an ALB each, or one for a group.

use anyhow::{Result, ensure};
use causeway_bed::wait;

use crate::lab::{Lab, MADE};

/// Services that the Ingresses of a test lead to, each told apart by its port's answer.
pub fn backends(lab: &Lab) -> Result<()> {
    lab.application()?;
    lab.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: NAMESPACE}, spec: {type: NodePort, selector: {app: hello}, \
         ports: [{name: http, port: 80, targetPort: 8080}]}}",
    )
}

pub fn ingress(lab: &Lab, name: &str, class: &str, annotations: &str, spec: &str) -> Result<()> {
    lab.apply(&format!(
        "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: {name}, namespace: NAMESPACE, annotations: {{{annotations}}}}}, \
         spec: {{ingressClassName: {class}, {spec}}}}}"
    ))
}

pub const PUBLIC: &str = "alb.ingress.kubernetes.io/scheme: internet-facing";
pub const WEB: &str = "backend: {service: {name: web, port: {name: http}}}";

/// Makes a certificate and imports it; its ARN.
pub fn import(lab: &Lab, name: &str) -> Result<String> {
    let program = format!(
        "import boto3, subprocess, tempfile, os\nd = tempfile.mkdtemp()\nsubprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', \
         '-subj', '/CN={name}', '-addext', 'subjectAltName=DNS:{name}', '-keyout', d + '/key', '-out', d + '/crt'], check=True, stderr=subprocess.DEVNULL)\n\
         read = lambda f: open(os.path.join(d, f), 'rb').read()\n\
         print(boto3.client('acm').import_certificate(Certificate=read('crt'), PrivateKey=read('key'))['CertificateArn'])"
    );
    Ok(lab.world.aws.python(&program)?.trim().to_owned())
}

#[tokio::test]
async fn hosts_paths_and_the_default_backend_lead_where_they_should() {
    Lab::run("alb", async |lab| {
        backends(lab)?;
        let fixed = |name: &str, text: &str| {
            format!(
                r#"alb.ingress.kubernetes.io/actions.{name}: '{{"type":"fixed-response","fixedResponseConfig":{{"contentType":"text/plain","statusCode":"200","messageBody":"{text}"}}}}'"#
            )
        };
        let to = |name: &str| format!("backend: {{service: {{name: {name}, port: {{name: use-annotation}}}}}}");
        let annotations = format!(
            "{PUBLIC}, {}, {}, {}, {}",
            fixed("exact", "exact"),
            fixed("prefix", "prefix"),
            fixed("longer", "longer"),
            fixed("rest", "rest")
        );
        let rules = format!(
            "defaultBackend: {{service: {{name: rest, port: {{name: use-annotation}}}}}}, rules: [{{host: a.example, http: {{paths: [\
             {{path: /p, pathType: Prefix, {}}}, {{path: /p, pathType: Exact, {}}}, {{path: /p/long, pathType: Prefix, {}}}, {{path: /hostname, pathType: Exact, {WEB}}}]}}}}, \
             {{host: '*.b.example', http: {{paths: [{{path: /, pathType: Prefix, {WEB}}}]}}}}]",
            to("prefix"),
            to("exact"),
            to("longer"),
        );
        ingress(lab, "web", "causeway", &annotations, &rules)?;
        let name = lab.hostname("ingress/web").await?;
        let base = format!("http://{name}");
        lab.answers(&["-H", "Host: a.example", &format!("{base}/hostname")], "200 hello-").await?;
        for (host, path, expected) in [
            ("a.example", "/p", "200 exact"),
            ("a.example", "/p/x", "200 prefix"),
            ("a.example", "/p/long", "200 longer"),
            ("a.example", "/p/long/x", "200 longer"),
            ("a.example", "/px", "200 rest"),
            ("a.example", "/hostname", "200 hello-"),
            ("x.b.example", "/hostname", "200 hello-"),
            ("x.y.b.example", "/hostname", "200 rest"),
            ("other.example", "/", "200 rest"),
        ] {
            lab.answers(&["-H", &format!("Host: {host}"), &format!("{base}{path}")], expected).await?;
        }
        let finalizers = lab.field("ingress/web", ".metadata.finalizers")?;
        ensure!(finalizers.contains("causeway.io/load-balancer-cleanup"), "{finalizers}");
        // Without a default backend: 404.
        lab.kubectl(&["patch", "ingress", "web", "--type=merge", "-p", r#"{"spec":{"defaultBackend":null}}"#])?;
        lab.answers(&["-H", "Host: other.example", &base], "404").await?;
        lab.delete("ingress/web").await
    })
    .await;
}

#[tokio::test]
async fn tls_is_ended_with_the_certificate_of_the_host_and_http_is_redirected() {
    Lab::run("tls", async |lab| {
        backends(lab)?;
        let certificate = import(lab, "tls.example")?;
        let annotations = format!(
            "{PUBLIC}, alb.ingress.kubernetes.io/listen-ports: '[{{\"HTTP\":80}},{{\"HTTPS\":443}}]', alb.ingress.kubernetes.io/ssl-redirect: '443', \
             alb.ingress.kubernetes.io/certificate-arn: '{certificate}'"
        );
        let rules = format!("rules: [{{host: tls.example, http: {{paths: [{{path: /, pathType: Prefix, {WEB}}}]}}}}]");
        ingress(lab, "web", "causeway", &annotations, &rules)?;
        let name = lab.hostname("ingress/web").await?;
        let connect = format!("tls.example:443:{name}:443");
        lab.answers(&["-k", "--connect-to", &connect, "https://tls.example/hostname"], "200 hello-").await?;
        lab.answers(&["-H", "Host: tls.example", &format!("http://{name}/hostname")], "301").await?;
        let shown = lab.bed().remote_ns().run(&[
            "sh",
            "-c",
            &format!("timeout 5 openssl s_client -connect {name}:443 -servername tls.example </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName"),
        ])?;
        ensure!(shown.contains("DNS:tls.example"), "{shown}");
        lab.delete("ingress/web").await
    })
    .await;
}

#[tokio::test]
async fn a_group_shares_one_load_balancer_and_a_bad_member_harms_nobody() {
    Lab::run("group", async |lab| {
        backends(lab)?;
        let group = format!("{PUBLIC}, alb.ingress.kubernetes.io/group.name: shared");
        let rules = |host: &str| {
            format!("rules: [{{host: {host}, http: {{paths: [{{path: /, pathType: Prefix, {WEB}}}]}}}}]")
        };
        ingress(lab, "one", "causeway", &group, &rules("one.example"))?;
        ingress(lab, "two", "causeway", &group, &rules("two.example"))?;
        let (one, two) = (lab.hostname("ingress/one").await?, lab.hostname("ingress/two").await?);
        ensure!(one == two, "{one} {two}");
        for host in ["one.example", "two.example"] {
            lab.answers(&["-H", &format!("Host: {host}"), &format!("http://{one}/hostname")], "200 hello-")
                .await?;
        }
        let bad = format!("{group}, alb.ingress.kubernetes.io/target-type: nonsense");
        ingress(lab, "bad", "causeway", &bad, &rules("bad.example"))?;
        let said = lab.event(("Ingress", "bad"), "InvalidAnnotation", &["target-type", "instance"]).await?;
        println!("bad: {said}");
        for host in ["one.example", "two.example"] {
            lab.answers(&["-H", &format!("Host: {host}"), &format!("http://{one}/hostname")], "200 hello-")
                .await?;
        }
        // One leaves: the others stay.
        lab.kubectl(&["delete", "ingress", "one", "bad"])?;
        lab.answers(&["-H", "Host: one.example", &format!("http://{one}/hostname")], "404").await?;
        lab.answers(&["-H", "Host: two.example", &format!("http://{one}/hostname")], "200 hello-").await?;
        lab.kubectl(&["delete", "ingress", "two"])?;
        lab.nothing_is_left(&format!("group/{}/shared", lab.namespace)).await
    })
    .await;
}

#[tokio::test]
async fn parameters_of_the_class_win_over_annotations() {
    Lab::run("params", async |lab| {
        backends(lab)?;
        lab.apply(
            "{apiVersion: elbv2.k8s.aws/v1beta1, kind: IngressClassParams, metadata: {name: params}, spec: {scheme: internet-facing, \
             tags: [{key: team, value: edge}]}}\n---\n\
             {apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: params}, spec: {controller: causeway.io/ingress, \
             parameters: {apiGroup: elbv2.k8s.aws, kind: IngressClassParams, name: params}}}",
        )?;
        let rules = format!("rules: [{{http: {{paths: [{{path: /, pathType: Prefix, {WEB}}}]}}}}]");
        ingress(lab, "web", "params", "alb.ingress.kubernetes.io/scheme: internal", &rules)?;
        let name = lab.hostname("ingress/web").await?;
        ensure!(!name.starts_with("internal-"), "{name} is internal");
        lab.answers(&[&format!("http://{name}/hostname")], "200 hello-").await?;
        let owner = lab.owner("ingress/web")?;
        let team = async |value: &str| {
            wait::until(&format!("the tag team={value}"), MADE, async || {
                let tags = lab.owned(&owner).await?;
                let all = tags.values().all(|tags| tags.to_string().contains(&format!("\"{value}\"")));
                ensure!(all && !tags.is_empty(), "{tags:?}");
                Ok(())
            })
            .await
        };
        team("edge").await?;
        let patch = r#"{"spec":{"tags":[{"key":"team","value":"core"}]}}"#;
        lab.kubectl(&["patch", "ingressclassparams", "params", "--type=merge", "-p", patch])?;
        team("core").await?;
        lab.delete("ingress/web").await?;
        lab.kubectl(&["delete", "ingressclass,ingressclassparams", "params"]).map(drop)
    })
    .await;
}
