//! Files by which clients find the cloud and log in: `clouds.yaml`, cloud.conf of Kubernetes, variables of a shell. Pure.

use std::fmt::Write;

use super::client::PASSWORD;
use super::seed::Seed;

/// The cloud's only region.
pub const REGION: &str = "RegionOne";

/// `clouds.yaml` with a cloud per user: `k8s`, `other`, `admin`. `identity` is Keystone's URL, inside the bed or outside.
pub fn clouds_yaml(identity: &str) -> String {
    let mut text = "clouds:\n".to_owned();
    for user in ["k8s", "other", "admin"] {
        let _ = write!(
            text,
            "  {user}:
    auth_type: password
    auth:
      auth_url: {identity}/v3
      username: {user}
      password: {PASSWORD}
      project_name: {user}
      user_domain_id: default
      project_domain_id: default
    region_name: {REGION}
    identity_api_version: 3
"
        );
    }
    text
}

/// The configuration of a cloud controller that works as user `k8s`.
pub fn cloud_conf(identity: &str, seed: &Seed, provider: &str) -> String {
    let subnet = seed.subnets.get("nodes-subnet").map_or("", String::as_str);
    format!(
        "[Global]
auth-url = {identity}/v3
username = k8s
password = {PASSWORD}
tenant-name = k8s
user-domain-id = default
tenant-domain-id = default
region = {REGION}

[LoadBalancer]
lb-provider = {provider}
floating-network-id = {}
subnet-id = {subnet}
",
        seed.public_network
    )
}

/// Lines that a shell evaluates.
pub fn variables(identity: &str, user: &str) -> String {
    format!(
        "export OS_AUTH_URL={identity}/v3 OS_IDENTITY_API_VERSION=3 OS_REGION_NAME={REGION}
export OS_USERNAME={user} OS_PASSWORD={PASSWORD} OS_PROJECT_NAME={user} OS_USER_DOMAIN_ID=default OS_PROJECT_DOMAIN_ID=default
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_where_and_who() {
        let seed: Seed = serde_json::from_value(serde_json::json!({
            "projects": {}, "public_network": "net", "subnets": {"nodes-subnet": "sub"}, "nodes_network": "", "nodes_security_group": "", "router": "",
        }))
        .unwrap();
        let conf = cloud_conf("http://10.77.0.241:5000", &seed, "amphora");
        for line in ["auth-url = http://10.77.0.241:5000/v3", "floating-network-id = net", "subnet-id = sub"]
        {
            assert!(conf.lines().any(|found| found == line), "{conf}");
        }
        assert!(clouds_yaml("http://x:1").contains("  other:\n"));
        assert!(variables("http://x:1", "k8s").starts_with("export OS_AUTH_URL=http://x:1/v3 "));
    }
}
