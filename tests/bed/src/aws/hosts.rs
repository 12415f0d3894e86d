//! Names of load balancers as a bed's processes look them up: in a file that lies over `/etc/hosts` inside the bed, nowhere else, and in one that the DNS of its
//! Pods reads. I/O; [`Known`] is pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use super::cloud::Cloud;
use crate::bed::Bed;
use crate::controlplane::NAMES;
use crate::init::Init;

/// How long a name is known after its load balancer has gone: AWS lets resolvers keep an answer for so long.
const TTL: Duration = Duration::from_secs(60);

/// The files.
#[derive(Debug)]
pub struct Hosts {
    init: Init,
    path: PathBuf,
    own: String,
}

impl Hosts {
    /// Puts a copy of the machine's hosts file over it, inside the bed.
    pub fn take_over(bed: &Bed) -> Result<Hosts> {
        let script = "touch /run/bed/hosts; [ -e /etc/hosts ] || exit 0; cat /etc/hosts >/run/bed/hosts; mount --bind /run/bed/hosts /etc/hosts";
        let output = bed
            .init()
            .command(None)
            .args(["sh", "-ec", script])
            .output()
            .context("a hosts file of the bed's own")?;
        ensure!(
            output.status.success(),
            "a hosts file of the bed's own: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let path = bed.init().state("hosts");
        let own = std::fs::read_to_string(&path).unwrap_or_default();
        Ok(Hosts { init: bed.init().clone(), path, own })
    }

    /// Keeps the files as load balancers come and go.
    pub async fn follow(self, cloud: Arc<Cloud>, region: String) -> Result<()> {
        let mut changes = cloud.changes();
        let mut known = Known::default();
        let mut written = String::new();
        loop {
            let expiry = known.update(cloud.with(&region, |elb, _| elb.hosts()), Instant::now());
            let lines = known.lines();
            if lines != written {
                // In place: the mount is of this very file.
                std::fs::write(&self.path, format!("{}{lines}", self.own))
                    .context("writing the bed's hosts file")?;
                self.init.write(NAMES, &lines)?;
                written = lines;
            }
            tokio::select! {
                changed = changes.changed() => changed.context("the cloud is gone")?,
                () = tokio::time::sleep_until(expiry.unwrap_or_else(|| Instant::now() + TTL)) => {}
            }
        }
    }
}

/// Which names can be looked up now.
#[derive(Debug, Default)]
struct Known {
    /// By name: the address, and since when the load balancer is gone.
    names: BTreeMap<String, (Ipv4Addr, Option<Instant>)>,
}

impl Known {
    /// Takes over what there is now, and forgets what has been gone for long enough. Returns when something more is to be forgotten.
    fn update(&mut self, hosts: Vec<(Ipv4Addr, String)>, now: Instant) -> Option<Instant> {
        for (_, gone) in self.names.values_mut() {
            gone.get_or_insert(now);
        }
        self.names.extend(hosts.into_iter().map(|(address, name)| (name, (address, None))));
        self.names.retain(|_, (_, gone)| gone.is_none_or(|gone| now < gone + TTL));
        self.names.values().filter_map(|(_, gone)| gone.map(|gone| gone + TTL)).min()
    }

    /// As a hosts file has them.
    fn lines(&self) -> String {
        self.names.iter().map(|(name, (address, _))| format!("{address} {name}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outlives_its_load_balancer_for_as_long_as_resolvers_keep_it() {
        let (web, api) = (
            (Ipv4Addr::new(198, 51, 100, 32), "web".to_owned()),
            (Ipv4Addr::new(198, 51, 100, 33), "api".to_owned()),
        );
        let mut known = Known::default();
        let begin = Instant::now();
        assert_eq!(known.update(vec![web.clone(), api.clone()], begin), None);
        assert_eq!(known.lines(), "198.51.100.33 api\n198.51.100.32 web\n");
        let gone = begin + Duration::from_secs(1);
        assert_eq!(known.update(vec![api.clone()], gone), Some(gone + TTL));
        assert_eq!(known.update(vec![api.clone()], gone + TTL / 2), Some(gone + TTL));
        assert!(known.lines().contains("web"));
        assert_eq!(known.update(vec![api.clone()], gone + TTL), None);
        assert_eq!(known.lines(), "198.51.100.33 api\n");
        // One that comes back counts anew.
        assert_eq!(known.update(vec![web, api], gone + TTL), None);
        assert!(known.lines().contains("web"));
    }
}
