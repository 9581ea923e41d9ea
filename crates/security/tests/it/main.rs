//! Compares with what genuine AuthEncoding and AccessControl answered (`tests/golden`).

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

use std::path::Path;

use security::{
    Access, Client, Credentials, EmergencyUser, LocalRoles, Place, Role, Roles, Setting, User,
    password, roles_for_permission,
};
use serde_json::Value;

fn golden(group: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/golden.json");
    let text = std::fs::read_to_string(path).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let cases = all[group].as_array().unwrap().clone();
    assert!(cases.len() > 50, "{group} has only {} cases", cases.len());
    cases
}

fn bytes(latin1: &Value) -> Vec<u8> {
    let text = latin1.as_str().unwrap();
    text.chars().map(|c| u8::try_from(c).unwrap()).collect()
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter().map(|name| name.as_str().unwrap()).collect()
}

fn roles(list: &Value) -> Vec<Role> {
    names(list).into_iter().map(Role::new).collect()
}

#[test]
fn passwords_match_as_in_auth_encoding() {
    for case in golden("passwords") {
        if let Some(encoded) = case["encoded"].as_str() {
            let made = password::encode(case["password"].as_str().unwrap(), &bytes(&case["salt"]));
            assert_eq!(made, encoded.as_bytes(), "{case}");
        } else {
            let valid =
                password::verify(&bytes(&case["stored"]), case["attempt"].as_str().unwrap());
            assert_eq!(valid, Ok(case["valid"].as_bool().unwrap()), "{case}");
        }
    }
}

#[test]
fn headers_are_read_as_by_the_user_folder() {
    for case in golden("headers") {
        let read = Credentials::from_header(case["header"].as_str().unwrap().as_bytes());
        let read = match read {
            Ok(None) => Value::Null,
            Ok(Some(known)) => serde_json::json!([known.name, known.password]),
            Err(_) => Value::from("BadRequest"),
        };
        assert_eq!(read, case["answer"], "{case}");
    }
}

fn setting(level: &Value, attribute: &str) -> Setting {
    let Some(spelled) = level.get(attribute) else {
        return Setting::Absent;
    };
    let (kind, value) = spelled.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "public" => Setting::Public,
        "only" => Setting::Only(roles(value)),
        "acquire" => Setting::Acquire(roles(value)),
        "renamed" => Setting::Renamed(value.as_str().unwrap().to_owned()),
        other => panic!("unknown kind {other}"),
    }
}

#[test]
fn permissions_are_gathered_along_the_chain() {
    for case in golden("permissions") {
        let levels = case["levels"].as_array().unwrap();
        let found = roles_for_permission(
            case["permission"].as_str().unwrap(),
            &Roles::manager(),
            levels
                .iter()
                .map(|level| move |name: &str| setting(level, name)),
        );
        let wanted = match &case["roles"] {
            Value::String(_) => Roles::Private,
            list => Roles::Any(roles(list)),
        };
        assert_eq!(found, wanted, "{case}");
    }
}

struct Leaf<'a>(&'a Value);

impl Place for Leaf<'_> {
    fn is_below_user_folder(&self) -> bool {
        self.0["inside"].as_bool().unwrap()
    }

    fn local_roles(&self, user_id: &str) -> Vec<LocalRoles> {
        let levels = self.0["local"].as_array().unwrap().iter();
        levels
            .map(|level| LocalRoles::Given(level.get(user_id).map(roles).unwrap_or_default()))
            .collect()
    }
}

fn required(case: &Value) -> Roles {
    match &case["required"] {
        Value::Null => Roles::Public,
        Value::String(_) => Roles::Private,
        list => Roles::Any(roles(list)),
    }
}

#[test]
fn users_are_allowed_what_zope_allows() {
    let emergency = EmergencyUser::from_access_file(b"rescue:x\n").unwrap();
    for case in golden("access") {
        let user = User::new(
            case["name"].as_str().unwrap(),
            "",
            names(&case["roles"]),
            Vec::new(),
        );
        assert_eq!(
            user.roles().collect::<Vec<_>>(),
            roles(&case["user_roles"]),
            "{case}"
        );
        let allowed = user.access(&required(&case), &Leaf(&case)) == Access::Granted;
        assert_eq!(allowed, case["allowed"].as_bool().unwrap(), "{case}");
        let allowed = emergency.access(&required(&case)) == Access::Granted;
        assert_eq!(allowed, case["emergency"].as_bool().unwrap(), "{case}");
    }
}

#[test]
fn domains_cover_the_clients_that_zope_lets_in() {
    for case in golden("domains") {
        let spec: Vec<String> = names(&case["spec"])
            .into_iter()
            .map(str::to_owned)
            .collect();
        let client = Client {
            address: case["address"].as_str().unwrap(),
            host: case["host"].as_str(),
        };
        assert_eq!(
            client.is_within(&spec),
            case["match"].as_bool().unwrap(),
            "{case}"
        );
    }
}

mod fail_closed;
