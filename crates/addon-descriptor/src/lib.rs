//! The addon descriptor: reading, validation, canonical form, digest, rights, JSON Schema and parameters.
//!
//! An addon is described by one JSON document, `addon.json`: its services (containers), the volumes and networks that
//! belong to it, and what an operator may set. This crate reads such a document and says everything about it that can be
//! said without asking anybody: it is pure, with no clock, no randomness, no I/O and nothing asynchronous.
//!
//! [`read()`] is the only way in. It goes on after a fault, so that all [`Violation`]s come back together, each with its
//! place in the text; what comes out is the document's *meaning* ([`AddonDescriptor`]), whatever notation it was
//! written in. [`AddonDescriptor::digest`] names that meaning, [`rights`](fn@rights) derives what it may do to its host.
//! [`parameters`] holds what an operator gives to what the document declares, and puts it in.
//!
//! ```
//! # fn main() -> Result<(), addon_descriptor::Malformed> {
//! let text = br#"{
//!   "name": "greenhouse",
//!   "title": "Greenhouse",
//!   "version": "1.2.0",
//!   "description": "Collects measurements over MQTT and keeps them.",
//!   "license": "Apache-2.0",
//!   "parameters": [
//!     { "name": "port", "type": "port", "default": 1883 },
//!     { "name": "password", "type": "secret", "generate": {} }
//!   ],
//!   "services": [
//!     {
//!       "service_name": "broker",
//!       "image": "eclipse-mosquitto:2.0.18",
//!       "ports": { "1883": "${port}" },
//!       "volumes": ["messages:/mosquitto/data"],
//!       "files": [{ "path": "/mosquitto/config/mosquitto.conf", "content": "listener 1883\n" }],
//!       "healthcheck": { "test": ["CMD", "mosquitto_sub", "-t", "$SYS/#", "-C", "1"], "interval": "30s" },
//!       "resources": { "memory": "64m", "cpus": 0.5 }
//!     },
//!     {
//!       "service_name": "store",
//!       "image": "influxdb:2.7.6",
//!       "environment": { "DOCKER_INFLUXDB_INIT_PASSWORD": "${password}" },
//!       "volumes": ["measurements:/var/lib/influxdb2"],
//!       "healthcheck": { "test": "influx ping" },
//!       "depends_on": { "broker": { "condition": "service_healthy" } },
//!       "resources": { "memory": "512m" }
//!     }
//!   ],
//!   "volumes": [{ "name": "messages" }, { "name": "measurements" }]
//! }"#;
//!
//! let reading = addon_descriptor::read(text)?;
//! assert_eq!(reading.violations, []);
//! assert_eq!(reading.warnings, []);
//!
//! let addon = reading.descriptor.expect("without violations there is a descriptor");
//! assert_eq!(addon.services[0].resources.memory, Some(64 * 1024 * 1024));
//! assert_eq!(addon.services[0].image.canonical(), "docker.io/library/eclipse-mosquitto:2.0.18");
//!
//! let rights = addon_descriptor::rights(&addon);
//! let texts: Vec<String> = rights.iter().map(ToString::to_string).collect();
//! assert_eq!(texts, ["host-port:${port}/tcp", "platform-network"]);
//! assert_eq!(addon_descriptor::risk(&rights), 2);
//!
//! // The canonical bytes are the same document, and their SHA-256 is its digest.
//! let again = addon_descriptor::read(&addon.canonical())?.descriptor;
//! assert_eq!(again.map(|addon| addon.digest()), Some(addon.digest()));
//!
//! // On a host, with what its operator gives; the secret is made, and only its name is in what comes out.
//! use addon_descriptor::parameters;
//! let given = [("port".to_owned(), serde_json::json!(8883))].into();
//! let checked = parameters::check(&addon.parameters, &given, &Default::default()).expect("a port");
//! let values = checked.generate(|bytes| bytes.fill(4 /* random bytes */)).expect("no pattern to miss");
//! let filled = parameters::put_in(&addon, &values).expect("no other service has the port");
//! let texts: Vec<String> = filled.rights().iter().map(ToString::to_string).collect();
//! assert_eq!(texts, ["host-port:8883/tcp", "platform-network"]);
//! let (_, texts) = filled.services().last().expect("two services");
//! let password = &texts.environment["DOCKER_INFLUXDB_INIT_PASSWORD"];
//! assert_eq!(password.secrets().map(|name| name.as_str()).collect::<Vec<_>>(), ["password"]);
//! # Ok(())
//! # }
//! ```
//!
//! A fault says where it is, which rule it breaks, and what was probably meant:
//!
//! ```
//! let text = br#"{ "name": "x", "services": [{ "service_name": "a", "image": "nginx:1.27", "comand": "nginx" }] }"#;
//! let reading = addon_descriptor::read(text).expect("JSON");
//! let fault = &reading.violations[0];
//! assert_eq!((fault.path.as_str(), fault.rule), ("/services/0/comand", "unknown-field"));
//! assert_eq!((fault.line, fault.column), (1, 75));
//! assert_eq!(fault.suggestion.as_deref(), Some("command"));
//! ```

pub mod descriptor;
mod digest;
mod fields;
mod image;
mod names;
mod opposites;
pub mod parameters;
mod quantity;
mod read;
mod rights;
pub mod rules;
mod schema;
mod signals;
mod validate;
mod violation;
mod wire;

pub use descriptor::{AddonDescriptor, NetworkSpec, ServiceSpec, VolumeSpec};
pub use digest::Digest;
pub use image::{DEFAULT_REGISTRY, DEFAULT_TAG, ImageRef};
pub use names::{AddonName, ComponentName, MAX_NAME, NetworkName, ParameterName, ServiceName, VolumeName};
pub use opposites::are_opposite;
pub use quantity::{Decimal, MAX_INTEGER, format_duration, parse_duration, parse_size};
pub use read::{Reading, explain_syntax, read};
pub use rights::{Level, Right, rights, risk};
pub use schema::{SCHEMA_TEXT, schema, schema_text};
pub use semver::{Version, VersionReq};
pub use violation::{Invalid, Malformed, Violation};
