//! The seam to the outside world: clock, tasks, network, entropy.
//!
//! Two worlds stand behind one value, [`Env`]: the host's (real tokio), and, with the laboratory's feature, a
//! simulated one (madsim). This folder is the only one in the engine that names either. Channels and IO traits of
//! tokio work in both worlds and are re-exported from here.
//!
//! Rules that keep a simulated run repeatable: no `select!` (it draws from an unseeded generator), no `watch`
//! channel, no thread, no clock but [`Env::now`], no entropy but [`Env::entropy`].

use std::{future::Future, io, pin::Pin, task::Poll, time::Duration};

use crate::time::Timestamp;

mod host;
#[cfg(feature = "sim")]
pub mod sim;

/// Channels that work in both worlds.
pub mod channel {
    pub use tokio::sync::{mpsc, oneshot};
}

/// Byte-stream traits that work in both worlds.
pub mod io_traits {
    pub use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
}

use io_traits::{AsyncRead, AsyncWrite};

/// Makes a call of a library that reads the system's clock on its own and needs it to be the same on all of its threads.
/// In a simulation that clock is another one on the run's thread, so the call is made on a thread outside of it; what it
/// returns must not depend on the time.
#[cfg_attr(
    not(any(feature = "rocksdb", all(test, feature = "sim"))),
    expect(dead_code, reason = "RocksDB is the only such library")
)]
pub(crate) fn on_host_clock<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    #[cfg(feature = "sim")]
    return sim::on_host_clock(call);
    #[cfg(not(feature = "sim"))]
    call()
}

/// The world in which a process of the engine runs. Cheap to clone.
#[derive(Clone)]
pub struct Env(World);

#[derive(Clone)]
enum World {
    Host(host::Host),
    #[cfg(feature = "sim")]
    Sim(sim::SimWorld),
}

/// The receiving half of a connection.
pub type ByteReader = Pin<Box<dyn AsyncRead + Send>>;
/// The sending half of a connection.
pub type ByteWriter = Pin<Box<dyn AsyncWrite + Send>>;

/// A connection: an ordered byte stream in each direction.
pub struct ByteStream {
    /// Bytes from the peer.
    pub reader: ByteReader,
    /// Bytes to the peer.
    pub writer: ByteWriter,
}

/// Accepts connections at an address.
#[async_trait::async_trait]
pub trait Listener: Send + Sync {
    /// The next connection.
    async fn accept(&mut self) -> io::Result<ByteStream>;
    /// The address that peers can connect to, `host:port`.
    fn local_address(&self) -> String;
}

/// A task that was started. Dropping the handle lets it run on.
pub struct TaskHandle(Box<dyn Abort>);

trait Abort: Send + Sync {
    fn abort(&self);
    fn is_finished(&self) -> bool;
}

impl TaskHandle {
    /// Stops the task at its next suspension point.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Env {
    /// The real world. Must be called inside a tokio runtime, or through [`Env::run_on_host`].
    pub fn host() -> Self {
        Self(World::Host(host::Host::new()))
    }

    /// Runs `main` in the real world on `worker_threads` threads and returns its result.
    ///
    /// # Errors
    /// If the operating system grants no threads or no event queue.
    pub fn run_on_host<T, F: Future<Output = T>>(worker_threads: usize, main: impl FnOnce(Env) -> F) -> io::Result<T> {
        host::run(worker_threads, || main(Self::host()))
    }

    /// A simulated world over the given network. Call it on the simulated node.
    #[cfg(feature = "sim")]
    pub fn simulated(network: std::sync::Arc<dyn sim::Network>) -> Self {
        Self(World::Sim(sim::SimWorld::new(network)))
    }

    /// The same world for a process that starts now on a machine whose clock is wrong. The host's clock is what it is.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn with_clock(self, clock: sim::ClockError) -> Self {
        match self.0 {
            World::Host(host) => Self(World::Host(host)),
            World::Sim(sim) => Self(World::Sim(sim.with_clock(clock))),
        }
    }

    /// The time: processing time, deadlines and durations. It never goes back.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            World::Host(host) => host.now(),
            #[cfg(feature = "sim")]
            World::Sim(sim) => sim.now(),
        }
    }

    /// Waits for a duration.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            World::Host(host) => host.sleep(duration).await,
            #[cfg(feature = "sim")]
            World::Sim(sim) => sim.sleep(duration).await,
        }
    }

    /// Waits for a moment; at once if it is past.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        self.sleep(deadline.since(self.now())).await;
    }

    /// Waits for `future`, but no longer than `deadline`; `None` says that the deadline came first.
    ///
    /// The future is looked at before the clock, so a result that is there is never lost to the deadline.
    pub async fn until<F: Future>(&self, deadline: Option<Timestamp>, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        let Some(deadline) = deadline else { return Some(future.await) };
        let mut alarm: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
        std::future::poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            let alarm = alarm.get_or_insert_with(|| {
                let env = self.clone();
                Box::pin(async move { env.sleep_until(deadline).await })
            });
            alarm.as_mut().poll(context).map(|()| None)
        })
        .await
    }

    /// Lets other tasks run.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        std::future::poll_fn(|context| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Starts a task of this process. It ends with the process.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        match &self.0 {
            World::Host(host) => host.spawn(future),
            #[cfg(feature = "sim")]
            World::Sim(sim) => sim.spawn(future),
        }
    }

    /// Runs a call that blocks the thread where it disturbs nobody.
    pub async fn blocking<T: Send + 'static>(&self, call: impl FnOnce() -> T + Send + 'static) -> T {
        match &self.0 {
            World::Host(host) => host.blocking(call).await,
            #[cfg(feature = "sim")]
            World::Sim(_) => call(),
        }
    }

    /// Accepts connections at `host:port`; port 0 takes a free one.
    pub async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        match &self.0 {
            World::Host(host) => host.listen(address).await,
            #[cfg(feature = "sim")]
            World::Sim(sim) => sim.listen(address).await,
        }
    }

    /// Connects to `host:port`.
    pub async fn connect(&self, address: &str) -> io::Result<ByteStream> {
        match &self.0 {
            World::Host(host) => host.connect(address).await,
            #[cfg(feature = "sim")]
            World::Sim(sim) => sim.connect(address).await,
        }
    }

    /// Waits until the user asks the process to end (SIGINT, SIGTERM); in a simulation nobody does.
    pub async fn interrupted(&self) {
        match &self.0 {
            World::Host(host) => host.interrupted().await,
            #[cfg(feature = "sim")]
            World::Sim(_) => std::future::pending().await,
        }
    }

    /// Whether this is a simulated world: what draws on the machine underneath must do so at the same moments each time.
    pub fn is_simulated(&self) -> bool {
        match &self.0 {
            World::Host(_) => false,
            #[cfg(feature = "sim")]
            World::Sim(_) => true,
        }
    }

    /// Random bits, from the operating system or from the seed.
    pub fn entropy(&self) -> u64 {
        match &self.0 {
            World::Host(host) => host.entropy(),
            #[cfg(feature = "sim")]
            World::Sim(sim) => sim.entropy(),
        }
    }
}
