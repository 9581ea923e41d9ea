//! Passwords as AuthEncoding 6.1 keeps them: `{SCHEME}` and a digest, or clear text.
//!
//! | stored | meaning |
//! |---|---|
//! | `{SSHA}` base64(sha1(password + salt) + salt) | what Zope's user folder makes |
//! | `{SHA}` base64(sha1(password)) | older |
//! | `{SHA256}` hex(sha256(password)) | unsalted |
//! | `{PBKDF2-SHA256}` iterations `$` base64(salt) `$` base64(key) | an add-on's scheme, see below |
//! | anything without a `{SCHEME}` | clear text |
//!
//! AuthEncoding has no PBKDF2 of its own; sites that want it register the scheme
//! `PBKDF2-SHA256` (RFC 8018 with HMAC-SHA256) in the form above, which is understood here.
//!
//! Every other scheme (`CRYPT`, `BCRYPT`, `MYSQL`, add-ons' own) is refused by name and never
//! matches. AuthEncoding itself takes a scheme it has not registered for clear text, so that the
//! stored digest would be the password: we do not follow it there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// How many random bytes Zope takes for the salt of a new password.
pub const SALT_LEN: usize = 7;

const SHA1_LEN: usize = 20;

/// Each check costs this many hashes: more would let a stored password stall the server.
const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;

/// Longer keys add cost and no safety.
const PBKDF2_KEY_BYTES_MAX: usize = 64;

/// A stored password that cannot be compared with anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The stored password is of a scheme that is not implemented.
    #[error(
        "the password scheme {scheme} is not supported: set the password again to store it as SSHA"
    )]
    UnsupportedScheme {
        /// The scheme's name, without braces.
        scheme: String,
    },
}

/// Whether `attempt` is the password that `stored` was made from.
///
/// # Errors
/// [`PasswordError::UnsupportedScheme`] for a scheme we do not know. Treat it as a refusal.
pub fn verify(stored: &[u8], attempt: &str) -> Result<bool, PasswordError> {
    let attempt = to_bytes(attempt);
    let Some((scheme, reference)) = split_scheme(stored) else {
        return Ok(is_equal(stored, &attempt));
    };
    match scheme {
        "SSHA" => Ok(verify_ssha(reference, &attempt)),
        "SHA" => Ok(is_equal(
            reference,
            STANDARD.encode(Sha1::digest(&attempt)).as_bytes(),
        )),
        "SHA256" => Ok(is_equal(
            reference,
            hex(&Sha256::digest(&attempt)).as_bytes(),
        )),
        "PBKDF2-SHA256" => Ok(verify_pbkdf2(reference, &attempt).unwrap_or(false)),
        _ => Err(PasswordError::UnsupportedScheme {
            scheme: scheme.to_owned(),
        }),
    }
}

/// The stored form of a new password, `{SSHA}` as Zope's user folder makes it. `salt` is
/// [`SALT_LEN`] random bytes.
pub fn encode(password: &str, salt: &[u8]) -> Vec<u8> {
    let mut stored = b"{SSHA}".to_vec();
    stored.extend_from_slice(ssha(&to_bytes(password), salt).as_bytes());
    stored
}

/// Whether a stored password is encoded, with whatever scheme; otherwise it is clear text.
pub fn is_encoded(stored: &[u8]) -> bool {
    split_scheme(stored).is_some()
}

/// The bytes AuthEncoding hashes: Latin-1 where the text fits in it, UTF-8 otherwise.
pub fn to_bytes(password: &str) -> Vec<u8> {
    password
        .chars()
        .map(|character| u8::try_from(u32::from(character)).ok())
        .collect::<Option<Vec<u8>>>()
        .unwrap_or_else(|| password.as_bytes().to_vec())
}

/// The digest covers the salt, which follows it. Encoding again and comparing text, as Python
/// does, also refuses every unusual spelling of the same bytes.
fn verify_ssha(reference: &[u8], attempt: &[u8]) -> bool {
    let Ok(bytes) = STANDARD.decode(reference) else {
        return false;
    };
    let salt = bytes.get(SHA1_LEN..).unwrap_or_default();
    is_equal(reference, ssha(attempt, salt).as_bytes())
}

fn ssha(password: &[u8], salt: &[u8]) -> String {
    let digest = Sha1::new()
        .chain_update(password)
        .chain_update(salt)
        .finalize();
    let mut bytes = digest.to_vec();
    bytes.extend_from_slice(salt);
    STANDARD.encode(bytes)
}

/// None where the reference is not of the scheme's form, or beyond its limits.
fn verify_pbkdf2(reference: &[u8], attempt: &[u8]) -> Option<bool> {
    let mut parts = std::str::from_utf8(reference).ok()?.split('$');
    let iterations: u32 = parts.next()?.parse().ok()?;
    let salt = STANDARD.decode(parts.next()?).ok()?;
    let key = STANDARD.decode(parts.next()?).ok()?;
    let within_limits = (1..=PBKDF2_ITERATIONS_MAX).contains(&iterations)
        && (1..=PBKDF2_KEY_BYTES_MAX).contains(&key.len());
    if parts.next().is_some() || !within_limits {
        return None;
    }
    let mut derived = vec![0; key.len()];
    pbkdf2::pbkdf2_hmac::<Sha256>(attempt, &salt, iterations, &mut derived);
    Some(is_equal(&key, &derived))
}

/// `{NAME}rest` with a name of capital letters, digits and dashes.
fn split_scheme(stored: &[u8]) -> Option<(&str, &[u8])> {
    let inner = stored.strip_prefix(b"{")?;
    let end = inner.iter().position(|&byte| byte == b'}')?;
    let is_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'-';
    if end == 0 || !inner[..end].iter().all(is_name) {
        return None;
    }
    let scheme = std::str::from_utf8(&inner[..end]).ok()?;
    Some((scheme, &inner[end + 1..]))
}

fn is_equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_never_matches_not_even_its_own_text() {
        for stored in ["{CRYPT}ab", "{BCRYPT}$2b$", "{MYSQL}00", "{ARGON2}x"] {
            let scheme = stored[1..stored.find('}').unwrap()].to_owned();
            assert_eq!(
                verify(stored.as_bytes(), stored),
                Err(PasswordError::UnsupportedScheme { scheme })
            );
        }
    }

    /// The key is that of Python's `hashlib.pbkdf2_hmac("sha256", b"geheim\xfc", salt, 1000, 24)`.
    #[test]
    fn pbkdf2_keys_are_those_of_python() {
        let stored = b"{PBKDF2-SHA256}1000$MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1u$OsmobIvG0gpToZb4P6ohcCB7VOwIJbtH";
        assert_eq!(verify(stored, "geheim\u{fc}"), Ok(true));
        assert_eq!(verify(stored, "geheim"), Ok(false));
    }

    #[test]
    fn a_pbkdf2_reference_of_another_form_or_beyond_the_limits_never_matches() {
        for reference in [
            "",
            "1",
            "1$$",
            "0$YQ==$YQ==",
            "99999999999$YQ==$YQ==",
            "x$YQ==$YQ==",
            "1$YQ==$YQ==$",
        ] {
            let stored = format!("{{PBKDF2-SHA256}}{reference}");
            assert_eq!(verify(stored.as_bytes(), &stored), Ok(false), "{stored}");
            assert_eq!(verify(stored.as_bytes(), ""), Ok(false), "{stored}");
        }
    }

    #[test]
    fn braces_that_are_no_scheme_are_clear_text() {
        for stored in ["{", "{}", "{abc}d", "{SSHA", "SSHA}x"] {
            assert_eq!(verify(stored.as_bytes(), stored), Ok(true), "{stored}");
            assert_eq!(verify(stored.as_bytes(), "x"), Ok(false), "{stored}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_encoded_password_matches_itself_alone(
            password in ".{0,20}", other in ".{0,20}", salt in proptest::collection::vec(0u8.., 0..12),
        ) {
            let stored = encode(&password, &salt);
            proptest::prop_assert!(is_encoded(&stored));
            proptest::prop_assert_eq!(verify(&stored, &password), Ok(true));
            if to_bytes(&password) != to_bytes(&other) {
                proptest::prop_assert_eq!(verify(&stored, &other), Ok(false));
            }
        }

        #[test]
        fn foreign_bytes_never_panic(stored in proptest::collection::vec(0u8.., 0..60)) {
            let _ = verify(&stored, "x");
            let mut prefixed = b"{SSHA}".to_vec();
            prefixed.extend_from_slice(&stored);
            proptest::prop_assert_eq!(verify(&prefixed, "x").is_err(), false);
        }
    }
}
