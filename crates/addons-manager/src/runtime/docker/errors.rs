//! From what the engine answered to what the executor can do about it. Pure, and held to a table of real texts.
//!
//! The status alone is no guide: an exhausted address pool is a 404, a registry that limits is a 500, a bad entrypoint a 400, and what goes
//! wrong while an image is pulled comes inside an answer that began with 200. So the text is looked at first and the status last.

use std::error::Error as _;
use std::time::Duration;

use bollard::errors::Error as ClientError;

use crate::runtime::{ChangeNeeded, RuntimeError};

/// A call that did not do what it was made for, before anybody has judged it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The engine answered, and not with success.
    Answer {
        /// HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// An error inside a stream that had begun well.
    Stream(String),
    /// No connection, or one that broke.
    Unreachable(String),
    /// Our own deadline passed.
    Deadline(Duration),
    /// An answer that was not understood.
    Garbled(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::DockerResponseServerError { status_code, message } => {
                Self::Answer { status: status_code, message: message.trim().to_owned() }
            }
            ClientError::DockerStreamError { error } => Self::Stream(error.trim().to_owned()),
            ClientError::SocketNotFoundError(path) => {
                Self::Unreachable(format!("the socket {path} is not there"))
            }
            ClientError::RequestTimeoutError => Self::Unreachable("no answer in time".to_owned()),
            ClientError::JsonDataError { .. }
            | ClientError::JsonSerdeError { .. }
            | ClientError::StrParseError { .. } => Self::Garbled(error.to_string()),
            other => Self::Unreachable(with_causes(&other)),
        }
    }
}

/// The text of an error with those of its causes: the client's own says only "client error (Connect)".
fn with_causes(error: &ClientError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}

impl Failure {
    /// The status of an answer.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the engine's words contain `words` (given in lower case).
    pub(super) fn says(&self, words: &str) -> bool {
        match self {
            Self::Answer { message, .. } | Self::Stream(message) => message.to_lowercase().contains(words),
            _ => false,
        }
    }

    /// Whether the engine answers that the object is not there.
    pub(super) fn is_not_there(&self) -> bool {
        self.status() == Some(404)
            && ["no such container", "no such image", "no such volume", "no such network", "not found"]
                .iter()
                .any(|words| self.says(words))
            && !self.says("could not find an available")
            && !self.says("plugin")
    }

    /// The error that the rest of the program sees. `operation` says what was asked, with the names in it.
    pub(super) fn into_error(self, operation: &str, asked: Asked) -> RuntimeError {
        let operation = operation.to_owned();
        let (status, message) = match self {
            Self::Unreachable(message) => {
                let message = format!("the engine does not answer: {message}");
                return RuntimeError::Retry { operation, message, after: None, engine_unreachable: true };
            }
            // A reading call takes milliseconds: an engine that does not manage it is as good as away. A changing one may be long.
            Self::Deadline(limit) => {
                let message = format!("no answer within {limit:?}");
                return RuntimeError::Retry {
                    operation,
                    message,
                    after: None,
                    engine_unreachable: asked == Asked::Read,
                };
            }
            Self::Garbled(words) => {
                let message = format!("the engine's answer was not understood: {words}");
                return RuntimeError::Retry { operation, message, after: None, engine_unreachable: false };
            }
            Self::Answer { status, message } => (Some(status), message),
            Self::Stream(message) => (None, message),
        };
        let message = if asked == Asked::Pull { hinted(message) } else { message };
        match judge(status, &message, asked) {
            Verdict::Retry => {
                RuntimeError::Retry { operation, message, after: None, engine_unreachable: false }
            }
            Verdict::Wait(reason) => RuntimeError::WaitForChange { operation, message, reason },
            Verdict::Never => RuntimeError::Never { operation, message },
            Verdict::Gone => RuntimeError::Gone { operation, message },
        }
    }
}

/// What sort of call it was: the same words mean different things of a pull and of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Something was looked at.
    Read,
    /// An object was made, changed or removed.
    Change,
    /// A container was started.
    Start,
    /// An image was pulled: the registry speaks through the engine.
    Pull,
}

/// What a registry says, with what to do about it where the engine's words do not tell.
fn hinted(mut message: String) -> String {
    if message.to_lowercase().contains(PLAIN_HTTP) {
        message.push_str(
            " (the registry answers without TLS, which the engine takes only of registries that `insecure-registries` in its \
             daemon.json names)",
        );
    }
    message
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Retry,
    Wait(ChangeNeeded),
    Never,
    Gone,
}

/// Words of the engine (lower case) that mean the same whatever was asked, most telling first.
const ANYWHERE: &[(&str, Verdict)] = &[
    // Disk before everything: "no space left" may stand inside any other complaint.
    ("no space left on device", Verdict::Wait(ChangeNeeded::DiskFull)),
    ("disk quota exceeded", Verdict::Wait(ChangeNeeded::DiskFull)),
    // Ports.
    ("port is already allocated", Verdict::Wait(ChangeNeeded::PortTaken)),
    ("ports are not available", Verdict::Wait(ChangeNeeded::PortTaken)),
    ("bind: address already in use", Verdict::Wait(ChangeNeeded::PortTaken)),
    ("failed to bind host port", Verdict::Wait(ChangeNeeded::PortTaken)),
    ("cannot assign requested address", Verdict::Wait(ChangeNeeded::Configuration)),
    // What an engine cannot be asked for, though it says 404 or 500.
    ("plugin \"", Verdict::Wait(ChangeNeeded::Configuration)),
    ("could not find plugin", Verdict::Wait(ChangeNeeded::Configuration)),
    ("legacy plugin", Verdict::Wait(ChangeNeeded::Configuration)),
    ("no log driver named", Verdict::Wait(ChangeNeeded::Configuration)),
    ("invalid subnet", Verdict::Wait(ChangeNeeded::Configuration)),
    ("invalid option", Verdict::Wait(ChangeNeeded::Configuration)),
    ("missing required option", Verdict::Wait(ChangeNeeded::Configuration)),
    // Names.
    ("is already in use by container", Verdict::Wait(ChangeNeeded::NameTaken)),
    ("already exists with the same name", Verdict::Wait(ChangeNeeded::NameTaken)),
    ("is ambiguous", Verdict::Wait(ChangeNeeded::NameTaken)),
    // Addresses. The engine answers 404 for an exhausted pool.
    ("could not find an available, non-overlapping", Verdict::Wait(ChangeNeeded::AddressPool)),
    ("all predefined address pools have been fully subnetted", Verdict::Wait(ChangeNeeded::AddressPool)),
    ("pool overlaps with other one", Verdict::Wait(ChangeNeeded::AddressPool)),
    ("conflicts with network", Verdict::Wait(ChangeNeeded::AddressPool)),
    ("no available ipv4 addresses", Verdict::Wait(ChangeNeeded::AddressPool)),
    ("no available ipv6 addresses", Verdict::Wait(ChangeNeeded::AddressPool)),
    ("address already in use", Verdict::Wait(ChangeNeeded::AddressPool)),
    ("does not belong to any of this network's subnets", Verdict::Wait(ChangeNeeded::Configuration)),
    // Platforms.
    ("exec format error", Verdict::Never),
    ("no matching manifest for", Verdict::Never),
    ("does not match the specified platform", Verdict::Never),
    ("does not provide the specified platform", Verdict::Never),
    ("operating system is not supported", Verdict::Never),
    // On the way to being gone: the next look tells.
    ("is already in progress", Verdict::Retry),
    ("is marked for removal", Verdict::Retry),
    // Somebody else's container holds on to it.
    ("has active endpoints", Verdict::Wait(ChangeNeeded::InUse)),
    ("volume is in use", Verdict::Wait(ChangeNeeded::InUse)),
    // Waits for another container of the same plan.
    ("cannot join network of a non running container", Verdict::Retry),
    ("cannot join pid of a non running container", Verdict::Retry),
    ("cannot join ipc of a non running container", Verdict::Retry),
    // The container whose namespace it uses ended in the moment of the start.
    ("namespace path: lstat /proc/", Verdict::Retry),
    ("non-running container", Verdict::Retry),
];

/// What the engine says of a registry without TLS.
const PLAIN_HTTP: &str = "server gave http response to https client";

/// What registries say, as the engine hands it on: in the stream, or wrapped in a 404 or 500.
const PULLING: &[(&str, Verdict)] = &[
    ("toomanyrequests", Verdict::Retry),
    ("too many requests", Verdict::Retry),
    // The number alone would be found in ports and digests too.
    ("parsing http 429 response", Verdict::Retry),
    // Before "denied": Docker Hub's sentence for both "private" and "not there"; a login may help, so nothing is given up.
    ("pull access denied", Verdict::Wait(ChangeNeeded::Authentication)),
    ("unauthorized", Verdict::Wait(ChangeNeeded::Authentication)),
    ("authentication required", Verdict::Wait(ChangeNeeded::Authentication)),
    ("no basic auth credentials", Verdict::Wait(ChangeNeeded::Authentication)),
    ("incorrect username or password", Verdict::Wait(ChangeNeeded::Authentication)),
    ("access to the resource is denied", Verdict::Wait(ChangeNeeded::Authentication)),
    ("parsing http 401 response", Verdict::Wait(ChangeNeeded::Authentication)),
    ("parsing http 403 response", Verdict::Wait(ChangeNeeded::Authentication)),
    ("403 forbidden", Verdict::Wait(ChangeNeeded::Authentication)),
    ("denied", Verdict::Wait(ChangeNeeded::Authentication)),
    ("manifest unknown", Verdict::Never),
    ("name unknown", Verdict::Never),
    ("repository name not known", Verdict::Never),
    ("blob unknown", Verdict::Never),
    ("unsupported media type", Verdict::Never),
    ("media type in manifest", Verdict::Never),
    ("invalid reference format", Verdict::Never),
    (PLAIN_HTTP, Verdict::Wait(ChangeNeeded::Configuration)),
    ("x509:", Verdict::Wait(ChangeNeeded::Configuration)),
];

/// What the engine says of a start that cannot work as it was asked for.
const STARTING: &[(&str, Verdict)] = &[
    ("executable file not found", Verdict::Wait(ChangeNeeded::Configuration)),
    ("no such file or directory", Verdict::Wait(ChangeNeeded::Configuration)),
    ("permission denied", Verdict::Wait(ChangeNeeded::Configuration)),
    ("not a directory", Verdict::Wait(ChangeNeeded::Configuration)),
    ("unable to find user", Verdict::Wait(ChangeNeeded::Configuration)),
    ("unable to find group", Verdict::Wait(ChangeNeeded::Configuration)),
    ("could not select device driver", Verdict::Wait(ChangeNeeded::Configuration)),
    ("error gathering device information", Verdict::Wait(ChangeNeeded::Configuration)),
    ("error while creating mount source path", Verdict::Wait(ChangeNeeded::Configuration)),
    ("failed to mount local volume", Verdict::Wait(ChangeNeeded::Configuration)),
    ("is not a shared mount", Verdict::Wait(ChangeNeeded::Configuration)),
    ("is not a shared or slave mount", Verdict::Wait(ChangeNeeded::Configuration)),
    ("operation not permitted", Verdict::Wait(ChangeNeeded::Configuration)),
    ("oci runtime create failed", Verdict::Wait(ChangeNeeded::Configuration)),
];

fn judge(status: Option<u16>, message: &str, asked: Asked) -> Verdict {
    let text = message.to_lowercase();
    let own: &[(&str, Verdict)] = match asked {
        Asked::Pull => PULLING,
        Asked::Start => STARTING,
        Asked::Read | Asked::Change => &[],
    };
    let found = ANYWHERE.iter().chain(own).find(|(words, _)| text.contains(words));
    if let Some((_, verdict)) = found {
        return *verdict;
    }
    match (status, asked) {
        (Some(404), Asked::Pull) => Verdict::Never,
        (Some(404), _) => Verdict::Gone,
        (Some(400), _) => Verdict::Wait(ChangeNeeded::Configuration),
        // An access rule before the engine, or its own authorisation plug-in.
        (Some(401 | 403), _) => Verdict::Wait(ChangeNeeded::Authentication),
        _ => Verdict::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: Verdict = Verdict::Wait(ChangeNeeded::Configuration);
    const AUTHENTICATION: Verdict = Verdict::Wait(ChangeNeeded::Authentication);

    /// Texts as engines were seen to write them.
    #[test]
    fn every_known_text_has_its_verdict() {
        use Asked::{Change, Pull, Read, Start};
        let table: &[(Option<u16>, &str, Asked, Verdict)] = &[
            (
                Some(500),
                "driver failed programming external connectivity on endpoint a (0c): Bind for 0.0.0.0:80 failed: port is already allocated",
                Start,
                Verdict::Wait(ChangeNeeded::PortTaken),
            ),
            (
                Some(500),
                "driver failed programming external connectivity on endpoint a (0c): Error starting userland proxy: listen tcp4 0.0.0.0:18080: bind: address already in use",
                Start,
                Verdict::Wait(ChangeNeeded::PortTaken),
            ),
            (
                Some(500),
                "driver failed programming external connectivity on endpoint a (0c): failed to bind host port for 0.0.0.0:80:172.18.0.2:80/tcp: address already in use",
                Start,
                Verdict::Wait(ChangeNeeded::PortTaken),
            ),
            (
                Some(500),
                "driver failed programming external connectivity on endpoint a (0c): Error starting userland proxy: listen tcp4 10.9.9.9:80: bind: cannot assign requested address",
                Start,
                CONFIGURATION,
            ),
            (Some(403), "Address already in use", Start, Verdict::Wait(ChangeNeeded::AddressPool)),
            (
                Some(409),
                "Conflict. The container name \"/root_web\" is already in use by container \"7f\". You have to remove (or rename) that container to be able to reuse that name.",
                Change,
                Verdict::Wait(ChangeNeeded::NameTaken),
            ),
            (
                Some(400),
                "network shop_default is ambiguous (2 matches on name)",
                Start,
                Verdict::Wait(ChangeNeeded::NameTaken),
            ),
            (
                Some(404),
                "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
                Change,
                Verdict::Wait(ChangeNeeded::AddressPool),
            ),
            (
                Some(403),
                "Pool overlaps with other one on this address space",
                Change,
                Verdict::Wait(ChangeNeeded::AddressPool),
            ),
            (
                Some(403),
                "cannot create network 1f (br-1f): conflicts with network 2e (br-2e): networks have overlapping IPv4",
                Change,
                Verdict::Wait(ChangeNeeded::AddressPool),
            ),
            (
                Some(400),
                "Invalid address 10.1.2.3: It does not belong to any of this network's subnets",
                Start,
                CONFIGURATION,
            ),
            (
                Some(500),
                "mkdir /var/lib/docker/overlay2/1f: no space left on device",
                Change,
                Verdict::Wait(ChangeNeeded::DiskFull),
            ),
            (
                None,
                "write /var/lib/docker/tmp/GetImageBlob1: no space left on device",
                Pull,
                Verdict::Wait(ChangeNeeded::DiskFull),
            ),
            (
                Some(400),
                "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"nope\": executable file not found in $PATH: unknown",
                Start,
                CONFIGURATION,
            ),
            (
                Some(400),
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory: unknown",
                Start,
                CONFIGURATION,
            ),
            (
                Some(400),
                "failed to create task for container: exec /app: exec format error: unknown",
                Start,
                Verdict::Never,
            ),
            (
                Some(500),
                "error gathering device information while adding custom device \"/dev/nope\": no such file or directory",
                Start,
                CONFIGURATION,
            ),
            (
                Some(500),
                "could not select device driver \"\" with capabilities: [[gpu]]",
                Start,
                CONFIGURATION,
            ),
            (
                Some(400),
                "unable to find user nobody2: no matching entries in passwd file",
                Start,
                CONFIGURATION,
            ),
            (
                Some(500),
                "failed to mount local volume: mount /nope:/var/lib/docker/volumes/v/_data, flags: 0x1000: no such file or directory",
                Start,
                CONFIGURATION,
            ),
            (
                Some(400),
                "invalid mount config for type \"bind\": bind source path does not exist: /srv/films",
                Change,
                CONFIGURATION,
            ),
            (Some(409), "cannot join network of a non running container: 1f", Start, Verdict::Retry),
            (
                Some(500),
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to create new parent process: namespace path: lstat /proc/31575/ns/net: no such file or directory: unknown",
                Start,
                Verdict::Retry,
            ),
            (Some(404), "network 1f not found", Start, Verdict::Gone),
            (Some(404), "No such image: oak.local/0a:r1-web", Change, Verdict::Gone),
            (Some(404), "No such container: 1f", Change, Verdict::Gone),
            (
                Some(404),
                "image with reference x was found but does not match the specified platform: wanted linux/arm64, actual: linux/amd64",
                Change,
                Verdict::Never,
            ),
            (None, "no matching manifest for linux/amd64 in the manifest list entries", Pull, Verdict::Never),
            (
                Some(404),
                "manifest for localhost:5000/x@sha256:00 not found: manifest unknown: manifest unknown",
                Pull,
                Verdict::Never,
            ),
            (
                Some(404),
                "pull access denied for nginxx, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                Pull,
                AUTHENTICATION,
            ),
            (
                Some(500),
                "Head \"http://localhost:5000/v2/x/manifests/1\": no basic auth credentials",
                Pull,
                AUTHENTICATION,
            ),
            (
                Some(500),
                "Get \"https://registry.example/v2/x/manifests/1\": unauthorized: incorrect username or password",
                Pull,
                AUTHENTICATION,
            ),
            (None, "unauthorized: authentication required", Pull, AUTHENTICATION),
            (
                Some(500),
                "error parsing HTTP 403 response body: invalid character 'F': \"403 Forbidden\"",
                Pull,
                AUTHENTICATION,
            ),
            (
                Some(500),
                "toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit",
                Pull,
                Verdict::Retry,
            ),
            (None, "received unexpected HTTP status: 429 Too Many Requests", Pull, Verdict::Retry),
            (
                Some(500),
                "error parsing HTTP 429 response body: unexpected end of JSON input: \"\"",
                Pull,
                Verdict::Retry,
            ),
            (
                None,
                "Get \"http://127.0.0.1:34297/v2/private/manifests/sha256:1429\": no basic auth credentials",
                Pull,
                AUTHENTICATION,
            ),
            (Some(500), "received unexpected HTTP status: 500 Internal Server Error", Pull, Verdict::Retry),
            (
                Some(500),
                "Get \"http://localhost:5000/v2/\": dial tcp 127.0.0.1:5000: connect: connection refused",
                Pull,
                Verdict::Retry,
            ),
            (
                Some(500),
                "Get \"https://nowhere.example/v2/\": dial tcp: lookup nowhere.example: no such host",
                Pull,
                Verdict::Retry,
            ),
            (
                Some(500),
                "Get \"https://registry.example/v2/\": http: server gave HTTP response to HTTPS client",
                Pull,
                CONFIGURATION,
            ),
            (
                Some(500),
                "Get \"https://registry.example/v2/\": x509: certificate signed by unknown authority",
                Pull,
                CONFIGURATION,
            ),
            (None, "unexpected EOF", Pull, Verdict::Retry),
            (
                Some(403),
                "error while removing network: network shop_default id 1f has active endpoints",
                Change,
                Verdict::Wait(ChangeNeeded::InUse),
            ),
            (
                Some(409),
                "remove shop_data: volume is in use - [1f]",
                Change,
                Verdict::Wait(ChangeNeeded::InUse),
            ),
            (Some(409), "removal of container 1f is already in progress", Change, Verdict::Retry),
            (Some(400), "invalid CapAdd: unknown capability: \"CAP_NOPE\"", Change, CONFIGURATION),
            (Some(401), "Unauthorized", Read, AUTHENTICATION),
            (Some(500), "something that nobody has seen", Change, Verdict::Retry),
            (Some(503), "This node is not a swarm manager", Read, Verdict::Retry),
        ];
        for (status, text, asked, expected) in table {
            assert_eq!(judge(*status, text, *asked), *expected, "{status:?} {asked:?} {text}");
        }
    }

    #[test]
    fn a_registry_without_tls_is_said_what_to_do_about() {
        let words = "Get \"https://r.example:5000/v2/\": http: server gave HTTP response to HTTPS client";
        let answered = || Failure::Answer { status: 500, message: words.to_owned() };
        for failure in [answered(), Failure::Stream(words.to_owned())] {
            let error = failure.into_error("pull r.example:5000/a", Asked::Pull);
            let RuntimeError::WaitForChange { message, .. } = &error else { panic!("{error:?}") };
            assert!(message.starts_with(words) && message.contains("insecure-registries"), "{message}");
        }
        let other = Failure::Stream("x509: certificate signed by unknown authority".to_owned());
        let error = other.into_error("pull r.example/a", Asked::Pull);
        let RuntimeError::WaitForChange { message, .. } = &error else { panic!("{error:?}") };
        assert_eq!(message, "x509: certificate signed by unknown authority");
    }

    #[test]
    fn an_engine_that_is_away_is_said_to_be_away() {
        let error = Failure::Unreachable("connection refused".to_owned()).into_error("list", Asked::Read);
        assert!(matches!(error, RuntimeError::Retry { engine_unreachable: true, .. }), "{error:?}");
        let error = Failure::Deadline(Duration::from_secs(1)).into_error("list", Asked::Read);
        assert!(matches!(error, RuntimeError::Retry { engine_unreachable: true, .. }), "{error:?}");
        let error = Failure::Deadline(Duration::from_secs(1)).into_error("start x", Asked::Start);
        assert!(matches!(error, RuntimeError::Retry { engine_unreachable: false, .. }), "{error:?}");
        let error = Failure::Garbled("x".to_owned()).into_error("list", Asked::Read);
        assert!(matches!(error, RuntimeError::Retry { engine_unreachable: false, .. }), "{error:?}");
    }

    #[test]
    fn an_exhausted_pool_is_not_taken_for_a_missing_object() {
        let pool = Failure::Answer {
            status: 404,
            message: "could not find an available, non-overlapping IPv4 address pool".to_owned(),
        };
        assert!(!pool.is_not_there());
        assert!(Failure::Answer { status: 404, message: "No such container: x".to_owned() }.is_not_there());
        assert!(!Failure::Answer { status: 500, message: "No such container: x".to_owned() }.is_not_there());
        assert!(!Failure::Stream("not found".to_owned()).is_not_there());
    }
}
