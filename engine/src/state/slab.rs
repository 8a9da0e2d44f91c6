//! Entries in numbered slots that a snapshot can share: what lies below the copy-on-write table and the timers.
//!
//! Guarantees: [`Slab::share`] takes constant time and what it returns never changes afterwards; an entry keeps its slot
//! until it is removed; which slot an entry gets follows from the sequence of operations alone.

mod pages;

use self::pages::Pages;

/// The slots at one moment; one that is free holds `None`.
pub(crate) type SharedSlots<T> = Pages<Option<T>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Pages<Option<T>>,
    /// Slots below `next` that hold nothing; the last one is used first.
    free: Vec<u32>,
    /// How many were freed since they were sorted, and not used again.
    unsorted: usize,
    next: u32,
}

/// When so many were freed, and they are the half of all that are free, they are sorted: entries that go in the order of
/// their keys leave slots all over the memory, and what comes next shall lie together.
const SORTED_FROM: usize = 4_096;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Pages::default(), free: Vec::new(), unsorted: 0, next: 0 }
    }
}

const HELD: &str = "whoever keeps a slot's number keeps its entry";

impl<T> Slab<T> {
    /// What a slot holds, if anything.
    #[inline]
    pub(crate) fn peek(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot).as_ref()
    }

    /// The entry in a slot.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub(crate) fn get(&self, slot: u32) -> &T {
        self.peek(slot).expect(HELD)
    }

    /// Slots from this one on have never been used.
    #[inline]
    pub(crate) fn end(&self) -> u32 {
        self.next
    }

    /// All entries, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    /// The slots as they are now, for ever. One reference is made.
    pub(crate) fn share(&self) -> SharedSlots<T> {
        self.slots.clone()
    }

    /// Whether the next write has to copy.
    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        self.slots.is_shared()
    }
}

impl<T: Clone> Slab<T> {
    /// The entry in a slot, to be changed.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut T {
        self.slots.get_mut(slot).as_mut().expect(HELD)
    }

    /// Adds an entry; returns its slot.
    #[inline]
    pub(crate) fn insert(&mut self, entry: T) -> u32 {
        if self.unsorted >= SORTED_FROM && self.unsorted >= self.free.len() / 2 {
            self.sort_free();
        }
        self.unsorted = self.unsorted.saturating_sub(1);
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = self.next;
            self.next = slot.checked_add(1).expect("a state has fewer than 2^32 entries in one subtask");
            self.slots.make_room(slot);
            slot
        });
        *self.slots.get_mut(slot) = Some(entry);
        slot
    }

    #[cold]
    fn sort_free(&mut self) {
        self.free.sort_unstable_by(|one, other| other.cmp(one));
        self.unsorted = 0;
    }

    /// Takes the entry out of a slot.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub(crate) fn remove(&mut self, slot: u32) -> T {
        self.free.push(slot);
        self.unsorted += 1;
        self.slots.get_mut(slot).take().expect(HELD)
    }
}
