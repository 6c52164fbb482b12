//! What became of what was done: runs of containers with who began and who ended each, operations that failed, jobs that are done.

use service_kit::clock::Timestamp;

/// A job that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// When.
    pub finished_at: Timestamp,
    /// Somebody saw it end; otherwise it was found ended by a listing.
    pub watched: bool,
}

/// Who began a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum StartedBy {
    Manager,
    Engine,
    Person,
}

/// Who ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EndedBy {
    Itself,
    Person,
    Engine,
    Manager,
}

impl StartedBy {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Engine => "engine",
            Self::Person => "person",
        }
    }

    /// As it was stored.
    pub fn from_stored(text: &str) -> Option<Self> {
        [Self::Manager, Self::Engine, Self::Person].into_iter().find(|by| by.as_str() == text)
    }
}

impl EndedBy {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Itself => "itself",
            Self::Person => "person",
            Self::Engine => "engine",
            Self::Manager => "manager",
        }
    }

    /// As it was stored.
    pub fn from_stored(text: &str) -> Option<Self> {
        [Self::Itself, Self::Person, Self::Engine, Self::Manager].into_iter().find(|by| by.as_str() == text)
    }
}

/// One run of a container, or an operation that failed before there was one.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Key of the row; later ones are greater.
    pub row: i64,
    /// The container; none for a failed operation.
    pub engine_id: Option<String>,
    /// Who began it.
    pub started_by: StartedBy,
    /// When it began.
    pub started_at: Timestamp,
    /// Since when it is unhealthy.
    pub unhealthy_at: Option<Timestamp>,
    /// When it ended; none: it runs.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub exit_code: Option<i64>,
    /// The kernel ended it for want of memory.
    pub oom: bool,
    /// Who ended it, or, while it runs, is about to.
    pub ended_by: Option<EndedBy>,
    /// Its end was seen in the event stream.
    pub watched: bool,
    /// What went wrong, where it was no exit.
    pub error: Option<AttemptError>,
    /// Not to be tried again earlier, as the other side asked.
    pub not_before: Option<Timestamp>,
    /// The last lines of its log.
    pub logs: Option<String>,
}

/// A failed operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptError {
    /// What may be done about it.
    pub kind: ErrorKind,
    /// In words.
    pub message: String,
}

/// What may be done about a failed operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ErrorKind {
    /// Waiting may help.
    Retry,
    /// Will never work.
    Never,
    /// Its check failed: it was stopped for that.
    Unhealthy,
    PortTaken,
    NameTaken,
    DiskFull,
    Authentication,
    Configuration,
    AddressPool,
    InUse,
    /// What it waited for has changed since: it counts no more.
    Forgiven,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Retry,
        Self::Never,
        Self::Unhealthy,
        Self::PortTaken,
        Self::NameTaken,
        Self::DiskFull,
        Self::Authentication,
        Self::Configuration,
        Self::AddressPool,
        Self::InUse,
        Self::Forgiven,
    ];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Never => "never",
            Self::Unhealthy => "unhealthy",
            Self::PortTaken => "port-taken",
            Self::NameTaken => "name-taken",
            Self::DiskFull => "disk-full",
            Self::Authentication => "authentication",
            Self::Configuration => "configuration",
            Self::AddressPool => "address-pool",
            Self::InUse => "in-use",
            Self::Forgiven => "forgiven",
        }
    }
}
