//! The response to an error: the site's own page, or the built-in one.

use zodb::Connection;

use crate::acquisition::{Attribute, Placed, World};
use crate::budget::Budget;
use crate::call::Call;
use crate::error::PublishError;
use crate::form::Form;
use crate::page;
use crate::publisher::Publisher;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::traversal::Target;
use crate::urls::Urls;

/// How far a request came, for its error page, and what it used up.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) published: Option<Target>,
    pub(crate) parents: Vec<Target>,
    pub(crate) urls: Urls,
    pub(crate) budget: Budget,
}

impl Progress {
    /// Where `standard_error_message` is looked for. What is not there has none of the methods that
    /// Zope needs to make that page.
    fn context(&self) -> Option<Placed> {
        match &self.published {
            Some(Target::Absent { .. }) => return None,
            Some(Target::Member { member, .. }) if member.is_object => return None,
            _ => {}
        }
        match self.parents.first()? {
            Target::Object(placed) => Some(placed.clone()),
            _ => None,
        }
    }

    /// The object that the page is about.
    fn client(&self) -> Option<Placed> {
        match self.published.as_ref()? {
            Target::Object(placed) => Some(placed.clone()),
            _ => None,
        }
    }
}

impl Publisher {
    /// The response to an error: the site's own page, or the built-in one.
    pub(crate) fn error_reply(
        &self,
        request: &Request,
        connection: &mut Connection,
        mut reply: Reply,
        progress: &mut Progress,
        error: &PublishError,
    ) -> Reply {
        let own_page = if error.is_zopes() {
            self.own_error_page(request, connection, progress, error)
        } else {
            None
        };
        if matches!(error, PublishError::Unauthorized) {
            reply.set_status(401);
            reply.set_header("www-authenticate", &challenge(&self.options.realm));
        }
        if let PublishError::Redirect { location } = error {
            reply.set_header("location", location);
        }
        if let Some(own_page) = own_page {
            reply.set_status(error.page_status());
            if reply.header("content-type").is_none() && !own_page.is_empty() {
                reply.set_header("content-type", "text/html");
            }
            reply.set_answer(Answer::Text(own_page));
            return reply;
        }
        if matches!(error, PublishError::Unauthorized) {
            return reply;
        }
        let mut fresh = Reply::default();
        fresh.set_header("content-type", page::CONTENT_TYPE);
        if let PublishError::Redirect { location } = error {
            fresh.set_header("location", location);
        }
        if error.status() == 503 {
            fresh.set_header("retry-after", RETRY_AFTER);
        }
        fresh.set_error(error.status(), page::render(error));
        fresh
    }

    /// The page that the site's `standard_error_message` makes, if there is one that can be made
    /// natively. A failure to make it never hides the error itself.
    fn own_error_page(
        &self,
        request: &Request,
        connection: &mut Connection,
        progress: &mut Progress,
        error: &PublishError,
    ) -> Option<String> {
        let (client, page) = {
            let world = World {
                connection,
                registry: &self.registry,
            };
            let context = progress.context()?;
            match context.find(world, ERROR_PAGE).ok()?? {
                Attribute::Object(page) => (progress.client().unwrap_or(context), page),
                _ => return None,
            }
        };
        let extra = [
            ("error_type", error.class_name().to_owned()),
            ("error_value", error.value()),
            ("error_tb", String::new()),
            ("error_traceback", String::new()),
            ("error_message", String::new()),
            ("error_log_url", String::new()),
        ];
        let form = Form::of(request).unwrap_or_default();
        let mut reply = Reply::default();
        let mut call = Call {
            request,
            form: &form,
            connection,
            registry: &self.registry,
            reply: &mut reply,
            urls: &progress.urls,
            parents: &progress.parents,
            login: None,
            extra: &extra,
            budget: &mut progress.budget,
            now: (self.options.clock)(),
        };
        let made = page
            .class()?
            .clone()
            .render_error(&mut call, &page, &client)?;
        made.inspect_err(|error| tracing::warn!(%error, "standard_error_message failed"))
            .ok()
    }
}

/// Seconds after which a client may try again when the last repetition failed as well.
pub(crate) const RETRY_AFTER: &str = "1";

/// The challenge that Zope sends with 401.
fn challenge(realm: &str) -> String {
    format!("basic realm=\"{realm}\", charset=\"UTF-8\"")
}

/// The site's own error page.
const ERROR_PAGE: &str = "standard_error_message";
