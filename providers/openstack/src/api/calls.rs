//! Typed calls through an [`Api`].

use causeway_api::Fence;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::collection::{Changes, Collection, New, Query};
use super::request::{Request, Service};
use super::versions::{self, Version};
use super::{Api, CallError, Failure, Pass, Priority};
use crate::errors::State;

/// Pages that a list may have: a service whose links go in circles is not followed for ever.
const PAGES: usize = 10_000;

/// Typed calls.
#[derive(Debug)]
pub struct Calls<A> {
    /// Whatever answers.
    pub api: A,
}

impl<A: Api> Calls<A> {
    /// Through this.
    pub fn new(api: A) -> Self {
        Self { api }
    }

    /// A call that changes nothing.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn read(&self, request: &Request, priority: Priority) -> Result<Value, CallError> {
        self.api.call(request, Pass::read(priority)).await
    }

    /// A call that changes something.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn write(&self, request: &Request, fence: &Fence) -> Result<Value, CallError> {
        let members = request.path.ends_with("/members");
        let priority = if members { Priority::Members } else { Priority::Change };
        self.api.call(request, Pass { priority, fence: Some(fence) }).await
    }

    /// Everything of a collection that the query selects, of all pages.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn list<R: DeserializeOwned>(
        &self,
        of: &Collection<R>,
        query: Query,
        priority: Priority,
    ) -> Result<Vec<R>, CallError> {
        let mut all = Vec::new();
        let mut query = query;
        for _ in 0..PAGES {
            let answer = self.read(&of.list(query.clone()), priority).await?;
            let (page, next) = of.read_page(answer)?;
            let empty = page.is_empty();
            all.extend(page);
            match next {
                // An empty page with a link to itself is how some versions end a list.
                Some(next) if !empty && next != query => query = next,
                _ => return Ok(all),
            }
        }
        Err(Failure::Garbled { text: format!("the list of {}s does not end after {PAGES} pages", of.one()) }
            .into())
    }

    /// The same as one answer, as if there were only one page, and what it is the answer to: `GET path`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn answer<R>(
        &self,
        of: &Collection<R>,
        query: Query,
        priority: Priority,
    ) -> Result<(String, Value), CallError> {
        let all = self.list(&of.untyped(), query, priority).await?;
        let answer = Map::from_iter([(of.many().to_owned(), Value::Array(all))]);
        Ok((of.list(Query::all()).key(), Value::Object(answer)))
    }

    /// One of a collection; `None`: it is not there.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn get<R: DeserializeOwned>(
        &self,
        of: &Collection<R>,
        id: &str,
        priority: Priority,
    ) -> Result<Option<R>, CallError> {
        match self.read(&of.get(id), priority).await {
            Ok(answer) => Ok(Some(of.read_one(answer)?)),
            Err(error) if error.state() == Some(State::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes one.
    ///
    /// # Errors
    /// See [`CallError`]; whether it was made all the same, [`CallError::without_effect`] tells.
    pub async fn create<R: DeserializeOwned>(
        &self,
        of: &Collection<R>,
        body: &impl New<R>,
        fence: &Fence,
    ) -> Result<R, CallError> {
        Ok(of.read_one(self.write(&of.create(body), fence).await?)?)
    }

    /// Changes one.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn update<R: DeserializeOwned>(
        &self,
        of: &Collection<R>,
        id: &str,
        body: &impl Changes<R>,
        fence: &Fence,
    ) -> Result<R, CallError> {
        Ok(of.read_one(self.write(&of.update(id, body), fence).await?)?)
    }

    /// Removes one. That it is not there any more is no error.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn delete<R>(&self, of: &Collection<R>, id: &str, fence: &Fence) -> Result<(), CallError> {
        self.gone(&of.delete(id), fence).await
    }

    /// A call that removes something.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn gone(&self, request: &Request, fence: &Fence) -> Result<(), CallError> {
        match self.write(request, fence).await {
            Ok(_) => Ok(()),
            Err(error) if error.state() == Some(State::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The version of Octavia's API.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn octavia_version(&self) -> Result<Version, CallError> {
        let answer = self.read(&Request::versions(Service::LoadBalancer), Priority::Change).await?;
        Ok(versions::highest(&answer).ok_or_else(|| Failure::Garbled {
            text: "Octavia's root gives no list of versions".to_owned(),
        })?)
    }
}
