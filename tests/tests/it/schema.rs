//! Whether both services answer as their OpenAPI documents say, asked by schemathesis: every call, with values drawn from
//! the document, right ones and wrong ones, always the same. No 5xx, no status, type, header or body that the document does
//! not have. `SCHEMATHESIS_EXAMPLES=200` when this is built draws more of each call.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use system_tests::{Image, Service, Setup, World, demo_service};
use tokio::process::Command;

use crate::measured;

/// Of each call, beside those that follow from its limits.
const EXAMPLES: Option<&str> = option_env!("SCHEMATHESIS_EXAMPLES");

/// A document cannot say everything of a body that is refused, so what a service refuses though the document would have it,
/// and the other way round, is not asked here.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,unsupported_method,allow_header_conformance,missing_required_header,ignored_auth";

fn limit() -> Duration {
    Duration::from_secs(if EXAMPLES.is_some() { 3_600 } else { 240 })
}

async fn asked(world: &World, service: &Service) -> anyhow::Result<()> {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/setup.sh");
    let found = Command::new(setup).arg("schemathesis").output().await?;
    ensure!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let program = String::from_utf8(found.stdout)?;
    let token = service.token().context("it has a token")?;
    let begun = std::time::Instant::now();
    let mut command = Command::new(program.trim());
    command
        .args([
            "run",
            &service.url("/docs/openapi.json"),
            "--header",
            &format!("Authorization: Bearer {token}"),
        ])
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--exclude-deprecated"])
        // A stream has no end.
        .args(["--exclude-path-regex", "/events$"])
        .args(["--max-examples", EXAMPLES.unwrap_or("3"), "--seed", "1", "--generation-deterministic"])
        .args(["--suppress-health-check", "all"])
        .args(["--continue-on-failure", "--no-color", "--warnings", "off", "--request-timeout", "20"])
        // It leaves notes where it stands.
        .current_dir(world.folder("schemathesis")?)
        .kill_on_drop(true);
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    ensure!(said.contains("generated"), "nothing was asked: {said}");
    measured(
        said.lines().rfind(|line| line.contains("generated")).unwrap_or_default().trim(),
        begun.elapsed(),
    );
    Ok(())
}

#[test]
fn the_marketplace_answers_as_its_document_says() {
    system_tests::run_for(limit(), async |world| {
        let setup = Setup::default().set("limits.enabled", false).set("auth.wrong_tokens.burst", 0);
        let market = world.marketplace(setup).await?;
        let image = world.registry.push(&Image::demo("web", "1")).await?;
        market
            .approved(&json!({"name": "probe", "services": [demo_service("web", &image.reference)]}))
            .await?;
        asked(world, &market.service).await
    });
}

#[test]
fn the_manager_answers_as_its_document_says() {
    system_tests::run_for(limit(), async |world| {
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let image = world.registry.push(&Image::demo("web", "1")).await?;
        market
            .approved(&json!({"name": "probe", "services": [demo_service("web", &image.reference)]}))
            .await?;
        asked(world, &manager.service).await
    });
}
