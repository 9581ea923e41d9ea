//! What a user folder answers to one request (`BasicUserFolder.validate`).

use crate::{Access, EmergencyUser, Place, Refusal, Roles, User};

/// Whom a user folder recognised in the request: name found, password and domain right.
#[derive(Clone, Copy, Debug)]
pub enum Identified<'a> {
    /// Nobody: no credentials, a name unknown here, or a wrong password.
    Nobody,
    /// One of the folder's own users.
    User(&'a User),
    /// The emergency user.
    Emergency(&'a EmergencyUser),
}

/// A user folder's answer. The publisher asks the folders from the object upwards and takes the
/// first that does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on as the user that was identified.
    Accept,
    /// Go on as nobody: the thing is public.
    AcceptAnonymous,
    /// This folder cannot allow it: ask the next one up; above the last one it is a 401.
    Pass(Refusal),
}

/// Judges a request at one user folder. `is_top` says whether the folder is the root's.
///
/// Away from the root a folder does not answer for nobody, so that public things are published
/// without asking it.
pub fn judge(
    identified: Identified<'_>,
    is_top: bool,
    required: &Roles,
    place: &(impl Place + ?Sized),
) -> Verdict {
    let refusal = match identified {
        // Zope does not even look at the roles for the emergency user. Private things are not
        // published, so asking costs nothing and fails closed.
        Identified::Emergency(user) => {
            return match user.access(required) {
                Access::Granted if is_top => Verdict::Accept,
                Access::Granted => Verdict::Pass(Refusal::OutsideContext),
                Access::Refused(refusal) => Verdict::Pass(refusal),
            };
        }
        Identified::User(user) => match user.access(required, place) {
            Access::Granted => return Verdict::Accept,
            Access::Refused(refusal) => refusal,
        },
        Identified::Nobody => nobody_refusal(required),
    };
    if is_top && required.is_public() {
        Verdict::AcceptAnonymous
    } else {
        Verdict::Pass(refusal)
    }
}

fn nobody_refusal(required: &Roles) -> Refusal {
    match required {
        Roles::Private => Refusal::Private,
        Roles::Undecidable { what } => Refusal::Undecidable(what.clone()),
        Roles::Public | Roles::Any(_) => Refusal::NoRole,
    }
}
