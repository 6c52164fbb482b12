//! How far pulls are, for whoever asks while they go on. Kept in memory: a pull does not outlive the process that asked for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use addon_client::{ImageProgress, Progress};

use super::lock;
use crate::domain::installation::InstallationId;
use crate::domain::specification::PinnedImage;
use crate::runtime::PullProgress;

/// All pulls that go on, and those of the same installation that are over.
#[derive(Debug, Default)]
pub(crate) struct ProgressBoard(Mutex<HashMap<InstallationId, BTreeMap<String, ImageProgress>>>);

impl ProgressBoard {
    /// A pull begins.
    pub(crate) fn begin(&self, id: InstallationId, service: &str, image: &PinnedImage) {
        let progress = ImageProgress {
            image: image.reference.clone(),
            bytes_done: 0,
            bytes_total: image.bytes.unwrap_or(0),
            done: false,
        };
        lock(&self.0).entry(id).or_default().insert(service.to_owned(), progress);
    }

    /// A pull goes on.
    pub(crate) fn update(&self, id: InstallationId, service: &str, progress: PullProgress) {
        if let Some(image) = lock(&self.0).get_mut(&id).and_then(|images| images.get_mut(service)) {
            image.bytes_done = progress.done_bytes;
            // What the reviewed pin says is better than what the engine has seen so far.
            image.bytes_total = image.bytes_total.max(progress.total_bytes).max(progress.done_bytes);
        }
    }

    /// A pull is over. When none of the installation goes on any more, there is nothing to show.
    pub(crate) fn end(&self, id: InstallationId, service: &str, succeeded: bool) {
        let mut board = lock(&self.0);
        let Some(images) = board.get_mut(&id) else { return };
        if succeeded {
            if let Some(image) = images.get_mut(service) {
                image.done = true;
                image.bytes_done = image.bytes_total;
            }
        } else {
            images.remove(service);
        }
        if images.values().all(|image| image.done) {
            board.remove(&id);
        }
    }

    /// How far the pulls of an installation are.
    pub(crate) fn of(&self, id: InstallationId) -> Option<Progress> {
        let board = lock(&self.0);
        let images: Vec<ImageProgress> = board.get(&id)?.values().cloned().collect();
        let bytes_done = images.iter().map(|image| image.bytes_done).sum();
        let bytes_total = images.iter().map(|image| image.bytes_total).sum();
        Some(Progress { bytes_done, bytes_total, images })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulls_are_shown_until_the_last_of_an_installation_is_over() {
        let board = ProgressBoard::default();
        let id = InstallationId::new(1, [1; 8]);
        let image = |bytes| PinnedImage {
            reference: "nginx:1".into(),
            repository: "docker.io/library/nginx".into(),
            digest: "sha256:0".into(),
            platform: None,
            bytes,
        };
        assert_eq!(board.of(id), None);
        board.begin(id, "a", &image(Some(100)));
        board.begin(id, "b", &image(None));
        board.update(id, "a", PullProgress { done_bytes: 40, total_bytes: 50 });
        board.update(id, "b", PullProgress { done_bytes: 10, total_bytes: 60 });
        let shown = board.of(id).unwrap();
        assert_eq!((shown.bytes_done, shown.bytes_total, shown.images.len()), (50, 160, 2));
        board.end(id, "a", true);
        let shown = board.of(id).unwrap();
        assert_eq!((shown.bytes_done, shown.images[0].done), (110, true));
        board.end(id, "b", false);
        assert_eq!(board.of(id), None);
    }
}
