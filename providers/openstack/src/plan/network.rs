//! The security group and its ports, and the floating IP. Pure.

use causeway_api::Mark;
use serde_json::{Value, json};

use super::{Change, Draft, Match, Op, fields};
use crate::stack::{FLOATING_IP, ResourceType, SECURITY_GROUP};

impl Draft<'_> {
    pub(super) fn group(&mut self) {
        let (kind, rule) = (ResourceType::SecurityGroup, ResourceType::SecurityGroupRule);
        if self.want.security_group.is_none() {
            return;
        }
        self.all(kind);
        self.all(rule);
        let join: Vec<String> = self.want.node_ports.difference(&self.have.group_ports).cloned().collect();
        let leave: Vec<String> = self.have.group_ports.difference(&self.want.node_ports).cloned().collect();
        if !join.is_empty() || !leave.is_empty() {
            let summary =
                format!("security group: put on {} ports of nodes, taken off {}", join.len(), leave.len());
            self.changes.push(Change::new(kind, SECURITY_GROUP, Op::Group { join, leave }, summary));
        }
    }

    pub(super) fn floating_ip(&mut self) {
        let kind = ResourceType::FloatingIp;
        let Some(wanted) = &self.want.floating_ip else { return };
        let want = self.resolved(&json!(wanted.spec));
        if let Some(named) = &wanted.existing
            && let Some(part) = self.have.of(kind).find(|p| p.id == *named && p.resource.is_none())
        {
            // It stays the user's: only what it leads to is changed.
            self.handled.insert(&part.id);
            if part.body.get("port_id") != want.get("port_id") {
                let op = Op::Put { target: json!(named), body: json!({ "port_id": want["port_id"] }) };
                let summary = format!("let the floating IP {named} lead to the load balancer");
                let mut change = Change::new(kind, FLOATING_IP, op, summary);
                change.mark = Mark::UserNamed;
                self.changes.push(change);
            }
            return;
        }
        match self.find(kind, FLOATING_IP, &want) {
            Match::Found(part) => {
                self.handled.insert(&part.id);
                let mut body = fields::changed(kind, &want, &part.body);
                if !body.is_empty() {
                    let names: Vec<&str> = body.keys().map(String::as_str).collect();
                    let summary = format!("change the floating IP: {}", names.join(", "));
                    // Neutrons there are that take a floating IP off its port where a change does not name that.
                    body.insert("port_id".to_owned(), want["port_id"].clone());
                    let op = Op::Put { target: json!(part.id), body: body.into() };
                    self.changes.push(Change::new(kind, FLOATING_IP, op, summary));
                }
                if wanted.keep != self.have.kept_floating_ips.contains(&part.id) {
                    self.keep(json!(part.id), wanted.keep);
                }
                return;
            }
            Match::Stuck(part) => {
                self.handled.insert(&part.id);
                let stuck = fields::stuck(kind, &want, &part.body).join(", ");
                let replaced = Some((5, format!("an address has one floating IP, and {stuck} is fixed")));
                let op = Op::Delete { id: part.id.clone(), cascade: false, marks: Vec::new(), replaced };
                let summary = "delete the floating IP, which is made anew".to_owned();
                self.changes.push(Change::new(kind, FLOATING_IP, op, summary));
            }
            Match::Absent => {}
        }
        let otherwise = wanted.further_subnets.iter().map(|subnet| {
            let mut body = want.clone();
            body["subnet_id"] = json!(subnet);
            body
        });
        let summary = match (&wanted.existing, wanted.spec.floating_ip_address) {
            (Some(id), _) => format!("let the floating IP {id} lead to the load balancer"),
            (None, Some(address)) => format!("make floating IP {address}"),
            (None, None) => format!("make a floating IP of network {}", wanted.spec.floating_network_id),
        };
        let change = match &wanted.existing {
            Some(id) => {
                let op = Op::Put { target: json!(id), body: json!({ "port_id": want["port_id"] }) };
                Change { mark: Mark::UserNamed, ..Change::new(kind, FLOATING_IP, op, summary) }
            }
            None => {
                let op = Op::Post { body: want.clone(), otherwise: otherwise.collect() };
                Change::new(kind, FLOATING_IP, op, summary)
            }
        };
        self.changes.push(change);
        if wanted.keep && wanted.existing.is_none() {
            self.keep(json!(crate::stack::Token::of(kind, FLOATING_IP)), true);
        }
    }

    /// The tag that says whether the floating IP outlives its load balancer.
    fn keep(&mut self, target: Value, keep: bool) {
        let summary = if keep {
            "note that the floating IP is to be kept"
        } else {
            "note that the floating IP is not to be kept"
        };
        let op = Op::Keep { target, keep };
        self.changes.push(Change::new(ResourceType::FloatingIp, FLOATING_IP, op, summary.to_owned()));
    }
}
