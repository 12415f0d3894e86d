//! MetalLB's metrics of its allocator, read off ours at each scrape: a pool that is gone leaves no series behind. On a replica that does not lead
//! there are none.

use std::fmt;

use causeway_metal::limits::PoolUse;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

type Read = Box<dyn Fn() -> Vec<PoolUse> + Send + Sync>;

/// How much of each pool is in use.
pub(crate) struct AllocatorMetrics {
    read: Read,
}

impl AllocatorMetrics {
    pub(crate) fn new(read: impl Fn() -> Vec<PoolUse> + Send + Sync + 'static) -> Self {
        Self { read: Box::new(read) }
    }

    pub(crate) fn register(self, registry: &mut Registry) {
        registry.register_collector(Box::new(self));
    }
}

impl fmt::Debug for AllocatorMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllocatorMetrics").finish_non_exhaustive()
    }
}

/// Name, help, and what it reads off a pool.
type Gauge = (&'static str, &'static str, fn(&PoolUse) -> i64);

/// All of them.
pub(crate) const TABLE: [Gauge; 7] = [
    ("metallb_allocator_addresses_total", "Number of usable IP addresses, per pool", |p| {
        usable_v4(p).saturating_add(usable_v6(p))
    }),
    ("metallb_allocator_ipv4_addresses_total", "Number of usable IPv4 addresses, per pool", usable_v4),
    ("metallb_allocator_ipv6_addresses_total", "Number of usable IPv6 addresses, per pool", usable_v6),
    ("metallb_allocator_addresses_in_use_total", "Number of IP addresses in use, per pool", |p| {
        p.status.assigned_ipv4 + p.status.assigned_ipv6
    }),
    ("metallb_allocator_ipv4_addresses_in_use_total", "Number of IPv4 addresses in use, per pool", |p| {
        p.status.assigned_ipv4
    }),
    ("metallb_allocator_ipv6_addresses_in_use_total", "Number of IPv6 addresses in use, per pool", |p| {
        p.status.assigned_ipv6
    }),
    ("metallb_allocator_services_allocated_total", "Number of Services with addresses, per pool", |p| {
        p.services
    }),
];

/// Addresses that nodes or strangers have count as unusable.
fn usable_v4(pool: &PoolUse) -> i64 {
    pool.status.assigned_ipv4.saturating_add(pool.status.available_ipv4)
}

fn usable_v6(pool: &PoolUse) -> i64 {
    pool.status.assigned_ipv6.saturating_add(pool.status.available_ipv6)
}

impl Collector for AllocatorMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let pools = (self.read)();
        for (name, help, value) in TABLE {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for pool in &pools {
                metric.encode_family(&[("pool", pool.name.as_str())])?.encode_gauge(&value(pool))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_metal::kinds::IPAddressPoolStatus;
    use prometheus_client::encoding::text::encode;

    #[test]
    fn every_pool_has_metallbs_gauges() {
        let status = IPAddressPoolStatus {
            assigned_ipv4: 3,
            available_ipv4: 5,
            assigned_ipv6: 1,
            available_ipv6: i64::MAX,
        };
        let mut registry = Registry::default();
        AllocatorMetrics::new(move || {
            vec![PoolUse { name: "lan".into(), status: status.clone(), services: 4 }]
        })
        .register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("to a String");
        for (name, value) in [
            ("addresses_total", i64::MAX.to_string()),
            ("ipv4_addresses_total", "8".into()),
            ("ipv6_addresses_total", i64::MAX.to_string()),
            ("addresses_in_use_total", "4".into()),
            ("ipv4_addresses_in_use_total", "3".into()),
            ("ipv6_addresses_in_use_total", "1".into()),
            ("services_allocated_total", "4".into()),
        ] {
            let line = format!("metallb_allocator_{name}{{pool=\"lan\"}} {value}");
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
