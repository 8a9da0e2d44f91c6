//! Files and directories: what is visible, and what of it is durable.
//!
//! A file's bytes up to `durable_bytes` are durable. A directory has the durable names, the visible names, and in
//! between a journal of changes in the order in which they were made. A rename between two directories is one change
//! that stands in both journals, under one sequence number: it becomes durable in both or in neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Component, Path, PathBuf},
};

use tidegate::storage::{Entry, EntryKind};

mod names;

pub(in crate::world::disk) type InodeId = usize;

/// The directory in which all paths begin.
pub(in crate::world::disk) const ROOT: InodeId = 0;

/// A file's content.
#[derive(Debug, Default)]
pub(in crate::world::disk) struct File {
    pub(in crate::world::disk) bytes: Vec<u8>,
    /// How many bytes at the start are durable.
    pub(in crate::world::disk) durable_bytes: usize,
    /// How many handles are open.
    pub(in crate::world::disk) handles: usize,
}

/// A directory's names.
#[derive(Debug, Default)]
pub(in crate::world::disk) struct Directory {
    pub(in crate::world::disk) names: BTreeMap<String, InodeId>,
    pub(in crate::world::disk) durable_names: BTreeMap<String, InodeId>,
    pub(in crate::world::disk) journal: Vec<Change>,
}

/// A change of a directory that is not durable yet.
#[derive(Debug, Clone)]
pub(in crate::world::disk) struct Change {
    /// Orders all changes of the disk.
    pub(in crate::world::disk) sequence: u64,
    pub(in crate::world::disk) removes: Option<String>,
    pub(in crate::world::disk) adds: Option<(String, InodeId)>,
    /// The other directory of a rename between two.
    pub(in crate::world::disk) partner: Option<InodeId>,
}

#[derive(Debug)]
pub(in crate::world::disk) enum Inode {
    File(File),
    Directory(Directory),
}

/// Whether a rename replaces what has the new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::world::disk) enum Target {
    Replace,
    MustBeFree,
}

/// All files and directories of a disk.
#[derive(Debug)]
pub(in crate::world::disk) struct Volume {
    pub(in crate::world::disk) inodes: BTreeMap<InodeId, Inode>,
    next_inode: InodeId,
    changes_made: u64,
    sweep_at: usize,
}

/// Which of the two states of names to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::world::disk) enum View {
    Visible,
    Durable,
}

fn error<T>(kind: io::ErrorKind) -> io::Result<T> {
    Err(kind.into())
}

fn parts(path: &Path) -> impl Iterator<Item = io::Result<&str>> {
    path.components().filter_map(|component| match component {
        Component::RootDir | Component::CurDir => None,
        Component::Normal(name) => Some(name.to_str().ok_or_else(|| io::ErrorKind::InvalidFilename.into())),
        Component::ParentDir | Component::Prefix(_) => Some(error(io::ErrorKind::InvalidInput)),
    })
}

impl Volume {
    pub(in crate::world::disk) fn new() -> Self {
        let inodes = BTreeMap::from([(ROOT, Inode::Directory(Directory::default()))]);
        Self { inodes, next_inode: ROOT + 1, changes_made: 0, sweep_at: 256 }
    }

    pub(in crate::world::disk) fn file(&mut self, inode: InodeId) -> &mut File {
        match self.inodes.get_mut(&inode) {
            Some(Inode::File(file)) => file,
            Some(Inode::Directory(_)) | None => panic!("inode {inode} is kept as a file as long as a handle is open"),
        }
    }

    pub(in crate::world::disk) fn directory(&self, inode: InodeId) -> io::Result<&Directory> {
        match self.inodes.get(&inode) {
            Some(Inode::Directory(directory)) => Ok(directory),
            Some(Inode::File(_)) => error(io::ErrorKind::NotADirectory),
            None => error(io::ErrorKind::NotFound),
        }
    }

    fn directory_mut(&mut self, inode: InodeId) -> &mut Directory {
        match self.inodes.get_mut(&inode) {
            Some(Inode::Directory(directory)) => directory,
            Some(Inode::File(_)) | None => panic!("inode {inode} was found to be a directory"),
        }
    }

    pub(in crate::world::disk) fn resolve(&self, path: &Path) -> io::Result<InodeId> {
        let mut inode = ROOT;
        for part in parts(path) {
            inode = *self.directory(inode)?.names.get(part?).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(inode)
    }

    pub(in crate::world::disk) fn resolve_file(&self, path: &Path) -> io::Result<InodeId> {
        let inode = self.resolve(path)?;
        match self.inodes.get(&inode) {
            Some(Inode::File(_)) => Ok(inode),
            Some(Inode::Directory(_)) | None => error(io::ErrorKind::IsADirectory),
        }
    }

    /// The directory that holds the path, and the last part of the path.
    fn resolve_parent<'a>(&self, path: &'a Path) -> io::Result<(InodeId, &'a str)> {
        let Some(name) = parts(path).last().transpose()? else { return error(io::ErrorKind::InvalidInput) };
        let parent = self.resolve(path.parent().unwrap_or(Path::new("")))?;
        self.directory(parent)?;
        Ok((parent, name))
    }

    fn is_directory(&self, inode: InodeId) -> bool {
        matches!(self.inodes.get(&inode), Some(Inode::Directory(_)))
    }

    /// The entries of a directory, sorted; empty if it does not exist.
    pub(in crate::world::disk) fn list(&self, path: &Path, view: View) -> io::Result<Vec<Entry>> {
        let directory = match self.resolve(path) {
            Ok(inode) => self.directory(inode)?,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(other) => return Err(other),
        };
        let entry = |(name, inode): (&String, &InodeId)| Entry {
            name: name.clone(),
            kind: if self.is_directory(*inode) { EntryKind::Directory } else { EntryKind::File },
        };
        Ok(directory.names_in(view).iter().map(entry).collect())
    }

    /// All files with their bytes.
    pub(in crate::world::disk) fn files(&self, view: View) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut directories = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, inode)) = directories.pop() {
            let Ok(directory) = self.directory(inode) else { continue };
            for (name, child) in directory.names_in(view) {
                match &self.inodes[child] {
                    Inode::Directory(_) => directories.push((path.join(name), *child)),
                    Inode::File(file) => {
                        let shown = match view {
                            View::Visible => &file.bytes[..],
                            View::Durable => &file.bytes[..file.durable_bytes],
                        };
                        files.insert(path.join(name), shown.to_owned());
                    }
                }
            }
        }
        files
    }

    /// All directories, without the root.
    pub(in crate::world::disk) fn directories(&self, view: View) -> BTreeSet<PathBuf> {
        let (mut found, mut open) = (BTreeSet::new(), vec![(PathBuf::from("/"), ROOT)]);
        while let Some((path, inode)) = open.pop() {
            let Ok(directory) = self.directory(inode) else { continue };
            let below = directory.names_in(view).iter().filter(|(_, child)| self.is_directory(**child));
            let below: Vec<(PathBuf, InodeId)> = below.map(|(name, child)| (path.join(name), *child)).collect();
            found.extend(below.iter().map(|(path, _)| path.clone()));
            open.extend(below);
        }
        found
    }

    /// Forgets inodes that no name, no journal and no handle leads to, once there are many.
    fn sweep(&mut self) {
        if self.inodes.len() >= self.sweep_at {
            self.forget_unreachable();
            self.sweep_at = 256 + 2 * self.inodes.len();
        }
    }

    pub(in crate::world::disk) fn forget_unreachable(&mut self) {
        let held = |inode: &Inode| matches!(inode, Inode::File(file) if file.handles > 0);
        let mut open: Vec<InodeId> =
            self.inodes.iter().filter(|(_, inode)| held(inode)).map(|(id, _)| *id).chain([ROOT]).collect();
        let mut reached = BTreeSet::new();
        while let Some(id) = open.pop() {
            if !reached.insert(id) {
                continue;
            }
            if let Some(Inode::Directory(directory)) = self.inodes.get(&id) {
                open.extend(directory.names.values().chain(directory.durable_names.values()));
                for change in &directory.journal {
                    open.extend(change.adds.as_ref().map(|(_, inode)| *inode).into_iter().chain(change.partner));
                }
            }
        }
        self.inodes.retain(|id, _| reached.contains(id));
    }
}

impl Directory {
    pub(in crate::world::disk) fn names_in(&self, view: View) -> &BTreeMap<String, InodeId> {
        match view {
            View::Visible => &self.names,
            View::Durable => &self.durable_names,
        }
    }
}
