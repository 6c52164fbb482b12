//! The audit log: what somebody who can write to the database changes of it is found, by `marketplace audit verify` too; and
//! what is written where everybody is an administrator. That every call that changes something leaves its row is told in
//! `matrix.rs`, call by call.

use addon_client::trust::{Envelope, IndexRoot};
use marketplace::app::DATABASE;
use serde_json::{Value, json};
use service_kit::auth::AuthMode;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};

use crate::market::{ADDONS, Market, document, eventually};
use crate::process::{Process, marketplace, refusal, run};
use crate::registry::Registry;

/// The columns that a row has, and a value that it does not have there.
const COLUMNS: [(&str, &str); 9] = [
    ("at_ms", "at_ms + 1"),
    ("account", "'mallory'"),
    ("token_id", "COALESCE(token_id, '') || 'x'"),
    ("action", "action || 'x'"),
    ("subject_kind", "'addon'"),
    ("subject_id", "subject_id || 'x'"),
    ("reason", "COALESCE(reason, '') || 'x'"),
    ("detail", "json_set(detail, '$.x', 1)"),
    ("request_id", "COALESCE(request_id, '') || 'x'"),
];

async fn execute(connection: &mut SqliteConnection, sql: &str) -> u64 {
    sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
        .rows_affected()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_of_the_log_the_command_line_finds_it() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), &registry).await;
    for n in 0..6 {
        process.publish(&document(&format!("probe-{n}"), "r.invalid/a:1")).await.expect(201);
    }
    eventually("every row is chained", || async {
        let report = process.get("/api/v1/audit/verify").await.expect(200).json();
        (report["not_chained"] == json!([])).then_some(())
    })
    .await;
    let verify = || {
        let mut command = marketplace(folder.path());
        command.args(["audit", "verify"]);
        command
    };
    // While it runs.
    let whole = run(&mut verify());
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    process.stop();
    let noted: Value = serde_json::from_slice(&run(&mut verify()).stdout).unwrap();
    let rows = noted["position"].as_i64().unwrap();
    assert!(noted["intact"] == true && rows >= 7, "{noted}");
    let (position, hash) = (rows.to_string(), noted["hash"].as_str().unwrap().to_owned());
    let noted = ["--position", &position, "--hash", &hash];
    assert!(run(verify().args(noted)).status.success());

    let database = folder.path().join(DATABASE);
    let original = std::fs::read(&database).unwrap();
    let columns = "at_ms, account, token_id, action, subject_kind, subject_id, reason, detail, request_id";
    let mut changes: Vec<(String, String)> = Vec::new();
    for row in [1, rows / 2, rows] {
        for (column, value) in COLUMNS {
            changes.push((
                format!("{column} of {row}"),
                format!("UPDATE audit SET {column} = {value} WHERE seq = {row}"),
            ));
        }
        changes.push((format!("without {row}"), format!("DELETE FROM audit WHERE seq = {row}")));
        changes.push((
            format!("without {row} and its place"),
            format!("DELETE FROM audit WHERE seq = {row}; DELETE FROM audit_chain WHERE seq = {row}"),
        ));
        changes.push((
            format!("another hash at {row}"),
            format!("UPDATE audit_chain SET hash = 'x' WHERE seq = {row}"),
        ));
    }
    changes.extend([
        (
            "two rows in each other's place".to_owned(),
            "UPDATE audit SET seq = 999 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 999".to_owned(),
        ),
        (
            "a row before the first".to_owned(),
            format!("INSERT INTO audit (seq, {columns}) SELECT 0, {columns} FROM audit WHERE seq = 2"),
        ),
        (
            "a row in a gap".to_owned(),
            format!("DELETE FROM audit WHERE seq = 4; INSERT INTO audit (seq, {columns}) SELECT 4, {columns} FROM audit WHERE seq = 2"),
        ),
        ("no rows".to_owned(), "DELETE FROM audit".to_owned()),
        ("no rows and no chain".to_owned(), "DELETE FROM audit; DELETE FROM audit_chain".to_owned()),
        (
            "the end cut off".to_owned(),
            format!("DELETE FROM audit WHERE seq > {rows} - 2; DELETE FROM audit_chain WHERE seq > {rows} - 2"),
        ),
        ("no head".to_owned(), "DELETE FROM audit_head".to_owned()),
        ("another head".to_owned(), "UPDATE audit_head SET position = position - 1, seq = seq - 1".to_owned()),
    ]);
    for (what, sql) in &changes {
        std::fs::write(&database, &original).unwrap();
        let mut connection = SqliteConnectOptions::new().filename(&database).connect().await.unwrap();
        for table in ["audit", "audit_chain"] {
            for verb in ["update", "delete"] {
                execute(&mut connection, &format!("DROP TRIGGER {table}_no_{verb}")).await;
            }
        }
        let mut changed = 0;
        for sql in sql.split("; ") {
            changed += execute(&mut connection, sql).await;
        }
        assert!(changed > 0, "{what} changed nothing");
        connection.close().await.unwrap();
        let said = refusal(&mut verify());
        assert!(said.contains("the audit log was changed"), "{what}: {said}");
    }

    // Whoever cuts the end off, and makes the head fit, is found by what was signed.
    std::fs::write(&database, &original).unwrap();
    let mut process = Process::start(folder.path(), &registry).await;
    let kept = folder.path().join("index.json");
    let speaks = eventually("the index speaks of every row", || async {
        let index = process.get("/api/v1/marketplace/index").await.text;
        let root: IndexRoot = Envelope::unverified(index.as_bytes()).ok()?;
        std::fs::write(&kept, index).unwrap();
        root.audit.filter(|head| head.position >= rows.unsigned_abs())
    })
    .await;
    process.stop();
    let by_index = || {
        let mut command = verify();
        command.arg("--index").arg(&kept);
        command
    };
    assert!(run(&mut verify()).status.success() && run(&mut by_index()).status.success());
    let signed = std::fs::read(&database).unwrap();
    let mut connection = SqliteConnectOptions::new().filename(&database).connect().await.unwrap();
    for sql in [
        "DROP TRIGGER audit_no_delete",
        "DROP TRIGGER audit_chain_no_delete",
        "DELETE FROM audit WHERE seq > 3",
        "DELETE FROM audit_chain WHERE seq > 3",
        "UPDATE audit_head SET (position, seq, hash) = (SELECT position, seq, hash FROM audit_chain WHERE seq = 3)",
    ] {
        execute(&mut connection, sql).await;
    }
    let place = format!("it had {} at {}, and it ends before", speaks.hash, speaks.position);
    for said in [refusal(&mut verify()), refusal(&mut by_index())] {
        assert!(said.contains(&place), "{said}");
    }
    execute(&mut connection, "DELETE FROM signed_documents").await;
    connection.close().await.unwrap();
    assert!(run(&mut verify()).status.success(), "nothing in the database tells of it");
    assert!(refusal(&mut by_index()).contains("index.json, of "));
    let of_another = kept.with_file_name("other.json");
    let text = std::fs::read_to_string(&kept).unwrap().replace("\"sig\":\"", "\"sig\":\"A");
    std::fs::write(&of_another, text).unwrap();
    assert!(
        refusal(verify().arg("--index").arg(&of_another))
            .contains("other.json is not one of this marketplace")
    );

    // Whoever makes the whole chain anew is found by that, and by what was noted.
    std::fs::write(&database, &signed).unwrap();
    let mut connection = SqliteConnectOptions::new().filename(&database).connect().await.unwrap();
    for sql in [
        "DROP TRIGGER audit_no_update",
        "DROP TRIGGER audit_chain_no_delete",
        "UPDATE audit SET account = 'mallory' WHERE seq = 2",
        "DELETE FROM audit_chain",
        "UPDATE audit_head SET position = 0, seq = 0, hash = ''",
        "DELETE FROM signed_documents",
    ] {
        execute(&mut connection, sql).await;
    }
    connection.close().await.unwrap();
    let storage = marketplace::storage::Storage::open_sqlite(&database).await.unwrap();
    storage.chain_audit(1_000).await.unwrap();
    storage.db().close().await;
    assert!(run(&mut verify()).status.success(), "the chain is one");
    let said = refusal(verify().args(noted));
    assert!(said.contains("another one than was noted"), "{said}");
    let said = refusal(&mut by_index());
    assert!(said.contains(&format!("at {}, where it has sha256:", speaks.position)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_open_mode_too_every_change_has_its_row() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::start(|config| {
        registry.allow(config);
        config.auth.mode = AuthMode::Open;
    })
    .await;
    let body = |value: &Value| Some(serde_json::to_vec(value).unwrap());
    let post =
        async |path: &str, value: &Value| market.send(reqwest::Method::POST, path, None, body(value)).await;
    let id =
        post(ADDONS, &document("probe", &image)).await.expect(201).json()["_id"].as_str().unwrap().to_owned();
    market.until(&id, "approved").await;
    for (action, said) in [
        ("yank", json!({"reason": "r"})),
        ("unyank", json!({})),
        ("revoke", json!({"reason": "r", "severity": "warn"})),
    ] {
        post(&format!("{ADDONS}/{id}/{action}"), &said).await.expect(200);
    }
    let rows = market.get(&format!("/api/v1/audit?subject={id}")).await.expect(200).json();
    let rows = rows.as_array().unwrap();
    let actions: Vec<&str> = rows.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["release.revoke", "release.unyank", "release.yank", "release.publish"]);
    for row in rows {
        assert!(row["account"].as_str().is_some_and(|account| !account.is_empty()), "{row}");
        assert!(row.get("token_id").is_none() && row["request_id"].is_string(), "{row}");
    }
}
