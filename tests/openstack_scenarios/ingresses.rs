//! Ingresses: hosts and paths as they say, one load balancer for a group, a default backend.

use anyhow::ensure;

use crate::lab::Lab;

/// A backend that is told from `hello` by what it answers: nothing.
const EMPTY: &str = "{apiVersion: v1, kind: Service, metadata: {name: empty}, spec: {type: NodePort, selector: {app: nobody}, ports: [{name: http, port: 80, targetPort: 8080}]}}";

fn path(path: &str, matching: &str, service: &str) -> String {
    format!(
        "{{path: {path}, pathType: {matching}, backend: {{service: {{name: {service}, port: {{name: http}}}}}}}}"
    )
}

#[tokio::test]
async fn requests_end_where_a_group_of_ingresses_says() {
    Lab::run("routes", async |lab| {
        lab.apply(EMPTY)?;
        let group = "causeway.io/load-balancer-group: edge";
        let first = format!(
            "rules: [{{host: a.example, http: {{paths: [{}, {}]}}}}]",
            path("/hostname", "Exact", "hello"),
            path("/echo", "Prefix", "hello")
        );
        lab.ingress("first", group, &first)?;
        let second = format!(
            "defaultBackend: {{service: {{name: hello, port: {{name: http}}}}}}, rules: [{{host: '*.b.example', http: {{paths: [{}, {}]}}}}]",
            path("/", "Prefix", "empty"),
            path("/hostname", "Prefix", "hello")
        );
        lab.ingress("second", group, &second)?;
        let address = lab.address("ingress/first").await?;
        ensure!(lab.address("ingress/second").await? == address, "two addresses of one group");
        let asks: [(&str, &str, &str); 9] = [
            ("a.example", "/hostname", "200 hello-"),
            ("a.example:80", "/hostname", "200 hello-"),
            // Exact is neither a prefix nor has a slash more: the default backend answers, which tells the time at paths that it does not know.
            ("a.example", "/hostname/x", "200 NOW"),
            ("a.example", "/echo?msg=ok", "200 ok"),
            ("a.example", "/echoes", "200 NOW"),
            ("x.b.example", "/hostname", "200 hello-"),
            ("x.b.example", "/other", "503"),
            // A wildcard is one label.
            ("x.y.b.example", "/hostname", "200 hello-"),
            ("elsewhere", "/hostname", "200 hello-"),
        ];
        for (host, path, expected) in asks {
            let header = format!("Host: {host}");
            lab.answers(&["-H", &header, &format!("http://{address}{path}")], expected).await?;
        }
        let lbs = lab.load_balancers().await?;
        ensure!(lbs.len() == 1, "{lbs:?}");

        // One leaves, and takes what it brought with it.
        lab.delete("ingress/second").await?;
        lab.answers(&["-H", "Host: a.example", &format!("http://{address}/hostname")], "200 hello-").await?;
        lab.answers(&["-H", "Host: elsewhere", &format!("http://{address}/hostname")], "503").await?;
        ensure!(lab.address("ingress/first").await? == address, "another address");
        lab.delete("ingress/first").await?;
        lab.nothing_is_left().await
    })
    .await;
}
