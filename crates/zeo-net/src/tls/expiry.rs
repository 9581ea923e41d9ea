//! Saying in time that the server's own certificate expires.

use std::time::Duration;

/// How long before its certificate expires a server begins to say so: time enough for whoever has to
/// sign another one.
pub const CERTIFICATE_EXPIRES_SOON: Duration = DAY.saturating_mul(30);

/// Keeps in mind what was said.
#[derive(Debug, Default)]
pub(super) struct Warner {
    said: Option<Said>,
}

#[derive(Debug)]
struct Said {
    /// Of which certificate.
    expires: Duration,
    warning: Warning,
    at: Duration,
}

/// What there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Warning {
    Soon,
    Over,
}

impl Warner {
    /// What has to be said at that time since 1970 of a certificate that expires then, if anything: once
    /// a day, and at once where there is something new.
    pub(super) fn look(&mut self, expires: Duration, now: Duration) -> Option<Warning> {
        let warning = if now >= expires {
            Warning::Over
        } else if expires - now < CERTIFICATE_EXPIRES_SOON {
            Warning::Soon
        } else {
            return None;
        };
        let is_said = self.said.as_ref().is_some_and(|said| {
            said.expires == expires && said.warning == warning && now < said.at + DAY
        });
        if is_said {
            return None;
        }
        self.said = Some(Said {
            expires,
            warning,
            at: now,
        });
        Some(warning)
    }
}

const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_a_day_from_thirty_days_before() {
        let mut warner = Warner::default();
        let expires = 1000 * DAY;
        let mut said = |expires, now| warner.look(expires, now);
        assert_eq!(said(expires, 970 * DAY), None, "there are thirty days");
        let first = 970 * DAY + Duration::from_secs(1);
        assert_eq!(said(expires, first), Some(Warning::Soon));
        assert_eq!(said(expires, first + DAY / 2), None);
        assert_eq!(said(expires, first + DAY), Some(Warning::Soon));
        // Another one that is no better is spoken of at once.
        let other = expires + Duration::from_secs(5);
        assert_eq!(said(other, first + DAY), Some(Warning::Soon));
        assert_eq!(said(other, other - DAY / 2), Some(Warning::Soon));
        assert_eq!(said(other, other), Some(Warning::Over));
        assert_eq!(said(other, other + DAY / 2), None);
        assert_eq!(said(other, other + DAY), Some(Warning::Over));
        assert_eq!(said(other + 400 * DAY, other + DAY), None, "it was renewed");
    }
}
