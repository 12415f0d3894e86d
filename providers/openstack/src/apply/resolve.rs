//! References of a plan to what was made for them. Pure, but for what is known.

use causeway_api::Result;
use serde_json::{Map, Value, json};

use super::Doing;
use crate::api::Api;
use crate::naming::secret_source;
use crate::observe::known::Entry;
use crate::ownership::resource;
use crate::stack::{FLOATING_IP, ResourceType};

/// All types that a plan can refer to.
const KINDS: [ResourceType; 8] = [
    ResourceType::LoadBalancer,
    ResourceType::Listener,
    ResourceType::Pool,
    ResourceType::L7Policy,
    ResourceType::FloatingIp,
    ResourceType::SecurityGroup,
    ResourceType::HealthMonitor,
    ResourceType::Secret,
];

/// What `#/resources/TYPE/ID/FIELD` stands for.
fn found(
    entry: &Entry,
    path: &str,
    ours: impl Fn(&str) -> bool,
    source: impl Fn(&str) -> String,
) -> Option<String> {
    let (kind, rest) = path.strip_prefix("#/resources/")?.split_once('/')?;
    let (id, field) = rest.rsplit_once('/')?;
    let kind = KINDS.into_iter().find(|k| k.as_str() == kind)?;
    match (kind, field) {
        (ResourceType::LoadBalancer, "vip_port_id") => {
            entry.lb.as_ref()?.vip_port_id.clone().filter(|p| !p.is_empty())
        }
        (ResourceType::LoadBalancer, "id") => Some(entry.lb.as_ref()?.id.clone()),
        (ResourceType::FloatingIp, "id") if id == FLOATING_IP => {
            entry.floating.iter().find(|f| ours(&f.description)).map(|f| f.id.clone())
        }
        (ResourceType::Secret, "secret_ref") => {
            // Of several the one that was made last: what was there before is known to the plan.
            let is = resource(kind, source(id).as_str());
            let mut made = entry.parts.iter().rev();
            let part = made.find(|p| p.kind == kind && p.resource.as_deref() == Some(is.as_str()))?;
            part.body.get("secret_ref")?.as_str().map(str::to_owned)
        }
        (kind, "id") => entry.part(kind, &resource(kind, id)).map(|p| p.id.clone()),
        _ => None,
    }
}

fn resolved(value: &Value, find: &dyn Fn(&str) -> Option<String>) -> std::result::Result<Value, String> {
    match value {
        Value::Object(map) => {
            if let Some(path) = map.get("$ref").and_then(Value::as_str) {
                return find(path).map(|id| json!(id)).ok_or_else(|| path.to_owned());
            }
            let all = map.iter().map(|(k, v)| Ok((k.clone(), resolved(v, find)?)));
            Ok(Value::Object(all.collect::<std::result::Result<Map<_, _>, String>>()?))
        }
        Value::Array(all) => all.iter().map(|v| resolved(v, find)).collect(),
        other => Ok(other.clone()),
    }
}

impl<A: Api> Doing<'_, A> {
    /// A value with ids in place of references.
    pub(super) fn resolved(&self, value: &Value) -> Result<Value> {
        let result = {
            let known = self.live.known();
            let entry = known.entry(&self.change.owner);
            let prefix = format!("{}:", self.mark.description_prefix());
            resolved(value, &|path| {
                found(entry?, path, |d| d.starts_with(&prefix), |secret| secret_source(&self.mark, secret))
            })
        };
        result.map_err(|path| self.conflict(format!("{path} is not there yet")))
    }

    /// An id, or what a reference stands for.
    pub(super) fn id(&self, value: &Value) -> Result<String> {
        match self.resolved(value)? {
            Value::String(id) => Ok(id),
            other => Err(self.conflict(format!("{other} is no id"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::api::octavia::LoadBalancer;
    use crate::observe::Part;

    #[test]
    fn references_lead_to_what_was_made() {
        let mut entry = Entry::new(Instant::now());
        let find = |entry: &Entry, path: &str| found(entry, path, |_| false, str::to_owned);
        assert_eq!(find(&entry, "#/resources/OS::Octavia::LoadBalancer/LoadBalancer/id"), None);
        entry.lb = Some(LoadBalancer {
            id: "lb".to_owned(),
            vip_port_id: Some("vip".to_owned()),
            ..LoadBalancer::default()
        });
        entry.put(Part {
            kind: ResourceType::Pool,
            id: "p".to_owned(),
            resource: Some(resource(ResourceType::Pool, "shop/web:80")),
            body: json!({}),
        });
        let body = json!({"a": [{"$ref": "#/resources/OS::Octavia::Pool/shop/web:80/id"}],
            "port_id": {"$ref": "#/resources/OS::Octavia::LoadBalancer/LoadBalancer/vip_port_id"}, "b": null});
        let done = resolved(&body, &|path| find(&entry, path));
        assert_eq!(done, Ok(json!({"a": ["p"], "port_id": "vip", "b": null})));
        for (id, digest) in [("s1", "0"), ("s2", "1")] {
            let body = json!({"name": digest, "secret_ref": format!("http://b/v1/secrets/{id}")});
            entry.put(Part {
                kind: ResourceType::Secret,
                id: id.to_owned(),
                resource: Some(resource(ResourceType::Secret, "shop/tls")),
                body,
            });
        }
        let last = find(&entry, "#/resources/OS::Barbican::Secret/shop/tls/secret_ref");
        assert_eq!(last.as_deref(), Some("http://b/v1/secrets/s2"));
        let missing = json!({"$ref": "#/resources/OS::Octavia::Pool/other/id"});
        assert!(resolved(&missing, &|path| find(&entry, path)).is_err());
    }
}
