//! Who may: the roles required at a place, and the user folders on the way up from it.

use pickle::{Kind, Value};
use security::{
    Client, Credentials, Identified, LocalRoles, Place, Role, Roles, Setting, User, Verdict,
};

use crate::acquisition::{Attribute, Placed, World};
use crate::class::Requirement;
use crate::error::PublishError;
use crate::traversal::Target;

/// Whom a request was let in as.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user; `None` for nobody.
    pub user: Option<User>,
    /// The ids from the root to the folder that holds the user's user folder, without the root.
    pub folder_path: Vec<String>,
    /// The folder that holds the user folder.
    folder: Placed,
}

/// Asks the user folders from the published object upwards, and takes the first that lets it in.
pub(crate) fn validate(
    world: World<'_>,
    published: &Target,
    parents: &[Target],
    required: &Roles,
    credentials: Option<&Credentials>,
    client: &Client<'_>,
) -> Result<Login, PublishError> {
    let place_of = |target: &Target| match target {
        Target::Object(placed) => Some(placed.clone()),
        _ => None,
    };
    let candidates = std::iter::once(published)
        .chain(parents)
        .filter_map(place_of);
    for folder in candidates {
        let Some(found) = folder.own(world, ALLOW_GROUPS)? else {
            continue;
        };
        let login = ask(
            world,
            &folder,
            &found,
            published,
            required,
            credentials,
            client,
        )?;
        if let Some(login) = login {
            return Ok(login);
        }
    }
    match required {
        // Fail closed, and say why: this is not a question of credentials.
        Roles::Undecidable { what } => Err(PublishError::unsupported(what.clone())),
        _ => Err(PublishError::Unauthorized),
    }
}

/// Asks the user folder of one folder.
fn ask(
    world: World<'_>,
    folder: &Placed,
    found: &Attribute,
    published: &Target,
    required: &Roles,
    credentials: Option<&Credentials>,
    client: &Client<'_>,
) -> Result<Option<Login>, PublishError> {
    let user = match found {
        Attribute::Object(users) => {
            let class = users.known_class()?;
            let finder = class
                .user_folder()
                .ok_or_else(|| PublishError::unsupported(users.object().class().to_string()))?;
            if credentials.is_none() && !finder.takes_nobody(users.object()) {
                let what = format!("{} without credentials", users.object().class());
                return Err(PublishError::unsupported(what));
            }
            match credentials {
                Some(claim) => finder
                    .user(world.connection, users.object(), &claim.name)?
                    .filter(|user| is_authentic(user, claim, client)),
                None => None,
            }
        }
        // The class default of a site's top: an empty user folder.
        Attribute::Member { .. } => None,
        Attribute::Data { .. } => {
            return Err(PublishError::unsupported(format!(
                "{}.{ALLOW_GROUPS}",
                folder.object().class()
            )));
        }
    };
    let is_top = folder.known_class()?.is_top();
    let identified = user.as_ref().map_or(Identified::Nobody, Identified::User);
    let place = Published {
        target: published,
        folder,
    };
    let login = |user| Login {
        user,
        folder_path: folder.physical_path().split_off(1),
        folder: folder.clone(),
    };
    Ok(
        match security::judge(identified, is_top, required, &place) {
            Verdict::Accept => Some(login(user)),
            Verdict::AcceptAnonymous => Some(login(None)),
            Verdict::Pass(_) => None,
        },
    )
}

fn is_authentic(user: &User, claim: &Credentials, client: &Client<'_>) -> bool {
    user.authenticate(&claim.password, client)
        .unwrap_or_else(|error| {
            tracing::warn!(user = user.name(), %error, "a stored password cannot be compared");
            false
        })
}

impl Login {
    /// Whether this user has a permission at a place (`checkPermission`).
    pub fn has_permission(&self, permission: &str, place: &Placed) -> bool {
        self.may(
            &permission_roles(permission, &Roles::manager(), place),
            place,
        )
    }

    /// Whether this user has one of the roles at a place.
    pub fn may(&self, required: &Roles, place: &Placed) -> bool {
        let Some(user) = &self.user else {
            return required.is_public();
        };
        let target = Target::Object(place.clone());
        let place = Published {
            target: &target,
            folder: &self.folder,
        };
        user.access(required, &place) == security::Access::Granted
    }

    /// The user `id` of the user folder at `path` below `root`; `None` where there is none.
    ///
    /// # Errors
    /// [`PublishError::Unsupported`] where the user folder is of an unknown kind.
    pub fn of_user(
        world: World<'_>,
        root: &Placed,
        path: &[String],
        id: &str,
    ) -> Result<Option<Self>, PublishError> {
        let Some((last, folders)) = path.split_last() else {
            return Ok(None);
        };
        if path.len() > USER_FOLDER_DEPTH_MAX {
            let what = format!("a user folder more than {USER_FOLDER_DEPTH_MAX} folders deep");
            return Err(PublishError::unsupported(what));
        }
        let mut folder = root.clone();
        for name in folders {
            match folder.own(world, name)? {
                Some(Attribute::Object(next)) => folder = next,
                _ => return Ok(None),
            }
        }
        let Some(Attribute::Object(users)) = folder.own(world, last)? else {
            return Ok(None);
        };
        let class = users.known_class()?;
        let finder = class
            .user_folder()
            .ok_or_else(|| PublishError::unsupported(users.object().class().to_string()))?;
        let user = finder.user(world.connection, users.object(), id)?;
        Ok(user.map(|user| Self {
            user: Some(user),
            folder_path: folder.physical_path().split_off(1),
            folder,
        }))
    }

    /// The path of the user folder from the root, as owners are stored with it.
    pub fn user_folder_path(&self) -> Vec<String> {
        let mut path = self.folder_path.clone();
        path.push(USER_FOLDER.to_owned());
        path
    }

    /// The user's id; `None` for nobody.
    pub fn user_id(&self) -> Option<&str> {
        self.user.as_ref().map(User::name)
    }
}

/// The published thing as access control sees it.
struct Published<'a> {
    target: &'a Target,
    folder: &'a Placed,
}

impl Published<'_> {
    fn object(&self) -> Option<&Placed> {
        match self.target {
            Target::Object(placed) | Target::Member { of: placed, .. } => Some(placed),
            // An absent object lies in its folder; plain bytes lie nowhere.
            Target::Absent { container, .. } | Target::AbsentMember { container, .. } => {
                Some(container)
            }
            Target::Bytes { .. } => None,
        }
    }
}

impl Place for Published<'_> {
    fn is_below_user_folder(&self) -> bool {
        self.object().is_some_and(|object| {
            object
                .containment()
                .any(|place| place.oid() == self.folder.oid())
        })
    }

    fn local_roles(&self, user_id: &str) -> Vec<LocalRoles> {
        self.object().map_or_else(Vec::new, |object| {
            object
                .containment()
                .map(|place| local_roles(place, user_id))
                .collect()
        })
    }
}

fn local_roles(place: &Placed, user_id: &str) -> LocalRoles {
    let Some(value) = place.object().state().get(LOCAL_ROLES) else {
        return LocalRoles::Given(Vec::new());
    };
    let undecidable =
        || LocalRoles::Undecidable(format!("{LOCAL_ROLES} of {}", place.object().class()));
    match value.kind() {
        Kind::None => LocalRoles::Given(Vec::new()),
        Kind::Dict(_) => match value.get(user_id) {
            None => LocalRoles::Given(Vec::new()),
            Some(roles) => names(roles).map_or_else(undecidable, LocalRoles::Given),
        },
        _ => undecidable(),
    }
}

/// The roles that a requirement comes down to at a place; one that says nothing comes down to
/// Manager.
pub fn roles_required(requirement: &Requirement, place: &Placed) -> Roles {
    requirement_roles(requirement, place, &Roles::manager())
}

/// The roles that a requirement comes down to at a place, after what was required on the way.
pub(crate) fn requirement_roles(
    requirement: &Requirement,
    place: &Placed,
    inherited: &Roles,
) -> Roles {
    match requirement {
        Requirement::Inherited => inherited.clone(),
        Requirement::Public => Roles::Public,
        Requirement::Private => Roles::Private,
        Requirement::Roles(roles) => Roles::Any(roles.clone()),
        Requirement::Permission {
            permission,
            default,
        } => permission_roles(permission, &Roles::Any(default.clone()), place),
    }
}

/// The roles that have a permission at a place.
pub(crate) fn permission_roles(permission: &str, default: &Roles, place: &Placed) -> Roles {
    let levels = place
        .containment()
        .map(|place| move |attribute: &str| setting(place, attribute));
    security::roles_for_permission(permission, default, levels)
}

fn setting(place: &Placed, attribute: &str) -> Setting {
    let Some(class) = place.class() else {
        return Setting::Undecidable(place.object().class().to_string());
    };
    let Some(value) = place.object().state().get(attribute) else {
        return class.class_setting(attribute).unwrap_or(Setting::Absent);
    };
    let undecidable = || Setting::Undecidable(format!("{attribute} of {}", place.object().class()));
    match value.kind() {
        Kind::None => Setting::Public,
        Kind::Tuple(_) => names(value).map_or_else(undecidable, Setting::Only),
        Kind::List(_) => names(value).map_or_else(undecidable, Setting::Acquire),
        _ => match value.as_text() {
            Some(name) => Setting::Renamed(name.into_owned()),
            None => undecidable(),
        },
    }
}

fn names(value: Value<'_>) -> Option<Vec<Role>> {
    if !matches!(value.kind(), Kind::Tuple(_) | Kind::List(_)) {
        return None;
    }
    value
        .elements()
        .map(|name| Some(Role::new(&name.as_text()?)))
        .collect()
}

const ALLOW_GROUPS: &str = "__allow_groups__";

/// How deep a user folder may lie. The path is stored data, and a folder may hold itself.
const USER_FOLDER_DEPTH_MAX: usize = 1000;

const USER_FOLDER: &str = "acl_users";
const LOCAL_ROLES: &str = "__ac_local_roles__";
