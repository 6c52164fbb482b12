//! `marketplace keys …`: what the keys are, a new one, an old one that counts no more.
//!
//! Works on the database and the key file, beside a marketplace that runs: that one reads the key file for each signature.

use std::path::{Path, PathBuf};

use addon_client::trust::{KeyEntry, KeyId, KeySet, PublicKey, SigningKey, sign};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use service_kit::audit::Actor;
use service_kit::clock::SharedClock;

use super::key_file::{self, KeyFileError};
use super::signer::{newest, text};
use crate::storage::{KeyChange, Storage};

/// `keys …` on the command line.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Show the keys that this marketplace signs with and signed with, and what a host pins.
    List,
    /// Make a new key and sign with it from now on. The old one is still believed until it is retired.
    ///
    /// The old key signs the set that has the new one, so hosts that know the old one follow. Its file stays beside the new
    /// one as KEY-FILE.FIRST-DIGITS-OF-ITS-ID.
    Rotate {
        /// Write the new key here and leave the key file alone: for a key that other replicas get too. They sign with the
        /// old one until they are given this file.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// The old keys are lost or stolen: retire all of them, and do not ask for their signature. Hosts that know them do
        /// not follow; each has to be told the new key.
        #[arg(long)]
        without_old_key: bool,
    },
    /// Believe a key no more: nothing that it signed or signs counts for hosts that have heard of it.
    Retire {
        /// Its id, or its first digits, 8 at least.
        key: String,
    },
}

impl KeysCommand {
    /// Does it, and gives what to show. `key_file` is the file that this marketplace signs with.
    ///
    /// # Errors
    /// Everything that forbids it, in words.
    pub async fn run(
        self,
        storage: &Storage,
        clock: &SharedClock,
        key_file: &Path,
    ) -> anyhow::Result<String> {
        let set = newest(storage).await?;
        let change = Change { storage, clock, key_file, set };
        match self {
            Self::List => Ok(change.list()),
            Self::Rotate { out, without_old_key } => change.rotate(out.as_deref(), without_old_key).await,
            Self::Retire { key } => change.retire(&key).await,
        }
    }
}

struct Change<'a> {
    storage: &'a Storage,
    clock: &'a SharedClock,
    key_file: &'a Path,
    set: Option<KeySet>,
}

impl Change<'_> {
    fn list(&self) -> String {
        let Some(set) = &self.set else {
            return "There is no key yet: the marketplace makes one when it starts for the first time."
                .to_owned();
        };
        let here = match key_file::load(self.key_file) {
            Ok(key) => Some(PublicKey::of(&key).id()),
            Err(_) => None,
        };
        let mut lines = vec![format!("Key set {}, since {}", set.version, set.created_at)];
        for entry in &set.keys {
            let state = match entry.retired_at {
                Some(at) => format!("retired at {at}"),
                None if here == Some(entry.keyid) => format!("signs here ({})", self.key_file.display()),
                None => "believed".to_owned(),
            };
            lines.push(format!(
                "{}  since {}  {state}\n    public key {}",
                entry.keyid, entry.since, entry.key
            ));
        }
        lines.join("\n")
    }

    async fn rotate(&self, out: Option<&Path>, without_old_key: bool) -> anyhow::Result<String> {
        let set = self.set()?;
        let old = match self.own() {
            Ok(old) => Some(old),
            Err(_) if without_old_key => None,
            Err(error) => return Err(error),
        };
        let now = self.clock.now();
        let new = key_file::generate();
        let entry = KeyEntry::new(PublicKey::of(&new), now);
        let id = entry.keyid;
        let beside = |id: KeyId| with_suffix(self.key_file, &id.to_string()[..8]);
        let file = out.map_or_else(|| beside(id), Path::to_owned);
        key_file::create(&file, &new, out.is_none().then_some(self.key_file))?;

        let mut keys = set.keys.clone();
        if without_old_key {
            for entry in &mut keys {
                entry.retired_at.get_or_insert(now);
            }
        }
        keys.push(entry);
        let next = KeySet { version: set.version + 1, created_at: now, keys };
        let signers: Vec<&SigningKey> = match &old {
            Some(old) if !without_old_key => vec![old, &new],
            _ => vec![&new],
        };
        let added = self.add(&next, &signers, "key.rotate", id).await;
        if !matches!(added, Ok(())) {
            // Nobody knows this key, and nobody will.
            _ = std::fs::remove_file(&file);
        }
        added?;
        let version = next.version;
        if let Some(out) = out {
            return Ok(format!(
                "The new key {id} is in {} and in the key set {version}.\nGive the file to every replica (signing.key_file); \
                 when all have it, retire the old key: marketplace keys retire <id>",
                out.display()
            ));
        }
        let kept = match &old {
            Some(old) => beside(PublicKey::of(old).id()),
            None => with_suffix(self.key_file, "old"),
        };
        key_file::replace(self.key_file, &file, &kept).with_context(|| {
            format!(
                "the key set {version} has the new key, which is still in {}: move it to {} yourself",
                file.display(),
                self.key_file.display()
            )
        })?;
        let rest = match &old {
            Some(old) if !without_old_key => format!(
                "The old key is in {} and still believed. Retire it when it should not be: marketplace keys retire {}",
                kept.display(),
                PublicKey::of(old).id()
            ),
            _ => "Every older key is retired. Hosts that know them refuse what is signed now, until each is told the new \
                  key: marketplace keys list shows it"
                .to_owned(),
        };
        Ok(format!("The new key {id} signs from now on (key set {version}).\n{rest}"))
    }

    async fn retire(&self, wanted: &str) -> anyhow::Result<String> {
        let set = self.set()?;
        if wanted.len() < 8 {
            bail!("{wanted:?} is too short to name a key: give 8 digits of its id at least");
        }
        let mut found = set.keys.iter().filter(|entry| entry.keyid.to_string().starts_with(wanted));
        let id = match (found.next(), found.next()) {
            (Some(entry), None) => entry.keyid,
            (None, _) => bail!("there is no key {wanted}: marketplace keys list shows them"),
            (Some(_), Some(_)) => bail!("several keys begin with {wanted}: give more digits"),
        };
        if let Some(at) = set.entry(&id).and_then(|entry| entry.retired_at) {
            bail!("the key {id} is retired since {at}");
        }
        let own = self.own()?;
        if PublicKey::of(&own).id() == id {
            bail!(
                "the key {id} signs here ({}): make another one first with marketplace keys rotate",
                self.key_file.display()
            );
        }
        let now = self.clock.now();
        let mut keys = set.keys.clone();
        for entry in keys.iter_mut().filter(|entry| entry.keyid == id) {
            entry.retired_at = Some(now);
        }
        let next = KeySet { version: set.version + 1, created_at: now, keys };
        self.add(&next, &[&own], "key.retire", id).await?;
        Ok(format!("The key {id} is retired (key set {}). Its file can be deleted.", next.version))
    }

    fn set(&self) -> anyhow::Result<&KeySet> {
        self.set.as_ref().context("there is no key yet: start the marketplace once, which makes one")
    }

    /// The key in the key file, which must be one that hosts believe.
    fn own(&self) -> anyhow::Result<SigningKey> {
        let set = self.set()?;
        let key = key_file::load(self.key_file).map_err(|error| match error {
            KeyFileError::Missing { .. } => anyhow::Error::new(error).context(
                "the key that signs now is needed (signing.key_file); if it is lost for good: marketplace keys rotate \
                 --without-old-key",
            ),
            error => error.into(),
        })?;
        let id = PublicKey::of(&key).id();
        if set.living(&id).is_none() {
            bail!(
                "the key {id} in {} is not one that hosts believe: see marketplace keys list",
                self.key_file.display()
            );
        }
        Ok(key)
    }

    async fn add(
        &self,
        next: &KeySet,
        signers: &[&SigningKey],
        action: &str,
        key: KeyId,
    ) -> anyhow::Result<()> {
        if next.keys.len() > KeySet::MAX_KEYS {
            bail!("a key set holds {} keys at most, retired ones included", KeySet::MAX_KEYS);
        }
        let change = KeyChange { by: &Actor::host(), action, key };
        let envelope = text(&sign(next, signers));
        if !self.storage.add_key_set(next.version, &envelope, change, next.created_at).await? {
            bail!(
                "somebody else changed the keys at the same time; look at marketplace keys list and try again"
            );
        }
        Ok(())
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
