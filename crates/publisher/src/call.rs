//! What a published thing gets when it is called.

use zodb::Connection;

use crate::access::Login;
use crate::acquisition::{Placed, World};
use crate::budget::Budget;
use crate::class::ClassRegistry;
use crate::error::PublishError;
use crate::form::Form;
use crate::reply::Reply;
use crate::request::Request;
use crate::traversal::Target;
use crate::urls::Urls;

/// A call: the request, who makes it, and the response being made.
pub struct Call<'a> {
    /// The request as it came.
    pub request: &'a Request,
    /// Its form fields.
    pub form: &'a Form,
    /// The transaction.
    pub connection: &'a mut Connection,
    /// The classes that are published natively.
    pub registry: &'a ClassRegistry,
    /// The response so far.
    pub reply: &'a mut Reply,
    /// The URLs of the request.
    pub urls: &'a Urls,
    /// The objects that led to the published one, innermost first (`PARENTS`).
    pub parents: &'a [Target],
    /// Whom the request was let in as; nobody while an error page is made.
    pub login: Option<&'a Login>,
    /// Names that an error page finds before all others: `error_type` and so on.
    pub extra: &'a [(&'a str, String)],
    /// What the request may use up, its error page included.
    pub budget: &'a mut Budget,
    /// The moment of the request, since 1970.
    pub now: std::time::Duration,
}

impl Call<'_> {
    /// Where objects are loaded from.
    pub fn world(&self) -> World<'_> {
        World {
            connection: self.connection,
            registry: self.registry,
        }
    }

    /// The object that the published thing was reached through.
    pub fn client(&self) -> Option<&Placed> {
        match self.parents.first()? {
            Target::Object(placed) => Some(placed),
            _ => None,
        }
    }

    /// The URL of an object under the virtual host of the request (`absolute_url`).
    pub fn absolute_url(&self, placed: &Placed) -> String {
        self.urls.of_physical_path(&placed.physical_path())
    }

    /// The one text value of a form field.
    ///
    /// # Errors
    /// [`PublishError::MissingParameter`], which Zope answers for a required parameter.
    pub fn required(&self, name: &str) -> Result<&str, PublishError> {
        self.form
            .text(name)
            .ok_or_else(|| PublishError::MissingParameter {
                name: name.to_owned(),
            })
    }
}
