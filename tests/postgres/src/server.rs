//! A server's folder, its processes, and how it is spoken to.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::programs::{command, program, run, runner};

/// Longest wait for a server to come up.
const LIMIT: Duration = Duration::from_secs(30);

/// The superuser of every server here; it needs no password on the Unix socket.
pub(crate) const SUPERUSER: &str = "postgres";

/// A server of one test's own, which ends with it.
#[derive(Debug)]
pub struct Server {
    folder: tempfile::TempDir,
    port: u16,
    settings: &'static [&'static str],
    child: Option<Child>,
}

/// A server whose commits are on the disk, with some room for a large database: for what is measured.
const DURABLE: &[&str] = &[
    "fsync=on",
    "full_page_writes=on",
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "maintenance_work_mem=256MB",
];

impl Server {
    /// Makes a server and starts it. On its Unix socket everybody is let in, on its port who has a password.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same, but what is committed survives the machine, as an operator's does.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn durable() -> Self {
        Self::with(DURABLE)
    }

    fn with(settings: &'static [&'static str]) -> Self {
        let folder =
            tempfile::Builder::new().prefix("oak-pg-").tempdir_in("/tmp").expect("/tmp takes folders");
        make(folder.path());
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a port is free")
            .port();
        let mut server = Self { folder, port, settings, child: None };
        server.start_again();
        server
    }

    /// Starts it where it does not run, and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&mut self) {
        if self.child.is_some() {
            return;
        }
        let folder = self.folder.path();
        let log =
            File::options().create(true).append(true).open(folder.join("log")).expect("a log can be written");
        let mut command = postgres(folder, Some(self.port));
        for setting in self.settings {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        self.child = Some(command.spawn().expect("setpriv is there (package util-linux)"));
        await_answer(folder);
    }

    /// Ends it at once, as a crash does: what was committed is there after the next start.
    ///
    /// # Panics
    /// When it does not run.
    pub fn crash(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id is small"));
        signal::kill(pid, Signal::SIGQUIT).expect("it is ours");
        child.wait().expect("it is ours");
    }

    /// Ends its first process with SIGKILL, and waits until the others, which notice, are gone too.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let processes = self.processes();
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        let begun = Instant::now();
        while processes.iter().any(|pid| Path::new("/proc").join(pid.to_string()).exists()) {
            assert!(begun.elapsed() < LIMIT, "PostgreSQL's processes did not notice within {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops all its processes where they stand, until [`Self::thaw`].
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        // Twice: the first process may just have started another one.
        self.signal(Signal::SIGSTOP);
        self.signal(Signal::SIGSTOP);
    }

    /// Lets them go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        for pid in self.processes() {
            // One of them may have ended by itself meanwhile.
            _ = signal::kill(pid, signal);
        }
    }

    /// The first process, and those that it started.
    fn processes(&self) -> Vec<Pid> {
        let child = self.child.as_ref().expect("it runs");
        let first = Pid::from_raw(i32::try_from(child.id()).expect("a process id is small"));
        let path = format!("/proc/{first}/task/{first}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        let children =
            children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw);
        std::iter::once(first).chain(children).collect()
    }

    /// Makes an empty database.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn create(&self, name: &str) {
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
    }

    /// Runs SQL as the superuser, and gives what it answers, unaligned.
    ///
    /// # Panics
    /// When it fails.
    pub fn sql(&self, database: &str, text: &str) -> String {
        sql(self.folder.path(), database, text)
    }

    /// One of PostgreSQL's programs, as `pg_dump`, that speaks to this server as the superuser.
    pub fn program(&self, name: &str) -> Command {
        client(self.folder.path(), name)
    }

    /// The folder of its socket.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The address of a database by way of the Unix socket.
    pub fn url(&self, database: &str) -> String {
        url(self.folder.path(), database)
    }

    /// The address of a database by way of the port, for a user with a password.
    pub fn tcp_url(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.thaw();
            self.crash();
        }
    }
}

/// Makes the data folder of a server.
pub(crate) fn make(folder: &Path) {
    if let Some(user) = runner() {
        chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("root may give a folder away");
    }
    let initdb = |options: &[&str]| {
        let mut command = command(&program("initdb"));
        command.arg("-D").arg(folder.join("data")).args([
            "--username",
            SUPERUSER,
            "--encoding",
            "UTF8",
            "--no-sync",
        ]);
        command
            .args(["--auth-local", "trust", "--auth-host", "scram-sha-256", "--locale", "C.UTF-8"])
            .args(options);
        command
    };
    // A language's order of texts, as most servers have it: what relies on the order of bytes is found here.
    let language = ["--locale-provider=icu", "--icu-locale=en-US"];
    if initdb(&language).output().is_ok_and(|output| output.status.success()) {
        return;
    }
    let _left_by_the_attempt = fs::remove_dir_all(folder.join("data"));
    run(&mut initdb(&[]));
}

/// The server's own command.
pub(crate) fn postgres(folder: &Path, port: Option<u16>) -> Command {
    let mut command = command(&program("postgres"));
    command.arg("-D").arg(folder.join("data"));
    let mut set = |setting: String| {
        command.args(["-c", &setting]);
    };
    set(format!("unix_socket_directories={}", folder.display()));
    set("unix_socket_permissions=0777".to_owned());
    set(format!("listen_addresses={}", if port.is_some() { "127.0.0.1" } else { "" }));
    if let Some(port) = port {
        set(format!("port={port}"));
    }
    // A test's data need not survive the machine.
    for setting in
        ["fsync=off", "full_page_writes=off", "max_connections=400", "shared_buffers=64MB", "timezone=UTC"]
    {
        set(setting.to_owned());
    }
    command
}

/// The socket of a server in this folder: its name tells the port.
pub(crate) fn socket(folder: &Path) -> Option<(PathBuf, u16)> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let port = entry.file_name().to_str()?.strip_prefix(".s.PGSQL.")?.parse().ok()?;
        Some((entry.path(), port))
    })
}

/// Waits until a server answers.
pub(crate) fn await_answer(folder: &Path) {
    let begun = Instant::now();
    while !answers(folder) {
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(begun.elapsed() < LIMIT, "PostgreSQL did not come up within {LIMIT:?}:\n{log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a server in this folder takes connections.
pub(crate) fn answers(folder: &Path) -> bool {
    socket(folder).is_some()
        && client(folder, "pg_isready").output().is_ok_and(|output| output.status.success())
}

pub(crate) fn url(folder: &Path, database: &str) -> String {
    let port = socket(folder).map_or(5432, |(_, port)| port);
    format!("postgres:///{database}?host={}&port={port}&user={SUPERUSER}", folder.display())
}

pub(crate) fn client(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(program(name));
    command.env_clear().env("PGHOST", folder).env("PGUSER", SUPERUSER).env("LC_ALL", "C.UTF-8");
    if let Some((_, port)) = socket(folder) {
        command.env("PGPORT", port.to_string());
    }
    command
}

pub(crate) fn sql(folder: &Path, database: &str, text: &str) -> String {
    let mut command = client(folder, "psql");
    command.args([
        "--no-psqlrc",
        "--quiet",
        "--tuples-only",
        "--no-align",
        "--set=ON_ERROR_STOP=1",
        "-d",
        database,
    ]);
    let output = run(command.args(["-c", text]));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
