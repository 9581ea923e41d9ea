//! Sessions that stay with a backend, by a signed cookie. Pure.

use std::fmt::Write as _;
use std::net::SocketAddr;

use balance::key_of;
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use sha2::Sha256;

use crate::key::cookie;

/// How a session is told from others, and its backend found again.
#[derive(Clone)]
pub struct Sessions {
    name: String,
    mac: Hmac<Sha256>,
}

/// A name that no cookie can have (RFC 6265, 4.1.1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be the name of a cookie: letters, digits, - and _ can")]
pub struct NoCookieName(String);

impl Sessions {
    /// A cookie of that name, signed with a secret that all balancers of a site have in common: nobody else can
    /// make one, so that nobody chooses a backend.
    ///
    /// # Errors
    /// [`NoCookieName`].
    pub fn new(name: &str, secret: &[u8]) -> Result<Self, NoCookieName> {
        let is_sign = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || !name.chars().all(is_sign) {
            return Err(NoCookieName(name.to_owned()));
        }
        let mac = Hmac::new_from_slice(secret).expect("a secret of any length will do (RFC 2104)");
        Ok(Self {
            name: name.to_owned(),
            mac,
        })
    }

    /// Which of the backends has the session of a request.
    pub(crate) fn backend(
        &self,
        headers: &HeaderMap,
        backends: impl FnOnce() -> Vec<SocketAddr>,
    ) -> Option<SocketAddr> {
        let value = str::from_utf8(cookie(headers, &self.name)?).ok()?;
        let (tag, signature) = value.split_once('.')?;
        let signature = bytes_of(signature)?;
        let signed = self.mac.clone().chain_update(tag);
        signed.verify_truncated_left(&signature).ok()?;
        backends()
            .into_iter()
            .find(|address| tag_of(*address) == tag)
    }

    /// What makes the client's next requests ones of this backend's.
    pub(crate) fn cookie_of(&self, backend: SocketAddr) -> Option<HeaderValue> {
        let tag = tag_of(backend);
        let signed = self.mac.clone().chain_update(&tag);
        let signature = signed.finalize().into_bytes();
        let mut text = format!("{}={tag}.", self.name);
        for byte in &signature[..SIGNATURE_BYTES] {
            // Writing into a text does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.push_str("; Path=/; HttpOnly; SameSite=Lax");
        HeaderValue::from_str(&text).ok()
    }
}

/// Says nothing of the secret.
impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sessions({})", self.name)
    }
}

/// Stands for a backend: its address is nobody's business.
fn tag_of(backend: SocketAddr) -> String {
    format!("{:016x}", key_of(backend.to_string().as_bytes()))
}

/// A whole signature in hex digits.
fn bytes_of(signature: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    let mut bytes = [0; SIGNATURE_BYTES];
    let digits = signature.as_bytes();
    if digits.len() != 2 * SIGNATURE_BYTES || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(signature.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// 128 bits: half of what SHA-256 gives, the least that RFC 2104 allows.
const SIGNATURE_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use hyper::header::COOKIE;

    use super::*;

    fn found(sessions: &Sessions, cookie: &str) -> Option<SocketAddr> {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookie.parse().unwrap());
        sessions.backend(&headers, || vec![address(1), address(2)])
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn given(sessions: &Sessions, backend: SocketAddr) -> String {
        let cookie = sessions.cookie_of(backend).unwrap();
        let (pair, attributes) = cookie.to_str().unwrap().split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");
        pair.to_owned()
    }

    #[test]
    fn a_cookie_finds_its_backend_again() {
        let sessions = Sessions::new("member", b"secret").unwrap();
        for port in [1, 2] {
            let pair = given(&sessions, address(port));
            assert!(!pair.contains("10.0.0.1"));
            assert_eq!(found(&sessions, &pair), Some(address(port)));
            let among_others = format!("a=b; {pair}; c=d");
            assert_eq!(found(&sessions, &among_others), Some(address(port)));
        }
        assert_eq!(
            found(&sessions, &given(&sessions, address(3))),
            None,
            "gone"
        );
    }

    #[test]
    fn nobody_else_makes_one() {
        let sessions = Sessions::new("member", b"secret").unwrap();
        let other = Sessions::new("member", b"Secret").unwrap();
        let (one, two) = (given(&sessions, address(1)), given(&sessions, address(2)));
        assert_eq!(found(&sessions, &given(&other, address(1))), None);
        let (tag, _) = one.split_once('.').unwrap();
        let (_, signature) = two.split_once('.').unwrap();
        for wrong in [
            format!("{tag}.{signature}"),
            format!("{tag}."),
            tag.to_owned(),
            one[..one.len() - 2].to_owned(),
            format!("{one}00"),
            "member=".to_owned(),
            "member=\u{e9}.\u{e9}".to_owned(),
            format!("{tag}.+{}", &signature[1..]),
        ] {
            assert_eq!(found(&sessions, &wrong), None, "{wrong}");
        }
        for wrong in ["", "a b", "a;b", "a=b", "\u{e9}"] {
            assert!(Sessions::new(wrong, b"secret").is_err(), "{wrong}");
        }
    }
}
