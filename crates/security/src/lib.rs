//! Users, passwords, roles, and the policy that grants or refuses.
//!
//! Everything here is a pure function of values: no clock, no randomness, no name look-ups. The
//! judge of each rule is AccessControl 7.5 with AuthEncoding 6.1. Whatever cannot be decided (an
//! unknown password scheme, a role source that only Python could compute) is refused and says so:
//! the policy fails closed.
//!
//! ```
//! use security::{Access, Role, Roles, User, password};
//!
//! let stored = password::encode("secret", b"seven77");
//! assert_eq!(password::verify(&stored, "secret"), Ok(true));
//!
//! let user = User::new("ann", stored, ["Manager"], Vec::new());
//! let required = Roles::any(["Manager"]);
//! assert_eq!(user.access(&required, &security::Everywhere), Access::Granted);
//! assert!(user.roles().any(|role| role == Role::AUTHENTICATED));
//! ```

mod base64_loose;
mod client;
mod credentials;
pub mod password;
mod permission;
mod role;
mod user;
mod user_folder;

pub use client::Client;
pub use credentials::{Credentials, InvalidCredentials};
pub use password::PasswordError;
pub use permission::{Setting, permission_attribute, roles_for_permission};
pub use role::{Role, Roles};
pub use user::{Access, EmergencyUser, Everywhere, LocalRoles, Place, Refusal, User};
pub use user_folder::{Identified, Verdict, judge};
