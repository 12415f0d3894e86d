//! What each command does. Those that need no cluster (`plan` from files, `crds`, `docs`, `version`) are here: they read files and
//! write text that pure functions make. The others are in [`crate::run`].

use std::future::Future;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use causeway_api::CloudProvider;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::config::{Config, LogConfig, PlanConfig};
use super::docs;
use super::documents;
use super::live;
use super::plan::{self, OfflineSettings, PlanOutput};
use super::provider::Provider;
use super::release;
use crate::kube::parse::Parsed;
use crate::state::records::Update;

/// A command that could not run at all; what is wrong with single objects is in the output instead.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A file cannot be read.
    #[error("{file}: {message}")]
    File {
        /// As given on the command line.
        file: String,
        /// Why, and what to do.
        message: String,
    },
    /// The provider.
    #[error("{0}")]
    Provider(#[from] causeway_api::CloudError),
}

/// Runs a command to its end; answers the exit status.
///
/// # Errors
/// Why it could not run, or had to stop.
pub fn run(config: Config) -> anyhow::Result<u8> {
    match config {
        Config::Controller(config) => {
            logged(&config.log.clone(), crate::run::controller::run(*config))?;
            Ok(0)
        }
        #[cfg(feature = "metal")]
        Config::Speaker(config) => {
            logged(&config.log.clone(), crate::run::speaker::run(*config))?;
            Ok(0)
        }
        #[cfg(not(feature = "metal"))]
        Config::Speaker(_) => anyhow::bail!("provider metal is not compiled into this binary"),
        Config::Plan(config) => {
            let output = logged(&config.log, async {
                if config.files.is_empty() {
                    live::plan(&config).await
                } else {
                    Ok(plan_files(&config).await?)
                }
            })?;
            print(&plan::render(&output, config.output))?;
            Ok(output.exit_status())
        }
        #[cfg(any(feature = "aws", feature = "metal", feature = "openstack"))]
        Config::Check(config) => {
            let report = logged(&config.log, super::check::live::check(&config))?;
            print(&report.render(config.output))?;
            Ok(report.exit_status())
        }
        #[cfg(not(any(feature = "aws", feature = "metal", feature = "openstack")))]
        Config::Check(_) => anyhow::bail!("no provider that can be checked is compiled into this binary"),
        Config::Release(config) => logged(&config.log.clone(), release::run(*config)),
        Config::Crds(provider) => print(&crds_yaml(provider)?),
        Config::Docs(page) => print(&docs::page(page)),
        Config::Version => print(&version()),
    }
}

/// Runs on one thread: a speaker answers a frame on the thread that the kernel woke, a controller waits most of the time, and a small process
/// stays small.
fn logged<T>(log: &LogConfig, command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    crate::run::start_logging(log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(command);
    // The command has said its last word. Waiting for its tasks could take for ever: one that retries without pause, because the
    // client it uses is gone already, never comes to see that it is cancelled.
    runtime.shutdown_background();
    ended
}

/// Writes to standard output. A reader that has gone away (`| head`) is no error.
pub(super) fn print(text: &str) -> anyhow::Result<u8> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(0),
    }
}

/// `causeway plan -f`.
///
/// # Errors
/// A file that cannot be read, or an inventory that is none.
pub async fn plan_files(config: &PlanConfig) -> Result<PlanOutput, CommandError> {
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    for file in &config.files {
        let text = read(file)?;
        let (found, wrong) = documents::objects(&file.display().to_string(), &text);
        objects.extend(found);
        errors.extend(wrong);
    }
    let mut output = match config.provider.provider {
        #[cfg(feature = "aws")]
        Provider::Aws => plan_with(config.provider.aws(), config, objects, &mut |_| ()).await?,
        #[cfg(feature = "metal")]
        Provider::Metal => {
            use super::announcing::{Announcing, Now};
            let provider = config.provider.metal();
            let mut announcing = Announcing::new(config.provider.class_rules(&provider.capabilities()));
            let now = Now::of_files(&objects);
            let mut output = plan_with(provider, config, objects, &mut |u| announcing.see(u)).await?;
            announcing.amend(&mut output, &now);
            output
        }
        #[cfg(feature = "openstack")]
        Provider::OpenStack => plan_with(config.provider.openstack(), config, objects, &mut |_| ()).await?,
        #[cfg(feature = "model")]
        Provider::Model => {
            let options =
                causeway_model::Options::new(config.provider.cluster_id.as_deref().unwrap_or_default());
            let provider = causeway_model::Model::new(causeway_model::InMemory::default(), options);
            plan_with(provider, config, objects, &mut |_| ()).await?
        }
    };
    output.errors.extend(errors);
    Ok(output.sorted())
}

async fn plan_with<P: CloudProvider>(
    provider: P,
    config: &PlanConfig,
    objects: Vec<Parsed>,
    see: &mut (dyn FnMut(&Update) + Send),
) -> Result<PlanOutput, CommandError> {
    let settings = OfflineSettings {
        classes: config.provider.class_rules(&provider.capabilities()),
        cluster_health: config.provider.cluster_health,
        config_namespace: config.provider.config_namespace.clone(),
    };
    let inventory = match &config.inventory {
        None => P::Inventory::default(),
        Some(file) => serde_saphyr::from_str(&read(file)?).map_err(|e| CommandError::File {
            file: file.display().to_string(),
            message: format!("not an inventory of provider {}: {e}", provider.name()),
        })?,
    };
    Ok(plan::offline(Arc::new(provider), &settings, objects, &inventory, see).await?)
}

fn read(file: &Path) -> Result<String, CommandError> {
    let text = if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|e| CommandError::File { file: file.display().to_string(), message: e.to_string() })
}

/// The CustomResourceDefinitions of the providers in this binary.
#[must_use]
pub fn crds(of: Option<Provider>) -> Vec<CustomResourceDefinition> {
    let mut all = Vec::new();
    for provider in Provider::ALL.iter().filter(|p| of.is_none_or(|of| of == **p)) {
        match provider {
            #[cfg(feature = "aws")]
            Provider::Aws => all.extend(
                causeway_aws::kinds::CRDS
                    .map(|text| serde_saphyr::from_str(text).expect("a definition of ours")),
            ),
            #[cfg(feature = "metal")]
            Provider::Metal => all.extend(causeway_metal::kinds::crds()),
            #[cfg(feature = "openstack")]
            Provider::OpenStack => {}
            #[cfg(feature = "model")]
            Provider::Model => {}
        }
    }
    all.sort_by(|a: &CustomResourceDefinition, b| a.metadata.name.cmp(&b.metadata.name));
    all
}

/// The same as YAML: `causeway crds`.
///
/// # Errors
/// What the YAML writer cannot write; a test shows that there is nothing of the kind.
pub fn crds_yaml(of: Option<Provider>) -> Result<String, serde_saphyr::ser_error::Error> {
    let mut out = String::from("# Generated by `causeway crds`; do not edit.\n");
    for crd in crds(of) {
        out.push_str("---\n");
        // By way of JSON, whose maps are sorted and whose absent fields are left out.
        let mut value = serde_json::to_value(&crd).unwrap_or_default();
        // Said, for an absent field is left as it is where the definition is applied over one that has a webhook, and the API server takes no webhook without its strategy.
        if value["spec"]["conversion"]["strategy"] == "None" {
            value["spec"]["conversion"]["webhook"] = serde_json::Value::Null;
        }
        out.push_str(serde_saphyr::to_string(&value)?.trim_end());
        out.push('\n');
    }
    Ok(out)
}

/// `causeway version`.
#[must_use]
pub fn version() -> String {
    format!("causeway {}, providers: {}\n", env!("CARGO_PKG_VERSION"), Provider::names())
}
