//! Memory of the process: what threads free is there for other threads, or for other programs.

use crate::config::Environment;

/// A setting of glibc's allocator, as a variable and its value.
pub type Setting = (&'static str, &'static str);

/// Memory comes from one place. Otherwise each thread keeps an area of its own, with what the largest of its answers once took: a third of
/// the memory of a manager of a thousand addons.
pub const ONE_PLACE: Setting = ("MALLOC_ARENA_MAX", "1");

/// What is large is given back to the system when it is freed, however often such a thing was needed.
pub const LARGE_GOES_BACK: [Setting; 2] =
    [("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")];

/// Says that it was started anew already: a program with privileges of its own may have lost the settings on the way.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const STARTED_ANEW: &str = "OAK_STARTED_ANEW";

/// Has glibc work with these settings, by starting this program anew in its own process with them. To be called before any thread is started.
/// Where one of them is set already all are left as they are, other C libraries know none of them, and where the program's file is gone
/// nothing is done.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn settle(settings: &[Setting], environment: &Environment) {
    use std::os::unix::process::CommandExt as _;

    let is_set = |name: &str| environment.var(name).is_some();
    if is_set(STARTED_ANEW) || settings.iter().any(|(name, _)| is_set(name)) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = std::process::Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // It comes back only when it fails: then it goes on as it is.
    _ = again.args(arguments).envs(settings.iter().copied()).env(STARTED_ANEW, "1").exec();
}

/// See the other one: nothing is to be done here.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn settle(_settings: &[Setting], _environment: &Environment) {}
