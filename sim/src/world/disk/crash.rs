//! What a disk looks like after the power failed.
//!
//! - Of each directory a random *prefix* of the changes since its last sync survives; a rename between two
//!   directories survives in both or in neither.
//! - Of each file what was synced survives. What was not is lost, kept, cut at a block (a *prefix*), or torn: a random
//!   *subset* of its 512-byte blocks survives and zeros stand for the others.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::volume::{Directory, File, Inode, InodeId, Volume};
use crate::world::counts::Counts;

/// What a device writes in one piece.
const BLOCK_BYTES: usize = 512;

impl Volume {
    /// Only what is durable is left, and what luck adds to it.
    pub(super) fn lose_power(&mut self, random: &mut ChaCha8Rng, counts: &mut Counts) {
        self.lose_names(random, counts);
        for inode in self.inodes.values_mut() {
            match inode {
                Inode::File(file) => file.lose_power(random, counts),
                Inode::Directory(directory) => directory.forget_changes(counts),
            }
        }
        self.forget_unreachable();
    }

    fn lose_names(&mut self, random: &mut ChaCha8Rng, counts: &mut Counts) {
        let mut cuts = BTreeMap::new();
        for (id, inode) in &self.inodes {
            if let Inode::Directory(directory) = inode
                && !directory.journal.is_empty()
            {
                cuts.insert(*id, directory.draw_cut(random));
            }
        }
        if random.gen_bool(0.5) {
            self.extend_over_renames(&mut cuts);
        } else {
            self.shrink_before_renames(&mut cuts);
        }
        for (id, cut) in cuts {
            if let Some(Inode::Directory(directory)) = self.inodes.get_mut(&id) {
                let before = directory.journal.len();
                directory.make_durable(cut);
                counts.add("unsynced_names_kept", (before - directory.journal.len()) as u64);
            }
        }
    }

    /// Moves cuts back until no rename is durable by half.
    fn shrink_before_renames(&self, cuts: &mut BTreeMap<InodeId, u64>) {
        let mut stable = false;
        while !stable {
            stable = true;
            for (id, inode) in &self.inodes {
                let Inode::Directory(directory) = inode else { continue };
                for change in &directory.journal {
                    let Some(partner) = change.partner else { continue };
                    if change.sequence > cuts[&partner] && change.sequence <= cuts[id] {
                        cuts.insert(*id, change.sequence - 1);
                        stable = false;
                    }
                }
            }
        }
    }
}

impl Directory {
    /// The sequence number of the last change that survives: none, all and something in between are all likely.
    fn draw_cut(&self, random: &mut ChaCha8Rng) -> u64 {
        let kept = match random.gen_range(0..4) {
            0 => 0,
            1 => self.journal.len(),
            _ => random.gen_range(0..=self.journal.len()),
        };
        kept.checked_sub(1).map_or(0, |last| self.journal[last].sequence)
    }

    fn forget_changes(&mut self, counts: &mut Counts) {
        counts.add("unsynced_names_lost", self.journal.len() as u64);
        self.journal.clear();
        self.names = self.durable_names.clone();
    }
}

impl File {
    fn lose_power(&mut self, random: &mut ChaCha8Rng, counts: &mut Counts) {
        self.handles = 0;
        let unsynced = self.bytes.len() - self.durable_bytes;
        if unsynced > 0 {
            match random.gen_range(0..4) {
                0 => {
                    counts.add("unsynced_bytes_lost", unsynced as u64);
                    self.bytes.truncate(self.durable_bytes);
                }
                1 => counts.add("unsynced_bytes_kept", unsynced as u64),
                2 => self.cut_at_a_block(random, counts),
                _ => self.tear(random, counts),
            }
        }
        self.durable_bytes = self.bytes.len();
    }

    fn cut_at_a_block(&mut self, random: &mut ChaCha8Rng, counts: &mut Counts) {
        let blocks = self.durable_bytes / BLOCK_BYTES..=self.bytes.len() / BLOCK_BYTES;
        let end = (random.gen_range(blocks) * BLOCK_BYTES).max(self.durable_bytes);
        counts.add("torn_write", 1);
        self.bytes.truncate(end);
    }

    fn tear(&mut self, random: &mut ChaCha8Rng, counts: &mut Counts) {
        let mut start = self.durable_bytes;
        let mut torn = false;
        while start < self.bytes.len() {
            let end = ((start / BLOCK_BYTES + 1) * BLOCK_BYTES).min(self.bytes.len());
            if random.gen_bool(0.5) {
                self.bytes[start..end].fill(0);
                torn = true;
            }
            start = end;
        }
        counts.add("torn_write", u64::from(torn));
    }
}
