//! Planted bugs: mutations of the real engine that the laboratory must catch to be believed.
//!
//! A site asks `planted!("name")`. Without the laboratory's feature the answer is the constant `false`
//! and the site compiles to nothing. With it, at most one bug is active on a thread: a simulated run owns its thread.

/// Whether the named planted bug is active here.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {{
        #[cfg(feature = "sim")]
        {
            $crate::planted::is_active($name)
        }
        #[cfg(not(feature = "sim"))]
        {
            false
        }
    }};
}

/// Whether this build can have planted bugs: what only they need is compiled to nothing elsewhere.
pub(crate) const POSSIBLE: bool = cfg!(feature = "sim");

#[cfg(feature = "sim")]
mod active {
    use std::cell::{Cell, RefCell};

    thread_local! {
        static ACTIVE: RefCell<Option<String>> = const { RefCell::new(None) };
        static REACHED: Cell<u64> = const { Cell::new(0) };
    }

    /// Activates a bug on this thread, or none.
    pub fn activate(name: Option<&str>) {
        ACTIVE.with_borrow_mut(|active| *active = name.map(str::to_owned));
        REACHED.set(0);
    }

    /// Whether this bug is the active one; counts that its site was reached.
    pub fn is_active(name: &str) -> bool {
        let active = ACTIVE.with_borrow(|active| active.as_deref() == Some(name));
        if active {
            REACHED.set(REACHED.get() + 1);
        }
        active
    }

    /// How often the site of the active bug was reached on this thread.
    pub fn times_reached() -> u64 {
        REACHED.get()
    }
}

/// What no seed reaches: a number that grows over all simulated runs of this process, for the bug that names things by it.
pub(crate) fn counter_of_the_process() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

#[cfg(feature = "sim")]
pub use active::{activate, is_active, times_reached};
