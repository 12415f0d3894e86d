//! The one table of what says who we are and how the cloud is reached: by key of `[Global]`, by name in `clouds.yaml`, by variable. Pure data.
//!
//! Sources: OCCM's documentation of `[Global]`; openstacksdk and gophercloud on `clouds.yaml`; python-openstackclient on `OS_*`.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::Place;

/// A field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the table says what each one is")]
pub enum Field {
    AuthUrl,
    UserId,
    Username,
    Password,
    ProjectId,
    ProjectName,
    DomainId,
    DomainName,
    ProjectDomainId,
    ProjectDomainName,
    UserDomainId,
    UserDomainName,
    DefaultDomain,
    TrustId,
    TrusteeId,
    TrusteePassword,
    ApplicationCredentialId,
    ApplicationCredentialName,
    ApplicationCredentialSecret,
    Token,
    AuthType,
    Region,
    Interface,
    CaFile,
    CaContents,
    CertFile,
    KeyFile,
    Insecure,
    Verify,
    UseClouds,
    CloudsFile,
    Cloud,
}

/// What a field is called, and means.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The field.
    pub field: Field,
    /// Keys of `[Global]`; the first is the one to use.
    pub global: &'static [&'static str],
    /// Names in the `auth` of a cloud in `clouds.yaml`.
    pub auth: &'static [&'static str],
    /// Names in a cloud of `clouds.yaml`, beside `auth`.
    pub cloud: &'static [&'static str],
    /// Variables of the environment.
    pub variables: &'static [&'static str],
    /// What it is.
    pub doc: &'static str,
}

impl Row {
    /// Whether its value must never be shown.
    #[must_use]
    pub fn secret(&self) -> bool {
        matches!(
            self.field,
            Field::Password | Field::TrusteePassword | Field::ApplicationCredentialSecret | Field::Token
        )
    }
}

macro_rules! rows {
    ($($field:ident $global:tt $auth:tt $cloud:tt $variables:tt $doc:literal;)*) => {
        &[$(Row { field: Field::$field, global: &$global, auth: &$auth, cloud: &$cloud, variables: &$variables, doc: $doc },)*]
    };
}

/// The table.
pub const FIELDS: &[Row] = rows! {
    AuthUrl ["auth-url"] ["auth_url"] [] ["OS_AUTH_URL"] "URL of Keystone, with or without `/v3`";
    UserId ["user-id"] ["user_id"] [] ["OS_USER_ID"] "id of the user";
    Username ["username"] ["username", "user_name"] [] ["OS_USERNAME"] "name of the user; needs the user's domain";
    Password ["password"] ["password"] [] ["OS_PASSWORD"] "password of the user";
    ProjectId ["tenant-id", "project-id"] ["project_id", "tenant_id"] [] ["OS_PROJECT_ID", "OS_TENANT_ID"] "id of the project";
    ProjectName ["tenant-name", "project-name"] ["project_name", "tenant_name"] [] ["OS_PROJECT_NAME", "OS_TENANT_NAME"] "name of the project; needs the project's domain";
    DomainId ["domain-id"] ["domain_id"] [] ["OS_DOMAIN_ID"] "id of the domain of both user and project, where they have none of their own";
    DomainName ["domain-name"] ["domain_name"] [] ["OS_DOMAIN_NAME"] "name of that domain";
    ProjectDomainId ["tenant-domain-id", "project-domain-id"] ["project_domain_id", "tenant_domain_id"] [] ["OS_PROJECT_DOMAIN_ID"] "id of the project's domain";
    ProjectDomainName ["tenant-domain-name", "project-domain-name"] ["project_domain_name", "tenant_domain_name"] [] ["OS_PROJECT_DOMAIN_NAME"] "name of the project's domain";
    UserDomainId ["user-domain-id"] ["user_domain_id"] [] ["OS_USER_DOMAIN_ID"] "id of the user's domain";
    UserDomainName ["user-domain-name"] ["user_domain_name"] [] ["OS_USER_DOMAIN_NAME"] "name of the user's domain";
    DefaultDomain [] ["default_domain"] [] ["OS_DEFAULT_DOMAIN"] "id of the domain of user and project, where nothing else says";
    TrustId ["trust-id"] ["trust_id"] [] ["OS_TRUST_ID"] "id of the trust whose project and roles are used";
    TrusteeId ["trustee-id"] [] [] [] "id of the user who is trusted; `user-id` if not given";
    TrusteePassword ["trustee-password"] [] [] [] "password of that user; `password` if not given";
    ApplicationCredentialId ["application-credential-id"] ["application_credential_id"] [] ["OS_APPLICATION_CREDENTIAL_ID"] "id of an application credential";
    ApplicationCredentialName ["application-credential-name"] ["application_credential_name"] [] ["OS_APPLICATION_CREDENTIAL_NAME"] "name of an application credential; needs its user";
    ApplicationCredentialSecret ["application-credential-secret"] ["application_credential_secret"] [] ["OS_APPLICATION_CREDENTIAL_SECRET"] "secret of the application credential";
    Token ["token"] ["token", "auth_token"] [] ["OS_TOKEN", "OS_AUTH_TOKEN"] "a token that is there already; nothing can be done once it has expired";
    AuthType [] [] ["auth_type"] ["OS_AUTH_TYPE"] "which of these is meant: `v3password`, `v3token`, `v3applicationcredential`; guessed from what is there";
    Region ["region"] [] ["region_name"] ["OS_REGION_NAME"] "region whose endpoints are used";
    Interface ["os-endpoint-type"] [] ["interface", "endpoint_type"] ["OS_INTERFACE", "OS_ENDPOINT_TYPE"] "`public` (default), `internal` or `admin` endpoints";
    CaFile ["ca-file"] [] ["cacert"] ["OS_CACERT"] "file with the certificates of the authorities that are trusted, instead of the system's";
    CaContents ["cafilecontents"] [] [] [] "those certificates themselves";
    CertFile ["cert-file"] [] ["cert"] ["OS_CERT"] "file with our certificate, where the cloud asks for one";
    KeyFile ["key-file"] [] ["key"] ["OS_KEY"] "file with its private key";
    Insecure ["tls-insecure"] [] [] ["OS_INSECURE"] "`true`: anybody may be the cloud";
    Verify [] [] ["verify"] [] "`false`: anybody may be the cloud";
    UseClouds ["use-clouds"] [] [] [] "`true`: what is not said here is taken from `clouds.yaml`";
    CloudsFile ["clouds-file"] [] [] ["OS_CLIENT_CONFIG_FILE"] "where `clouds.yaml` is; else it is looked for in the usual places";
    Cloud ["cloud"] [] [] ["OS_CLOUD"] "which of its clouds; needed if there are several";
};

/// The row of a field.
#[must_use]
pub fn row(field: Field) -> &'static Row {
    // Every field has a row: a test goes through them.
    FIELDS.iter().find(|row| row.field == field).unwrap_or(&FIELDS[0])
}

/// The table as a reference page, in Markdown.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "| `[Global]` of cloud.conf | `clouds.yaml` | Environment | Meaning |\n|---|---|---|---|\n",
    );
    let names = |names: Vec<String>| if names.is_empty() { "–".to_owned() } else { names.join(", ") };
    for row in FIELDS {
        let quoted =
            |all: &[&str], prefix: &str| all.iter().map(|n| format!("`{prefix}{n}`")).collect::<Vec<_>>();
        let mut clouds = quoted(row.auth, "auth.");
        clouds.extend(quoted(row.cloud, ""));
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            names(quoted(row.global, "")),
            names(clouds),
            names(quoted(row.variables, "")),
            row.doc.replace('|', "\\|")
        );
    }
    page
}

/// What was said of a field, and where. `Debug` does not show what.
#[derive(Clone, PartialEq, Eq)]
pub struct Said {
    /// What; never empty.
    pub value: String,
    /// Where.
    pub place: Place,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Said").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Everything that was said. What is empty counts as not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given(BTreeMap<Field, Said>);

impl Given {
    /// What was said of a field.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<&Said> {
        self.0.get(&field)
    }

    /// The value of a field.
    #[must_use]
    pub fn text(&self, field: Field) -> Option<&str> {
        self.get(field).map(|said| said.value.as_str())
    }

    /// Takes something in; what is empty is passed over.
    pub fn say(&mut self, field: Field, value: impl Into<String>, place: Place) {
        let value = value.into();
        if !value.is_empty() {
            self.0.insert(field, Said { value, place });
        }
    }

    /// Fills what is missing from elsewhere.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for (field, said) in other.0 {
            self.0.entry(field).or_insert(said);
        }
        self
    }

    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
