//! Roles, and the roles that something requires.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The name of a role. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(Arc<str>);

impl Role {
    /// Everybody has it, logged in or not.
    pub const ANONYMOUS: &'static str = "Anonymous";
    /// Everybody who logged in has it.
    pub const AUTHENTICATED: &'static str = "Authenticated";
    /// What is required where nothing else was said.
    pub const MANAGER: &'static str = "Manager";

    /// The role of this name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Role {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Role {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl Borrow<str> for Role {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Role {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The roles that something requires: Python's `__roles__`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roles {
    /// `None`: open to everybody.
    Public,
    /// ACCESS_PRIVATE (`_what_not_even_god_should_do`): never reachable from outside.
    Private,
    /// Any one of these is enough; an empty list lets nobody in but the emergency user.
    Any(Vec<Role>),
    /// Set in a way that cannot be decided here. Refused for everybody.
    Undecidable {
        /// What was met, for the person who reads the log.
        what: String,
    },
}

impl Roles {
    /// Any one of these roles is enough.
    pub fn any<R: Into<Role>>(roles: impl IntoIterator<Item = R>) -> Self {
        Self::Any(roles.into_iter().map(Into::into).collect())
    }

    /// What is required where no setting was found: `('Manager',)`.
    pub fn manager() -> Self {
        Self::any([Role::MANAGER])
    }

    /// Whether everybody may, without logging in.
    pub fn is_public(&self) -> bool {
        matches!(self, Self::Public) || self.includes(Role::ANONYMOUS)
    }

    /// Whether the list names this role.
    pub fn includes(&self, role: &str) -> bool {
        matches!(self, Self::Any(roles) if roles.iter().any(|known| *known == role))
    }
}
