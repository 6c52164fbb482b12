//! A release, and what of it follows from its document. Where it can go from where it stands is `transition.rs`.

use addon_client::{Finding, Pin, ReleaseId, Timestamp, Verdict};
use addon_descriptor::{AddonDescriptor, Digest, Right, Version, rights, risk};
use serde::de::{self, IgnoredAny, Unexpected};
use serde_json::{Map, Value};

use super::addon::{identity, order_key, rank_key};
use super::verification::why_waiting;

pub use addon_client::ReleaseStatus as Status;

/// One immutable (addon, version) and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// Its id.
    pub id: ReleaseId,
    /// Place in the order of publishing.
    pub seq: i64,
    /// The addon's name, folded.
    pub addon: String,
    /// The version as published.
    pub version: Version,
    /// SHA-256 of the canonical descriptor.
    pub digest: Digest,
    /// The descriptor's fields as clients get them.
    pub wire: Fields,
    /// What the addon may do to its host.
    pub rights: Vec<String>,
    /// Grade of the rights, 1 to 6.
    pub risk: u8,
    /// What is unwise in the descriptor.
    pub warnings: Vec<Finding>,
    /// The account that published it.
    pub publisher: String,
    /// When that was.
    pub created_at: Timestamp,
    /// Where it stands.
    pub status: Status,
    /// Of the last run of its checks.
    pub verdict: Verdict,
    /// What a reviewer has to decide about.
    pub held: Vec<String>,
    /// What its images were when they were checked.
    pub pins: Vec<Pin>,
    /// Why it stands where it does.
    pub reason: Option<String>,
    /// An administrator who does not own the addon yanked it: that is not its owners' to take back.
    pub yanked_by_admin: bool,
    /// When it was approved last.
    pub approved_at: Option<Timestamp>,
    /// Since when it waits for a reviewer.
    pub waiting_since: Option<Timestamp>,
    /// Since when an image of the approved release is gone from its registry.
    pub image_missing_since: Option<Timestamp>,
}

/// A descriptor's fields as clients get them, written down: they never change, and are handed on far more often than looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields(String);

impl Fields {
    /// These fields, of which a descriptor always has some.
    pub fn of(fields: &Map<String, Value>) -> Self {
        Self(serde_json::to_string(fields).expect("a map of JSON is JSON"))
    }

    /// Fields that were written down before. The error says where the text is not what [`Fields::text`] gives.
    pub fn read(text: String) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<IgnoredAny>(&text)?;
        if text.starts_with("{\"") && text.ends_with('}') {
            Ok(Self(text))
        } else {
            Err(de::Error::invalid_type(Unexpected::Other("other JSON"), &"an object with fields"))
        }
    }

    /// The JSON object.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The fields.
    pub fn object(&self) -> Map<String, Value> {
        serde_json::from_str(&self.0).expect("it was JSON when it was made")
    }

    /// The fields as they stand between the braces.
    fn inner(&self) -> &str {
        &self.0[1..self.0.len() - 1]
    }
}

impl Release {
    /// Appends the release as clients get it, which is the JSON of an [`addon_client::Release`]: the descriptor's text goes on as
    /// it was stored.
    pub fn write(self, body: &mut Vec<u8>) {
        let around = addon_client::Release {
            id: self.id,
            descriptor: Map::new(),
            status: self.status,
            digest: Some(self.digest),
            pins: self.pins,
            rights: self.rights,
            risk: Some(self.risk),
            held: self.held,
            reason: self.reason,
            publisher: Some(self.publisher),
            created_at: Some(self.created_at),
            approved_at: self.approved_at,
            warnings: self.warnings,
            waiting_since: self.waiting_since,
            image_missing_since: self.image_missing_since,
        };
        let around = serde_json::to_string(&around).expect("what is around has text keys only");
        let (id, rest) = around.split_once(',').expect("its id comes first, and there is more");
        let fields = self.wire.inner();
        body.reserve(around.len() + fields.len() + 2);
        for part in [id, ",", fields, ",", rest] {
            body.extend_from_slice(part.as_bytes());
        }
    }

    /// The same alone.
    pub fn into_json(self) -> Vec<u8> {
        let mut body = Vec::new();
        self.write(&mut body);
        body
    }

    /// The JSON array of these.
    pub fn into_list(releases: Vec<Self>) -> Vec<u8> {
        // What is around a document, about.
        const AROUND: usize = 1024;
        let length = releases.iter().map(|release| release.wire.text().len() + AROUND).sum();
        let mut body = Vec::with_capacity(length);
        body.push(b'[');
        for (number, release) in releases.into_iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            release.write(&mut body);
        }
        body.push(b']');
        body.shrink_to_fit();
        body
    }
}

impl Release {
    /// Where a release that is not approved stands and what it waits for, for somebody who asks for its addon by name and may not know more: no
    /// id, and nothing that registries or reviewers said.
    pub fn standing(&self) -> String {
        let waits = match (self.status, self.verdict) {
            (Status::Approved, _) => return format!("{} {} is approved", self.addon, self.version),
            (Status::UnderReview, Verdict::Pass) if self.held.is_empty() => "a reviewer decides",
            (Status::UnderReview, Verdict::Pass) => {
                let why = why_waiting(&self.held);
                return format!("{} {} is {}: {why}", self.addon, self.version, self.status);
            }
            (Status::UnderReview, Verdict::NoAnswer) => "a registry gives no answer yet, and is asked again",
            (Status::UnderReview, _) => "its images are being checked",
            (Status::VerificationFailed, _) => "its publisher has to mend what its checks found",
            (Status::Rejected, _) => "its publisher has to publish another version",
            (Status::Yanked, _) => "it was withdrawn",
            (Status::Revoked, _) => "it was withdrawn for good",
        };
        format!("{} {} is {}: {waits}", self.addon, self.version, self.status)
    }
}

/// The part of a release that follows from its document and never changes.
#[derive(Debug, Clone)]
pub struct Document {
    /// The version that it has.
    pub version: Version,
    /// Without build metadata.
    pub version_id: String,
    /// See [`order_key`].
    pub version_order: String,
    /// See [`rank_key`].
    pub version_rank: String,
    /// SHA-256 of `canonical`.
    pub digest: Digest,
    /// The canonical form.
    pub canonical: String,
    /// The descriptor's fields as clients get them.
    pub wire: Fields,
    /// What the addon may do to its host.
    pub rights: Vec<String>,
    /// Grade of the rights.
    pub risk: u8,
}

impl Document {
    /// Everything that follows from a descriptor once it has this version.
    pub fn of(descriptor: &AddonDescriptor, version: Version) -> Self {
        let descriptor = descriptor.clone().with_version(version.clone());
        let canonical = String::from_utf8(descriptor.canonical()).expect("JSON is UTF-8");
        let rights = rights(&descriptor);
        let Value::Object(wire) = descriptor.wire_value() else { unreachable!("a descriptor is an object") };
        Self {
            version_id: identity(&version).to_string(),
            version_order: order_key(&version),
            version_rank: rank_key(&version),
            version,
            digest: Digest::of(canonical.as_bytes()),
            canonical,
            wire: Fields::of(&wire),
            risk: risk(&rights),
            rights: rights.iter().map(Right::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(document: &Value) -> Release {
        let reading = addon_descriptor::read(document.to_string().as_bytes()).unwrap();
        let descriptor = reading.descriptor.unwrap();
        let document = Document::of(&descriptor, "1.2.3".parse().unwrap());
        Release {
            id: ReleaseId::new(1, [2; 8]),
            seq: 1,
            addon: descriptor.name.folded(),
            version: document.version,
            digest: document.digest,
            wire: document.wire,
            rights: vec!["host-pid".to_owned()],
            risk: document.risk,
            warnings: Vec::new(),
            publisher: "p, \"q\"".to_owned(),
            created_at: Timestamp::from_millis(1),
            status: Status::Approved,
            verdict: Verdict::Pass,
            held: Vec::new(),
            pins: Vec::new(),
            reason: Some("a, {b}".to_owned()),
            yanked_by_admin: false,
            approved_at: Some(Timestamp::from_millis(2)),
            waiting_since: None,
            image_missing_since: None,
        }
    }

    #[test]
    fn a_release_is_written_as_clients_read_it() {
        let document = json!({"name": "Web", "description": "{\"_id\": \"}\",", "services": [{"service_name": "s", "image": "x"}]});
        let release = release(&document);
        let fields = release.wire.object();
        let body = release.clone().into_json();
        assert!(body.starts_with(b"{\"_id\":\"000000010202020202020202\",\""));
        let read: addon_client::Release = serde_json::from_slice(&body).unwrap();
        assert_eq!(read.descriptor, fields);
        assert_eq!((read.id, read.version()), (release.id, Some("1.2.3")));
        assert_eq!(
            (read.reason.as_ref(), read.publisher.as_ref()),
            (release.reason.as_ref(), Some(&release.publisher))
        );
        // What serde makes of what it read is the same but for the order.
        let again: Value = serde_json::to_value(&read).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), again);

        for count in 0..3 {
            let list = Release::into_list(vec![release.clone(); count]);
            let read: Vec<Value> = serde_json::from_slice(&list).unwrap();
            assert_eq!(read, vec![again.clone(); count]);
        }
    }

    #[test]
    fn only_an_object_with_fields_is_taken_from_a_row() {
        let text = "{\"name\":\"web\"}";
        assert_eq!(Fields::read(text.to_owned()).unwrap().text(), text);
        for text in
            ["", "{}", "[]", "\"name\"", "{\"name\":", "{\"a\":1}}", " {\"a\":1}", "{\"a\":1}{\"b\":1}"]
        {
            assert!(Fields::read(text.to_owned()).is_err(), "{text}");
        }
    }
}
