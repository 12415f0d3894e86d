//! Who we are, towards Keystone, and how the cloud is reached: typed, whole, and consistent. Pure but for the function that reads certificates.

use std::fmt;
use std::io;
use std::path::Path;

use causeway_api::Problem;
use reqwest::Url;

use super::fields::{Field, Given, Said, row};
use super::gcfg::switch;
use super::{Place, Secret};

/// A domain of Keystone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// By id.
    Id(String),
    /// By name.
    Name(String),
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// By id.
    Id(String),
    /// By name, within a domain.
    Named(String, Domain),
}

/// An application credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplicationCredential {
    /// By id.
    Id(String),
    /// By name, which is unique for a user.
    Named(String, User),
}

/// How we prove who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// With a password.
    Password(User, Secret),
    /// With a token that is there already.
    Token(Secret),
    /// With an application credential, which has its own project.
    ApplicationCredential(ApplicationCredential, Secret),
}

/// What the token is to be good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A project, by id.
    ProjectId(String),
    /// A project, by name within a domain.
    ProjectNamed(String, Domain),
    /// What a trust gives.
    Trust(String),
    /// What comes with the identity: of application credentials, and of tokens where no project is named.
    Implied,
}

/// Which of its addresses a service is called at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Interface {
    /// For everybody.
    #[default]
    Public,
    /// From within the cloud.
    Internal,
    /// For operators.
    Admin,
}

impl Interface {
    /// As in the catalog.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

/// Our certificate and its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Certificates, ours first.
    pub certificate: String,
    /// Its private key.
    pub key: Secret,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

/// How TLS is done. Contents of files, not their names: what was read is what is used, and what is compared when they are read again.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tls {
    /// Trusted authorities, PEM, instead of the system's.
    pub authorities: Option<String>,
    /// What we show.
    pub client: Option<ClientCertificate>,
    /// Anybody may be the cloud.
    pub insecure: bool,
}

/// Everything needed to get a token and to find the services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Keystone, as it was given.
    pub auth_url: Url,
    /// Who.
    pub identity: Identity,
    /// For what.
    pub scope: Scope,
    /// Region; `None`: the only one there is.
    pub region: Option<String>,
    /// Interface.
    pub interface: Interface,
    /// TLS.
    pub tls: Tls,
}

/// Makes credentials of what was said. `default` is the place to blame for what is missing.
///
/// # Errors
/// Everything that is missing, contradictory or unusable.
pub fn resolve(
    given: &Given,
    default: &Place,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Credentials, Vec<Problem>> {
    let resolver = Resolver { given, default };
    let mut problems = Vec::new();
    let mut keep = |problem| problems.push(problem);
    let auth_url = resolver.auth_url().map_err(&mut keep).ok();
    let identity = resolver.identity().map_err(&mut keep).ok();
    let scope = match &identity {
        Some(identity) => resolver.scope(identity).map_err(&mut keep).ok(),
        None => None,
    };
    let interface = resolver.interface().map_err(&mut keep).ok();
    let tls = resolver.tls(read).map_err(|all| all.into_iter().for_each(&mut keep)).ok();
    match (auth_url, identity, scope, interface, tls) {
        (Some(auth_url), Some(identity), Some(scope), Some(interface), Some(tls)) => Ok(Credentials {
            auth_url,
            identity,
            scope,
            region: given.text(Field::Region).map(str::to_owned),
            interface,
            tls,
        }),
        _ => Err(problems),
    }
}

/// The methods that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Password,
    Token,
    ApplicationCredential,
}

struct Resolver<'a> {
    given: &'a Given,
    default: &'a Place,
}

impl Resolver<'_> {
    fn text(&self, field: Field) -> Option<&str> {
        self.given.text(field)
    }

    fn said(&self, fields: &[Field]) -> Option<&Said> {
        fields.iter().find_map(|field| self.given.get(*field))
    }

    /// Something is missing: the names under which it can be said.
    fn missing(&self, what: &str, fields: &[Field]) -> Problem {
        let names = |of: fn(&super::fields::Row) -> &'static [&'static str]| {
            let names: Vec<&str> =
                fields.iter().filter_map(|field| of(row(*field)).first().copied()).collect();
            names.join(" or ")
        };
        let keys = names(|row| row.global);
        let variables = names(|row| row.variables);
        let hint = match (keys.is_empty(), variables.is_empty()) {
            (false, false) => format!("{keys} in [Global], or {variables}"),
            (false, true) => format!("{keys} in [Global]"),
            (true, _) => variables,
        };
        self.default.error(format!("{what}: say {hint}"))
    }

    fn auth_url(&self) -> Result<Url, Problem> {
        let Some(said) = self.given.get(Field::AuthUrl) else {
            return Err(self.missing("Keystone's URL is missing", &[Field::AuthUrl]));
        };
        let form = "write it as https://HOST:5000/v3";
        let url = Url::parse(&said.value)
            .map_err(|error| said.place.error(format!("this is not a URL ({error}): {form}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(said.place.error(format!("this is not a URL of HTTP or HTTPS: {form}")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(said
                .place
                .error("user and password do not belong into the URL: say them as username and password"));
        }
        Ok(url)
    }

    fn domain(&self, id: Field, name: Field) -> Option<Domain> {
        let by_id = |field| self.text(field).map(|id| Domain::Id(id.to_owned()));
        let by_name = |field| self.text(field).map(|name| Domain::Name(name.to_owned()));
        by_id(id)
            .or_else(|| by_name(name))
            .or_else(|| by_id(Field::DomainId))
            .or_else(|| by_name(Field::DomainName))
            .or_else(|| by_id(Field::DefaultDomain))
    }

    fn user(&self) -> Result<User, Problem> {
        if let Some(id) = self.text(Field::UserId) {
            return Ok(User::Id(id.to_owned()));
        }
        let Some(name) = self.text(Field::Username) else {
            return Err(self.missing("the user is missing", &[Field::UserId, Field::Username]));
        };
        match self.domain(Field::UserDomainId, Field::UserDomainName) {
            Some(domain) => Ok(User::Named(name.to_owned(), domain)),
            None => Err(self.missing(
                "a user's name says who it is only together with a domain, which is missing",
                &[Field::UserDomainId, Field::UserDomainName],
            )),
        }
    }

    fn method(&self) -> Result<Method, Problem> {
        if let Some(said) = self.given.get(Field::AuthType) {
            return match said.value.as_str() {
                "password" | "v3password" => Ok(Method::Password),
                "token" | "v3token" => Ok(Method::Token),
                "v3applicationcredential" => Ok(Method::ApplicationCredential),
                other => Err(said.place.error(format!(
                    "{other:?} is not served: use v3password, v3token or v3applicationcredential (best: an application credential of its own)"
                ))),
            };
        }
        let application = [
            Field::ApplicationCredentialSecret,
            Field::ApplicationCredentialId,
            Field::ApplicationCredentialName,
        ];
        if self.said(&application).is_some() {
            return Ok(Method::ApplicationCredential);
        }
        if self.said(&[Field::Password, Field::TrusteePassword]).is_none()
            && self.given.get(Field::Token).is_some()
        {
            return Ok(Method::Token);
        }
        Ok(Method::Password)
    }

    fn identity(&self) -> Result<Identity, Problem> {
        match self.method()? {
            Method::ApplicationCredential => self.application_credential(),
            Method::Token => match self.text(Field::Token) {
                Some(token) => Ok(Identity::Token(Secret::new(token))),
                None => Err(self.missing("the token is missing", &[Field::Token])),
            },
            Method::Password => {
                let trusted = self.text(Field::TrustId).is_some();
                let trustee = self.text(Field::TrusteeId).filter(|_| trusted);
                let user = match trustee {
                    Some(id) => User::Id(id.to_owned()),
                    None => self.user()?,
                };
                let password = self.text(Field::TrusteePassword).filter(|_| trusted);
                let Some(password) = password.or_else(|| self.text(Field::Password)) else {
                    return Err(self.missing("the password is missing", &[Field::Password]));
                };
                Ok(Identity::Password(user, Secret::new(password)))
            }
        }
    }

    fn application_credential(&self) -> Result<Identity, Problem> {
        if let Some(said) = self.given.get(Field::TrustId) {
            return Err(said.place.error(
                "an application credential cannot be used together with a trust: remove one of them",
            ));
        }
        let which =
            match (self.text(Field::ApplicationCredentialId), self.text(Field::ApplicationCredentialName)) {
                (Some(id), _) => ApplicationCredential::Id(id.to_owned()),
                (None, Some(name)) => ApplicationCredential::Named(name.to_owned(), self.user()?),
                (None, None) => {
                    return Err(self.missing(
                        "which application credential is meant is missing",
                        &[Field::ApplicationCredentialId, Field::ApplicationCredentialName],
                    ));
                }
            };
        let Some(secret) = self.text(Field::ApplicationCredentialSecret) else {
            return Err(self.missing(
                "the application credential's secret is missing",
                &[Field::ApplicationCredentialSecret],
            ));
        };
        Ok(Identity::ApplicationCredential(which, Secret::new(secret)))
    }

    fn scope(&self, identity: &Identity) -> Result<Scope, Problem> {
        if matches!(identity, Identity::ApplicationCredential(..)) {
            return Ok(Scope::Implied);
        }
        if let Some(trust) = self.text(Field::TrustId) {
            return Ok(Scope::Trust(trust.to_owned()));
        }
        if let Some(id) = self.text(Field::ProjectId) {
            return Ok(Scope::ProjectId(id.to_owned()));
        }
        let Some(name) = self.text(Field::ProjectName) else {
            return match identity {
                Identity::Token(_) => Ok(Scope::Implied),
                _ => Err(self.missing(
                    "the project in which load balancers are made is missing",
                    &[Field::ProjectId, Field::ProjectName],
                )),
            };
        };
        let own = self.domain(Field::ProjectDomainId, Field::ProjectDomainName);
        let users = || match identity {
            Identity::Password(User::Named(_, domain), _) => Some(domain.clone()),
            _ => None,
        };
        match own.or_else(users) {
            Some(domain) => Ok(Scope::ProjectNamed(name.to_owned(), domain)),
            None => Err(self.missing(
                "a project's name says which it is only together with a domain, which is missing",
                &[Field::ProjectDomainId, Field::ProjectDomainName],
            )),
        }
    }

    fn interface(&self) -> Result<Interface, Problem> {
        let Some(said) = self.given.get(Field::Interface) else { return Ok(Interface::default()) };
        match said.value.trim_end_matches("URL") {
            "public" => Ok(Interface::Public),
            "internal" => Ok(Interface::Internal),
            "admin" => Ok(Interface::Admin),
            _ => Err(said.place.error(format!(
                "{:?} is not an interface of the catalog: say public, internal or admin",
                said.value
            ))),
        }
    }

    fn tls(&self, read: &dyn Fn(&Path) -> io::Result<String>) -> Result<Tls, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut file = |field| {
            let said = self.given.get(field)?;
            match read(Path::new(&said.value)) {
                Ok(text) if text.contains("-----BEGIN ") => Some(text),
                Ok(_) => {
                    problems.push(said.place.error(format!(
                        "{} holds no PEM (-----BEGIN …): put the certificate or key there in that form",
                        said.value
                    )));
                    None
                }
                Err(error) => {
                    problems.push(said.place.error(format!(
                        "{} cannot be read ({error}): mount the file there, or mend the path",
                        said.value
                    )));
                    None
                }
            }
        };
        let authorities = file(Field::CaFile).or_else(|| self.text(Field::CaContents).map(str::to_owned));
        let certificate = file(Field::CertFile);
        let key = file(Field::KeyFile);
        let client = match (self.given.get(Field::CertFile), self.given.get(Field::KeyFile)) {
            (Some(said), None) => {
                problems
                    .push(said.place.error("a certificate is of no use without its key: say key-file too"));
                None
            }
            (None, Some(said)) => {
                problems
                    .push(said.place.error("a key is of no use without its certificate: say cert-file too"));
                None
            }
            _ => certificate
                .zip(key)
                .map(|(certificate, key)| ClientCertificate { certificate, key: Secret::new(key) }),
        };
        let mut said = |field| {
            let said = self.given.get(field)?;
            let value = switch(&said.value);
            if value.is_none() {
                problems.push(
                    said.place.error(format!("{:?} is neither true nor false: say one of them", said.value)),
                );
            }
            value
        };
        let insecure = said(Field::Insecure) == Some(true) || said(Field::Verify) == Some(false);
        if problems.is_empty() { Ok(Tls { authorities, client, insecure }) } else { Err(problems) }
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
