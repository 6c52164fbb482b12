//! Pulls from a real registry, and from one that fails in every way that registries do.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use addons_manager::domain::specification::PinnedImage;
use addons_manager::runtime::docker::{DockerRuntime, PullSettings, RegistryLogin};
use addons_manager::runtime::{ChangeNeeded, ContainerRuntime, PullProgress, RuntimeError};
use base64::Engine as _;
use system_tests::{Fault, Image, Proxy, Pushed, World, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{SOON, docker, pin, pin_of, pull, reason, settings};

/// An image with one layer that takes a while at a few KiB a second.
async fn big(world: &World, name: &str) -> anyhow::Result<Pushed> {
    // Does not compress, and would not be compressed: layers are plain archives here.
    let content: Vec<u8> =
        (0_u32..1_000_000).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    world.registry.push(&Image::demo(name, "1").file("/content", content)).await
}

/// The pin of an image by way of a proxy before the registry.
fn through(proxy: &Proxy, pushed: &Pushed) -> PinnedImage {
    pin_of(&pushed.by_way_of(proxy.address()), &pushed.digest)
}

fn with_pulls(world: &World, change: impl FnOnce(&mut PullSettings)) -> DockerRuntime {
    let mut settings = settings(&world.engine.host());
    change(&mut settings.pulls);
    DockerRuntime::new(settings)
}

#[test]
fn by_digest_with_progress_by_bytes_and_nothing_asked_for_what_is_there() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let pushed = big(world, "big").await?;
        let proxy = Proxy::tcp(world.registry.address()).await?;
        proxy.set(Fault::Slow { piece: 256 * 1024, pause: Duration::from_millis(20) });
        let mut image = through(&proxy, &pushed);
        image.bytes = Some(5_000_000);
        let (sender, mut receiver) = mpsc::channel(1000);
        let pulled = docker.pull(&image, sender).await?;
        assert_eq!(pulled.id, pushed.config);
        assert!(
            pulled.repo_digests.contains(&format!("{}@{}", image.repository, image.digest)),
            "{pulled:?}"
        );
        let mut seen: Vec<PullProgress> = Vec::new();
        while let Ok(progress) = receiver.try_recv() {
            seen.push(progress);
        }
        assert!(seen.len() > 3, "{seen:?}");
        assert!(seen.is_sorted_by_key(|progress| progress.done_bytes), "it never goes back: {seen:?}");
        assert!(
            seen.iter().any(|progress| progress.done_bytes > 0 && progress.done_bytes < progress.total_bytes),
            "{seen:?}"
        );
        let last = seen.last().expect("one at least");
        assert_eq!(last.done_bytes, last.total_bytes, "{seen:?}");

        let asked = proxy.taken();
        proxy.set(Fault::Refuse);
        assert_eq!(pull(&docker, &image).await?, pushed.config);
        assert_eq!(proxy.taken(), asked, "the registry was asked again");
        // The tag may have moved on since it was reviewed: what is pinned is what is pulled.
        let newer = world.registry.push(&Image::demo("big", "1")).await?;
        assert_ne!(newer.digest, pushed.digest);
        assert_eq!(pull(&docker, &pin(&pushed)).await?, pushed.config);
        Ok(())
    });
}

#[test]
fn one_transfer_serves_all_who_ask_and_ends_when_nobody_does() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let pushed = big(world, "big").await?;
        let proxy = Proxy::tcp(world.registry.address()).await?;
        let slow = Fault::Slow { piece: 64 * 1024, pause: Duration::from_millis(20) };
        proxy.set(slow.clone());
        let image = through(&proxy, &pushed);
        let alone = {
            let docker = with_pulls(world, |_| ());
            pull(&docker, &image).await?;
            docker.untag(&format!("{}@{}", image.repository, image.digest)).await?;
            proxy.taken()
        };
        assert_eq!(docker.inspect_image(&pushed.config).await?, None, "it has gone again");
        let together = futures_util::future::join_all((0..8).map(|_| pull(&docker, &image))).await;
        assert!(
            together.iter().all(|outcome| outcome.as_ref().is_ok_and(|id| *id == pushed.config)),
            "{together:?}"
        );
        assert_eq!(proxy.taken(), alone * 2, "eight who ask are one transfer");
        docker.untag(&format!("{}@{}", image.repository, image.digest)).await?;

        // The first who asked goes away: the others have it all the same.
        proxy.set(Fault::Slow { piece: 64 * 1024, pause: Duration::from_millis(40) });
        let first = pull(&docker, &image);
        let second = pull(&docker, &image);
        tokio::pin!(second);
        {
            tokio::pin!(first);
            let some_time = tokio::time::timeout(
                Duration::from_millis(500),
                futures_util::future::join(&mut first, &mut second),
            )
            .await;
            assert!(some_time.is_err(), "it takes longer than this");
        }
        assert_eq!(second.await?, pushed.config);
        docker.untag(&format!("{}@{}", image.repository, image.digest)).await?;

        // Nobody waits any more: the engine's transfer ends, and what it had is let go.
        proxy.set(Fault::Slow { piece: 1024, pause: Duration::from_millis(50) });
        let cancelled = tokio::time::timeout(Duration::from_millis(700), pull(&docker, &image)).await;
        assert!(cancelled.is_err());
        let folder = docker.engine().await?.root_dir;
        eventually("the engine's transfer has ended", SOON, async || {
            let left = std::fs::read_dir(format!("{folder}/tmp"))?
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("GetImageBlob"));
            let left: Vec<_> = left.map(|entry| entry.path()).collect();
            anyhow::ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
        proxy.set(Fault::None);
        assert_eq!(pull(&docker, &image).await?, pushed.config);
        Ok(())
    });
}

#[test]
fn pulls_take_turns() {
    system_tests::run(async |world| {
        let docker = with_pulls(world, |pulls| pulls.parallel = 1);
        let proxy = Proxy::tcp(world.registry.address()).await?;
        let (one, two) = (big(world, "one").await?, world.registry.push(&Image::demo("two", "1")).await?);
        proxy.set(Fault::Slow { piece: 64 * 1024, pause: Duration::from_millis(30) });
        let (first, second) = (through(&proxy, &one), through(&proxy, &two));
        let pulling = pull(&docker, &first);
        tokio::pin!(pulling);
        let begun = async {
            eventually("the first has begun", SOON, async || {
                let _: () = anyhow::ensure!(proxy.taken() > 0);
                Ok(())
            })
            .await
        };
        tokio::select! {
            outcome = &mut pulling => panic!("it is slow: {outcome:?}"),
            begun = begun => drop(begun?),
        }
        let waiting = pull(&docker, &second);
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            outcome = &mut waiting => panic!("the small one did not wait for the big one: {outcome:?}"),
            outcome = &mut pulling => drop(outcome?),
        }
        waiting.await?;
        Ok(())
    });
}

#[test]
fn each_failure_is_its_kind() {
    system_tests::run(async |world| {
        let docker = with_pulls(world, |pulls| {
            pulls.idle = Duration::from_secs(2);
            pulls.total = Duration::from_secs(4);
        });
        let pushed = big(world, "big").await?;
        let proxy = Proxy::tcp(world.registry.address()).await?;
        let image = through(&proxy, &pushed);
        let retried = |outcome: Result<String, RuntimeError>| match outcome {
            Err(RuntimeError::Retry { message, engine_unreachable: false, .. }) => message,
            other => panic!("{other:?}"),
        };
        let mut unknown = image.clone();
        unknown.digest = format!("sha256:{}", "0".repeat(64));
        let outcome = pull(&docker, &unknown).await;
        assert!(matches!(outcome, Err(RuntimeError::Never { .. })), "{outcome:?}");
        let mut nowhere = image.clone();
        nowhere.repository = format!("{}/nobody/nothing", proxy.address());
        let outcome = pull(&docker, &nowhere).await;
        assert!(matches!(outcome, Err(RuntimeError::Never { .. })), "{outcome:?}");

        proxy.set(Fault::Refuse);
        retried(pull(&docker, &image).await);
        // In a registry's own words, and without any.
        let refusals = [
            (
                401,
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
                Some(ChangeNeeded::Authentication),
            ),
            (401, "", Some(ChangeNeeded::Authentication)),
            (
                403,
                r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#,
                Some(ChangeNeeded::Authentication),
            ),
            (403, "", Some(ChangeNeeded::Authentication)),
            (429, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"too many requests"}]}"#, None),
            (429, "", None),
            (500, "", None),
            (503, "<html>down</html>", None),
        ];
        for (status, body, expected) in refusals {
            let image = pin_of(&pushed.by_way_of(answering(status, body).await?), &pushed.digest);
            let outcome = pull(&docker, &image).await;
            let as_expected = match (&outcome, expected) {
                (Err(RuntimeError::WaitForChange { reason, .. }), Some(expected)) => *reason == expected,
                (Err(RuntimeError::Retry { message, .. }), None) => !message.contains("nothing has moved"),
                _ => false,
            };
            assert!(as_expected, "{status} {body}: {outcome:?}");
        }
        proxy.set(Fault::Garbage);
        retried(pull(&docker, &image).await);
        proxy.set(Fault::Hang);
        let begun = Instant::now();
        assert!(retried(pull(&docker, &image).await).contains("nothing has moved for 2s"));
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        // A trickle is no silence: the total deadline ends it.
        proxy.set(Fault::Slow { piece: 4096, pause: Duration::from_millis(50) });
        let begun = Instant::now();
        assert!(retried(pull(&docker, &image).await).contains("not done within 4s"));
        assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
        proxy.set(Fault::None);
        pull(&docker, &image).await?;
        Ok(())
    });
}

#[test]
fn the_platform_that_is_asked_for() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (here, there) =
            if cfg!(target_arch = "x86_64") { ("amd64", "arm64") } else { ("arm64", "amd64") };
        let images = [Image::demo("multi", "1"), Image::demo("multi", "1").architecture(there)];
        let pushed = world.registry.push_index(&images).await?;
        let proxy = Proxy::tcp(world.registry.address()).await?;
        let image = through(&proxy, &pushed);
        let mut foreign = image.clone();
        foreign.platform = Some(format!("linux/{there}"));
        let platform_of = async |image: &PinnedImage| -> anyhow::Result<String> {
            let (sender, _receiver) = mpsc::channel(1);
            Ok(docker.pull(image, sender).await?.platform)
        };
        assert_eq!(platform_of(&foreign).await?, format!("linux/{there}"));
        let asked = proxy.taken();
        assert_eq!(platform_of(&foreign).await?, format!("linux/{there}"));
        assert_eq!(proxy.taken(), asked, "it is there");
        // The digest is there, but not for this host; and the engine cannot have it for both.
        assert_eq!(reason(pull(&docker, &image).await), ChangeNeeded::Configuration);
        docker.untag(&format!("{}@{}", image.repository, image.digest)).await?;
        assert_eq!(platform_of(&image).await?, format!("linux/{here}"), "the host's, unasked");
        let mut none = image.clone();
        none.platform = Some("linux/s390x".to_owned());
        let outcome = pull(&docker, &none).await;
        assert!(matches!(outcome, Err(RuntimeError::Never { .. })), "{outcome:?}");
        Ok(())
    });
}

/// The head of a request; `None` for a connection that ends before, or that begins with TLS: the engine tries that first.
async fn head_of(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = client.read_buf(&mut head).await.unwrap_or(0);
        if read == 0 || head[0] == 0x16 {
            return None;
        }
    }
    Some(head)
}

/// A registry that answers everything but its root with this status and body.
async fn answering(status: u16, body: &'static str) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Some(head) = head_of(&mut client).await else { return };
                let (status, body) =
                    if head.starts_with(b"GET /v2/ ") { (200, "{}") } else { (status, body) };
                let answer = format!(
                    "HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _written = client.write_all(answer.as_bytes()).await;
            });
        }
    });
    Ok(address)
}

/// A registry that asks for a name and a password: the world's one behind a gate.
async fn gated(target: SocketAddr, login: &str) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let expected =
        format!("authorization: basic {}", base64::prelude::BASE64_STANDARD.encode(login)).to_lowercase();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let expected = expected.clone();
            tokio::spawn(async move {
                let Some(head) = head_of(&mut client).await else { return };
                if !String::from_utf8_lossy(&head).to_lowercase().contains(&expected) {
                    let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"gate\"\r\nContent-Type: application/json\r\n\
                                  Docker-Distribution-Api-Version: registry/2.0\r\nContent-Length: 87\r\nConnection: close\r\n\r\n\
                                  {\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"authentication required\",\"detail\":null}]}  ";
                    let _written = client.write_all(answer.as_bytes()).await;
                    return;
                }
                if let Ok(mut registry) = TcpStream::connect(target).await
                    && registry.write_all(&head).await.is_ok()
                {
                    let _ended = tokio::io::copy_bidirectional(&mut client, &mut registry).await;
                }
            });
        }
    });
    Ok(address)
}

#[test]
fn with_the_login_of_the_registry() {
    system_tests::run(async |world| {
        let pushed = world.registry.push(&Image::demo("private", "1")).await?;
        // Characters that stand apart in the two alphabets of base64, at every offset.
        let password = "a~b?c>d~~~???>>>é";
        let address = gated(world.registry.address(), &format!("me:{password}")).await?;
        let image = pin_of(&pushed.by_way_of(address), &pushed.digest);
        assert_eq!(
            reason(pull(&docker(world), &image).await),
            ChangeNeeded::Authentication,
            "without a login"
        );
        let login =
            |password: &str| RegistryLogin::Password { username: "me".to_owned(), password: password.into() };
        let with = |host: String, password: &str| {
            let mut settings = settings(&world.engine.host());
            settings.registries.insert(host, login(password));
            DockerRuntime::new(settings)
        };
        let wrong = pull(&with(address.to_string(), "wrong"), &image).await;
        assert_eq!(reason(wrong), ChangeNeeded::Authentication, "with a wrong one");
        let elsewhere = pull(&with("127.0.0.1:5000".to_owned(), password), &image).await;
        assert_eq!(reason(elsewhere), ChangeNeeded::Authentication, "another registry's login is not sent");
        assert_eq!(pull(&with(address.to_string(), password), &image).await?, pushed.config);
        Ok(())
    });
}

#[test]
fn the_reserve_of_the_disk_is_left_alone() {
    system_tests::run(async |world| {
        let pushed = big(world, "big").await?;
        let proxy = Proxy::tcp(world.registry.address()).await?;
        let mut image = through(&proxy, &pushed);
        // Before: three times the missing bytes do not fit.
        image.bytes = Some(u64::MAX / 4);
        let outcome = pull(&docker(world), &image).await;
        assert!(
            outcome.as_ref().is_err_and(|error| error.to_string().contains("disk.reserve")),
            "{outcome:?}"
        );
        assert_eq!(reason(outcome), ChangeNeeded::DiskFull);
        assert_eq!(proxy.taken(), 0, "nothing was begun");

        // As the size comes out: the pin says nothing, the layer too much.
        image.bytes = None;
        let free = docker(world).free_bytes().await?.expect("it can be seen");
        let tight = with_pulls(world, |pulls| pulls.disk_reserve_bytes = free - 9_000_000);
        proxy.set(Fault::Slow { piece: 16 * 1024, pause: Duration::from_millis(20) });
        assert_eq!(reason(pull(&tight, &image).await), ChangeNeeded::DiskFull);

        // Meanwhile: somebody else fills the disk.
        let folder = world.folder("")?;
        let size = nix::sys::statvfs::statvfs(&folder)?;
        let used = (size.blocks() - size.blocks_available()) * size.fragment_size();
        let limit = format!("size={}", used + 300 * 1024 * 1024);
        let again = nix::mount::MsFlags::MS_REMOUNT;
        nix::mount::mount(None::<&str>, &folder, None::<&str>, again, Some(limit.as_str()))?;
        let watched = with_pulls(world, |pulls| pulls.disk_reserve_bytes = 200 * 1024 * 1024);
        let (sender, mut progress) = mpsc::channel(1000);
        let outcome = tokio::join!(watched.pull(&image, sender), async {
            // The pull has begun, and some of the layer has arrived.
            while let Some(seen) = progress.recv().await {
                if seen.done_bytes > 0 {
                    return std::fs::write(folder.join("ballast"), vec![0; 250 * 1024 * 1024]);
                }
            }
            panic!("the pull ended before anything had arrived");
        });
        outcome.1?;
        let words = outcome.0.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert!(words.contains("cancelled"), "{words}");
        assert_eq!(reason(outcome.0), ChangeNeeded::DiskFull);
        std::fs::remove_file(folder.join("ballast"))?;
        proxy.set(Fault::None);
        assert_eq!(pull(&watched, &image).await?, pushed.config, "there is room again");
        Ok(())
    });
}
