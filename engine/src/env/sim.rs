//! The simulated world: madsim's executor and clock, and a network that the laboratory provides.
//!
//! A run owns its thread. madsim's runtime must be the first user of randomness on it, and a seeded tokio shell
//! around it seeds what tokio's channels draw; [`simulate`] does both in the only order that is repeatable.

use std::{
    cell::RefCell,
    future::Future,
    io,
    sync::{Arc, mpsc},
    time::Duration,
};

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

/// What is wrong with the clock of a machine. Like a process on a host, a simulated one reads its machine's clock when it
/// starts; from then on its time only goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockError {
    /// Milliseconds by which it is ahead; behind, if negative.
    pub ahead_ms: i64,
    /// How fast it goes; 1,000 is right.
    pub speed_per_mille: u32,
}

impl Default for ClockError {
    fn default() -> Self {
        Self { ahead_ms: 0, speed_per_mille: 1_000 }
    }
}

#[derive(Clone)]
pub(super) struct SimWorld {
    network: Arc<dyn Network>,
    clock: ClockError,
    started: Duration,
}

impl SimWorld {
    pub(super) fn new(network: Arc<dyn Network>) -> Self {
        Self { network, clock: ClockError::default(), started: Duration::ZERO }
    }

    /// The same world, seen by a process that starts now on a machine whose clock is wrong.
    pub(super) fn with_clock(self, clock: ClockError) -> Self {
        Self { clock, started: madsim::time::TimeHandle::current().elapsed(), ..self }
    }

    pub(super) fn now(&self) -> Timestamp {
        let ClockError { ahead_ms, speed_per_mille } = self.clock;
        let gone = madsim::time::TimeHandle::current().elapsed().saturating_sub(self.started);
        let shown = if speed_per_mille == 1_000 { gone } else { gone * speed_per_mille / 1_000 };
        Timestamp(EPOCH_MS.saturating_add(ahead_ms)).saturating_add(self.started + shown)
    }

    /// Waits until so much time has passed on this clock.
    pub(super) async fn sleep(&self, duration: Duration) {
        let speed_per_mille = self.clock.speed_per_mille.max(1);
        let real = if speed_per_mille == 1_000 { duration } else { duration.saturating_mul(1_000) / speed_per_mille };
        madsim::time::sleep(real).await;
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

type HostCall = Box<dyn FnOnce() + Send>;

thread_local! {
    /// Leads from a run's thread to the thread that waits for the run.
    static HOST_THREAD: RefCell<Option<mpsc::Sender<HostCall>>> = const { RefCell::new(None) };
}

/// Makes a call on the thread that waits for the run; here and now outside of a run.
pub(super) fn on_host_clock<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let Some(host) = HOST_THREAD.with_borrow(Clone::clone) else { return call() };
    let (answer, answered) = mpsc::sync_channel(1);
    // The answer is awaited below, so neither channel is closed unless the call panicked.
    let call = Box::new(move || drop(answer.send(call())));
    assert!(host.send(call).is_ok(), "the thread that waits for the run is gone");
    answered.recv().expect("a call on the host's clock does not panic")
}

/// Runs one simulation on a fresh thread and returns its result; `prepare` registers plugins on the runtime.
///
/// The calling thread, where the clock is the machine's, meanwhile makes the calls of `on_host_clock`.
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
    let (host, calls) = mpsc::channel::<HostCall>();
    let thread = std::thread::Builder::new().name(format!("sim-{seed}")).spawn(move || {
        HOST_THREAD.set(Some(host));
        let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
        prepare(&runtime);
        let shell = tokio::runtime::Builder::new_current_thread()
            .rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()))
            .build()
            .expect("a current-thread runtime needs nothing from the system");
        shell.block_on(tokio::task::unconstrained(async move { runtime.block_on(main()) }))
    });
    let thread = thread.map_err(|error| format!("cannot start the run's thread: {error}"))?;
    // Ends when the run's thread has ended, and its half of the channel with it.
    calls.into_iter().for_each(|call| call());
    thread.join().map_err(|payload| match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload.downcast_ref::<&str>().copied().unwrap_or("panic without a message").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoNetwork;

    #[async_trait]
    impl Network for NoNetwork {
        async fn listen(&self, _: &str) -> io::Result<Box<dyn Listener>> {
            Err(io::ErrorKind::AddrNotAvailable.into())
        }

        async fn connect(&self, _: &str) -> io::Result<ByteStream> {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    #[test]
    fn a_slow_clock_that_is_behind_only_goes_on_and_its_pauses_are_longer() {
        let run = simulate(
            1,
            |_| (),
            || async {
                madsim::time::sleep(Duration::from_secs(10)).await;
                let world = SimWorld::new(Arc::new(NoNetwork));
                let slow = world.clone().with_clock(ClockError { ahead_ms: -4_000, speed_per_mille: 500 });
                let before = (world.now(), slow.now());
                slow.sleep(Duration::from_secs(3)).await;
                (before, (world.now(), slow.now()))
            },
        );
        let ((right, wrong), (right_after, wrong_after)) = run.unwrap();
        assert_eq!(right.0 - wrong.0, 4_000);
        assert_eq!(wrong_after.0 - wrong.0, 3_000);
        assert_eq!(right_after.0 - right.0, 6_000);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "which clock is read is what is tested")]
    fn a_call_on_the_host_clock_is_made_on_the_thread_that_waits_for_the_run_and_sees_its_time() {
        let before = std::time::SystemTime::now();
        let look = || (std::thread::current().id(), std::time::SystemTime::now());
        let run = simulate(1, |_| (), move || async move { (look(), super::super::on_host_clock(look)) });
        let ((own, simulated), (host, real)) = run.unwrap();
        assert_eq!(host, std::thread::current().id());
        assert_ne!(host, own);
        assert!(simulated < before && before <= real, "{simulated:?} {before:?} {real:?}");
    }
}
