//! `make demo`, as a newcomer runs it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bollard::query_parameters::ListImagesOptions;
use system_tests::{eventually, target_folder};

const LIMIT: Duration = Duration::from_secs(240);

#[test]
fn the_demo_tells_its_story_and_leaves_nothing_behind() {
    system_tests::run_for(LIMIT, async |world| {
        // Two of the ports that it would like are taken.
        let _taken = [
            std::net::TcpListener::bind("127.0.0.1:11102")?,
            std::net::TcpListener::bind("127.0.0.1:10007")?,
        ];
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/demo.sh");
        let target = target_folder()?;
        let target = target.parent().expect("a profile lies in the target folder").to_owned();
        let output = world.folder("logs")?.join("demo.log");
        let log = std::fs::File::options().create(true).append(true).open(&output)?;
        let begun = Instant::now();
        let mut demo = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", script])
            .env("DEMO_ONESHOT", "1")
            .env("DOCKER_HOST", world.engine.host())
            .env("CARGO_TARGET_DIR", target)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let (status, _) = eventually("the demo ends", LIMIT, async || {
            demo.try_wait()?.ok_or_else(|| anyhow::anyhow!("it still runs"))
        })
        .await?;
        let story = std::fs::read_to_string(&output)?;
        assert!(status.success(), "{story}");
        crate::measured("the demo", begun.elapsed());
        for part in [
            "port 11102 is taken",
            "port 10007 is taken",
            "pinned by digest, and the release approved",
            "Your addon is up and running",
            "healed: the page was served again after",
            "/api/docs",
            "curl -s",
            "Done: no container, network, volume, image, process or folder",
        ] {
            assert!(story.contains(part), "{part:?} is missing in:\n{story}");
        }
        assert_eq!(world.container_names().await?, [""; 0]);
        assert_eq!(world.network_names().await?, [""; 0]);
        assert_eq!(world.volume_names().await?, [""; 0]);
        let images = world.docker.list_images(None::<ListImagesOptions>).await?;
        assert!(images.is_empty(), "{images:?}");
        let folder =
            story.split_whitespace().find_map(|word| word.find("/tmp/oak-demo-").map(|at| &word[at..]));
        let folder = folder
            .and_then(|path| path.get(.."/tmp/oak-demo-XXXXXX".len()))
            .expect("the story names its folder");
        assert!(!std::path::Path::new(folder).exists(), "{folder} is left");
        Ok(())
    });
}
