//! L7 policies in their order, each with its rules. Pure.
//!
//! One that is new is made disabled, given its rules, and enabled last: with the rule of its host alone it would take all requests for that.

use serde_json::{Value, json};

use super::{Change, Draft, Match, Op, fields, tagged};
use crate::observe::Part;
use crate::stack::{L7PolicySpec, ResourceType, Token};

impl Draft<'_> {
    /// Policies in their order, each with its rules.
    pub(super) fn policies(&mut self) {
        let kind = ResourceType::L7Policy;
        let mut all: Vec<(&String, &L7PolicySpec)> = self.want.l7_policies.iter().collect();
        all.sort_by_key(|(id, p)| (p.position, *id));
        for (id, policy) in all {
            let want = self.resolved(&json!(policy));
            let found = match self.find(kind, id, &want) {
                Match::Found(part) => Some(part),
                Match::Stuck(_) | Match::Absent => None,
            };
            match found {
                Some(part) => {
                    self.know(kind, id, &part.id);
                    self.handled.insert(&part.id);
                }
                None => {
                    let mut body = want.clone();
                    body["admin_state_up"] = json!(false);
                    tagged(self.want, kind, id, &mut body);
                    let summary = format!("make L7 policy {id}, not in use yet");
                    self.changes.push(Change::new(
                        kind,
                        id,
                        Op::Post { body, otherwise: Vec::new() },
                        summary,
                    ));
                }
            }
            let of = Token::of(kind, id.as_str());
            let rules: Vec<(String, Value)> = self
                .want
                .l7_rules
                .iter()
                .filter(|(_, r)| r.l7policy_id == of)
                .map(|(id, r)| (id.clone(), json!(r)))
                .collect();
            for (rule, spec) in rules {
                self.one(ResourceType::L7Rule, &rule, &spec);
            }
            self.enable(id, &want, found);
        }
    }

    /// What of a policy changes once its rules are as wanted.
    fn enable(&mut self, id: &str, want: &Value, found: Option<&Part>) {
        let kind = ResourceType::L7Policy;
        let (target, body) = match found {
            Some(part) => {
                let mut there = part.body.clone();
                let off = there.get("admin_state_up") == Some(&json!(false));
                if let Some(map) = there.as_object_mut() {
                    map.remove("admin_state_up");
                }
                let mut body = fields::changed(kind, want, &there);
                if self.have.theirs.contains(&part.id) {
                    body.remove("name");
                }
                if off {
                    body.insert("admin_state_up".to_owned(), json!(true));
                }
                (json!(part.id), body)
            }
            None => {
                let body = [("admin_state_up".to_owned(), json!(true))].into_iter().collect();
                (json!(Token::of(kind, id)), body)
            }
        };
        if body.is_empty() {
            return;
        }
        let op = Op::Put { target, body: body.clone().into() };
        let names: Vec<&str> = body.keys().map(String::as_str).collect();
        let summary = format!("change L7 policy {id}: {}", names.join(", "));
        self.changes.push(Change::new(kind, id, op, summary));
    }
}
