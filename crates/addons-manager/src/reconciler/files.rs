//! The `files` of services on disk: written once for each content, whole or not at all, and removed with their installation.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A file to write.
#[derive(Debug, Clone)]
pub(crate) struct FileToWrite {
    pub(crate) path: PathBuf,
    pub(crate) content: String,
    pub(crate) mode: u32,
}

/// Writes what is not there yet or not whole. Folders are 0700: the engine binds the files by itself.
pub(crate) fn write(files: &[FileToWrite]) -> io::Result<()> {
    for file in files {
        let folder = file.path.parent().expect("a file lies in a folder");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let right_mode = |found: &fs::Metadata| found.permissions().mode() & 0o7777 == file.mode;
        if fs::metadata(&file.path).is_ok_and(|found| right_mode(&found))
            && fs::read(&file.path).is_ok_and(|found| found == file.content.as_bytes())
        {
            continue;
        }
        let mut temporary = file.path.clone().into_os_string();
        temporary.push(".new");
        let temporary = Path::new(&temporary);
        let _ = fs::remove_file(temporary);
        let mut new = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
        new.write_all(file.content.as_bytes())?;
        new.set_permissions(fs::Permissions::from_mode(file.mode))?;
        new.sync_all()?;
        fs::rename(temporary, &file.path)?;
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Removes what lies two levels below a folder (the files of a service, by their digest) and is none of these.
pub(crate) fn keep_only(folder: &Path, kept: &BTreeSet<PathBuf>) -> io::Result<()> {
    let entries = |folder: &Path| match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>(),
    };
    for service in entries(folder)? {
        for files in entries(&service)? {
            if !kept.contains(&files) {
                remove(&files)?;
            }
        }
    }
    Ok(())
}

/// Removes a folder and what is in it; one that is gone is removed.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_whole_with_their_mode_in_closed_folders() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("files/1/web/d/0");
        let file = FileToWrite { path: path.clone(), content: "listen 80".into(), mode: 0o444 };
        write(std::slice::from_ref(&file)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "listen 80");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o444);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o700);
        // Again, after somebody changed it: as it was meant.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, "half").unwrap();
        fs::write(path.with_extension("new"), "left by a crash").unwrap();
        write(&[file]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "listen 80");
        remove(&state.path().join("files/1")).unwrap();
        assert!(!path.exists());
        remove(&state.path().join("files/1")).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("files"), "in the way").unwrap();
        let file =
            FileToWrite { path: state.path().join("files/1/web/d/0"), content: String::new(), mode: 0o444 };
        assert!(write(&[file]).is_err());
    }
}
