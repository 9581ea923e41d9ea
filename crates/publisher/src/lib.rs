//! One request: traversal, form values, call, response, transaction and retry.

mod request;
mod response;

pub use request::Request;
pub use response::{Body, Response};
