//! A read that fails in the middle of a look.

use std::sync::Arc;

use causeway_api::{CloudError, Layer, LbKey, ObjectRef};
use serde_json::{Value, json};

use super::{Account, CALL, Live, Settings};
use crate::api::{Api, CallError, Failure, Pass, Request};
use crate::certificates::{Read, Secrets};
use crate::cloud::Cloud as _;
use crate::instances::Place;
use crate::inventory::Cluster;
use crate::observe::known::Depth;
use crate::options::Options;
use crate::ownership::Mark;
use crate::stack::{LOAD_BALANCER, ResourceType};

/// One load balancer with one pool, whose members cannot be read.
struct Half(Mark);

impl Api for Half {
    async fn call(&self, request: &Request, _pass: Pass<'_>) -> Result<Value, CallError> {
        assert!(!request.writes(), "{request:?} is written of what is not known");
        let tags = |kind, id| self.0.octavia_tags(kind, id);
        let pool = json!({"id": "p", "loadbalancers": [{"id": "lb"}], "members": [{"id": "m"}], "tags": tags(ResourceType::Pool, "TCP-80")});
        match request.path.rsplit('/').next().unwrap_or_default() {
            "loadbalancers" => Ok(json!({"loadbalancers": [{"id": "lb", "provisioning_status": "ACTIVE",
                "tags": tags(ResourceType::LoadBalancer, LOAD_BALANCER)}]})),
            "pools" => Ok(json!({"pools": [pool]})),
            "members" => Err(Failure::refused(request.service, 500, "oops").into()),
            name => Ok(json!({name.replace('-', "_"): []})),
        }
    }
}

impl Account for Half {
    async fn project(&self) -> Result<String, CallError> {
        Ok("p".to_owned())
    }

    async fn services(&self) -> Result<Vec<String>, CallError> {
        Ok(Vec::new())
    }

    fn restart(&self) {}
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read<'a>(&'a self, _namespace: &'a str, _name: &'a str) -> Read<'a> {
        Box::pin(async { Ok(None) })
    }
}

/// openstack-cloud-controller-manager's code: members that cannot be read are taken for none, and all are written again.
#[tokio::test]
async fn members_that_cannot_be_read_are_not_taken_for_none() {
    let key = LbKey::object(Layer::L4, ObjectRef::service("shop", "web", "uid-web"));
    let mark = Mark { cluster: "c".to_owned(), owner: key.owner_tag() };
    let settings = Settings {
        cluster: Cluster { id: "c".to_owned(), ..Cluster::default() },
        options: Options::default(),
        complaints: Vec::new(),
        call: CALL,
        servers: Place::default(),
    };
    let live = Live::new(Half(mark.clone()), settings, Arc::new(NoSecrets));
    let looked = live.observe(&key, None).await;
    assert!(matches!(looked, Err(CloudError::Transient(_))), "{looked:?}");
    assert!(
        live.known().entry(&mark.owner).is_none_or(|e| e.depth != Depth::Whole),
        "half is taken for whole"
    );
}
