//! What `deploy/` offers is what runs: both images, the Compose file, and the example settings.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use bollard::models::HealthStatusEnum;
use serde_json::json;
use system_tests::{Compose, Image, World, demo_service, eventually, output, repository, target_folder};

const LIMIT: Duration = Duration::from_secs(60);
/// Fetching Compose the first time, from a slow index.
const SETUP_LIMIT: Duration = Duration::from_secs(240);

/// The images of both services, made on this world's engine from the binaries that were built.
async fn build_images(world: &World, folder: &Path) -> anyhow::Result<()> {
    let mut images = Command::new(repository().join("scripts/images.sh"));
    images.current_dir(repository()).env("DOCKER_HOST", world.engine.host());
    images.arg("--from").arg(target_folder()?).env("OAK_CONTEXTS", folder.join("contexts"));
    output(images).await?;
    Ok(())
}

/// A file that only its owner reads, as a secret is mounted.
fn secret(path: PathBuf, text: &str, owner: u32) -> anyhow::Result<PathBuf> {
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400))?;
    std::os::unix::fs::chown(&path, Some(owner), None)?;
    Ok(path)
}

#[test]
fn the_example_settings_are_the_defaults() {
    for service in ["marketplace", "addons-manager"] {
        let show = |arguments: &[&str]| {
            let binary = target_folder().unwrap().join(service);
            let output =
                Command::new(binary).args(arguments).arg("--print-config").current_dir(repository()).output();
            let output = output.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let example = format!("deploy/{service}.toml");
        assert_eq!(show(&["--config", &example]), show(&[]), "{example}");
        let text = fs::read_to_string(repository().join(&example)).unwrap();
        for line in show(&[]).lines().filter(|line| !line.is_empty() && !line.starts_with("state_dir")) {
            let key = line.split(" =").next().unwrap();
            // A table in a table may stand on one line.
            let inline = key.trim_end_matches(']').rsplit_once('.').map(|(_, last)| format!("{last} = {{"));
            let said = text.contains(key) || inline.is_some_and(|inline| text.contains(&inline));
            assert!(said, "{example} says nothing about {key}");
        }
    }
}

#[test]
fn the_compose_file_starts_both_services_and_an_addon_installs_through_them() {
    system_tests::run_for(SETUP_LIMIT, async |world| {
        let folder = world.folder("compose")?;
        build_images(world, &folder).await?;
        let program = Compose::find(world).await?;

        let token = |name: &str, owner| {
            secret(folder.join(name), &format!("{name}-0123456789abcdef0123456789"), owner)
        };
        let market_token = token("marketplace-admin-token", 10001)?;
        let manager_token = token("manager-admin-token", 0)?;
        let state = world.folder("manager-state")?;
        // The one thing that this world has and others have not: a registry without TLS, at the bridge's address.
        let registry = world.registry.bridge_address();
        let settings = folder.join("settings.toml");
        fs::write(&settings, format!("[registries.\"{registry}\"]\ninsecure = true\n"))?;
        let extra = folder.join("extra.yaml");
        let mount = format!("{}:/settings.toml:ro", settings.display());
        let service = |name: &str| {
            // The images' own checks, only more often: waiting for them is most of this test's time.
            let healthcheck = json!({"interval": "1s"});
            let command = ["--config", "/settings.toml"];
            json!({"command": command, "volumes": [mount], "image": format!("oak-{name}"), "healthcheck": healthcheck})
        };
        let services =
            json!({"marketplace": service("marketplace"), "addons-manager": service("addons-manager")});
        fs::write(&extra, json!({"services": services}).to_string())?;
        let compose = |arguments: &[&str]| {
            let mut command = program.command();
            command.args(["-f", "deploy/compose.yaml", "-f"]).arg(&extra).args(arguments);
            command.env("DOCKER_SOCKET", world.engine.socket()).env("MANAGER_STATE", &state);
            command.env("MARKETPLACE_TOKEN_FILE", &market_token).env("MANAGER_TOKEN_FILE", &manager_token);
            command
        };
        output(compose(&["up", "-d", "--wait", "--wait-timeout", "60"])).await?;
        for name in ["oak-addons-marketplace-1", "oak-addons-addons-manager-1"] {
            let health = world
                .container(name)
                .await?
                .state
                .and_then(|state| state.health)
                .and_then(|health| health.status);
            assert_eq!(health, Some(HealthStatusEnum::HEALTHY), "{name}");
        }

        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let call =
            async |method: reqwest::Method, url: &str, token: &Path, body: Option<serde_json::Value>| {
                let mut request = http.request(method, url).bearer_auth(fs::read_to_string(token)?);
                if let Some(body) = &body {
                    request = request.json(body);
                }
                let answer = request.send().await?;
                let status = answer.status();
                let text = answer.text().await?;
                ensure!(status.is_success(), "{url} answered {status}: {text}");
                Ok(serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default())
            };
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let mut web = demo_service("web", &image.by_way_of(registry));
        web["ports"] = json!({"8080": "8080"});
        web["files"] = json!([{"path": "/etc/hello.conf", "content": "greeting"}]);
        let releases = "http://127.0.0.1:11102/api/v1/marketplace/addons";
        let document = json!({"name": "hello", "services": [web]});
        let release = call(reqwest::Method::POST, releases, &market_token, Some(document)).await?;
        let id = release["_id"].as_str().context("a release has an _id")?;
        eventually("it is approved", LIMIT, async || {
            let release =
                call(reqwest::Method::GET, &format!("{releases}/{id}"), &market_token, None).await?;
            ensure!(release["status"] == "approved", "{}", release["status"]);
            Ok(())
        })
        .await?;
        // Larger statements and sorts need temporary files of SQLite, and nothing but its state is writable there.
        let mut others = Vec::new();
        for number in 0..150 {
            let web = demo_service("web", &image.by_way_of(registry));
            let document = json!({"name": format!("other-{number}"), "services": [web]});
            let release = call(reqwest::Method::POST, releases, &market_token, Some(document)).await?;
            others.push(release["_id"].as_str().context("a release has an _id")?.to_owned());
        }
        eventually("all of them are approved", LIMIT, async || {
            for other in &others {
                let url = format!("{releases}/{other}");
                let release = call(reqwest::Method::GET, &url, &market_token, None).await?;
                ensure!(release["status"] == "approved", "{other}: {}", release["status"]);
            }
            Ok(())
        })
        .await?;
        let addons = "http://127.0.0.1:11101/api/v1/addons";
        let installed =
            call(reqwest::Method::POST, addons, &manager_token, Some(json!({"marketplace_id": id}))).await?;
        let installation = installed["_id"].as_str().context("an installation has an _id")?;
        eventually("it is active", LIMIT, async || {
            let url = format!("{addons}/{installation}");
            let installation = call(reqwest::Method::GET, &url, &manager_token, None).await?;
            ensure!(installation["status"] == "active", "{}", installation["service_states"]);
            Ok(())
        })
        .await?;
        // The file is bound from the state folder, which is at the same path inside and outside.
        assert_eq!(world.fetch(8080, "/fs?path=/etc/hello.conf").await?, "greeting");

        output(compose(&["down", "-v"])).await?;
        assert_eq!(world.container_names().await?, ["hello-web"], "the addon runs on without its manager");
        Ok(())
    });
}

/// The replicas of the file, on a server of this world instead of the file's own, whose image cannot be had here.
#[test]
fn the_replicas_of_the_compose_file_are_one_marketplace() {
    system_tests::run_for(SETUP_LIMIT, async |world| {
        let folder = world.folder("replicas")?;
        build_images(world, &folder).await?;
        let program = Compose::find(world).await?;

        let server = postgres_for_tests::Server::start();
        server.create("market");
        // Containers have a network of their own: they reach the server by its socket.
        fs::set_permissions(server.folder(), fs::Permissions::from_mode(0o755))?;
        let url = server.url("market").replace(&server.folder().display().to_string(), "/server");
        let secret = |name: &str, text: &str| secret(folder.join(name), text, 10001);
        let url = secret("database-url", &url)?;
        let token = secret("token", "three-replicas-0123456789abcdef")?;
        // Made as the file says.
        let mut key = Command::new("openssl");
        key.args(["genpkey", "-algorithm", "ed25519"]);
        let key = secret("signing-key", &String::from_utf8(output(key).await?.stdout)?)?;
        let names = ["marketplace-1", "marketplace-2", "marketplace-3"];
        let mount = format!("{}:/server", server.folder().display());
        let services = names
            .map(|name| (name.to_owned(), json!({"volumes": [mount], "healthcheck": {"interval": "1s"}})));
        let services: serde_json::Map<String, serde_json::Value> = services.into_iter().collect();
        let extra = folder.join("extra.yaml");
        fs::write(&extra, json!({"services": services}).to_string())?;
        let compose = |arguments: &[&str]| {
            let mut command = program.command();
            command.args(["-f", "deploy/replicas.yaml", "-f"]).arg(&extra).args(arguments);
            command.env("DATABASE_URL_FILE", &url).env("MARKETPLACE_TOKEN_FILE", &token);
            command.env("SIGNING_KEY_FILE", &key).env("POSTGRES_PASSWORD_FILE", &token);
            command
        };
        let up = ["up", "-d", "--wait", "--wait-timeout", "60", "--no-deps"];
        output(compose(&[&up[..], &names[..]].concat())).await?;

        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let ports = [11102, 11103, 11104];
        let document =
            json!({"name": "hello", "services": [demo_service("web", "registry.invalid/hello:1")]});
        let mut ids = Vec::new();
        for port in ports {
            let url = format!("http://127.0.0.1:{port}/api/v1/marketplace/addons");
            let post = http.post(url).bearer_auth(fs::read_to_string(&token)?).json(&document);
            let answer = post.send().await?.error_for_status()?.json::<serde_json::Value>().await?;
            ids.push(answer["_id"].clone());
        }
        assert_eq!(
            ids,
            [ids[0].clone(), ids[0].clone(), ids[0].clone()],
            "a retry at another replica is the same"
        );
        let mut keys = Vec::new();
        for port in ports {
            let url = format!("http://127.0.0.1:{port}/api/v1/marketplace/keys");
            keys.push(http.get(url).send().await?.error_for_status()?.text().await?);
        }
        assert!(keys.iter().all(|set| *set == keys[0]), "{keys:?}");
        output(compose(&["down", "-v"])).await?;
        Ok(())
    });
}
