//! Numbered slots that can be shared with a snapshot in constant time: a tree of three levels of copy-on-write slices.
//!
//! ```text
//!   root ─▶ chunk of 256 pages ─▶ page of 128 slots          clone: one reference to the root, whatever its size
//!                                                            write: copies what of root, chunk, page is shared
//! ```
//!
//! So the first write after a snapshot copies at most a page of slots, a chunk of references, and the root, which has a
//! reference for each 32,768 slots. Whether something is shared is one load of its reference count: that is why the
//! counts are not the standard library's, whose weak references make the question an exchange of memory with other
//! cores, three times per write.

use triomphe::Arc;

/// Slots of a page: what the first write after a snapshot copies.
pub(super) const PAGE_SLOTS: usize = 128;
/// Pages of a chunk: as many references are copied.
const CHUNK_PAGES: usize = 256;

/// See the module. A slot that was never written holds the default.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    chunks: CowSlice<CowSlice<CowSlice<T>>>,
}

/// Where a slot is: chunk, page in it, slot in that.
#[inline]
fn place(slot: u32) -> (usize, usize, usize) {
    let slot = slot as usize;
    let page = slot / PAGE_SLOTS;
    (page / CHUNK_PAGES, page % CHUNK_PAGES, slot % PAGE_SLOTS)
}

impl<T> Clone for Pages<T> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone() }
    }
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { chunks: CowSlice::default() }
    }
}

impl<T> Pages<T> {
    /// What a slot holds.
    ///
    /// # Panics
    /// If nobody made room for it.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> &T {
        let (chunk, page, slot) = place(slot);
        &self.chunks.get()[chunk].get()[page].get()[slot]
    }

    /// All slots for which there is room, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.get().iter().flat_map(|chunk| chunk.get()).flat_map(|page| page.get())
    }

    /// Whether the next write has to copy.
    #[inline]
    pub(super) fn is_shared(&self) -> bool {
        self.chunks.is_shared()
    }
}

impl<T: Clone + Default> Pages<T> {
    /// What a slot holds, to be changed.
    ///
    /// # Panics
    /// If nobody made room for it.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> &mut T {
        let (chunk, page, slot) = place(slot);
        &mut self.chunks.get_mut()[chunk].get_mut()[page].get_mut()[slot]
    }

    /// Makes room for a slot, if there is room for all before it.
    #[inline]
    pub(super) fn make_room(&mut self, slot: u32) {
        let (chunk, page, slot) = place(slot);
        let chunks = self.chunks.with_room(chunk, usize::MAX);
        chunks[chunk].with_room(page, CHUNK_PAGES)[page].with_room(slot, PAGE_SLOTS);
    }
}

/// A slice that is shared by its clones until it is written to.
#[derive(Debug)]
struct CowSlice<T>(Option<Arc<[T]>>);

impl<T> Clone for CowSlice<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for CowSlice<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> CowSlice<T> {
    #[inline]
    fn get(&self) -> &[T] {
        match &self.0 {
            Some(slice) => slice,
            None => &[],
        }
    }

    #[inline]
    fn is_shared(&self) -> bool {
        self.0.as_ref().is_some_and(|slice| !slice.is_unique())
    }
}

impl<T: Clone + Default> CowSlice<T> {
    #[inline]
    fn get_mut(&mut self) -> &mut [T] {
        let Some(slice) = &mut self.0 else { return &mut [] };
        if !slice.is_unique() {
            copy(slice);
        }
        Arc::get_mut(slice).expect("it is shared no more")
    }

    /// The slice, longer if `index` was not in it: twice as long, but not longer than `at_most`.
    #[inline]
    fn with_room(&mut self, index: usize, at_most: usize) -> &mut [T] {
        if index >= self.get().len() {
            self.grow(index, at_most);
        }
        self.get_mut()
    }

    #[cold]
    fn grow(&mut self, index: usize, at_most: usize) {
        let length = (index + 1).next_power_of_two().max(4).min(at_most);
        let mut moved: Vec<T> = self.get_mut().iter_mut().map(std::mem::take).collect();
        moved.resize_with(length, T::default);
        self.0 = Some(Arc::from(moved));
    }
}

#[cold]
#[inline(never)]
fn copy<T: Clone>(slice: &mut Arc<[T]>) {
    *slice = slice.iter().cloned().collect();
}
