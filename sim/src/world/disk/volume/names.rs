//! Changing names, and making the changes durable.

use std::{collections::BTreeMap, io, path::Path};

use super::{Change, Directory, Inode, InodeId, ROOT, Target, Volume, error, parts};

impl Volume {
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
    pub(in crate::world::disk) fn create(&mut self, path: &Path, inode: Inode) -> io::Result<InodeId> {
        let (parent, name) = self.resolve_parent(path)?;
        if self.directory(parent)?.names.contains_key(name) {
            return error(io::ErrorKind::AlreadyExists);
        }
        self.sweep();
        Ok(self.add(parent, name, inode))
    }

    /// Creates the missing directories of a path, durably. Returns whether any was missing.
    pub(in crate::world::disk) fn create_directories(&mut self, path: &Path) -> io::Result<bool> {
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

    pub(in crate::world::disk) fn rename(&mut self, from: &Path, to: &Path, target: Target) -> io::Result<()> {
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

    pub(in crate::world::disk) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.resolve_file(path)?;
        let (parent, name) = self.resolve_parent(path)?;
        self.change(parent, Some(name), None);
        Ok(())
    }

    /// Removes a directory and what is in it, one name after the other in an order that `shuffle` chooses.
    /// Returns whether it existed.
    pub(in crate::world::disk) fn remove_directory(
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

    /// Removes everything, durably.
    pub(in crate::world::disk) fn erase(&mut self) {
        self.empty(ROOT, &mut |_| {});
        self.sync_directory(ROOT);
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

    /// Makes the names of a directory durable, and with them what they cannot be durable without.
    pub(in crate::world::disk) fn sync_directory(&mut self, directory: InodeId) {
        let mut cuts = BTreeMap::from([(directory, u64::MAX)]);
        self.extend_over_renames(&mut cuts);
        for (directory, cut) in cuts {
            self.directory_mut(directory).make_durable(cut);
        }
    }

    /// Moves cuts (in each directory, the last change that becomes durable) on until no rename is durable by half.
    pub(in crate::world::disk) fn extend_over_renames(&self, cuts: &mut BTreeMap<InodeId, u64>) {
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
}

impl Directory {
    fn make(&mut self, sequence: u64, removes: Option<&str>, adds: Option<(&str, InodeId)>, partner: Option<InodeId>) {
        let adds = adds.map(|(name, inode)| (name.to_owned(), inode));
        let change = Change { sequence, removes: removes.map(str::to_owned), adds, partner };
        change.apply(&mut self.names);
        self.journal.push(change);
    }

    /// Makes the changes up to `cut` durable.
    pub(in crate::world::disk) fn make_durable(&mut self, cut: u64) {
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
