//! What is known about a name before it is judged: for a release under review, and for a document that nobody has published.

use std::collections::BTreeSet;

use super::checks::Context;
use crate::domain::name;
use crate::storage::{Storage, StorageError};

/// What the rules look at of a name, folded. `publisher` is who would publish it, where nobody may have it yet; `None` is for an
/// addon that is there.
///
/// # Errors
/// The database.
pub async fn known(
    storage: &Storage,
    reserved: &BTreeSet<String>,
    addon: &str,
    publisher: Option<&str>,
) -> Result<Context, StorageError> {
    let skeleton = name::skeleton(addon);
    let slips = name::slips(&name::bare(&skeleton));
    let of_new = match publisher {
        Some(publisher) => storage.like_a_new_name(addon, &skeleton, &slips, publisher).await?,
        None => None,
    };
    let (look_alike, near) = match of_new {
        Some(found) => found,
        None => (storage.look_alike(addon, &skeleton).await?, storage.near(addon, &slips).await?),
    };
    let near = near.into_iter().find(|other| !name::are_numbered(addon, &other.addon));
    Ok(Context {
        reserved: reserved.clone(),
        look_alike,
        near: near.map(|other| other.name),
        ..Context::default()
    })
}
