//! What the marketplace signs, so that a host that has copied it can trust the copy: the index of releases, the feed of
//! revocations, and the keys behind both. What the documents are and how they are checked is `addon_client::trust`.
//!
//! [`Signer`] keeps index and feed up to date; [`key_file`] is the private key on the disk; `keys` the
//! command line that changes keys; `revoke` the one change of a release that reaches installed copies.

pub mod key_file;
mod keys;
mod revoke;
mod signer;

pub use self::keys::KeysCommand;
pub use self::revoke::{Revocation, revoke};
pub(crate) use self::signer::newest;
pub use self::signer::{Signer, SigningError, Step};
