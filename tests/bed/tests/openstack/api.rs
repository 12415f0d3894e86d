//! The APIs through the proxy: counted, disturbed, paged, and with tokens that expire. One cloud without a data plane in a bare bed; the steps share it one after another, for each counts calls.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::Bed;
use causeway_bed::cloud::{Effect, Fault, Moment, Outcome};
use causeway_bed::openstack::{Cloud, EXPIRED_TOKEN, GATEWAY, Reply, SMALL_PAGE, Service, password_login};
use serde_json::{Value, json};

use crate::common::{PATIENCE, active, gone, id, look, post};

const ADDRESSES: &str = "/v2.0/floatingips";
const GROUPS: &str = "/v2.0/security-groups";
const BALANCERS: &str = "/v2.0/lbaas/loadbalancers";

#[tokio::test]
async fn the_apis_are_counted_and_disturbed() -> Result<()> {
    let bed = Bed::builder().bare(true).start().await?;
    let cloud = Cloud::builder().data_plane(false).hollow(2).load_balancers(1).start(&bed).await?;
    ensure!(Cloud::start(&bed).await.is_err(), "two clouds in one bed");
    let api = Api { cloud };
    api.nodes_have_ports().await?;
    api.the_catalog_leads_to_the_proxy().await?;
    api.calls_are_counted_by_what_they_do().await?;
    api.calls_fail_before_or_after_they_took_effect().await?;
    api.answers_come_late().await?;
    api.pages_are_small().await?;
    api.tokens_expire().await?;
    api.reads_lag_behind().await?;
    api.limits_say_when().await?;
    api.octavia_refuses_what_it_should().await?;
    api.its_own_client_agrees()
}

struct Api {
    cloud: Cloud,
}

impl Api {
    async fn ask(&self, service: Service, method: &str, path: &str, body: Option<Value>) -> Result<Reply> {
        self.cloud.client().ask("k8s", service, method, path, body).await
    }

    fn plan(&self, fault: Fault) {
        self.cloud.gate().faults.add(fault);
    }

    /// Begins a step with nothing counted and nothing planned.
    fn afresh(&self) {
        let mut gate = self.cloud.gate();
        gate.calls.forget();
        gate.faults.clear(None);
    }

    /// How many floating IPs there are.
    async fn addresses(&self) -> Result<usize> {
        let list = look(&self.cloud, Service::Network, ADDRESSES).await?;
        Ok(list["floatingips"].as_array().context("no list")?.len())
    }

    fn address(&self) -> Option<Value> {
        Some(json!({"floatingip": {"floating_network_id": self.cloud.seed().public_network}}))
    }

    async fn nodes_have_ports(&self) -> Result<()> {
        let instances = self.cloud.instances();
        ensure!(instances.len() == 5, "{instances:?}");
        let path = format!("/v2.0/ports?device_id={}", instances[1].id);
        let ports = look(&self.cloud, Service::Network, &path).await?;
        let fixed: Vec<&str> = ports["ports"][0]["fixed_ips"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|each| each["ip_address"].as_str())
            .collect();
        ensure!(fixed.contains(&"10.77.0.12") && fixed.contains(&"fd77::12"), "{ports}");
        ensure!(self.cloud.count("*").calls == 0, "making them was counted");
        Ok(())
    }

    async fn the_catalog_leads_to_the_proxy(&self) -> Result<()> {
        let login = Some(password_login("k8s"));
        let client = self.cloud.client();
        let reply = client.send(Service::Identity, "POST", "/v3/auth/tokens", None, login, false).await?;
        ensure!(reply.status == 201, "{} {}", reply.status, reply.body);
        for service in Service::ALL {
            let catalog = reply.body["token"]["catalog"].as_array().context("no catalog")?;
            let entry = catalog.iter().find(|entry| entry["type"] == service.name());
            let endpoints =
                entry.with_context(|| format!("no {} in {catalog:?}", service.name()))?["endpoints"].clone();
            let public =
                endpoints.as_array().into_iter().flatten().find(|each| each["interface"] == "public");
            let url = public.and_then(|each| each["url"].as_str()).unwrap_or_default().to_owned();
            ensure!(url.starts_with(&self.cloud.outside_endpoint(service)), "{url} leads nowhere from here");
        }
        let inside = self.cloud.namespace().run(&["curl", "-sS", &self.cloud.endpoint(Service::Identity)])?;
        ensure!(inside.contains("http://10.77.0.241:5000/v3/"), "{inside}");
        Ok(())
    }

    async fn calls_are_counted_by_what_they_do(&self) -> Result<()> {
        self.afresh();
        let made = post(&self.cloud, Service::Network, ADDRESSES, self.address().context("a body")?).await?;
        let own = format!("{ADDRESSES}/{}", id(&made)?);
        self.ask(Service::Network, "PUT", &format!("{own}/tags/bed"), None).await?.ok()?;
        self.ask(Service::Network, "GET", &format!("{ADDRESSES}?tags=bed"), None).await?.ok()?;
        self.ask(Service::Network, "DELETE", &own, None).await?.ok()?;
        let log = self.cloud.gate().calls.since(0);
        let seen: Vec<(&str, &str)> =
            log.iter().map(|record| (record.action.as_str(), record.resource.as_str())).collect();
        let expected = [
            ("POST /v2.0/floatingips", ""),
            ("PUT /v2.0/floatingips/{id}/tags/{tag}", "bed"),
            ("GET /v2.0/floatingips", "tags=bed"),
            ("DELETE /v2.0/floatingips/{id}", &id(&made)?),
        ];
        ensure!(seen == expected, "{seen:?}");
        ensure!(self.cloud.count("network:*").calls == 4 && self.cloud.count("load-balancer:*").calls == 0);
        ensure!(self.cloud.mutations().len() == 3);
        Ok(())
    }

    async fn calls_fail_before_or_after_they_took_effect(&self) -> Result<()> {
        self.afresh();
        let calls = "network:POST /v2.0/floatingips";
        let throttled = Effect::Error {
            when: Moment::Before,
            code: "OverLimit".into(),
            status: 429,
            retry_after: Some(7),
        };
        self.plan(Fault::once(calls, 1, throttled));
        self.plan(Fault::once(calls, 2, Effect::error(Moment::Before, GATEWAY, 503)));
        self.plan(Fault::once(calls, 3, Effect::error(Moment::After, "Internal", 500)));
        self.plan(Fault::once(calls, 4, Effect::Cut { when: Moment::Before }));
        self.plan(Fault::once(calls, 5, Effect::Cut { when: Moment::After }));
        let before = self.addresses().await?;
        let make = async || self.ask(Service::Network, "POST", ADDRESSES, self.address()).await;
        let reply = make().await?;
        ensure!(reply.status == 429 && reply.headers["retry-after"] == "7", "{reply:?}");
        let reply = make().await?;
        ensure!(
            reply.status == 503 && reply.body.as_str().is_some_and(|text| text.contains("<html>")),
            "{reply:?}"
        );
        ensure!(self.addresses().await? == before);
        let reply = make().await?;
        ensure!(reply.status == 500 && reply.body["NeutronError"]["type"] == "Internal", "{reply:?}");
        ensure!(self.addresses().await? == before + 1, "the error came after the effect");
        ensure!(make().await.is_err(), "an answer over a cut connection");
        ensure!(self.addresses().await? == before + 1);
        ensure!(make().await.is_err(), "an answer over a cut connection");
        ensure!(self.addresses().await? == before + 2, "the answer was lost after the effect");
        let ends: Vec<_> =
            self.cloud.mutations().into_iter().map(|record| (record.outcome, record.took_effect)).collect();
        let expected = [
            (Outcome::Throttled, false),
            (Outcome::Failed, false),
            (Outcome::Failed, true),
            (Outcome::Lost, false),
            (Outcome::Lost, true),
        ];
        ensure!(ends == expected, "{ends:?}");
        Ok(())
    }

    /// A client that gives up does not stop the cloud.
    async fn answers_come_late(&self) -> Result<()> {
        self.afresh();
        let before = self.addresses().await?;
        self.plan(Fault::once("network:POST *", 1, Effect::Late { ms: 4_000 }));
        let made = self.ask(Service::Network, "POST", ADDRESSES, self.address());
        let begin = Instant::now();
        ensure!(tokio::time::timeout(Duration::from_secs(2), made).await.is_err(), "the answer is not late");
        causeway_bed::wait::until("the call to be noted", PATIENCE, async || {
            ensure!(self.cloud.count("network:POST *").calls == 1, "it is not");
            Ok(())
        })
        .await?;
        ensure!(begin.elapsed() >= Duration::from_secs(4), "it was noted before it was answered");
        ensure!(self.addresses().await? == before + 1, "nothing was made");
        Ok(())
    }

    async fn pages_are_small(&self) -> Result<()> {
        self.afresh();
        for name in ["one", "two", "three"] {
            let body = json!({"security_group": {"name": name}});
            post(&self.cloud, Service::Network, GROUPS, body).await?;
        }
        let whole = look(&self.cloud, Service::Network, GROUPS).await?;
        let number = whole["security_groups"].as_array().context("no list")?.len();
        self.afresh();
        self.plan(Fault::always("GET *", Effect::Own { name: format!("{SMALL_PAGE}=2") }));
        let mut next = Some(format!("{GROUPS}?fields=id"));
        let (mut found, mut pages) = (0, 0);
        while let Some(path) = next {
            let page = self.ask(Service::Network, "GET", &path, None).await?.ok()?;
            let entries = page["security_groups"].as_array().context("no list")?.len();
            ensure!(entries <= 2, "a page of {entries}");
            (found, pages) = (found + entries, pages + 1);
            let links = page["security_groups_links"].as_array().into_iter().flatten();
            let link =
                links.into_iter().find(|link| link["rel"] == "next").and_then(|link| link["href"].as_str());
            let outside = self.cloud.outside_endpoint(Service::Network);
            next = link.map(|link| link.strip_prefix(&outside).unwrap_or("elsewhere").to_owned());
        }
        ensure!(found == number && pages > 1, "{found} of {number} on {pages} pages");
        Ok(())
    }

    async fn tokens_expire(&self) -> Result<()> {
        self.afresh();
        let list = async |token: &str| {
            let client = self.cloud.client();
            let reply =
                client.send(Service::LoadBalancer, "GET", BALANCERS, Some(token), None, false).await?;
            anyhow::Ok(reply.status)
        };
        let old = self.cloud.client().token("k8s").await?;
        ensure!(list(&old).await? == 200);
        self.plan(Fault::once("load-balancer:GET *", 1, Effect::Own { name: EXPIRED_TOKEN.to_owned() }));
        let refused = self.ask(Service::LoadBalancer, "GET", BALANCERS, None).await?;
        ensure!(refused.status == 401 && refused.headers.contains_key("www-authenticate"), "{refused:?}");
        let new = self.cloud.client().token("k8s").await?;
        ensure!(new != old && list(&new).await? == 200, "a new token is refused");
        ensure!(list(&old).await? == 401, "an expired token is good again");
        ensure!(self.cloud.expire_tokens() > 0 && list(&new).await? == 401);
        self.ask(Service::LoadBalancer, "GET", BALANCERS, None).await?;
        self.ask(Service::LoadBalancer, "GET", BALANCERS, None).await?.ok()?;
        Ok(())
    }

    async fn reads_lag_behind(&self) -> Result<()> {
        self.afresh();
        let read = async || {
            let list = self.ask(Service::Network, "GET", ADDRESSES, None).await?.ok()?;
            anyhow::Ok(list["floatingips"].as_array().context("no list")?.len())
        };
        let before = read().await?;
        let clock = self.cloud.gate().clock.clone();
        clock.set_speed(0.0);
        self.cloud.gate().stale.set("network:GET *".into(), Duration::from_secs(3));
        self.ask(Service::Network, "POST", ADDRESSES, self.address()).await?.ok()?;
        ensure!(read().await? == before, "the read is not stale");
        clock.advance(Duration::from_secs(3));
        ensure!(read().await? == before + 1, "the read is stale for ever");
        self.cloud.gate().stale.clear();
        clock.set_speed(1.0);
        Ok(())
    }

    async fn limits_say_when(&self) -> Result<()> {
        self.afresh();
        let clock = self.cloud.gate().clock.clone();
        clock.set_speed(0.0);
        let limit = causeway_bed::cloud::Limit::new("writes", &["network:POST *"], &[], 1.0, 0.25);
        self.cloud.gate().set_limits(vec![limit]);
        self.cloud.gate().enforce(true);
        let make = async || self.ask(Service::Network, "POST", ADDRESSES, self.address()).await;
        make().await?.ok()?;
        let reply = make().await?;
        ensure!(reply.status == 429 && reply.headers["retry-after"] == "4", "{reply:?}");
        clock.advance(Duration::from_secs(4));
        make().await?.ok()?;
        self.cloud.gate().enforce(false);
        clock.set_speed(1.0);
        Ok(())
    }

    /// What clients have to tell apart, in the real services' own words.
    async fn octavia_refuses_what_it_should(&self) -> Result<()> {
        self.afresh();
        let subnet = self.cloud.seed().subnet("nodes-subnet")?;
        let body = |name: &str| json!({"loadbalancer": {"name": name, "vip_subnet_id": subnet}});
        self.cloud.build_seconds(6.0)?;
        let made = id(&post(&self.cloud, Service::LoadBalancer, BALANCERS, body("slow")).await?)?;
        let own = format!("{BALANCERS}/{made}");
        let pending = self.ask(Service::LoadBalancer, "DELETE", &own, None).await?;
        ensure!(pending.status == 409, "a load balancer is deleted while it is made: {pending:?}");
        let quota = self.ask(Service::LoadBalancer, "POST", BALANCERS, Some(body("more"))).await?;
        ensure!(quota.status == 403, "{quota:?}");
        let foreign = self.cloud.client().ask("other", Service::LoadBalancer, "GET", &own, None).await?;
        ensure!(foreign.status == 403, "{foreign:?}");
        active(&self.cloud, &made).await?;
        self.cloud.build_seconds(0.0)?;
        self.ask(Service::LoadBalancer, "DELETE", &own, None).await?.ok()?;
        gone(&self.cloud, &made).await?;
        self.cloud.fail_builds(true)?;
        let failed = id(&post(&self.cloud, Service::LoadBalancer, BALANCERS, body("failed")).await?)?;
        let error =
            active(&self.cloud, &failed).await.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(error.contains("has gone to ERROR"), "{error}");
        self.cloud.fail_builds(false)
    }

    /// A second opinion on the APIs.
    fn its_own_client_agrees(&self) -> Result<()> {
        self.afresh();
        let said = self.cloud.python(
            "import openstack; c = openstack.connect(); \
             print(sorted(n.name for n in c.network.networks()), [f.name for f in c.load_balancer.flavors()])",
        )?;
        ensure!(said.contains("'nodes', 'public'") && said.contains("'single'"), "{said}");
        ensure!(
            self.cloud.count("identity:POST /v3/auth/tokens").calls == 1,
            "it does not come through the proxy"
        );
        Ok(())
    }
}
