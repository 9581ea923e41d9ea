//! Why a request is not answered with what it asked for.

use storage::StorageError;
use zodb::ZodbError;

/// What stops a request. Each becomes a response with a page that says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Traversal found nothing, or something that must not be seen (`NotFound`).
    #[error("not found: {resource}")]
    NotFound {
        /// What the page names: a URL, or a name with the method.
        resource: String,
    },
    /// The user may not, or nobody logged in (`Unauthorized`).
    #[error("not authorized")]
    Unauthorized,
    /// A required parameter is missing from the form (`BadRequest`).
    #[error("the parameter {name} was omitted from the request")]
    MissingParameter {
        /// Its name.
        name: String,
    },
    /// Any other HTTP error that Zope raises as an exception.
    #[error("{status} {message}")]
    Http {
        /// The status.
        status: u16,
        /// The exception's text, which becomes the detail of the page.
        message: String,
    },
    /// A Python exception that Zope has no page for: its server answers 500.
    #[error("{class}: {message}")]
    Exception {
        /// The exception's class: `KeyError`.
        class: &'static str,
        /// Its text.
        message: String,
    },
    /// The request moves on (`Redirect`).
    #[error("redirect to {location}")]
    Redirect {
        /// Where to.
        location: String,
    },
    /// Something on the way is not done natively yet. Never answered as if it were done.
    #[error("{what} is not published natively yet")]
    Unsupported {
        /// What it is: a class, `class.member`, a tag.
        what: String,
    },
    /// A record that cannot be read: only requests that need it fail.
    #[error(transparent)]
    Objects(#[from] ZodbError),
    /// The storage failed while it was asked for something outside a snapshot.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl PublishError {
    /// The shorthand of [`PublishError::Unsupported`].
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }

    /// The shorthand of [`PublishError::Http`].
    pub fn http(status: u16, message: impl Into<String>) -> Self {
        Self::Http {
            status,
            message: message.into(),
        }
    }

    /// The status of the response.
    pub fn status(&self) -> u16 {
        match self {
            Self::NotFound { .. } => 404,
            Self::Unauthorized => 401,
            Self::MissingParameter { .. } => 400,
            Self::Http { status, .. } => *status,
            Self::Redirect { .. } => 302,
            Self::Unsupported { .. } => 501,
            Self::Exception { .. } => 500,
            Self::Objects(error) => storage_status(error.severity()),
            Self::Storage(error) => storage_status(error.severity()),
        }
    }

    /// The status under the site's own error page: there Zope takes it from the exception's name.
    pub(crate) fn page_status(&self) -> u16 {
        match self {
            Self::Exception {
                class: "KeyError" | "NameError",
                ..
            } => 503,
            other => other.status(),
        }
    }

    /// The Python exception's class name, which `standard_error_message` gets as `error_type`.
    pub fn class_name(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "NotFound",
            Self::Unauthorized => "Unauthorized",
            Self::MissingParameter { .. } => "BadRequest",
            Self::Exception { class, .. } => class,
            Self::Redirect { .. } => "Redirect",
            Self::Http { status, .. } => match status {
                400 => "BadRequest",
                403 => "Forbidden",
                404 => "NotFound",
                405 => "MethodNotAllowed",
                409 => "Conflict",
                412 => "PreconditionFailed",
                423 => "ResourceLockedError",
                _ => "InternalError",
            },
            Self::Unsupported { .. } | Self::Objects(_) | Self::Storage(_) => "InternalError",
        }
    }

    /// The exception's text, which `standard_error_message` gets as `error_value`.
    pub fn value(&self) -> String {
        match self {
            Self::NotFound { resource } => resource.clone(),
            Self::Unauthorized => UNAUTHORIZED.to_owned(),
            Self::MissingParameter { name } => name.clone(),
            Self::Http { message, .. } | Self::Exception { message, .. } => message.clone(),
            Self::Redirect { location } => location.clone(),
            other => other.to_string(),
        }
    }

    /// Whether Zope itself would raise this, so that the site's own error page may be shown.
    pub(crate) fn is_zopes(&self) -> bool {
        !matches!(
            self,
            Self::Unsupported { .. } | Self::Objects(_) | Self::Storage(_)
        )
    }
}

const UNAUTHORIZED: &str = "You are not authorized to access this resource.";

fn storage_status(severity: storage::Severity) -> u16 {
    match severity {
        storage::Severity::Retry => 503,
        storage::Severity::Refuse | storage::Severity::Fault => 500,
    }
}
