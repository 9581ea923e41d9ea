//! Users and what they may.

use crate::{Client, PasswordError, Role, Roles, password};

/// A user of a user folder (`AccessControl.users.User`).
#[derive(Clone)]
pub struct User {
    name: String,
    password: Vec<u8>,
    roles: Vec<Role>,
    domains: Vec<String>,
}

/// Whether somebody may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// They may.
    Granted,
    /// They may not.
    Refused(Refusal),
}

/// Why access was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The thing is private: nobody may.
    Private,
    /// None of the user's roles is among those required.
    NoRole,
    /// The user has a role, but their user folder is not above the object.
    OutsideContext,
    /// The facts could not be decided here; refused to be on the safe side.
    Undecidable(String),
}

/// An object as access control sees it: what is asked of it depends on the user.
pub trait Place {
    /// Whether the object lies within the folder that holds the user's user folder
    /// (`_check_context`). Users from elsewhere get nothing here.
    fn is_below_user_folder(&self) -> bool;

    /// The local roles (`__ac_local_roles__`) that the object and then each of its parents, along
    /// the inner acquisition chain, give to this user.
    fn local_roles(&self, user_id: &str) -> Vec<LocalRoles>;
}

/// What one object's `__ac_local_roles__` gives to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalRoles {
    /// These roles, often none.
    Given(Vec<Role>),
    /// Computed by a callable, or of a shape we do not know. Refused when it is reached.
    Undecidable(String),
}

/// A place within every user's context and without local roles.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everywhere;

impl Place for Everywhere {
    fn is_below_user_folder(&self) -> bool {
        true
    }

    fn local_roles(&self, _user_id: &str) -> Vec<LocalRoles> {
        Vec::new()
    }
}

impl User {
    /// A user with these stored facts. `password` is the stored form.
    pub fn new<R: Into<Role>>(
        name: impl Into<String>,
        password: impl Into<Vec<u8>>,
        roles: impl IntoIterator<Item = R>,
        domains: Vec<String>,
    ) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            roles: roles.into_iter().map(Into::into).collect(),
            domains,
        }
    }

    /// The login name, which is also the user's id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user's global roles: those stored, and `Authenticated`.
    pub fn roles(&self) -> impl Iterator<Item = Role> + '_ {
        let implied = (!self.is_anonymous()).then(|| Role::new(Role::AUTHENTICATED));
        self.roles.iter().cloned().chain(implied)
    }

    /// Where the user may come from; empty for anywhere.
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// Whether the password is right and the client is where the user may come from.
    ///
    /// # Errors
    /// [`PasswordError`] where the stored password cannot be compared. Treat it as a refusal.
    pub fn authenticate(&self, attempt: &str, client: &Client<'_>) -> Result<bool, PasswordError> {
        authenticate(&self.password, &self.domains, attempt, client)
    }

    /// Whether this user, being logged in, may have something that requires `required`
    /// (`BasicUser.allowed`). There is no role that passes everything: `Manager` is enough only
    /// where it is listed.
    pub fn access(&self, required: &Roles, place: &(impl Place + ?Sized)) -> Access {
        let required_roles = match required {
            Roles::Public => return Access::Granted,
            Roles::Private => return Access::Refused(Refusal::Private),
            Roles::Undecidable { what } => {
                return Access::Refused(Refusal::Undecidable(what.clone()));
            }
            Roles::Any(_) if required.is_public() => return Access::Granted,
            Roles::Any(roles) => roles,
        };
        if self.roles().any(|role| required_roles.contains(&role)) {
            return in_context(place);
        }
        for level in place.local_roles(&self.name) {
            match level {
                LocalRoles::Given(roles) => {
                    if roles.iter().any(|role| required_roles.contains(role)) {
                        return in_context(place);
                    }
                }
                LocalRoles::Undecidable(what) => {
                    return Access::Refused(Refusal::Undecidable(what));
                }
            }
        }
        Access::Refused(Refusal::NoRole)
    }

    /// A stored user who is called so is no more than the nobody of the same name.
    fn is_anonymous(&self) -> bool {
        self.name == ANONYMOUS_USER
    }
}

/// The name of the nobody that every visitor is.
const ANONYMOUS_USER: &str = "Anonymous User";

fn in_context(place: &(impl Place + ?Sized)) -> Access {
    if place.is_below_user_folder() {
        Access::Granted
    } else {
        Access::Refused(Refusal::OutsideContext)
    }
}

fn authenticate(
    stored: &[u8],
    domains: &[String],
    attempt: &str,
    client: &Client<'_>,
) -> Result<bool, PasswordError> {
    let is_right = password::verify(stored, attempt)?;
    Ok(is_right && (domains.is_empty() || client.is_within(domains)))
}

impl std::fmt::Debug for User {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("roles", &self.roles)
            .field("domains", &self.domains)
            .finish_non_exhaustive()
    }
}

/// The user of the instance's `access` file: passes every check but ACCESS_PRIVATE, and owns
/// nothing. The top-level user folder alone accepts them.
#[derive(Clone)]
pub struct EmergencyUser {
    name: String,
    password: Vec<u8>,
    domains: Vec<String>,
}

impl EmergencyUser {
    /// Reads the first line of an `access` file: `name:password[:domain domain]`. `None` where
    /// there is no user in it, or the password is empty, which in Zope turns on the mode that
    /// trusts a server in front (REMOTE_USER) and is not supported.
    pub fn from_access_file(bytes: &[u8]) -> Option<Self> {
        let line = bytes.split(|&byte| byte == b'\n').next()?.trim_ascii();
        let mut fields = line.split(|&byte| byte == b':');
        let name = std::str::from_utf8(fields.next()?).ok()?;
        let password = fields.next()?;
        if name.is_empty() || password.is_empty() {
            return None;
        }
        let domains = fields.next().map_or_else(Vec::new, |field| {
            field
                .split(|&byte| byte == b' ')
                .map(|domain| String::from_utf8_lossy(domain).into_owned())
                .collect()
        });
        Some(Self {
            name: name.to_owned(),
            password: password.to_owned(),
            domains,
        })
    }

    /// The login name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the password is right and the client is where the user may come from.
    ///
    /// # Errors
    /// [`PasswordError`] where the stored password cannot be compared. Treat it as a refusal.
    pub fn authenticate(&self, attempt: &str, client: &Client<'_>) -> Result<bool, PasswordError> {
        authenticate(&self.password, &self.domains, attempt, client)
    }

    /// Everything but what is private or undecidable.
    pub fn access(&self, required: &Roles) -> Access {
        match required {
            Roles::Private => Access::Refused(Refusal::Private),
            Roles::Undecidable { what } => Access::Refused(Refusal::Undecidable(what.clone())),
            Roles::Public | Roles::Any(_) => Access::Granted,
        }
    }
}

impl std::fmt::Debug for EmergencyUser {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmergencyUser")
            .field("name", &self.name)
            .field("domains", &self.domains)
            .finish_non_exhaustive()
    }
}
