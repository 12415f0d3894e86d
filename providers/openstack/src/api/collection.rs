//! Collections of resources: all that OpenStack's services have in common. Pure.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::request::{Method, Request, Service};
use super::{Failure, page};

/// A body from which a resource `R` is made.
pub trait New<R>: Serialize {}
/// A body that changes a resource `R`.
pub trait Changes<R>: Serialize {}

/// JSON can be whatever it likes; for bodies that a plan made.
impl<R> New<R> for Value {}
impl<R> Changes<R> for Value {}

/// Filters of a list, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Where a field has a value. Several values of one field: any of them.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<String>) -> Self {
        self.0.push((field.to_owned(), value.into()));
        self
    }

    /// That carry all of these tags. A tag must not hold a comma.
    #[must_use]
    pub fn tags<T: AsRef<str>>(self, tags: &[T]) -> Self {
        let tags: Vec<&str> = tags.iter().map(AsRef::as_ref).collect();
        if tags.is_empty() { self } else { self.with("tags", tags.join(",")) }
    }

    /// Only these fields of each.
    #[must_use]
    pub fn fields(self, fields: &[&str]) -> Self {
        fields.iter().fold(self, |query, field| query.with("fields", *field))
    }

    /// At most so many in a page.
    #[must_use]
    pub fn page(self, size: u32) -> Self {
        self.with("limit", size.to_string())
    }

    pub(super) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }
}

/// A collection of resources `R`.
#[derive(Debug)]
pub struct Collection<R> {
    service: Service,
    path: Cow<'static, str>,
    one: &'static str,
    many: &'static str,
    resource: PhantomData<fn() -> R>,
}

impl<R> Clone for Collection<R> {
    fn clone(&self) -> Self {
        Self { path: self.path.clone(), ..*self }
    }
}

impl<R> Collection<R> {
    /// Of a service, at a path after its version; `one` and `many` are what bodies call them.
    #[must_use]
    pub const fn at(service: Service, path: &'static str, one: &'static str, many: &'static str) -> Self {
        Self { service, path: Cow::Borrowed(path), one, many, resource: PhantomData }
    }

    /// Below another resource.
    #[must_use]
    pub const fn below(service: Service, path: String, one: &'static str, many: &'static str) -> Self {
        Self { service, path: Cow::Owned(path), one, many, resource: PhantomData }
    }

    /// What bodies call one of them; also for people.
    #[must_use]
    pub const fn one(&self) -> &'static str {
        self.one
    }

    /// What bodies call several of them.
    #[must_use]
    pub const fn many(&self) -> &'static str {
        self.many
    }

    /// The same, with every field that the service gives, as JSON.
    #[must_use]
    pub fn untyped(&self) -> Collection<Value> {
        Collection {
            service: self.service,
            path: self.path.clone(),
            one: self.one,
            many: self.many,
            resource: PhantomData,
        }
    }

    fn request(&self, method: Method, id: Option<&str>) -> Request {
        match id {
            Some(id) => Request::new(self.service, method, &format!("{}/{}", self.path, segment(id))),
            None => Request::new(self.service, method, &self.path),
        }
    }

    /// Reads a page.
    #[must_use]
    pub fn list(&self, query: Query) -> Request {
        self.request(Method::Get, None).query(query.into_pairs())
    }

    /// Reads one.
    #[must_use]
    pub fn get(&self, id: &str) -> Request {
        self.request(Method::Get, Some(id))
    }

    /// Makes one.
    #[must_use]
    pub fn create(&self, body: &impl New<R>) -> Request {
        self.request(Method::Post, None).body(self.wrap(body))
    }

    /// Changes one.
    #[must_use]
    pub fn update(&self, id: &str, body: &impl Changes<R>) -> Request {
        self.request(Method::Put, Some(id)).body(self.wrap(body))
    }

    /// Removes one.
    #[must_use]
    pub fn delete(&self, id: &str) -> Request {
        self.request(Method::Delete, Some(id))
    }

    fn wrap(&self, body: &impl Serialize) -> Value {
        // Bodies are structs of texts, numbers, lists and maps by text: they always become JSON.
        let body = serde_json::to_value(body).unwrap_or_default();
        if self.one.is_empty() { body } else { Value::Object(Map::from_iter([(self.one.to_owned(), body)])) }
    }
}

impl<R: DeserializeOwned> Collection<R> {
    /// Reads an answer with one.
    ///
    /// # Errors
    /// [`Failure::Garbled`].
    pub fn read_one(&self, mut answer: Value) -> Result<R, Failure> {
        let inner = if self.one.is_empty() {
            answer
        } else {
            answer.get_mut(self.one).map(Value::take).unwrap_or_default()
        };
        read(inner, self.one)
    }

    /// Reads an answer with a page, and the query of the next one.
    ///
    /// # Errors
    /// [`Failure::Garbled`].
    pub fn read_page(&self, mut answer: Value) -> Result<(Vec<R>, Option<Query>), Failure> {
        let next = page::next(&answer, self.many).map(Query);
        let list = answer.get_mut(self.many).map(Value::take).unwrap_or_default();
        Ok((read(list, self.many)?, next))
    }
}

/// Reads what an answer holds under a name.
pub(super) fn read<T: DeserializeOwned>(value: Value, name: &str) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| Failure::Garbled {
        text: format!("the answer holds no {name} as the API describes it: {error}"),
    })
}

/// An id or name as one segment of a path: it can neither leave its place nor begin a query. What is no name at all (nothing, or only dots, which mean
/// other folders) becomes one that nothing has.
#[must_use]
pub(super) fn segment(id: &str) -> String {
    if id.bytes().all(|b| b == b'.') {
        return "_".to_owned();
    }
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
