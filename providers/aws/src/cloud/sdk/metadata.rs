//! What the instance that this runs on knows of itself.

use aws_config::imds::client::Client;
use aws_config::provider_config::ProviderConfig;

/// The VPC of the instance's primary network interface, by its metadata service (IMDSv2).
///
/// # Errors
/// It cannot be reached (this may be no instance, or pods may be kept from it), in words.
pub async fn vpc() -> Result<String, String> {
    let config = ProviderConfig::without_region().with_http_client(super::http_client());
    let client = Client::builder().configure(&config).max_attempts(2).build();
    let get = async |path: String| -> Result<String, String> {
        client.get(path).await.map(String::from).map_err(|error| super::said(&error))
    };
    let mac = get("/latest/meta-data/mac".to_owned()).await?;
    get(format!("/latest/meta-data/network/interfaces/macs/{}/vpc-id", mac.trim_end_matches('/'))).await
}
