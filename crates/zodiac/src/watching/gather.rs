//! Asking everybody.

use super::health::{Watched, WatchedServer, WatchedStorage};
use super::process::Process;
use super::report::{ByEncoding, Client, File, Report, Server, Storage};
use crate::cli::VERSION;
use crate::clock;

impl Watched {
    /// How everything is. It may wait for those who hold a lock.
    pub(super) fn report(&self) -> Report {
        let ready = self.check_ready();
        Report {
            version: VERSION.to_owned(),
            time: clock::since_1970().as_secs_f64(),
            uptime: self.uptime().as_secs_f64(),
            ready: ready.is_ok(),
            state: ready.err().unwrap_or_else(|| "ready".to_owned()),
            process: Process::read(),
            server: self.server().and_then(|server| server.report()),
        }
    }
}

impl WatchedServer {
    fn report(&self) -> Option<Server> {
        let figures = self.monitor.figures()?;
        let now = clock::since_1970();
        let hub = &figures.hub;
        let storages = hub.storages.iter().map(|figures| {
            let mut storage = Storage::new(figures, now);
            if let Some(watched) = self.storages.iter().find(|it| it.name == storage.name) {
                storage.classes = watched.conflicts.classes();
                storage.file = watched.file();
            }
            storage
        });
        Some(Server {
            connected: ByEncoding::new(hub.connections),
            refused_for_room: figures.refused_for_room,
            refused_by_tls: figures.refused_by_tls,
            received: hub.traffic.received,
            sent: hub.traffic.sent,
            certificate_expires: figures.certificate_expires.map(|at| at.as_secs_f64()),
            storages: storages.collect(),
            clients: hub.clients.iter().map(Client::from).collect(),
        })
    }
}

impl WatchedStorage {
    fn file(&self) -> Option<File> {
        let mut files = self.files.iter().map(|file| file.figures());
        let mut all = files.next()?;
        for file in files {
            all.syncs.add(&file.syncs);
            all.syncing = all.syncing.max(file.syncing);
            all.transactions += file.transactions;
        }
        Some(File {
            syncs: (&all.syncs).into(),
            syncing: all.syncing.map(|span| span.as_secs_f64()),
            transactions: all.transactions,
        })
    }
}
