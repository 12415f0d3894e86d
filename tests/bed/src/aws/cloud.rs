//! The state of the bed's AWS that the proxy, the data plane and tests share. I/O only where it reads moto.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use tokio::sync::watch;

use super::certificates::Material;
use super::elb::{Context, Elb, Settings};
use super::facts::Facts;
use super::model::Model;
use super::moto::{self, Part};
use super::proxy::Answer;
use crate::cloud::{Clock, Gate};

/// Everything that calls of different connections share.
#[derive(Debug)]
pub struct Cloud {
    gate: Mutex<Gate<Answer>>,
    regions: Mutex<BTreeMap<String, Region>>,
    /// AWS's description of the load balancer API.
    pub model: Model,
    settings: Settings,
    /// Certificates with their keys, by ARN, as they were imported.
    material: Mutex<BTreeMap<String, Material>>,
    /// Addresses of instances, and Elastic IP addresses, as moto made them, and what they are in the bed.
    renamed: Mutex<BTreeMap<Ipv4Addr, Ipv4Addr>>,
    /// Counts changes that the data plane has to look at.
    changes: watch::Sender<u64>,
    /// Counts how often the data plane has looked, and done what it saw.
    looks: watch::Sender<u64>,
    /// Held while moto is read: an older picture must not take the place of a newer one.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Region {
    elb: Elb,
    facts: Arc<Facts>,
    /// What moto has changed since `facts` was read, each with the number of its last change.
    outdated: BTreeMap<Part, u64>,
    /// How many changes there were.
    outdates: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of one test's thread must not hide what the others would say.
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Cloud {
    /// An empty one.
    pub fn new(model: Model, settings: Settings) -> Cloud {
        let gate = Gate::new(Clock::default(), super::limits::documented());
        Cloud {
            gate: Mutex::new(gate),
            regions: Mutex::default(),
            model,
            settings,
            material: Mutex::default(),
            renamed: Mutex::default(),
            changes: watch::Sender::new(0),
            looks: watch::Sender::new(0),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Counters, faults, limits, clock.
    pub fn gate(&self) -> MutexGuard<'_, Gate<Answer>> {
        lock(&self.gate)
    }

    /// Does something with the load balancers of a region and what was known of EC2 and ACM at last.
    pub fn with<T>(&self, region: &str, work: impl FnOnce(&mut Elb, Context) -> T) -> T {
        let now = self.gate().now();
        let mut regions = lock(&self.regions);
        let region = self.region(&mut regions, region);
        let facts = region.facts.clone();
        work(&mut region.elb, Context { facts: &facts, now })
    }

    fn region<'a>(&self, regions: &'a mut BTreeMap<String, Region>, name: &str) -> &'a mut Region {
        regions.entry(name.to_owned()).or_insert_with(|| Region {
            elb: Elb::new(moto::ACCOUNT, name, self.settings.clone()),
            facts: Arc::default(),
            outdated: Part::ALL.map(|part| (part, 0)).into(),
            outdates: 0,
        })
    }

    /// What EC2 and ACM know; moto is asked for what may have changed. What changed before this is called is in there.
    pub async fn facts(&self, region: &str) -> Result<Arc<Facts>> {
        let _turn = self.reading.lock().await;
        let (mut facts, outdated) = {
            let mut regions = lock(&self.regions);
            let region = self.region(&mut regions, region);
            (region.facts.clone(), region.outdated.clone())
        };
        if outdated.is_empty() {
            return Ok(facts);
        }
        let parts: Vec<Part> = outdated.keys().copied().collect();
        let mut fresh = (*facts).clone();
        let read = moto::read(moto::ADDRESS, region, &parts, &mut fresh).await;
        for instance in fresh.instances.values_mut() {
            if let Some(IpAddr::V4(address)) = instance.address {
                instance.address = Some(self.in_bed(address).into());
            }
        }
        for address in fresh.elastic_addresses.values_mut() {
            *address = self.in_bed(*address);
        }
        let mut regions = lock(&self.regions);
        let region = self.region(&mut regions, region);
        read?;
        // What changed meanwhile stays outdated; so does everything if nobody waits for the end of this.
        region.outdated.retain(|part, number| outdated.get(part) != Some(number));
        let mut merged = (*region.facts).clone();
        for part in parts {
            match part {
                Part::Vpcs => merged.vpcs = fresh.vpcs.clone(),
                Part::Subnets => merged.subnets = fresh.subnets.clone(),
                Part::SecurityGroups => merged.security_groups = fresh.security_groups.clone(),
                Part::Addresses => merged.elastic_addresses = fresh.elastic_addresses.clone(),
                Part::Instances => merged.instances = fresh.instances.clone(),
                Part::Certificates => merged.certificates = fresh.certificates.clone(),
            }
        }
        facts = Arc::new(merged);
        region.facts = facts.clone();
        Ok(facts)
    }

    /// What was read of a region is not up to date any more.
    pub fn outdate(&self, region: &str, parts: &[Part]) {
        let mut regions = lock(&self.regions);
        let region = self.region(&mut regions, region);
        region.outdates += 1;
        let number = region.outdates;
        region.outdated.extend(parts.iter().map(|part| (*part, number)));
    }

    /// Tells the data plane that something changed.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Hears of changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The data plane has looked once more, and done what it saw.
    pub fn looked(&self) {
        self.looks.send_modify(|count| *count += 1);
    }

    /// How often the data plane has looked.
    pub fn looks(&self) -> watch::Receiver<u64> {
        self.looks.subscribe()
    }

    /// Keeps a certificate's key, which no API gives back.
    pub fn keep(&self, arn: &str, material: Material) {
        lock(&self.material).insert(arn.to_owned(), material);
    }

    /// A certificate with its key, if it was imported.
    pub fn material(&self, arn: &str) -> Option<Material> {
        lock(&self.material).get(arn).cloned()
    }

    /// From now on, the address that moto gave to an instance or as an Elastic IP address is another one in every answer and request.
    pub fn rename(&self, moto: Ipv4Addr, bed: Ipv4Addr) {
        lock(&self.renamed).insert(moto, bed);
    }

    /// Gives an Elastic IP address of moto's one that can be reached in the bed: 203.0.113.10 and following, used again after 240.
    pub fn rename_elastic(&self, moto: Ipv4Addr) -> Ipv4Addr {
        let mut renamed = lock(&self.renamed);
        let number = renamed.values().filter(|bed| bed.octets()[..3] == [203, 0, 113]).count() % 240;
        let bed = Ipv4Addr::new(203, 0, 113, 10 + number as u8);
        renamed.insert(moto, bed);
        bed
    }

    /// The bed's address of an instance that moto has under another one.
    pub fn in_bed(&self, address: Ipv4Addr) -> Ipv4Addr {
        lock(&self.renamed).get(&address).copied().unwrap_or(address)
    }

    /// All renamed addresses: moto's, the bed's.
    pub fn renamed(&self) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        lock(&self.renamed).iter().map(|(moto, bed)| (*moto, *bed)).collect()
    }
}

impl Cloud {
    /// The regions that were ever asked for something.
    pub fn regions(&self) -> Vec<String> {
        lock(&self.regions).keys().cloned().collect()
    }
}
