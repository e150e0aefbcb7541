//! A directory as a value: read, written and compared.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// Files by their path from the root; directories have no bytes. The lock file is none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tree {
    pub files: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

impl Tree {
    pub fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.read_dir(root, Path::new(""));
        tree
    }

    fn read_dir(&mut self, root: &Path, at: &Path) {
        for entry in std::fs::read_dir(root.join(at)).unwrap() {
            let entry = entry.unwrap();
            let path = at.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                self.files.insert(path.clone(), None);
                self.read_dir(root, &path);
            } else if path != Path::new("lock") {
                self.files.insert(path, Some(std::fs::read(entry.path()).unwrap()));
            }
        }
    }

    /// Makes a directory of its own that holds these files.
    pub fn plant(&self) -> tempfile::TempDir {
        let dir = scratch();
        for (path, bytes) in &self.files {
            let path = dir.path().join(path);
            match bytes {
                None => std::fs::create_dir(&path).unwrap(),
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            }
        }
        dir
    }

    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// An empty directory, in memory where there is such a place.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(dir) = tempfile::tempdir_in(memory)
    {
        return dir;
    }
    tempfile::tempdir().unwrap()
}
