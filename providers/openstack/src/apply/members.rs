//! Members of a pool: all in one call, or one by one where the provider knows no other way. I/O.

use causeway_api::{Outcome, Result};
use serde_json::{Value, json};

use super::Doing;
use crate::api::octavia::{Member, members};
use crate::api::{Api, Method, Priority, Query, Request, Service};
use crate::observe::read::PAGE;
use crate::observe::shape;
use crate::stack::MemberSpec;

/// What one call does to a pool.
enum Step {
    Post(Value),
    Put(String, Value),
    Delete(String),
}

/// What leads a step nearer: who comes first, as a pool that stands empty serves nobody.
fn step(want: &[Value], have: &[Member]) -> Option<Step> {
    let key = |m: &MemberSpec| (m.address, m.protocol_port);
    let wanted = || want.iter().filter_map(|body| Some((body, shape::member_of_body(body)?)));
    let there = || have.iter().filter_map(|m| Some((m, shape::member(m)?)));
    for (body, spec) in wanted() {
        if !there().any(|(_, m)| key(&m) == key(&spec)) {
            return Some(Step::Post(body.clone()));
        }
    }
    for (_, spec) in wanted() {
        let other = |m: &MemberSpec| (&m.name, m.monitor_port) != (&spec.name, spec.monitor_port);
        if let Some((member, _)) = there().find(|(_, m)| key(m) == key(&spec) && other(m)) {
            let mut body = json!({"name": spec.name, "monitor_port": spec.monitor_port});
            plain(&mut body);
            return Some(Step::Put(member.id.clone(), body));
        }
    }
    let gone = there().find(|(_, m)| !wanted().any(|(_, w)| key(&w) == key(m)));
    gone.map(|(member, _)| Step::Delete(member.id.clone()))
}

/// With what a member has that nobody touched.
fn plain(body: &mut Value) {
    body["weight"] = json!(1);
    body["backup"] = json!(false);
    body["admin_state_up"] = json!(true);
}

impl<A: Api> Doing<'_, A> {
    /// Sets the members of a pool.
    pub(super) async fn put_members(&self, pool: &str, wanted: &[Value]) -> Result<Outcome> {
        if self.live.settings.options.serial_calls {
            return self.one_member(pool, wanted).await;
        }
        let odd = |body: &Value| {
            let known = self.live.known();
            let spec = shape::member_of_body(body)?;
            let there = known.entry(&self.change.owner)?.members.get(pool)?;
            let same = |m: &&MemberSpec| (m.address, m.protocol_port) == (spec.address, spec.protocol_port);
            Some(shape::is_odd(there.iter().find(same)?))
        };
        let mut bodies = wanted.to_vec();
        for body in &mut bodies {
            if odd(body) == Some(true) {
                plain(body);
            }
        }
        let path = format!("/lbaas/pools/{pool}/members");
        let request = Request::new(Service::LoadBalancer, Method::Put, &path);
        self.write(&request.body(json!({ "members": bodies })), "setting members").await?;
        self.keep_members(pool, wanted.iter().filter_map(shape::member_of_body).collect());
        Ok(self.locked())
    }

    fn keep_members(&self, pool: &str, members: Vec<MemberSpec>) {
        self.entry(|entry| {
            entry.counts.insert(pool.to_owned(), members.len());
            entry.members.insert(pool.to_owned(), members);
        });
    }

    /// Takes one step; the next plan takes the next.
    async fn one_member(&self, pool: &str, wanted: &[Value]) -> Result<Outcome> {
        let of = members(pool);
        let doing = self.change.summary.as_str();
        let listed = self.live.calls.list(&of, Query::all().page(PAGE), Priority::Members).await;
        let mut there = listed.map_err(|e| self.failed(&e, doing))?;
        let step = step(wanted, &there);
        match &step {
            None => {}
            Some(Step::Post(body)) => {
                let made: Member = self
                    .live
                    .calls
                    .create(&of, body, self.fence)
                    .await
                    .map_err(|e| self.failed(&e, doing))?;
                there.push(made);
            }
            Some(Step::Put(id, body)) => {
                let made: Member = self
                    .live
                    .calls
                    .update(&of, id, body, self.fence)
                    .await
                    .map_err(|e| self.failed(&e, doing))?;
                there.retain(|m| m.id != *id);
                there.push(made);
            }
            Some(Step::Delete(id)) => {
                let deleted = self.live.calls.delete(&of, id, self.fence).await;
                deleted.map_err(|e| self.failed(&e, doing))?;
                there.retain(|m| m.id != *id);
            }
        }
        self.keep_members(pool, there.iter().filter_map(shape::member).collect());
        Ok(if step.is_some() { self.locked() } else { Outcome::Done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(last: u8, weight: u32) -> Member {
        Member {
            id: format!("m{last}"),
            name: format!("n{last}"),
            address: format!("10.0.0.{last}"),
            protocol_port: 80,
            weight: Some(weight),
            ..Member::default()
        }
    }

    fn body(last: u8) -> Value {
        json!({"name": format!("n{last}"), "address": format!("10.0.0.{last}"), "protocol_port": 80})
    }

    #[test]
    fn who_comes_is_before_who_changes_and_who_goes() {
        let have = [member(1, 1), member(2, 0)];
        let want = [body(2), body(3)];
        assert!(matches!(step(&want, &have), Some(Step::Post(b)) if b == body(3)));
        let have = [member(1, 1), member(2, 0), member(3, 1)];
        // Somebody took its weight away.
        assert!(matches!(step(&want, &have), Some(Step::Put(id, b)) if id == "m2" && b["weight"] == 1));
        let have = [member(1, 1), member(2, 1), member(3, 1)];
        assert!(matches!(step(&want, &have), Some(Step::Delete(id)) if id == "m1"));
        assert!(step(&want, &have[1..]).is_none());
    }
}
