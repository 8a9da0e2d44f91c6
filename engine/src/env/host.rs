//! The host's world: real tokio, the system clock, TCP.
#![expect(clippy::disallowed_methods, reason = "this is the one place where the host's clock and tasks enter")]

use std::{
    future::Future,
    hash::{BuildHasher as _, Hasher as _},
    io,
    task::Poll,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{Abort, ByteStream, Listener, TaskHandle};
use crate::time::Timestamp;

#[derive(Clone)]
pub(super) struct Host {
    started: Instant,
    started_at_ms: i64,
}

pub(super) fn run<T, F: Future<Output = T>>(worker_threads: usize, main: impl FnOnce() -> F) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(worker_threads).enable_all().build()?;
    Ok(runtime.block_on(async { main().await }))
}

impl Host {
    pub(super) fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_at_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX) }
    }

    /// The wall clock at the start plus monotonic time, so that it never goes back.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.started_at_ms).saturating_add(self.started.elapsed())
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        TaskHandle(Box::new(tokio::spawn(future)))
    }

    pub(super) async fn blocking<T: Send + 'static>(&self, call: impl FnOnce() -> T + Send + 'static) -> T {
        match tokio::task::spawn_blocking(call).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and with it everyone who waits.
                Err(_cancelled) => std::future::pending().await,
            },
        }
    }

    pub(super) async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let local_address = listener.local_addr()?.to_string();
        Ok(Box::new(HostListener { listener, local_address }))
    }

    pub(super) async fn connect(&self, address: &str) -> io::Result<ByteStream> {
        into_byte_stream(tokio::net::TcpStream::connect(address).await?)
    }

    /// If the signals cannot be had, the process ends at them at once, as it would without us.
    pub(super) async fn interrupted(&self) {
        use tokio::signal::unix::{SignalKind, signal};
        let signals = signal(SignalKind::interrupt()).and_then(|first| Ok((first, signal(SignalKind::terminate())?)));
        let Ok((mut interrupt, mut terminate)) = signals else { return std::future::pending().await };
        std::future::poll_fn(|context| {
            if interrupt.poll_recv(context).is_ready() || terminate.poll_recv(context).is_ready() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    pub(super) fn entropy(&self) -> u64 {
        // The standard library seeds each hasher state from the operating system.
        std::collections::hash_map::RandomState::new().build_hasher().finish()
    }
}

fn into_byte_stream(stream: tokio::net::TcpStream) -> io::Result<ByteStream> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    Ok(ByteStream { reader: Box::pin(reader), writer: Box::pin(writer) })
}

struct HostListener {
    listener: tokio::net::TcpListener,
    local_address: String,
}

#[async_trait::async_trait]
impl Listener for HostListener {
    async fn accept(&mut self) -> io::Result<ByteStream> {
        into_byte_stream(self.listener.accept().await?.0)
    }

    fn local_address(&self) -> String {
        self.local_address.clone()
    }
}

impl Abort for tokio::task::JoinHandle<()> {
    fn abort(&self) {
        tokio::task::JoinHandle::abort(self);
    }

    fn is_finished(&self) -> bool {
        tokio::task::JoinHandle::is_finished(self)
    }
}
