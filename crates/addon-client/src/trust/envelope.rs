//! The envelope around every signed document: DSSE v1 with ed25519.
//!
//! Signed is not the payload but its pre-authentication encoding, which holds the type too:
//! <https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{IndexRoot, KeyId, KeySet, PublicKey, Revocations, TrustError};

/// Most signatures of an envelope: checking each costs a tenth of a millisecond.
const MAX_SIGNATURES: usize = 16;

/// A document that can be signed.
pub trait Payload: Serialize + DeserializeOwned {
    /// What the envelope calls it.
    const TYPE: &'static str;
}

impl Payload for KeySet {
    const TYPE: &'static str = "application/vnd.addon-marketplace.keys.v1+json";
}

impl Payload for IndexRoot {
    const TYPE: &'static str = "application/vnd.addon-marketplace.index.v1+json";
}

impl Payload for Revocations {
    const TYPE: &'static str = "application/vnd.addon-marketplace.revocations.v1+json";
}

/// A signed document (DSSE v1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Envelope {
    /// What the payload is; part of what is signed.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The document, in base64.
    pub payload: String,
    /// The signatures; every one counts.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvelopeSignature {
    /// The key: SHA-256 of its 32 bytes, as 64 lower-case hex digits.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub keyid: KeyId,
    /// The 64 bytes of the ed25519 signature, in base64.
    pub sig: String,
}

impl Envelope {
    /// The document, without looking at its signatures: for whoever made it.
    ///
    /// # Errors
    /// [`TrustError::Malformed`], [`TrustError::WrongType`].
    pub fn unverified<P: Payload>(bytes: &[u8]) -> Result<P, TrustError> {
        Sealed::read(bytes).map(|sealed| sealed.document)
    }

    /// The document, signed by keys of this set alone, retired ones too: for whoever kept it from when they counted.
    ///
    /// # Errors
    /// [`TrustError::Malformed`], [`TrustError::WrongType`], [`TrustError::UnknownKey`], [`TrustError::BadSignature`].
    pub fn verified<P: Payload>(bytes: &[u8], keys: &KeySet) -> Result<P, TrustError> {
        let sealed = Sealed::read(bytes)?;
        let known = |keyid: &KeyId| keys.entry(keyid).map(|entry| entry.key);
        sealed.verify(|keyid| known(keyid).ok_or(TrustError::UnknownKey { keyid: *keyid }))?;
        Ok(sealed.document)
    }
}

/// Puts a document into an envelope that these keys sign.
pub fn sign<P: Payload>(document: &P, keys: &[&SigningKey]) -> Envelope {
    let payload = serde_json::to_vec(document).expect("documents have text keys only");
    let signed = encoded(P::TYPE, &payload);
    let signatures = keys.iter().map(|key| EnvelopeSignature {
        keyid: PublicKey::of(key).id(),
        sig: STANDARD.encode(key.sign(&signed).to_bytes()),
    });
    Envelope {
        payload_type: P::TYPE.to_owned(),
        signatures: signatures.collect(),
        payload: STANDARD.encode(&payload),
    }
}

/// The bytes that are signed: `DSSEv1`, then length and text of type and payload.
fn encoded(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// An envelope that was read, and whose signatures are still to be checked.
pub(super) struct Sealed<P> {
    pub(super) document: P,
    pub(super) payload: Vec<u8>,
    signatures: Vec<EnvelopeSignature>,
}

impl<P: Payload> Sealed<P> {
    /// Reads an envelope that must hold a document of this type.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, TrustError> {
        let malformed = |what: String| TrustError::Malformed { what };
        let Envelope { payload_type, payload, signatures } =
            serde_json::from_slice(bytes).map_err(|error| malformed(format!("no envelope: {error}")))?;
        if payload_type != P::TYPE {
            return Err(TrustError::WrongType { expected: P::TYPE, found: payload_type });
        }
        if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
            return Err(malformed(format!(
                "{} signatures; 1 to {MAX_SIGNATURES} are usual",
                signatures.len()
            )));
        }
        let payload = STANDARD.decode(payload).map_err(|error| malformed(format!("the payload: {error}")))?;
        let document =
            serde_json::from_slice(&payload).map_err(|error| malformed(format!("the payload: {error}")))?;
        Ok(Self { document, payload, signatures })
    }

    /// Checks every signature with the key that `find` knows under its id; answers who signed.
    pub(super) fn verify(
        &self,
        find: impl Fn(&KeyId) -> Result<PublicKey, TrustError>,
    ) -> Result<Vec<KeyId>, TrustError> {
        let signed = encoded(P::TYPE, &self.payload);
        for EnvelopeSignature { keyid, sig } in &self.signatures {
            let bad = || TrustError::BadSignature { keyid: *keyid };
            let key = find(keyid)?.verifying().ok_or_else(bad)?;
            let bytes = STANDARD.decode(sig).map_err(|_| bad())?;
            let signature = Signature::from_slice(&bytes).map_err(|_| bad())?;
            // Strict: a signature that others could have made into another valid one is none.
            key.verify_strict(&signed, &signature).map_err(|_| bad())?;
        }
        Ok(self.signatures.iter().map(|signature| signature.keyid).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn the_example_of_the_protocol_is_encoded_as_it_says() {
        // https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md, "Test Vectors".
        let bytes = encoded("http://example.com/HelloWorld", b"hello world");
        assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
