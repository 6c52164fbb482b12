//! What a marketplace signs, and how a host that copies it checks it: the index of releases, the feed of revocations, and
//! the keys behind both (feature `trust`).
//!
//! No HTTP and no clock: bytes come in, and the time is an argument. [`TrustStore`] is what a host remembers between two
//! looks at its marketplace; it is serialisable, and everything that it refuses leaves it as it was.
//!
//! ```
//! use addon_client::trust::{Judgement, TrustStore};
//!
//! # fn fetch(_: &str) -> Vec<u8> { Vec::new() }
//! # let now = addon_client::Timestamp::from_millis(0);
//! let mut store = TrustStore::new();
//! if store.accept_keys(&fetch("/api/v1/marketplace/keys")).is_ok() {
//!     _ = store.accept_index(&fetch("/api/v1/marketplace/index"), now);
//!     _ = store.accept_revocations(&fetch("/api/v1/marketplace/revocations"), now);
//! }
//! let (version, digest) = ("1.2.3".parse().unwrap(), addon_descriptor::Digest::of(b"a canonical descriptor"));
//! match store.check_release("mqtt-broker", &version, digest, &[], now) {
//!     Judgement::Approved => println!("as reviewed"),
//!     other => println!("not installed: {other}"),
//! }
//! ```
//!
//! With the feature `http` too, [`MarketplaceClient::sync_trust`](crate::MarketplaceClient::sync_trust) fetches and accepts
//! all of it in the right order.
//!
//! What holds, and against what:
//!
//! - A document is an envelope of [DSSE](https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md), and its type is
//!   part of what is signed: a feed is never taken for an index.
//! - Every signature in an envelope has to be of a key that is known and not retired, and valid. Versions only rise; one
//!   version has one content. An older document than the one that is known is refused.
//! - Keys change only along a chain: each key set is signed by a key of the one before. Whoever pinned one follows.
//! - Nothing leaves the feed of revocations, and nothing in it changes.
//! - Documents expire. An expired one says nothing about what may be installed anew, and takes nothing away from what runs.
//! - What only a retired key has signed can be replaced by anything that a living key signs, older versions too: whoever had
//!   stolen the key could have signed any version number.

mod documents;
mod envelope;
mod judge;
mod keys;
mod store;

#[cfg(test)]
mod tests;

pub use self::documents::{
    AuditHead, IndexRoot, ListedRelease, ListedStatus, Revocation, Revocations, RevokeRequest, Severity,
    ShardId, ShardSummary, UnknownShard,
};
pub use self::envelope::{Envelope, EnvelopeSignature, Payload, sign};
pub use self::judge::{Difference, Judgement, Missing};
pub use self::keys::{InvalidKey, InvalidKeyId, KeyEntry, KeyId, KeySet, PublicKey};
pub use self::store::{Freshness, TrustError, TrustStore};

pub use ed25519_dalek::SigningKey;
