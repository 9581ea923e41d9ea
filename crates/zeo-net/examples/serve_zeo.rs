//! Serves a Data.fs to ZEO clients: `cargo run -p zeo-net --example serve_zeo -- PATH ADDR [msgpack]`.

use std::error::Error;
use std::sync::Arc;

use filestorage::{FileStorage, Options};
use zeo_net::{Encoding, Server, ServerOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("name a Data.fs")?;
    let address = args.next().ok_or("name an address, as 127.0.0.1:8100")?;
    let encoding = match args.next().as_deref() {
        Some("msgpack") => Encoding::Msgpack,
        _ => Encoding::Pickle,
    };
    let storage = FileStorage::open(path, Options::default())?;
    let options = ServerOptions {
        encoding,
        ..ServerOptions::default()
    };
    let server = Server::bind(address.parse()?, options)?;
    eprintln!("listening on {}", server.local_addr()?);
    let storages = vec![("1".to_owned(), storage.clone() as Arc<dyn storage::Storage>)];
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(server.run(storages, async {
        let _interrupted = tokio::signal::ctrl_c().await;
    }))?;
    storage.close()?;
    Ok(())
}
