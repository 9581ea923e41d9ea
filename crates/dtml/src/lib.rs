//! DTML: parser and renderer.
//!
//! A [`Template`] is parsed once and rendered against a [`Namespace`]. The judge is
//! DocumentTemplate 5.4: what is rendered here is what it renders, byte for byte. Supported are
//! plain text, `var` of a name with its attributes, the entity forms, `comment`, and `if` and
//! `unless` of a name. Everything else of the language is recognised and refused with
//! [`ErrorKind::NotSupported`], most of it while parsing: a template is never rendered half right.
//!
//! ```
//! use dtml::{Namespace, NamespaceError, Output, Template, Value};
//!
//! struct Page;
//!
//! impl Namespace for Page {
//!     fn lookup(&mut self, name: &str) -> Result<Option<Value>, NamespaceError> {
//!         Ok((name == "title").then(|| Value::from("Fish & Chips")))
//!     }
//! }
//!
//! let template = Template::parse("<h1>&dtml-title;</h1>", "index_html")?;
//! let output = template.render(&mut Page)?;
//! assert_eq!(output, Output::Text("<h1>Fish &amp; Chips</h1>".to_owned()));
//! # Ok::<(), dtml::Error>(())
//! ```

mod error;
mod format;
mod lexer;
mod parameters;
mod parser;
mod render;
mod template;
mod text;
mod value;
mod var;

pub use error::{Error, ErrorKind, Location};
pub use render::{Namespace, NamespaceError};
pub use template::{Encoding, Output, Template};
pub use value::Value;
