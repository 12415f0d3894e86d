//! `clouds.yaml`, with `secure.yaml` above and `clouds-public.yaml` below it. Pure: texts to what they say.
//!
//! Sources: openstacksdk "Configuring OpenStack SDK Applications", gophercloud's `clientconfig`. Of a cloud's entry only what [`FIELDS`] names is read: the files
//! belong to other programs too, so nothing else in them is a fault.

use std::collections::BTreeMap;

use causeway_api::Problem;
use serde::Deserialize;

use super::Place;
use super::fields::{FIELDS, Given, Row};

/// A file: its name and text.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    /// Name, for messages.
    pub name: &'a str,
    /// Content.
    pub text: &'a str,
}

/// The three files, as far as they are there.
#[derive(Clone, Copy, Default)]
pub struct Files<'a> {
    /// `clouds.yaml`.
    pub clouds: Option<Text<'a>>,
    /// `secure.yaml`.
    pub secure: Option<Text<'a>>,
    /// `clouds-public.yaml`.
    pub public: Option<Text<'a>>,
}

/// One cloud as it is written. Texts are taken as they stand, so that an id such as `0123` stays one.
#[derive(Clone, Debug, Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<Auth>,
    #[serde(default)]
    auth_type: Option<String>,
    #[serde(default)]
    region_name: Option<String>,
    #[serde(default)]
    interface: Option<String>,
    #[serde(default)]
    endpoint_type: Option<String>,
    #[serde(default)]
    cacert: Option<String>,
    #[serde(default)]
    cert: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    verify: Option<String>,
    #[serde(default)]
    profile: Option<String>,
    #[serde(default)]
    cloud: Option<String>,
}

macro_rules! auth {
    ($($name:ident),*) => {
        /// The `auth` of a cloud.
        #[derive(Clone, Default, Deserialize)]
        struct Auth { $(#[serde(default)] $name: Option<String>,)* }

        impl Auth {
            fn get(&self, name: &str) -> Option<&str> {
                match name { $(stringify!($name) => self.$name.as_deref(),)* _ => None }
            }
        }
    };
}

auth!(
    auth_url,
    user_id,
    username,
    user_name,
    password,
    project_id,
    tenant_id,
    project_name,
    tenant_name,
    domain_id,
    domain_name,
    project_domain_id,
    tenant_domain_id,
    project_domain_name,
    tenant_domain_name,
    user_domain_id,
    user_domain_name,
    default_domain,
    trust_id,
    application_credential_id,
    application_credential_name,
    application_credential_secret,
    token,
    auth_token
);

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth")
    }
}

impl Entry {
    fn beside_auth(&self, name: &str) -> Option<&str> {
        let value = match name {
            "auth_type" => &self.auth_type,
            "region_name" => &self.region_name,
            "interface" => &self.interface,
            "endpoint_type" => &self.endpoint_type,
            "cacert" => &self.cacert,
            "cert" => &self.cert,
            "key" => &self.key,
            "verify" => &self.verify,
            _ => return None,
        };
        value.as_deref()
    }

    fn value(&self, row: &Row) -> Option<&str> {
        let auth = row.auth.iter().find_map(|name| self.auth.as_ref()?.get(name));
        auth.or_else(|| row.cloud.iter().find_map(|name| self.beside_auth(name)))
    }

    fn given(&self, file: &str, cloud: &str) -> Given {
        let mut given = Given::default();
        for row in FIELDS {
            if let Some(value) = self.value(row) {
                let name = row.auth.first().or(row.cloud.first()).copied().unwrap_or_default();
                let place = Place { file: file.to_owned(), line: 0, key: format!("clouds.{cloud}: {name}") };
                given.say(row.field, value, place);
            }
        }
        given
    }
}

#[derive(Deserialize, Default)]
struct Document {
    #[serde(default)]
    clouds: Option<BTreeMap<String, Option<Entry>>>,
    #[serde(default, rename = "public-clouds")]
    public: Option<BTreeMap<String, Option<Entry>>>,
}

fn parse(file: Text<'_>) -> Result<Document, Problem> {
    if file.text.trim().is_empty() {
        return Ok(Document::default());
    }
    serde_saphyr::from_str(file.text).map_err(|error| {
        // The parser's own text quotes the lines around, and a password may be among them.
        let line = error.location().map_or(0, |l| usize::try_from(l.line()).unwrap_or(0));
        Place { file: file.name.to_owned(), line, key: String::new() }.error(
            "this is not YAML of the form clouds: {NAME: {auth: {…}, region_name: …}}: mend it at this place (values are texts, switches or numbers)",
        )
    })
}

/// What the files say of one cloud.
///
/// # Errors
/// A file that cannot be read as such; no cloud of that name, or several and none is named.
pub fn read(files: &Files<'_>, name: Option<&str>) -> Result<Given, Vec<Problem>> {
    let Some(main) = files.clouds else {
        return Err(vec![Place::file("clouds.yaml").error(
            "there is none: put it where clouds-file of [Global] says, or next to the program, below ~/.config/openstack or /etc/openstack",
        )]);
    };
    let mut problems = Vec::new();
    let mut document = |file: Option<Text<'_>>| match file.map(parse) {
        Some(Ok(document)) => document,
        Some(Err(problem)) => {
            problems.push(problem);
            Document::default()
        }
        None => Document::default(),
    };
    let (clouds, secure, public) = (document(files.clouds), document(files.secure), document(files.public));
    if !problems.is_empty() {
        return Err(problems);
    }
    let clouds = clouds.clouds.unwrap_or_default();
    let names = clouds.keys().cloned().collect::<Vec<_>>().join(", ");
    let place = Place::file(main.name);
    let name = match name {
        Some(name) => name.to_owned(),
        None => match clouds.keys().collect::<Vec<_>>().as_slice() {
            [only] => (*only).clone(),
            [] => return Err(vec![place.error("it has no cloud: write one below clouds:")]),
            _ => {
                return Err(vec![place.error(format!(
                    "it has several clouds ({names}): say which with cloud in [Global], or with OS_CLOUD"
                ))]);
            }
        },
    };
    let Some(entry) = clouds.get(&name) else {
        return Err(vec![
            place.error(format!("it has no cloud {name:?}: say one of {names}, or add it below clouds:")),
        ]);
    };
    let entry = entry.clone().unwrap_or_default();
    let mut given = Given::default();
    if let Some(Some(secret)) = secure.clouds.unwrap_or_default().get(&name) {
        given = given.or(secret.given(files.secure.map_or("secure.yaml", |f| f.name), &name));
    }
    given = given.or(entry.given(main.name, &name));
    if let Some(profile) = entry.profile.as_ref().or(entry.cloud.as_ref()) {
        match public.public.unwrap_or_default().get(profile) {
            Some(vendor) => {
                let vendor = vendor.clone().unwrap_or_default();
                given =
                    given.or(vendor.given(files.public.map_or("clouds-public.yaml", |f| f.name), profile));
            }
            // Programs that know vendors by heart need no file for it; we do, unless everything is said anyway.
            None if given.get(super::fields::Field::AuthUrl).is_none() => {
                return Err(vec![place.error(format!(
                    "cloud {name:?} takes the rest from the profile {profile:?}, which clouds-public.yaml does not have: write auth_url and \
                     what else is needed into the cloud itself"
                ))]);
            }
            None => {}
        }
    }
    Ok(given)
}

#[cfg(test)]
#[path = "clouds_tests.rs"]
mod tests;
