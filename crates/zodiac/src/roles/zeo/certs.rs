//! `zodiac zeo certs`: a private authority, and certificates for servers and clients.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use zeo_net::{Authority, Certified, Holder};

use crate::clock;

/// `zodiac zeo certs`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Certs {
    /// Where the files are, or will be
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// A server by its names and addresses; the files are called as the first one
    #[arg(long, value_name = "HOST[,HOST...]", value_parser = hosts)]
    server: Vec<Hosts>,
    /// A client by its name, which may be any
    #[arg(long, value_name = "NAME", value_parser = client)]
    client: Vec<String>,
    /// How long the new certificates are good for
    #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=DAYS_MAX))]
    days: u32,
    /// Report what was made as one JSON object
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Makes an authority of your own (ca.pem, ca.key) where DIR has none, and certificates that it signs. A
server and a client with files of this directory believe each other, and nobody else. Run it again for
further ones. No file is ever written over; keys are readable by their owner alone. Whoever has ca.key can
make clients: it is needed here only, so keep it away from servers and clients.

Examples:
  zodiac zeo certs /etc/zeo/certs --server zeo.example.com,10.0.0.1 --client zope1 --client zope2
  zodiac zeo certs /etc/zeo/certs --client zope3 --days 90";

const DAYS_MAX: i64 = 36_500;
/// How long an authority lasts at least.
const AUTHORITY_DAYS_MIN: u32 = 3_650;
const AUTHORITY: &str = "ca";
const DAY: Duration = Duration::from_secs(86_400);

/// The names and addresses of one server.
#[derive(Clone, Debug)]
struct Hosts(Vec<String>);

/// What was made, for programs and for people.
#[derive(Debug, Serialize)]
struct Report {
    authority: PathBuf,
    made: Vec<Made>,
}

#[derive(Debug, Serialize)]
struct Made {
    kind: Kind,
    name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<String>,
    certificate: PathBuf,
    key: PathBuf,
    /// As `openssl x509 -noout -fingerprint -sha256` prints it.
    fingerprint: String,
    /// Seconds since 1970.
    not_after: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Authority,
    Server,
    Client,
}

/// A certificate that is not yet in a file.
struct Draft {
    made: Made,
    text: Certified,
}

/// Makes what the command line asks for, all or nothing.
pub(crate) fn run(arguments: &Certs) -> Result<()> {
    let directory = std::path::absolute(&arguments.directory)?;
    let drafts = draft(arguments, &directory)?;
    if drafts.is_empty() {
        bail!("the authority is there already; name servers and clients for it to sign");
    }
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let mut written = Vec::new();
    if let Err(error) = write_all(&drafts, &mut written) {
        for path in written {
            // Half of them are of no use; the error names what went wrong first.
            let _left = fs::remove_file(path);
        }
        return Err(error);
    }
    File::open(&directory)?.sync_all()?;
    let report = Report {
        authority: directory.join(format!("{AUTHORITY}.pem")),
        made: drafts.into_iter().map(|draft| draft.made).collect(),
    };
    if arguments.json {
        writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
    } else {
        report.print(&mut io::stdout().lock())?;
    }
    Ok(())
}

fn draft(arguments: &Certs, directory: &Path) -> Result<Vec<Draft>> {
    let now = clock::since_1970();
    let ends = |days: u32| now + DAY * days;
    let servers = arguments.server.iter().map(|Hosts(hosts)| {
        let name = hosts.first().map(String::as_str).unwrap_or_default();
        (Kind::Server, name, hosts.clone())
    });
    let clients = arguments.client.iter();
    let clients = clients.map(|name| (Kind::Client, name.as_str(), Vec::new()));
    let wanted: Vec<_> = servers.chain(clients).collect();
    let mut names: Vec<&str> = wanted.iter().map(|(_, name, _)| *name).collect();
    for name in &names {
        refuse_existing(directory, name)?;
    }
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("{} is named twice: their files would be the same", pair[0]);
    }

    let mut drafts = Vec::new();
    let (certificate, key) = files(directory, AUTHORITY);
    let authority = match (certificate.exists(), key.exists()) {
        (true, true) => Authority::open(&certificate, &key)?,
        (false, false) => {
            let name = format!("Zodiac authority {}", now.as_secs());
            let end = ends(arguments.days.max(AUTHORITY_DAYS_MIN));
            let (authority, text) = Authority::make(&name, now, end)?;
            let mut own = Draft::new(directory, Kind::Authority, AUTHORITY, Vec::new(), text);
            own.made.name = name;
            drafts.push(own);
            authority
        }
        (true, false) => bail!(
            "{} is missing: only with it can others be made",
            key.display()
        ),
        (false, true) => bail!(
            "{} is missing, though its key is there",
            certificate.display()
        ),
    };
    let end = ends(arguments.days);
    if end > authority.not_after() {
        let left = authority.not_after().saturating_sub(now).as_secs() / DAY.as_secs();
        bail!(
            "the authority {} ends in {left} days; --days must not be more",
            certificate.display()
        );
    }
    for (kind, name, hosts) in wanted {
        let holder = match kind {
            Kind::Server => Holder::Server(&hosts),
            _ => Holder::Client,
        };
        let text = authority.certify(name, holder, now, end)?;
        drafts.push(Draft::new(directory, kind, name, hosts, text));
    }
    Ok(drafts)
}

fn files(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    (
        directory.join(format!("{name}.pem")),
        directory.join(format!("{name}.key")),
    )
}

fn refuse_existing(directory: &Path, name: &str) -> Result<()> {
    let (certificate, key) = files(directory, name);
    for path in [certificate, key] {
        if fs::symlink_metadata(&path).is_ok() {
            bail!(
                "{} is there already, and nothing was made; move it away, or choose another name",
                path.display()
            );
        }
    }
    Ok(())
}

/// Writes them, and tells which files are new.
fn write_all(drafts: &[Draft], written: &mut Vec<PathBuf>) -> Result<()> {
    for Draft { made, text } in drafts {
        for (path, content, mode) in [
            (&made.key, &text.key, 0o600),
            (&made.certificate, &text.certificate, 0o644),
        ] {
            let write = |written: &mut Vec<PathBuf>| -> io::Result<()> {
                let mut options = OpenOptions::new();
                let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
                written.push(path.clone());
                file.write_all(content.as_bytes())?;
                file.sync_all()
            };
            write(written).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

impl Draft {
    fn new(directory: &Path, kind: Kind, name: &str, hosts: Vec<String>, text: Certified) -> Self {
        let (certificate, key) = files(directory, name);
        Self {
            made: Made {
                kind,
                name: name.to_owned(),
                hosts,
                certificate,
                key,
                fingerprint: text.fingerprint.clone(),
                not_after: text.not_after.as_secs(),
            },
            text,
        }
    }
}

impl Report {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        for made in &self.made {
            let (certificate, key) = (made.certificate.display(), made.key.display());
            match made.kind {
                Kind::Authority => {
                    writeln!(out, "{certificate}\n{key}")?;
                    writeln!(
                        out,
                        "  the authority; keep its key away from servers and clients\n"
                    )?;
                }
                Kind::Server => {
                    writeln!(out, "{certificate}\n{key}")?;
                    writeln!(out, "  a server: {}", made.hosts.join(", "))?;
                    self.print_server(made, out)?;
                }
                Kind::Client => {
                    writeln!(out, "{certificate}\n{key}")?;
                    writeln!(
                        out,
                        "  a client: {}\n  SHA-256 {}",
                        made.name, made.fingerprint
                    )?;
                    self.print_client(made, out)?;
                }
            }
        }
        Ok(())
    }

    fn print_server(&self, made: &Made, out: &mut impl Write) -> io::Result<()> {
        let authority = self.authority.display();
        writeln!(out, "\n  in <zeo> of its zeo.conf:")?;
        print_section(made, &authority, out)?;
        writeln!(out, "  or in its zodiac.toml:\n    [zeo]")?;
        print_keys(made, &authority, out)
    }

    fn print_client(&self, made: &Made, out: &mut impl Write) -> io::Result<()> {
        let authority = self.authority.display();
        writeln!(out, "\n  in <zeoclient> of its zope.conf:")?;
        print_section(made, &authority, out)?;
        writeln!(
            out,
            "  or in the zodiac.toml of a publisher:\n    [publish]"
        )?;
        print_keys(made, &authority, out)
    }
}

fn print_section(
    made: &Made,
    authority: &dyn std::fmt::Display,
    out: &mut impl Write,
) -> io::Result<()> {
    let (certificate, key) = (made.certificate.display(), made.key.display());
    writeln!(out, "    <ssl>")?;
    writeln!(out, "      certificate {certificate}")?;
    writeln!(out, "      key {key}")?;
    writeln!(out, "      authenticate {authority}")?;
    writeln!(out, "    </ssl>")
}

fn print_keys(
    made: &Made,
    authority: &dyn std::fmt::Display,
    out: &mut impl Write,
) -> io::Result<()> {
    let quoted = |path: String| serde_json::Value::String(path).to_string();
    for (key, path) in [
        ("tls-certificate", made.certificate.display().to_string()),
        ("tls-key", made.key.display().to_string()),
        ("tls-authenticate", authority.to_string()),
    ] {
        writeln!(out, "    {key} = {}", quoted(path))?;
    }
    writeln!(out)
}

fn hosts(text: &str) -> Result<Hosts, String> {
    let hosts: Vec<String> = text.split(',').map(|host| host.trim().to_owned()).collect();
    for host in &hosts {
        if !zeo_net::is_host_name(host) {
            return Err(format!("{host:?} is neither a host name nor an address"));
        }
    }
    client(&hosts[0])?;
    Ok(Hosts(hosts))
}

/// A name that is one of a file, too.
fn client(name: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:@".contains(c);
    let is_good = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':')
        && name.chars().all(is_plain)
        && name.len() <= zeo_net::COMMON_NAME_CHARS_MAX;
    if !is_good {
        return Err(format!(
            "{name:?} is no name: letters, digits, and - . _ : @ within, {} at most",
            zeo_net::COMMON_NAME_CHARS_MAX
        ));
    }
    if name == AUTHORITY {
        return Err("ca is what the authority's files are called".to_owned());
    }
    Ok(name.to_owned())
}
