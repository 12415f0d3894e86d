//! AWS by its own SDKs: each [`Call`] is one request. I/O.
//!
//! The SDKs neither retry nor slow down here: [`crate::calls`] does. TLS is rustls with ring. Credentials come by the SDK's usual chain: environment, profile,
//! web identity (IRSA), pod identity or container, instance profile.

mod actions;
mod addons;
mod ec2;
mod elb;
mod inventory;
pub mod metadata;
mod shapes;

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;

use super::records::Tagged;
use super::{Answer, Api, Call, Failure, Page};
use crate::calls::CALL_DEADLINE;
use crate::errors;
use crate::stack::Tags;

/// How to reach AWS.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Region; by the SDK's chain if absent.
    pub region: Option<String>,
    /// Endpoint of all services, for tests.
    pub endpoint: Option<String>,
}

/// The clients.
#[derive(Clone, Debug)]
pub struct Sdk {
    elb: aws_sdk_elasticloadbalancingv2::Client,
    ec2: aws_sdk_ec2::Client,
    acm: aws_sdk_acm::Client,
    tagging: aws_sdk_resourcegroupstagging::Client,
    sts: aws_sdk_sts::Client,
    wafv2: aws_sdk_wafv2::Client,
    shield: aws_sdk_shield::Client,
    region: Option<String>,
}

fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// The SDK's chain of configuration, with what is ours.
pub(crate) fn loader(connection: &Connection) -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_timeout(CALL_DEADLINE)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http_client())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    if let Some(region) = &connection.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &connection.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    loader
}

impl Sdk {
    /// Clients by the SDK's chain of configuration; nothing is asked for before the first call.
    pub async fn connect(connection: &Connection) -> Self {
        Self::of(&loader(connection).load().await)
    }

    /// Clients with this configuration.
    #[must_use]
    pub fn of(config: &SdkConfig) -> Self {
        Self {
            elb: aws_sdk_elasticloadbalancingv2::Client::new(config),
            ec2: aws_sdk_ec2::Client::new(config),
            acm: aws_sdk_acm::Client::new(config),
            tagging: aws_sdk_resourcegroupstagging::Client::new(config),
            sts: aws_sdk_sts::Client::new(config),
            wafv2: aws_sdk_wafv2::Client::new(config),
            shield: aws_sdk_shield::Client::new(config),
            region: config.region().map(ToString::to_string),
        }
    }

    /// The region that the chain of configuration gave.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    async fn resources(&self, tags: &Tags, marker: Option<String>) -> Result<Answer, Failure> {
        use aws_sdk_resourcegroupstagging::types::TagFilter;
        let filters = tags.iter().map(|(k, v)| TagFilter::builder().key(k).values(v).build()).collect();
        let types =
            ["elasticloadbalancing:loadbalancer", "elasticloadbalancing:targetgroup", "ec2:security-group"];
        let page = self
            .tagging
            .get_resources()
            .set_tag_filters(Some(filters))
            .set_resource_type_filters(Some(types.map(str::to_owned).into()))
            .resources_per_page(100)
            .set_pagination_token(marker)
            .send()
            .await
            .map_err(failure)?;
        let items = page
            .resource_tag_mapping_list()
            .iter()
            .filter_map(|item| {
                let tags = item.tags().iter().map(|t| (t.key().to_owned(), t.value().to_owned()));
                Some(Tagged { arn: item.resource_arn()?.to_owned(), tags: tags.collect() })
            })
            .collect();
        Ok(Answer::Tagged(Page { items, next: more(page.pagination_token()) }))
    }
}

impl Sdk {
    async fn identity(&self) -> Result<Answer, Failure> {
        let answer = self.sts.get_caller_identity().send().await.map_err(failure)?;
        Ok(Answer::Identity {
            arn: answer.arn().unwrap_or_default().to_owned(),
            account: answer.account().unwrap_or_default().to_owned(),
        })
    }

    async fn dry_run(&self, call: Call) -> Result<Answer, Failure> {
        match self.security_group_call(call, true).await {
            Err(failure) if errors::would_succeed(&failure) => Ok(Answer::Done),
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::NoAnswer("it was asked for a dry run and says nothing of it".to_owned())),
        }
    }
}

/// The place where the next page begins; an empty one says that there is none.
fn more(marker: Option<&str>) -> Option<String> {
    marker.filter(|m| !m.is_empty()).map(str::to_owned)
}

/// What an error of any service is.
fn failure<E, R>(error: SdkError<E, R>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    if let SdkError::ServiceError(service) = &error
        && let Some(code) = service.err().meta().code()
    {
        return Failure::refused(code, service.err().meta().message().unwrap_or_default());
    }
    if let SdkError::ConstructionFailure(_) = &error {
        // Nothing was sent.
        return Failure::refused("ValidationError", said(&error));
    }
    Failure::NoAnswer(said(&error))
}

/// An error with what it comes from.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

impl Api for Sdk {
    async fn call(&self, call: Call) -> Result<Answer, Failure> {
        match call {
            Call::GetResources { tags, marker } => self.resources(&tags, marker).await,
            Call::Inventory { query, marker } => self.query(&query, marker).await,
            Call::DescribeInstances { by, marker } => self.machines(&by, marker).await,
            Call::GetCallerIdentity => self.identity().await,
            Call::DryRun(call) => self.dry_run(*call).await,
            call @ (Call::DescribeSecurityGroups { .. }
            | Call::FindSecurityGroup { .. }
            | Call::CreateSecurityGroup { .. }
            | Call::AuthorizeSecurityGroupIngress { .. }
            | Call::RevokeSecurityGroupIngress { .. }
            | Call::CreateTags { .. }
            | Call::DeleteTags { .. }
            | Call::DeleteSecurityGroup { .. }) => self.security_group_call(call, false).await,
            call if call.service() == "wafv2" => self.web_acl_call(call).await,
            call if call.service() == "shield" => self.shield_call(call).await,
            call if call.writes() => self.elb_write(call).await,
            call => self.elb_read(call).await,
        }
    }
}
