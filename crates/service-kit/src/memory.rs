//! Memory of the process: what threads free is there for other threads.

use crate::config::Environment;

/// The setting of glibc's allocator.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Says that it was started anew already: a program with privileges of its own may have lost the setting on the way.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const STARTED_ANEW: &str = "OAK_STARTED_ANEW";

/// Has glibc give out memory from one place, by starting this program anew in its own process with `MALLOC_ARENA_MAX=1`. Otherwise each thread
/// keeps an area of its own, with what the largest of its answers once took: a third of the memory of a manager of a thousand addons. For a
/// service that is seldom busy with more than one thing; to be called before any thread is started. A value that is set already is left as it is,
/// other C libraries have one place anyway, and where the program's file is gone nothing is done.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn in_one_place(environment: &Environment) {
    use std::os::unix::process::CommandExt as _;

    if environment.var(ARENAS).is_some() || environment.var(STARTED_ANEW).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = std::process::Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // It comes back only when it fails: then it goes on as it is.
    _ = again.args(arguments).env(ARENAS, "1").env(STARTED_ANEW, "1").exec();
}

/// See the other one: nothing is to be done here.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn in_one_place(_environment: &Environment) {}
