//! Open files: they keep their inode, whatever becomes of its names, until the power fails.

use std::{io, path::PathBuf};

use async_trait::async_trait;
use rand::Rng as _;
use tidegate::storage::{ReadFile, WriteFile};

use super::{
    Core, SimDisk,
    event::DiskEventKind,
    fault::{DiskFaultKind, Operation},
    volume::{InodeId, View},
};

/// An open file.
pub(super) struct Handle {
    pub(super) disk: SimDisk,
    pub(super) inode: InodeId,
    pub(super) path: PathBuf,
    /// How many times the power had failed when it was opened.
    pub(super) power_losses: u64,
}

impl Handle {
    /// A handle from before a power loss is worth nothing.
    fn check(&self, core: &Core) -> io::Result<()> {
        if self.power_losses == core.power_losses { Ok(()) } else { Err(super::device_error()) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut core = self.disk.core();
        if self.power_losses == core.power_losses {
            core.volume.file(self.inode).handles -= 1;
        }
    }
}

/// A file open for writing.
pub(super) struct SimWriteFile {
    pub(super) handle: Handle,
    /// Where the next write goes; after a failed sync there may be a gap before it, which reads as zeros.
    pub(super) position: usize,
}

#[async_trait]
impl WriteFile for SimWriteFile {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { handle, position } = self;
        let disk = handle.disk.clone();
        disk.operate(Operation::Write, |core, _| {
            handle.check(core)?;
            let fault = core.strike(Operation::Write, bytes.is_empty(), &[&handle.path]);
            match fault {
                Some(DiskFaultKind::WriteError) => return Err(super::device_error()),
                Some(DiskFaultKind::FullDisk) => return Err(super::no_space()),
                _ => {}
            }
            let file = core.volume.file(handle.inode);
            file.bytes.resize(*position, 0);
            match fault {
                Some(DiskFaultKind::PhantomWrite | DiskFaultKind::MisdirectedWrite) => {
                    file.bytes.resize(*position + bytes.len(), 0);
                }
                _ => file.bytes.extend_from_slice(bytes),
            }
            *position += bytes.len();
            if fault == Some(DiskFaultKind::MisdirectedWrite) {
                core.misdirect(bytes);
            }
            Ok(())
        })
        .await
    }

    async fn sync(&mut self) -> io::Result<()> {
        let handle = &self.handle;
        handle
            .disk
            .operate(Operation::Sync, |core, events| {
                handle.check(core)?;
                let file = core.volume.file(handle.inode);
                let idle = file.durable_bytes == file.bytes.len();
                match core.strike(Operation::Sync, idle, &[&handle.path]) {
                    Some(DiskFaultKind::SyncError) => {
                        let file = core.volume.file(handle.inode);
                        file.bytes.truncate(file.durable_bytes);
                        return Err(super::device_error());
                    }
                    Some(DiskFaultKind::LyingSync) => return Ok(()),
                    _ => {}
                }
                let file = core.volume.file(handle.inode);
                file.durable_bytes = file.bytes.len();
                events.push(super::event(DiskEventKind::Synced, &handle.path));
                Ok(())
            })
            .await
    }
}

/// A file open for reading.
pub(super) struct SimReadFile {
    pub(super) handle: Handle,
}

#[async_trait]
impl ReadFile for SimReadFile {
    async fn read_at(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let handle = &self.handle;
        handle
            .disk
            .operate(Operation::Read, |core, _| {
                handle.check(core)?;
                let size = core.volume.file(handle.inode).bytes.len();
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(size);
                let end = start.saturating_add(length).min(size);
                match core.strike(Operation::Read, start == end, &[&handle.path]) {
                    Some(DiskFaultKind::ReadError) => return Err(super::device_error()),
                    Some(DiskFaultKind::BitRot) => {
                        let (at, bit) = (core.fault_random.gen_range(start..end), core.fault_random.gen_range(0..8));
                        core.volume.file(handle.inode).bytes[at] ^= 1 << bit;
                    }
                    _ => {}
                }
                Ok(core.volume.file(handle.inode).bytes[start..end].to_owned())
            })
            .await
    }
}

impl Core {
    /// Writes bytes over a random block of a random file that has any, where the fault is at home.
    fn misdirect(&mut self, bytes: &[u8]) {
        const BLOCK_BYTES: usize = 512;
        let files = self.volume.files(View::Visible);
        let at_home = files.iter().filter(|(path, content)| !content.is_empty() && self.faults.is_in_region(path));
        let victims: Vec<InodeId> = at_home.filter_map(|(path, _)| self.volume.resolve_file(path).ok()).collect();
        // The write itself goes into a file that is there, but its name may be gone.
        if victims.is_empty() {
            return;
        }
        let victim = victims[self.fault_random.gen_range(0..victims.len())];
        let file = self.volume.file(victim);
        let start = self.fault_random.gen_range(0..file.bytes.len().div_ceil(BLOCK_BYTES)) * BLOCK_BYTES;
        let end = (start + bytes.len()).min(file.bytes.len());
        file.bytes[start..end].copy_from_slice(&bytes[..end - start]);
    }
}
