//! What there is, for people and for the control endpoint. Pure but for locks.

use serde_json::{Value, json};

use super::cloud::Cloud;
use super::elb::health::State;

impl Cloud {
    /// The lines of a hosts file, over all regions.
    pub fn hosts(&self) -> String {
        let mut text = String::new();
        for region in self.regions() {
            for (address, name) in self.with(&region, |elb, _| elb.hosts()) {
                text += &format!("{address} {name}\n");
            }
        }
        text
    }

    /// Load balancers with listeners and targets, over all regions.
    pub fn overview(&self) -> Value {
        let of = |region: &String| {
            self.with(region, |elb, context| {
                elb.settle(context);
                let traffic = elb.traffic(context);
                let each = traffic.balancers.iter().map(|balancer| {
                    let listeners: Vec<String> =
                        balancer.listeners.iter().map(|served| format!("{} {}", served.protocol, served.port)).collect();
                    json!({"arn": balancer.arn, "dnsName": balancer.dns_name, "address": balancer.address.to_string(), "listeners": listeners})
                });
                let groups = traffic.groups.iter().map(|(arn, group)| {
                    let targets = group.targets.iter().map(|target| {
                        let state = match target {
                            _ if target.draining => "draining",
                            _ if target.unused => "unused",
                            _ if target.healthy => "healthy",
                            _ if target.unhealthy => "unhealthy",
                            _ => "initial",
                        };
                        json!({"id": target.id, "port": target.port, "state": state, "open": target.open})
                    });
                    json!({"arn": arn, "protocol": group.protocol, "targets": targets.collect::<Vec<_>>()})
                });
                json!({"region": region, "loadBalancers": each.collect::<Vec<_>>(), "targetGroups": groups.collect::<Vec<_>>()})
            })
        };
        self.regions().iter().map(of).collect()
    }

    /// Sets a limit in all regions.
    pub fn set_quota(&self, name: &str, limit: u64) -> Result<(), String> {
        self.regions().iter().try_for_each(|region| self.with(region, |elb, _| elb.set_quota(name, limit)))
    }

    /// Sets the health of a target in all regions.
    pub fn set_health(&self, id: &str, state: State) {
        for region in self.regions() {
            self.with(&region, |elb, _| elb.set_health(id, state));
        }
        self.changed();
    }
}
