//! From a permission to the roles that have it at some place.

use crate::{Role, Roles};

/// What one object on the way up says about a permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The attribute is absent: ask the parent.
    Absent,
    /// A list: these roles, and those of the parents.
    Acquire(Vec<Role>),
    /// A tuple: these roles and no more.
    Only(Vec<Role>),
    /// `None`: everybody.
    Public,
    /// A string: from the parent on, the attribute of this name counts. Empty means private.
    Renamed(String),
    /// Anything else. Refused.
    Undecidable(String),
}

/// The attribute that holds a permission's setting: `_Access_contents_information_Permission`.
pub fn permission_attribute(permission: &str) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name: String = permission
        .chars()
        .map(|c| if is_kept(c) { c } else { '_' })
        .collect();
    format!("_{name}_Permission")
}

/// The roles that have `permission` at a place (`rolesForPermissionOn`).
///
/// `levels` are the object itself and its parents along the *inner* acquisition chain, each as a
/// function from the attribute's name to its setting. Attributes of this kind are not acquired,
/// so each level answers for itself alone, class defaults included. `default` is used where no
/// level says anything.
pub fn roles_for_permission<L>(
    permission: &str,
    default: &Roles,
    levels: impl IntoIterator<Item = L>,
) -> Roles
where
    L: FnOnce(&str) -> Setting,
{
    let mut attribute = permission_attribute(permission);
    let mut gathered: Vec<Role> = Vec::new();
    let mut found = false;
    for setting_of in levels {
        match setting_of(&attribute) {
            Setting::Absent => {}
            // A list of nothing is no setting at all.
            Setting::Acquire(roles) => {
                found |= !roles.is_empty();
                gathered.extend(roles);
            }
            Setting::Only(roles) => {
                gathered.extend(roles);
                return Roles::Any(gathered);
            }
            // What was gathered below is dropped: everybody includes it.
            Setting::Public => return Roles::any([Role::ANONYMOUS]),
            Setting::Renamed(name) if name.is_empty() => return Roles::Private,
            Setting::Renamed(name) => attribute = name,
            Setting::Undecidable(what) => return Roles::Undecidable { what },
        }
    }
    if found {
        Roles::Any(gathered)
    } else {
        default.clone()
    }
}
