//! The operations: which fault may strike, what they change, whom they tell.

use std::{
    io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use rand::seq::SliceRandom as _;
use tidegate::storage::{Entry, FileSystem, ReadFile, WriteFile};

use super::{
    Core, SimDisk, device_error, event,
    event::DiskEventKind,
    fault::{DiskFaultKind, Operation},
    handle::{Handle, SimReadFile, SimWriteFile},
    no_answer,
    volume::{Directory, File, Inode, InodeId, Target, View},
};

impl SimDisk {
    fn open_handle(&self, core: &mut Core, inode: InodeId, path: &Path) -> Handle {
        core.volume.file(inode).handles += 1;
        Handle { disk: self.clone(), inode, path: path.to_owned(), power_losses: core.power_losses }
    }

    async fn move_name(&self, from: &Path, to: &Path, target: Target) -> io::Result<()> {
        self.operate(Operation::Rename, |core, events| {
            let struck = core.strike(Operation::Rename, false, &[from, to]);
            if struck == Some(DiskFaultKind::AmbiguousNotApplied) {
                return Err(no_answer());
            }
            core.volume.rename(from, to, target)?;
            let from = from.to_owned();
            let kind = match target {
                Target::Replace => DiskEventKind::Renamed { from },
                Target::MustBeFree => DiskEventKind::Published { from },
            };
            events.push(event(kind, to));
            if struck.is_some() { Err(no_answer()) } else { Ok(()) }
        })
        .await
    }
}

#[async_trait]
impl FileSystem for SimDisk {
    async fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let handle = self
            .operate(Operation::Create, |core, events| {
                core.strike_plain(Operation::Create, path)?;
                let inode = core.volume.create(path, Inode::File(File::default()))?;
                events.push(event(DiskEventKind::Created, path));
                Ok(self.open_handle(core, inode, path))
            })
            .await?;
        Ok(Box::new(SimWriteFile { handle, position: 0 }))
    }

    async fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        let handle = self
            .operate(Operation::Look, |core, _| {
                core.strike_plain(Operation::Look, path)?;
                let inode = core.volume.resolve_file(path)?;
                Ok(self.open_handle(core, inode, path))
            })
            .await?;
        Ok(Box::new(SimReadFile { handle }))
    }

    async fn length(&self, path: &Path) -> io::Result<u64> {
        self.operate(Operation::Look, |core, _| {
            core.strike_plain(Operation::Look, path)?;
            let inode = core.volume.resolve_file(path)?;
            Ok(core.volume.file(inode).bytes.len() as u64)
        })
        .await
    }

    async fn exists(&self, path: &Path) -> io::Result<bool> {
        self.operate(Operation::Look, |core, _| {
            core.strike_plain(Operation::Look, path)?;
            match core.volume.resolve(path) {
                Ok(_) => Ok(true),
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(other) => Err(other),
            }
        })
        .await
    }

    async fn canonical(&self, path: &Path) -> PathBuf {
        // It has no links, and processes have no working directory.
        path.to_owned()
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.move_name(from, to, Target::Replace).await
    }

    async fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.move_name(from, to, Target::MustBeFree).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(Operation::Remove, |core, events| {
            core.strike_plain(Operation::Remove, path)?;
            core.volume.remove(path)?;
            events.push(event(DiskEventKind::Removed, path));
            Ok(())
        })
        .await
    }

    async fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.operate(Operation::Create, |core, events| {
            core.strike_plain(Operation::Create, path)?;
            core.volume.create(path, Inode::Directory(Directory::default()))?;
            events.push(event(DiskEventKind::DirectoryCreated, path));
            Ok(())
        })
        .await
    }

    async fn create_directories(&self, path: &Path) -> io::Result<()> {
        self.operate(Operation::Create, |core, events| {
            core.strike_plain(Operation::Create, path)?;
            if core.volume.create_directories(path)? {
                events.push(event(DiskEventKind::DirectoryCreated, path));
            }
            Ok(())
        })
        .await
    }

    async fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.operate(Operation::Remove, |core, events| {
            core.strike_plain(Operation::Remove, path)?;
            let Core { volume, fault_random, .. } = core;
            if volume.remove_directory(path, &mut |names| names.shuffle(fault_random))? {
                events.push(event(DiskEventKind::Removed, path));
            }
            Ok(())
        })
        .await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.operate(Operation::List, |core, _| {
            let fresh = core.volume.resolve(path).and_then(|inode| core.volume.directory(inode));
            let idle = fresh.map_or(true, |directory| directory.journal.is_empty());
            match core.strike(Operation::List, idle, &[path]) {
                None => core.volume.list(path, View::Visible),
                Some(DiskFaultKind::StaleList) => core.volume.list(path, View::Durable),
                Some(_) => Err(device_error()),
            }
        })
        .await
    }

    async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.operate(Operation::Sync, |core, events| {
            let inode = core.volume.resolve(path)?;
            let idle = core.volume.directory(inode)?.journal.is_empty();
            match core.strike(Operation::Sync, idle, &[path]) {
                Some(DiskFaultKind::LyingSync) => return Ok(()),
                Some(_) => return Err(device_error()),
                None => {}
            }
            core.volume.sync_directory(inode);
            events.push(event(DiskEventKind::DirectorySynced, path));
            Ok(())
        })
        .await
    }
}
