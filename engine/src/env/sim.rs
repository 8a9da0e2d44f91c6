//! The simulated world: madsim's executor and clock, and a network that the laboratory provides.
//!
//! A run owns its thread. madsim's runtime must be the first user of randomness on it, and a seeded tokio shell
//! around it seeds what tokio's channels draw; [`simulate`] does both in the only order that is repeatable.

use std::{future::Future, io, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Abort, ByteStream, Listener, TaskHandle};
use crate::time::Timestamp;

/// The simulated network, seen from a node.
#[async_trait]
pub trait Network: Send + Sync {
    /// Accepts connections on the calling node.
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>>;
    /// Connects from the calling node.
    async fn connect(&self, address: &str) -> io::Result<ByteStream>;
}

#[derive(Clone)]
pub(super) struct SimWorld {
    network: Arc<dyn Network>,
}

impl SimWorld {
    pub(super) fn new(network: Arc<dyn Network>) -> Self {
        Self { network }
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_simulation()
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        madsim::time::sleep(duration).await;
    }

    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        TaskHandle(Box::new(madsim::task::spawn(future)))
    }

    pub(super) async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.network.listen(address).await
    }

    pub(super) async fn connect(&self, address: &str) -> io::Result<ByteStream> {
        self.network.connect(address).await
    }

    pub(super) fn entropy(&self) -> u64 {
        madsim::rand::random()
    }
}

impl Timestamp {
    /// The simulated time: milliseconds since the start of the run, which stands at [`EPOCH_MS`].
    fn from_simulation() -> Self {
        Self(EPOCH_MS).saturating_add(madsim::time::TimeHandle::current().elapsed())
    }
}

/// The processing time at which every simulated run starts: 2022-01-01, a date that means nothing.
pub const EPOCH_MS: i64 = 1_640_995_200_000;

impl Abort for madsim::task::JoinHandle<()> {
    fn abort(&self) {
        madsim::task::JoinHandle::abort(self);
    }

    fn is_finished(&self) -> bool {
        madsim::task::JoinHandle::is_finished(self)
    }
}

/// Runs one simulation on a fresh thread and returns its result; `prepare` registers plugins on the runtime.
///
/// # Errors
/// The panic's message if the simulation panicked.
pub fn simulate<T, F>(
    seed: u64,
    prepare: impl FnOnce(&madsim::runtime::Runtime) + Send + 'static,
    main: impl FnOnce() -> F + Send + 'static,
) -> Result<T, String>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let thread = std::thread::Builder::new().name(format!("sim-{seed}")).spawn(move || {
        let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
        prepare(&runtime);
        let shell = tokio::runtime::Builder::new_current_thread()
            .rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()))
            .build()
            .expect("a current-thread runtime needs nothing from the system");
        shell.block_on(tokio::task::unconstrained(async move { runtime.block_on(main()) }))
    });
    let thread = thread.map_err(|error| format!("cannot start the run's thread: {error}"))?;
    thread.join().map_err(|payload| match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload.downcast_ref::<&str>().copied().unwrap_or("panic without a message").to_owned(),
    })
}
