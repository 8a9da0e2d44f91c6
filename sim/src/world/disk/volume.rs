//! Files and directories: what is visible, and what of it is durable.
//!
//! A file's bytes up to `durable_bytes` are durable. A directory has the durable names, the visible names, and in
//! between a journal of changes in the order in which they were made. A rename between two directories is one change
//! that stands in both journals, under one sequence number: it becomes durable in both or in neither.

use std::{
    collections::BTreeMap,
    io,
    path::{Component, Path, PathBuf},
};

use tidegate::storage::{Entry, EntryKind};

pub(super) type InodeId = usize;

/// The directory in which all paths begin.
pub(super) const ROOT: InodeId = 0;

/// A file's content.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    /// How many bytes at the start are durable.
    pub(super) durable_bytes: usize,
    /// How many handles are open.
    pub(super) handles: usize,
}

/// A directory's names.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) names: BTreeMap<String, InodeId>,
    pub(super) durable_names: BTreeMap<String, InodeId>,
    pub(super) journal: Vec<Change>,
}

/// A change of a directory that is not durable yet.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// Orders all changes of the disk.
    pub(super) sequence: u64,
    pub(super) removes: Option<String>,
    pub(super) adds: Option<(String, InodeId)>,
    /// The other directory of a rename between two.
    pub(super) partner: Option<InodeId>,
}

#[derive(Debug)]
pub(super) enum Inode {
    File(File),
    Directory(Directory),
}

/// Whether a rename replaces what has the new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Replace,
    MustBeFree,
}

/// All files and directories of a disk.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    next_inode: InodeId,
    changes_made: u64,
    sweep_at: usize,
}

/// Which of the two states of names to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
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
    pub(super) fn new() -> Self {
        let inodes = BTreeMap::from([(ROOT, Inode::Directory(Directory::default()))]);
        Self { inodes, next_inode: ROOT + 1, changes_made: 0, sweep_at: 256 }
    }

    // ---- looking ----

    pub(super) fn file(&mut self, inode: InodeId) -> &mut File {
        match self.inodes.get_mut(&inode) {
            Some(Inode::File(file)) => file,
            Some(Inode::Directory(_)) | None => panic!("inode {inode} is kept as a file as long as a handle is open"),
        }
    }

    pub(super) fn directory(&self, inode: InodeId) -> io::Result<&Directory> {
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

    pub(super) fn resolve(&self, path: &Path) -> io::Result<InodeId> {
        let mut inode = ROOT;
        for part in parts(path) {
            inode = *self.directory(inode)?.names.get(part?).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(inode)
    }

    pub(super) fn resolve_file(&self, path: &Path) -> io::Result<InodeId> {
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
    pub(super) fn list(&self, path: &Path, view: View) -> io::Result<Vec<Entry>> {
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
    pub(super) fn files(&self, view: View) -> BTreeMap<PathBuf, Vec<u8>> {
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

    // ---- changing names ----

    fn change(&mut self, directory: InodeId, removes: Option<&str>, adds: Option<(&str, InodeId)>) {
        self.changes_made += 1;
        let sequence = self.changes_made;
        self.directory_mut(directory).make(sequence, removes, adds, None);
    }

    fn add(&mut self, directory: InodeId, name: &str, inode: Inode) -> InodeId {
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, inode);
        self.change(directory, None, Some((name, id)));
        id
    }

    /// Adds a file, or a directory, under a name that is free.
    pub(super) fn create(&mut self, path: &Path, inode: Inode) -> io::Result<InodeId> {
        let (parent, name) = self.resolve_parent(path)?;
        if self.directory(parent)?.names.contains_key(name) {
            return error(io::ErrorKind::AlreadyExists);
        }
        self.sweep();
        Ok(self.add(parent, name, inode))
    }

    /// Creates the missing directories of a path, durably. Returns whether any was missing.
    pub(super) fn create_directories(&mut self, path: &Path) -> io::Result<bool> {
        let mut inode = ROOT;
        let mut created = false;
        for part in parts(path) {
            let part = part?;
            inode = match self.directory(inode)?.names.get(part) {
                Some(child) if self.is_directory(*child) => *child,
                Some(_) => return error(io::ErrorKind::AlreadyExists),
                None => {
                    created = true;
                    let child = self.add(inode, part, Inode::Directory(Directory::default()));
                    self.sync_directory(inode);
                    child
                }
            };
        }
        Ok(created)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, target: Target) -> io::Result<()> {
        let (from_parent, from_name) = self.resolve_parent(from)?;
        let moved = *self.directory(from_parent)?.names.get(from_name).ok_or(io::ErrorKind::NotFound)?;
        let (to_parent, to_name) = self.resolve_parent(to)?;
        match self.directory(to_parent)?.names.get(to_name) {
            Some(_) if target == Target::MustBeFree => return error(io::ErrorKind::AlreadyExists),
            Some(replaced) if *replaced == moved => return Ok(()),
            Some(replaced) if self.is_directory(*replaced) => return error(io::ErrorKind::IsADirectory),
            Some(_) if self.is_directory(moved) => return error(io::ErrorKind::NotADirectory),
            Some(_) | None => {}
        }
        if self.is_directory(moved) && to.starts_with(from) {
            return error(io::ErrorKind::InvalidInput);
        }
        if from_parent == to_parent {
            self.change(from_parent, Some(from_name), Some((to_name, moved)));
            return Ok(());
        }
        self.changes_made += 1;
        let sequence = self.changes_made;
        self.directory_mut(from_parent).make(sequence, Some(from_name), None, Some(to_parent));
        self.directory_mut(to_parent).make(sequence, None, Some((to_name, moved)), Some(from_parent));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.resolve_file(path)?;
        let (parent, name) = self.resolve_parent(path)?;
        self.change(parent, Some(name), None);
        Ok(())
    }

    /// Removes a directory and what is in it, one name after the other in an order that `shuffle` chooses.
    /// Returns whether it existed.
    pub(super) fn remove_directory(
        &mut self,
        path: &Path,
        shuffle: &mut dyn FnMut(&mut Vec<String>),
    ) -> io::Result<bool> {
        let inode = match self.resolve(path) {
            Ok(inode) => inode,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(other) => return Err(other),
        };
        let (parent, name) = self.resolve_parent(path)?;
        self.directory(inode)?;
        self.empty(inode, shuffle);
        self.change(parent, Some(name), None);
        Ok(true)
    }

    fn empty(&mut self, inode: InodeId, shuffle: &mut dyn FnMut(&mut Vec<String>)) {
        let mut names: Vec<String> = self.directory_mut(inode).names.keys().cloned().collect();
        shuffle(&mut names);
        for name in names {
            let child = self.directory_mut(inode).names[&name];
            if self.is_directory(child) {
                self.empty(child, shuffle);
            }
            self.change(inode, Some(&name), None);
        }
    }

    // ---- durability ----

    /// Makes the names of a directory durable, and with them what they cannot be durable without.
    pub(super) fn sync_directory(&mut self, directory: InodeId) {
        let mut cuts = BTreeMap::from([(directory, u64::MAX)]);
        self.extend_over_renames(&mut cuts);
        for (directory, cut) in cuts {
            self.directory_mut(directory).make_durable(cut);
        }
    }

    /// Moves cuts (in each directory, the last change that becomes durable) on until no rename is durable by half.
    pub(super) fn extend_over_renames(&self, cuts: &mut BTreeMap<InodeId, u64>) {
        let mut open: Vec<InodeId> = cuts.keys().copied().collect();
        while let Some(directory) = open.pop() {
            let Some(Inode::Directory(changed)) = self.inodes.get(&directory) else { continue };
            for change in &changed.journal {
                let Some(partner) = change.partner.filter(|_| change.sequence <= cuts[&directory]) else { continue };
                if cuts.get(&partner).is_none_or(|cut| *cut < change.sequence) {
                    cuts.insert(partner, change.sequence);
                    open.push(partner);
                }
            }
        }
    }

    /// Forgets inodes that no name, no journal and no handle leads to, once there are many.
    fn sweep(&mut self) {
        if self.inodes.len() >= self.sweep_at {
            self.forget_unreachable();
            self.sweep_at = 256 + 2 * self.inodes.len();
        }
    }

    pub(super) fn forget_unreachable(&mut self) {
        let held = |inode: &Inode| matches!(inode, Inode::File(file) if file.handles > 0);
        let mut open: Vec<InodeId> =
            self.inodes.iter().filter(|(_, inode)| held(inode)).map(|(id, _)| *id).chain([ROOT]).collect();
        let mut reached = std::collections::BTreeSet::new();
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
    pub(super) fn names_in(&self, view: View) -> &BTreeMap<String, InodeId> {
        match view {
            View::Visible => &self.names,
            View::Durable => &self.durable_names,
        }
    }

    fn make(&mut self, sequence: u64, removes: Option<&str>, adds: Option<(&str, InodeId)>, partner: Option<InodeId>) {
        let adds = adds.map(|(name, inode)| (name.to_owned(), inode));
        let change = Change { sequence, removes: removes.map(str::to_owned), adds, partner };
        change.apply(&mut self.names);
        self.journal.push(change);
    }

    /// Makes the changes up to `cut` durable.
    pub(super) fn make_durable(&mut self, cut: u64) {
        let count = self.journal.partition_point(|change| change.sequence <= cut);
        for change in self.journal.drain(..count) {
            change.apply(&mut self.durable_names);
        }
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, InodeId>) {
        if let Some(name) = &self.removes {
            names.remove(name);
        }
        if let Some((name, inode)) = &self.adds {
            names.insert(name.clone(), *inode);
        }
    }
}
