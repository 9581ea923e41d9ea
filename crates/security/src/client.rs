//! Where a request comes from, and whether a user's domain restrictions cover it.

/// The peer of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client<'a> {
    /// Its address as text, behind trusted proxies the one they name.
    pub address: &'a str,
    /// Its host name where the server in front resolved it (`REMOTE_HOST`).
    pub host: Option<&'a str>,
}

impl Client<'_> {
    /// Whether a `domains` list lets this client in (`domainSpecMatch`). No restriction is
    /// written as an empty list, which the caller checks first, or as `["*"]`.
    ///
    /// Zope looks the host name up in the DNS when it is unknown; here a host pattern then does
    /// not match.
    pub fn is_within(&self, domains: &[String]) -> bool {
        if matches!(domains, [all] if all == "*") {
            return true;
        }
        domains.iter().any(|pattern| {
            if is_address_pattern(pattern) {
                matches_leading(pattern, self.address)
            } else {
                is_host_pattern(pattern)
                    && self
                        .host
                        .is_some_and(|host| matches_trailing(pattern, host))
            }
        })
    }
}

/// `1.2.3.4`, or one to three numbers and a final star: `10.*`, `192.168.1.*`.
fn is_address_pattern(pattern: &str) -> bool {
    let is_number = |part: &str| {
        (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let parts: Vec<&str> = pattern.split('.').collect();
    match parts.split_last() {
        Some((&"*", numbers)) => {
            (1..=3).contains(&numbers.len()) && numbers.iter().all(|part| is_number(part))
        }
        Some(_) => parts.len() == 4 && parts.iter().all(|part| is_number(part)),
        None => false,
    }
}

/// Labels of letters, digits and dashes; underscores except in the last one. Stars do not count,
/// and an empty pattern matches no known host.
fn is_host_pattern(pattern: &str) -> bool {
    let (front, last) = pattern.rsplit_once('.').unwrap_or(("", pattern));
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !pattern.is_empty()
        && last.bytes().all(is_label)
        && front
            .bytes()
            .all(|byte| is_label(byte) || matches!(byte, b'_' | b'.'))
}

/// The pattern's parts against the address's first ones.
fn matches_leading(pattern: &str, address: &str) -> bool {
    let mut parts = address.split('.');
    pattern.split('.').all(|wanted| {
        parts
            .next()
            .is_some_and(|part| wanted == "*" || wanted == part)
    })
}

/// The pattern's labels against the host's last ones.
fn matches_trailing(pattern: &str, host: &str) -> bool {
    let mut labels = host.rsplit('.');
    pattern
        .rsplit('.')
        .all(|wanted| labels.next() == Some(wanted))
}
