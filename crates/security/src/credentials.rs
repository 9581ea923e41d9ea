//! The name and password of an `Authorization: Basic` header.

use crate::base64_loose;

/// What a client claims to be.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The login name: everything before the first colon.
    pub name: String,
    /// The password: everything after it.
    pub password: String,
}

/// The header begins with `Basic` but holds no readable token. Zope answers 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid authentication token")]
pub struct InvalidCredentials;

impl Credentials {
    /// Reads the value of an `Authorization` header; `None` where it is of another scheme.
    ///
    /// As in Zope's user folder the scheme's name has any case, one space follows it, and the
    /// token is what comes after the last space.
    ///
    /// # Errors
    /// [`InvalidCredentials`] where the token is not base64, not UTF-8, or has no colon.
    pub fn from_header(value: &[u8]) -> Result<Option<Self>, InvalidCredentials> {
        let is_basic = value
            .get(..SCHEME.len())
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
        if !is_basic {
            return Ok(None);
        }
        let token = value.rsplit(|&byte| byte == b' ').next().unwrap_or(value);
        let bytes = base64_loose::decode(token).ok_or(InvalidCredentials)?;
        let text = String::from_utf8(bytes).map_err(|_| InvalidCredentials)?;
        let (name, password) = text.split_once(':').ok_or(InvalidCredentials)?;
        Ok(Some(Self {
            name: name.to_owned(),
            password: password.to_owned(),
        }))
    }
}

const SCHEME: &[u8] = b"basic ";

impl std::fmt::Debug for Credentials {
    /// Shows the name only: passwords do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_password() {
        let credentials = Credentials {
            name: "ann".to_owned(),
            password: "hush".to_owned(),
        };
        let shown = format!("{credentials:?}");
        assert!(shown.contains("ann") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn another_scheme_is_nobody_and_a_bare_word_is_not_basic() {
        assert_eq!(Credentials::from_header(b"Bearer abc"), Ok(None));
        assert_eq!(Credentials::from_header(b""), Ok(None));
        assert_eq!(Credentials::from_header(b"Basic"), Ok(None));
        assert_eq!(Credentials::from_header(b"Basic "), Err(InvalidCredentials));
    }
}
