//! What cannot be decided is refused, for everybody.

use security::{
    Access, Client, EmergencyUser, Everywhere, Identified, LocalRoles, Place, Refusal, Role, Roles,
    Setting, User, Verdict, judge, password, roles_for_permission,
};

struct Computed;

impl Place for Computed {
    fn is_below_user_folder(&self) -> bool {
        true
    }

    fn local_roles(&self, _user_id: &str) -> Vec<LocalRoles> {
        vec![
            LocalRoles::Undecidable("a callable".to_owned()),
            LocalRoles::Given(vec![Role::new("Owner")]),
        ]
    }
}

fn ann() -> User {
    User::new(
        "ann",
        password::encode("pw", b"salt"),
        ["Manager"],
        Vec::new(),
    )
}

fn rescue() -> EmergencyUser {
    EmergencyUser::from_access_file(b"rescue:x:127.0.0.1\n").unwrap()
}

#[test]
fn an_undecidable_setting_refuses_even_managers_and_the_emergency_user() {
    let levels = [
        Setting::Acquire(vec![Role::new("Manager")]),
        Setting::Undecidable("a ComputedAttribute".to_owned()),
    ];
    let required = roles_for_permission(
        "View",
        &Roles::manager(),
        levels.into_iter().map(|setting| move |_: &str| setting),
    );
    let refused = Access::Refused(Refusal::Undecidable("a ComputedAttribute".to_owned()));
    assert_eq!(ann().access(&required, &Everywhere), refused);
    assert_eq!(rescue().access(&required), refused);
    assert!(matches!(
        judge(Identified::Nobody, true, &required, &Everywhere),
        Verdict::Pass(Refusal::Undecidable(_))
    ));
}

#[test]
fn undecidable_local_roles_refuse_unless_a_global_role_was_enough() {
    let owner = Roles::any(["Owner"]);
    assert!(matches!(
        ann().access(&owner, &Computed),
        Access::Refused(Refusal::Undecidable(_))
    ));
    assert_eq!(ann().access(&Roles::manager(), &Computed), Access::Granted);
}

#[test]
fn a_folder_below_the_root_never_answers_for_nobody() {
    let public = Roles::any([Role::ANONYMOUS]);
    let at = |is_top| judge(Identified::Nobody, is_top, &public, &Everywhere);
    assert_eq!(at(true), Verdict::AcceptAnonymous);
    assert_eq!(at(false), Verdict::Pass(Refusal::NoRole));
}

#[test]
fn the_emergency_user_is_known_at_the_root_only() {
    let rescue = rescue();
    let at = |is_top| {
        judge(
            Identified::Emergency(&rescue),
            is_top,
            &Roles::manager(),
            &Everywhere,
        )
    };
    assert_eq!(at(true), Verdict::Accept);
    assert_eq!(at(false), Verdict::Pass(Refusal::OutsideContext));
}

#[test]
fn the_right_password_from_the_wrong_place_is_refused() {
    let here = Client {
        address: "127.0.0.1",
        host: None,
    };
    let there = Client {
        address: "192.0.2.1",
        host: None,
    };
    assert_eq!(rescue().authenticate("x", &here), Ok(true));
    assert_eq!(rescue().authenticate("x", &there), Ok(false));
    assert_eq!(rescue().authenticate("y", &here), Ok(false));
    assert_eq!(ann().authenticate("pw", &there), Ok(true));
}

#[test]
fn an_unknown_host_matches_no_host_pattern() {
    let unknown = Client {
        address: "192.0.2.1",
        host: None,
    };
    for pattern in ["example.org", "org", "", "-"] {
        assert!(!unknown.is_within(&[pattern.to_owned()]), "{pattern:?}");
    }
}

#[test]
fn an_access_file_without_a_password_makes_no_emergency_user() {
    for file in ["", "\n", "rescue", "rescue:", ":x", "rescue::127.0.0.1"] {
        assert!(
            EmergencyUser::from_access_file(file.as_bytes()).is_none(),
            "{file:?}"
        );
    }
}
