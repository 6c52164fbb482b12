//! The namespaces and the folder of one world.
//!
//! A thread leaves the host's network and mount namespaces before it makes its run time, so every thread and process
//! that it starts afterwards is inside too. The folder is a file system in memory: nobody outside sees it, and it is
//! gone with the last process that does.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Short, since the path of a Unix socket has at most 108 bytes.
const PARENT: &str = "/tmp";
/// Begins the name of every folder and control group; then the process id that owns it, and a number.
const PREFIX: &str = "oak-test-";

/// The folder of one world, and its name, which control groups have too.
pub(crate) struct Isolation {
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
}

impl Isolation {
    /// Takes the calling thread out of the host's namespaces. It has to be a thread that nothing else uses, since
    /// there is no way back.
    pub(crate) fn enter() -> anyhow::Result<Self> {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the system tests make network namespaces and start a Docker Engine of their own, which takes root: \
             run them as root (`sudo -E make test`), or leave them out with `cargo test --workspace --exclude system-tests`"
        );
        sweep();
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("cannot make namespaces")?;
        let no_path = None::<&str>;
        mount(no_path, "/", no_path, MsFlags::MS_REC | MsFlags::MS_PRIVATE, no_path)
            .context("cannot make the mounts private")?;
        let folder = Path::new(PARENT).join(&name);
        fs::create_dir_all(&folder)?;
        mount(Some("tmpfs"), &folder, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
            .context("cannot mount a folder in memory")?;
        let isolation = Self { folder, name };
        loopback_up()?;
        Ok(isolation)
    }
}

impl Drop for Isolation {
    fn drop(&mut self) {
        // The mount would end with the namespace; the folder that it lies on would stay. Both at best.
        let _unmounted = umount2(&self.folder, MntFlags::MNT_DETACH);
        let _removed = fs::remove_dir(&self.folder);
        remove_groups(&self.name);
    }
}

fn loopback_up() -> anyhow::Result<()> {
    let output = Command::new("ip").args(["link", "set", "lo", "up"]).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => bail!("`ip link set lo up` failed: {}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => bail!(
            "`ip` is missing (package iproute2); `scripts/setup.sh engine` installs what the tests need"
        ),
    }
}

/// Removes what test processes left behind that ended without a chance to clean up. Their own processes are gone
/// already: those end with the engine's first process (`engine.sh`), and that ends with the test.
fn sweep() {
    let folders = fs::read_dir(PARENT).into_iter().flatten().flatten();
    for folder in folders.filter(|entry| is_abandoned(&entry.file_name())) {
        let _removed = fs::remove_dir(folder.path());
        remove_groups(&folder.file_name().to_string_lossy());
    }
}

/// Whether a name is one of ours and its owner no longer lives.
fn is_abandoned(name: &OsStr) -> bool {
    let owner =
        name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
    owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}

/// Removes the control groups of that name, of each hierarchy (version 1) or the one there is (version 2). The
/// kernel removes only empty ones, so nothing that lives is touched.
fn remove_groups(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain([root.to_owned()]) {
        remove_tree(&hierarchy.join(name));
    }
}

fn remove_tree(group: &Path) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path());
    }
    let _removed = fs::remove_dir(group);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_dead_processes_are_abandoned() {
        let mine = format!("{PREFIX}{}-0", std::process::id());
        // Larger than any process id that Linux gives (4,194,304).
        let nobody = format!("{PREFIX}99999999-0");
        for (name, abandoned) in [(mine.as_str(), false), (&nobody, true), ("something-else", false)] {
            assert_eq!(is_abandoned(OsStr::new(name)), abandoned, "{name}");
        }
    }
}
