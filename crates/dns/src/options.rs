//! Zones, names and limits.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use balance::Member;
use health::Rules;
use hickory_proto::rr::Name;

/// What a [`Server`](crate::Server) answers. [`Options::default`] is documented field by field.
#[derive(Clone, Debug)]
pub struct Options {
    /// The zones that we have authority over. Questions outside of them are refused. Default none.
    pub zones: Vec<DomainName>,
    /// The servers of these zones: this one and its peers. Default none, which serves nothing.
    pub name_servers: Vec<NameServer>,
    /// Who is responsible for the zones. Default `hostmaster` at each zone.
    pub contact: Option<Contact>,
    /// The names that are answered with members. Default none.
    pub sites: Vec<Site>,
    /// How long an answer may be kept, in seconds. Default 5.
    pub ttl: u32,
    /// How long it may be believed that there is no such name or record, in seconds. Default 5.
    pub negative_ttl: u32,
    /// The most members in an answer. Default 8.
    pub answers_max: usize,
    /// Answers of the same kind to the same network (/24, or /56 of IPv6) in a second, over UDP; 0 for any number.
    /// Default 100.
    pub responses_per_second: u32,
    /// Every how manieth of the answers above that is sent, cut off, so that who really asks comes again by TCP; 0
    /// for none. Default 2.
    pub slip: u32,
    /// Threads, each with sockets of its own. Default: one per core.
    pub threads: NonZeroUsize,
    /// The most TCP connections at a time; more wait in the system's backlog. Default 256.
    pub connections_max: usize,
    /// How long a TCP connection may rest. Default 10 s.
    pub idle_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let one = NonZeroUsize::MIN;
        Self {
            zones: Vec::new(),
            name_servers: Vec::new(),
            contact: None,
            sites: Vec::new(),
            ttl: 5,
            negative_ttl: 5,
            answers_max: 8,
            responses_per_second: 100,
            slip: 2,
            threads: std::thread::available_parallelism().unwrap_or(one),
            connections_max: 256,
            idle_wait: Duration::from_secs(10),
        }
    }
}

/// A name with members behind it.
#[derive(Clone, Debug)]
pub struct Site {
    /// The name.
    pub name: DomainName,
    /// Who may be named for it: those with an IPv4 address in A records, the others in AAAA records. Their ports are
    /// only for the checks.
    pub members: Vec<Member>,
    /// How they are checked.
    pub check: Rules,
    /// The protocols in the HTTPS record, as in `["h2", "http/1.1"]`. Without any there is no such record.
    pub alpn: Vec<String>,
    /// The port in the HTTPS record, where it is not 443.
    pub https_port: Option<u16>,
}

impl Site {
    /// A name without an HTTPS record, whose members must accept connections.
    pub fn new(name: DomainName, members: Vec<Member>) -> Self {
        Self {
            name,
            members,
            check: Rules::default(),
            alpn: Vec::new(),
            https_port: None,
        }
    }
}

/// A server of the zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServer {
    /// Its name.
    pub name: DomainName,
    /// Its addresses, which are needed where the name is in one of the zones.
    pub addresses: Vec<IpAddr>,
}

/// A fully qualified domain name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DomainName(pub(crate) Name);

/// What is no domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no domain name of the form www.example.org")]
pub struct NoName(String);

impl FromStr for DomainName {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Self, NoName> {
        let wrong = || NoName(text.to_owned());
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !text.bytes().all(is_plain) {
            return Err(wrong());
        }
        let mut name = Name::from_ascii(text.to_ascii_lowercase()).map_err(|_| wrong())?;
        name.set_fqdn(true);
        if name.is_root() {
            return Err(wrong());
        }
        Ok(Self(name))
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_ascii().trim_end_matches('.'))
    }
}

/// A mail address, as zones have it: the part before the `@` is a label of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact(pub(crate) Name);

impl FromStr for Contact {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Self, NoName> {
        let wrong = || NoName(text.to_owned());
        let (person, domain) = text.split_once('@').ok_or_else(wrong)?;
        let domain: DomainName = domain.parse().map_err(|_| wrong())?;
        let name = domain.0.prepend_label(person.as_bytes());
        name.map(Self).map_err(|_| wrong())
    }
}

/// Options by which no server can answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// No zones.
    #[error("there is no zone to answer for")]
    NoZones,
    /// No name servers.
    #[error("a zone needs the names of its servers")]
    NoNameServers,
    /// The delegation could not be followed.
    #[error("the name server {0} is in a zone of its own: its addresses are needed")]
    NoGlue(DomainName),
    /// The site is not ours.
    #[error("{0} is in none of the zones")]
    Outside(DomainName),
    /// Two sites, or a site and a name server, have this name.
    #[error("{0} is there twice")]
    Twice(DomainName),
    /// Nobody is behind the name.
    #[error("{0} has no members")]
    NoMembers(DomainName),
}

impl Options {
    /// Whether a server could answer by these options.
    ///
    /// # Errors
    /// Says why not.
    pub fn check(&self) -> Result<(), Unanswerable> {
        if self.zones.is_empty() {
            return Err(Unanswerable::NoZones);
        }
        if self.name_servers.is_empty() {
            return Err(Unanswerable::NoNameServers);
        }
        let is_ours = |name: &DomainName| self.zones.iter().any(|zone| zone.0.zone_of(&name.0));
        for server in &self.name_servers {
            if is_ours(&server.name) && server.addresses.is_empty() {
                return Err(Unanswerable::NoGlue(server.name.clone()));
            }
        }
        let mut names: Vec<&DomainName> = Vec::new();
        names.extend(self.name_servers.iter().map(|server| &server.name));
        for site in &self.sites {
            if !is_ours(&site.name) {
                return Err(Unanswerable::Outside(site.name.clone()));
            }
            if names.contains(&&site.name) {
                return Err(Unanswerable::Twice(site.name.clone()));
            }
            if site.members.is_empty() {
                return Err(Unanswerable::NoMembers(site.name.clone()));
            }
            names.push(&site.name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(sites: &[&str]) -> Options {
        let member: std::net::SocketAddr = "192.0.2.1:80".parse().unwrap();
        Options {
            zones: vec!["example.org".parse().unwrap()],
            name_servers: vec![NameServer {
                name: "ns.example.net".parse().unwrap(),
                addresses: Vec::new(),
            }],
            sites: sites
                .iter()
                .map(|name| Site::new(name.parse().unwrap(), vec![member.into()]))
                .collect(),
            ..Options::default()
        }
    }

    #[test]
    fn names_are_names() {
        let name: DomainName = "WWW.Example.org.".parse().unwrap();
        assert_eq!(name.to_string(), "www.example.org");
        for wrong in ["", ".", "a..b", "a b", "caf\u{e9}.org", "a\\.b"] {
            assert!(wrong.parse::<DomainName>().is_err(), "{wrong:?}");
        }
        let long = format!("{}.org", "a".repeat(64));
        assert!(long.parse::<DomainName>().is_err());
    }

    #[test]
    fn a_mail_address_is_a_contact() {
        let contact: Contact = "host.master@example.org".parse().unwrap();
        assert_eq!(contact.0.num_labels(), 3);
        assert!("example.org".parse::<Contact>().is_err());
    }

    #[test]
    fn what_could_not_be_answered_is_refused() {
        assert_eq!(options(&["www.example.org", "example.org"]).check(), Ok(()));
        let refused = |options: &Options| options.check().unwrap_err();
        assert!(matches!(
            refused(&options(&["www.example.com"])),
            Unanswerable::Outside(_)
        ));
        assert!(matches!(
            refused(&options(&["www.example.org", "www.example.org"])),
            Unanswerable::Twice(_)
        ));
        let mut glueless = options(&[]);
        glueless.name_servers[0].name = "ns.example.org".parse().unwrap();
        assert!(matches!(refused(&glueless), Unanswerable::NoGlue(_)));
        assert_eq!(refused(&Options::default()), Unanswerable::NoZones);
    }
}
