//! Docker Compose, on a world's engine.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, ensure};

use crate::world::World;

/// The program, and the engine it is to speak to.
pub struct Compose {
    words: Vec<String>,
    host: String,
}

impl Compose {
    /// The one that `scripts/setup.sh compose` finds on this machine, or installs.
    pub async fn find(world: &World) -> anyhow::Result<Self> {
        let mut setup = Command::new(repository().join("scripts/setup.sh"));
        setup.arg("compose");
        let found = String::from_utf8(output(setup).await?.stdout)?;
        Ok(Self { words: found.split_whitespace().map(str::to_owned).collect(), host: world.engine.host() })
    }

    /// A call of it, from the repository's root. The engine of the machine, or the settings that name another one, do not come in.
    ///
    /// # Panics
    /// Where `scripts/setup.sh` printed nothing.
    pub fn command(&self) -> Command {
        let (program, rest) = self.words.split_first().expect("the script prints a command");
        let mut command = Command::new(program);
        command.args(rest).current_dir(repository()).env("DOCKER_HOST", &self.host);
        command
    }
}

/// The folder of the whole project.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a command to its end; an error with what it said when it fails.
pub async fn output(mut command: Command) -> anyhow::Result<Output> {
    let shown = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output()).await?;
    let output = output.with_context(|| format!("cannot start {shown}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown} ended with {}:\n{said}", output.status);
    Ok(output)
}
