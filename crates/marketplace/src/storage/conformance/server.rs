//! A PostgreSQL database for each test, with the tables that this version makes.

use std::time::Duration;

use postgres_for_tests::Database;
use service_kit::db::PostgresSettings;

use super::super::POSTGRES;
use super::Storage;

/// A database with this version's tables. The template's name changes with the migrations, since a run of other tests may
/// use the server as well.
pub(in super::super) async fn database() -> Database {
    let checksums: Vec<u8> = POSTGRES.iter().flat_map(|step| step.checksum.iter().copied()).collect();
    let key = &addon_descriptor::Digest::of(&checksums).hex()[..16];
    postgres_for_tests::database(key, async |url| {
        Storage::open_postgres(&settings(&url)).await.unwrap().db().close().await;
    })
    .await
}

/// How a test uses a database: with few connections, since many tests use one server.
pub(in super::super) fn settings(url: &str) -> PostgresSettings {
    PostgresSettings {
        url: url.to_owned().into(),
        connections: 8,
        patience: Duration::from_secs(10),
        application: "test".to_owned(),
    }
}

pub(super) async fn on_postgres() -> (Storage, Database) {
    let database = database().await;
    (Storage::open_postgres(&settings(database.url())).await.unwrap(), database)
}
