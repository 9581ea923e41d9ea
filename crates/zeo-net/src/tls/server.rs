//! The server's side: handshakes within limits, and files that are read again when they change.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use zeo::{Outbox, Rights};

use super::error::TlsError;
use super::expiry::{Warner, Warning};
use super::explain::explain;
use super::facts::{Facts, Purpose};
use super::files::Stamp;
use super::key::KeyPassword;
use super::rights::ClientRights;
use super::trust::Trust;
use super::verifier::Clients;
use super::{own_certificate, provider};
use crate::clock;

/// How a server shows itself, and which clients it takes: the `<ssl>` section of the original.
///
/// Clients must show a certificate, always. It must be listed in `authenticate`, or be signed by an
/// authority that is; the host names in it do not count.
#[derive(Clone, Debug)]
pub struct TlsServerOptions {
    /// The file of the server's certificate, in PEM, followed by what signed it if need be.
    pub certificate: PathBuf,
    /// The file of its key; `None` when the key is in the certificate's file.
    pub key: Option<PathBuf>,
    /// The password of the key, if it has one.
    pub password: Option<KeyPassword>,
    /// A file or a directory of certificates: those of the clients, or of the authority that signed
    /// theirs. Lists of revoked certificates count, too.
    pub authenticate: PathBuf,
    /// How long after a look at the files, at least, a new connection looks again whether they have
    /// changed.
    pub look_interval: Duration,
    /// What clients may do.
    pub rights: ClientRights,
    /// How often the files are looked at even if nobody connects: clients that are there and whose
    /// certificates count no more lose their connections then.
    pub watch_interval: Duration,
    /// How long a client may take for its handshake.
    pub handshake_timeout: Duration,
    /// How many handshakes are computed at once; further clients wait, within their time.
    pub handshakes_max: usize,
}

impl TlsServerOptions {
    /// These files, a key without a password, and the usual limits.
    pub fn new(certificate: impl Into<PathBuf>, authenticate: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: None,
            password: None,
            authenticate: authenticate.into(),
            look_interval: Duration::from_secs(1),
            rights: ClientRights::default(),
            watch_interval: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 256,
        }
    }

    /// Tries whether a server could start with these files.
    ///
    /// # Errors
    /// Says which file is missing or wrong.
    pub fn check(&self) -> Result<(), TlsError> {
        self.build().map(drop)
    }

    fn build(&self) -> Result<Arc<Certificates>, TlsError> {
        let trust = Arc::new(read_trust(&self.authenticate)?);
        let own = own_certificate(&self.certificate, self.key.as_ref(), self.password.as_ref())?;
        let expires = own.cert.first().and_then(|own| Facts::read(own).ok());
        let expires = expires.map(|facts| facts.not_after());
        let unusable = |source| TlsError::Unusable {
            path: self.certificate.clone(),
            source,
        };
        let mut config = ServerConfig::builder_with_provider(provider().clone())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_client_cert_verifier(Arc::new(Clients(trust.clone())))
            .with_cert_resolver(resolver(own));
        // A session that is resumed shows no certificate: who lost our trust must not come back so.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(Certificates {
            config: Arc::new(config),
            trust,
            expires,
        }))
    }

    fn stamp(&self) -> Stamp {
        let password = match &self.password {
            Some(KeyPassword::File(path)) => Some(path),
            Some(KeyPassword::Command(_)) | None => None,
        };
        let files = [Some(&self.certificate), self.key.as_ref(), password];
        Stamp::of(files.into_iter().flatten(), Some(&self.authenticate))
    }
}

fn resolver(own: Arc<CertifiedKey>) -> Arc<dyn ResolvesServerCert> {
    let own = Arc::try_unwrap(own).unwrap_or_else(|own| CertifiedKey::clone(&own));
    Arc::new(SingleCertAndKey::from(own))
}

/// The two words that the original's description knows beside a path are refused: neither makes a
/// server that anybody can use.
fn read_trust(path: &Path) -> Result<Trust, TlsError> {
    let refused = |word, what| Err(TlsError::Word { word, what });
    if path == Path::new("DYNAMIC") {
        return refused(
            "DYNAMIC",
            "it believes no client until Python code in the server adds certificates, which there \
             is none of here; name a directory: certificates put there count at once",
        );
    }
    if path == Path::new("SIGNED") && !path.exists() {
        return refused(
            "SIGNED",
            "the original takes this for the name of a file, too; name the file that has the \
             certificate of your authority, and the clients that it signed are taken",
        );
    }
    Trust::read(path)
}

/// A TLS server's state.
pub(crate) struct TlsServer {
    options: TlsServerOptions,
    state: Mutex<State>,
    handshakes: Semaphore,
    /// The clients that are connected. Never locked while the state is.
    admitted: Mutex<BTreeMap<u64, Arc<Member>>>,
    next_guest: AtomicU64,
}

/// What is in the files.
struct Certificates {
    config: Arc<ServerConfig>,
    trust: Arc<Trust>,
    /// When our own certificate expires, since 1970.
    expires: Option<Duration>,
}

struct State {
    certificates: Arc<Certificates>,
    /// How the files looked when they were read, were it in vain.
    stamp: Stamp,
    looked: Instant,
}

impl TlsServer {
    /// Reads the files.
    pub(crate) fn open(options: TlsServerOptions) -> Result<Arc<Self>, TlsError> {
        // Before they are read: a change from now on is seen at the next look.
        let stamp = options.stamp();
        let certificates = options.build()?;
        Ok(Arc::new(Self {
            state: Mutex::new(State {
                certificates,
                stamp,
                looked: clock::now(),
            }),
            handshakes: Semaphore::new(options.handshakes_max),
            admitted: Mutex::default(),
            next_guest: AtomicU64::new(0),
            options,
        }))
    }

    /// What counts now; looks at the files when that was not done for a while.
    async fn current(self: &Arc<Self>) -> Arc<Certificates> {
        let is_due = {
            let mut state = self.state.lock();
            let now = clock::now();
            let is_due = now.duration_since(state.looked) >= self.options.look_interval;
            if is_due {
                state.looked = now;
            }
            is_due
        };
        if is_due {
            let server = self.clone();
            // A panic in there changes nothing of what counts.
            let _looked = tokio::task::spawn_blocking(move || server.look()).await;
        }
        self.state.lock().certificates.clone()
    }

    /// When the certificate expires that counts now, since 1970.
    pub(crate) fn expires(&self) -> Option<Duration> {
        self.state.lock().certificates.expires
    }

    /// Reads the files again if they changed. What is wrong with them is said once.
    fn look(&self) {
        let stamp = self.options.stamp();
        if self.state.lock().stamp == stamp {
            return;
        }
        let built = self.options.build();
        let mut state = self.state.lock();
        state.stamp = stamp;
        let certificates = match built {
            Ok(certificates) => certificates,
            Err(error) => {
                tracing::error!(%error, "the certificates changed and are of no use; the old ones \
                    stay in force");
                return;
            }
        };
        state.certificates = certificates.clone();
        drop(state);
        tracing::info!("the certificates changed and were read again");
        let members: Vec<_> = self.admitted.lock().values().cloned().collect();
        for member in members {
            member.judge(&certificates);
        }
    }

    /// Looks at the files again and again, for ever, and says when the certificate expires soon.
    pub(crate) async fn watch(self: &Arc<Self>) {
        let mut warner = Warner::default();
        loop {
            self.warn(&mut warner);
            tokio::time::sleep(self.options.watch_interval).await;
            self.current().await;
        }
    }

    fn warn(&self, warner: &mut Warner) {
        let Some(expires) = self.expires() else {
            return;
        };
        let now = clock::since_1970();
        let Some(warning) = warner.look(expires, now) else {
            return;
        };
        let certificate = self.options.certificate.display();
        match warning {
            Warning::Soon => {
                let days = expires.saturating_sub(now).as_secs() / 86_400;
                tracing::warn!(%certificate, days, "the server's certificate expires soon; put another \
                    one in its place, which counts without a restart");
            }
            Warning::Over => tracing::error!(%certificate, "the server's certificate has expired: \
                clients refuse it; put another one in its place, which counts without a restart"),
        }
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// Why it is no client of ours, for the log; `None` for one that came and went without a word,
    /// as those do that only look whether somebody listens.
    pub(crate) async fn accept<S>(
        self: &Arc<Self>,
        stream: S,
    ) -> Result<(TlsStream<S>, Guest), Option<String>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = self.options.handshake_timeout;
        let mut has_greeted = false;
        let shaken = tokio::time::timeout(limit, async {
            // Who says nothing takes nobody's place.
            let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
            let hello = hello.await?;
            has_greeted = true;
            let certificates = self.current().await;
            let _place = self.handshakes.acquire().await.map_err(io::Error::other)?;
            let stream = hello.into_stream(certificates.config.clone()).await?;
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let guest = Guest {
                server: self.clone(),
                chain: chain.to_vec(),
                judged_by: certificates,
            };
            Ok((stream, guest))
        });
        match shaken.await {
            Ok(Ok(shaken)) => Ok(shaken),
            Ok(Err(error)) if !has_greeted && is_gone(&error) => Err(None),
            Ok(Err(error)) => Err(Some(explain(&error))),
            Err(_) if has_greeted => Err(Some(format!("the handshake took more than {limit:?}"))),
            Err(_) => Err(Some(format!("not a word of TLS within {limit:?}"))),
        }
    }
}

/// A client that has shown its certificate.
pub(crate) struct Guest {
    server: Arc<TlsServer>,
    /// Its certificate, and what it showed with it.
    chain: Vec<CertificateDer<'static>>,
    judged_by: Arc<Certificates>,
}

/// Keeps a client in mind as long as it is connected.
pub(crate) struct Admitted {
    server: Arc<TlsServer>,
    number: u64,
}

struct Member {
    chain: Vec<CertificateDer<'static>>,
    outbox: Arc<Outbox>,
}

impl Guest {
    pub(crate) fn rights(&self) -> Rights {
        match self.chain.first() {
            Some(shown) => self.server.options.rights.of(shown),
            None => Rights::NONE,
        }
    }

    /// From now on the connection ends when the certificate counts no more.
    pub(crate) fn admit(self, outbox: &Arc<Outbox>) -> Admitted {
        let server = self.server;
        let number = server.next_guest.fetch_add(1, Ordering::Relaxed);
        let member = Arc::new(Member {
            chain: self.chain,
            outbox: outbox.clone(),
        });
        server.admitted.lock().insert(number, member.clone());
        // They may have changed since the handshake began. Who changes them from now on sees it.
        let now = server.state.lock().certificates.clone();
        if !Arc::ptr_eq(&now, &self.judged_by) {
            member.judge(&now);
        }
        Admitted { server, number }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.server.admitted.lock().remove(&self.number);
    }
}

impl Member {
    fn judge(&self, certificates: &Certificates) {
        let Some((shown, between)) = self.chain.split_first() else {
            return;
        };
        let trust = &certificates.trust;
        if let Err(error) = trust.check(shown, between, UnixTime::now(), Purpose::Client) {
            let reason = format!("its certificate counts no more: {error}");
            self.outbox.dismiss(reason);
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | UnexpectedEof)
}
