//! Each fault of the network does what its documentation says, and is counted.

use std::{
    future::Future,
    io::{self, ErrorKind},
    sync::Arc,
    time::Duration,
};

use madsim::{
    runtime::{Handle, NodeHandle},
    time::TimeHandle,
};
use tidegate::env::{
    ByteStream, Env,
    channel::oneshot,
    io_traits::{AsyncReadExt as _, AsyncWriteExt as _},
    sim::simulate,
};
use tidegate_sim::world::network::{Crash, Direction, LinkSpeed, NetworkConfig, SimNetwork};

/// Two nodes, `a` and `b`, and the nemesis' view of the network between them.
struct Pair {
    network: Arc<SimNetwork>,
    a: NodeHandle,
    b: NodeHandle,
}

/// Many seeds: what a test says holds for each.
fn for_each_seed<F: Future<Output = ()> + 'static>(body: impl Fn(Pair) -> F + Clone + Send + 'static) {
    for seed in 0..30 {
        let body = body.clone();
        simulate(
            seed,
            |_| {},
            move || async move {
                let network = SimNetwork::new(seed, NetworkConfig::default());
                let node = |name: &str| {
                    let node = Handle::current().create_node().name(name).build();
                    network.add_node(node.id(), name);
                    node
                };
                let (a, b) = (node("a"), node("b"));
                body(Pair { network, a, b }).await;
            },
        )
        .unwrap();
    }
}

impl Pair {
    async fn on<T: Send + 'static>(&self, node: &NodeHandle, task: impl Future<Output = T> + Send + 'static) -> T {
        node.spawn(task).await.unwrap()
    }

    /// A connection from `a` to `b`, both ends of it in the hands of the test.
    async fn connect(&self) -> (ByteStream, ByteStream) {
        let (listening, connecting) = (self.env(), self.env());
        let mut listener = self.on(&self.b, async move { listening.listen("b:0").await.unwrap() }).await;
        let address = listener.local_address();
        let client = self.on(&self.a, async move { connecting.connect(&address).await.unwrap() }).await;
        let server = self.on(&self.b, async move { listener.accept().await.unwrap() }).await;
        (client, server)
    }

    fn env(&self) -> Env {
        Env::simulated(self.network.clone())
    }

    fn kill(&self, node: &NodeHandle, name: &str, crash: Crash) {
        self.network.crash(name, crash);
        Handle::current().kill(node.id());
    }

    fn count(&self, name: &str) -> u64 {
        self.network.fault_counts().get(name).copied().unwrap_or(0)
    }
}

fn now() -> Duration {
    TimeHandle::current().elapsed()
}

async fn later(seconds: u64) {
    madsim::time::sleep(Duration::from_secs(seconds)).await;
}

/// What `reading` gives within a second, or `None`.
async fn within_a_second<T>(reading: impl Future<Output = T>) -> Option<T> {
    madsim::time::timeout(Duration::from_secs(1), reading).await.ok()
}

async fn read_some(stream: &mut ByteStream) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 1000];
    let read = stream.reader.read(&mut buffer).await?;
    Ok(buffer[..read].to_vec())
}

async fn read_all(stream: &mut ByteStream) -> (Vec<u8>, io::Result<()>) {
    let mut all = Vec::new();
    loop {
        match read_some(stream).await {
            Ok(bytes) if bytes.is_empty() => return (all, Ok(())),
            Ok(bytes) => all.extend(bytes),
            Err(error) => return (all, Err(error)),
        }
    }
}

#[test]
fn a_partition_holds_bytes_and_the_connection_survives_it() {
    for_each_seed(|pair| async move {
        let (mut client, mut server) = pair.connect().await;
        client.writer.write_all(b"before ").await.unwrap();
        later(1).await;
        pair.network.partition("a", "b", Direction::OneWay);
        client.writer.write_all(b"during ").await.unwrap();
        drop(client.writer);
        let mut got = Vec::new();
        while let Some(bytes) = within_a_second(read_some(&mut server)).await {
            got.extend(bytes.unwrap());
        }
        assert_eq!(got, b"before ");
        server.writer.write_all(b"the other way is open").await.unwrap();
        client.reader.read_exact(&mut [0; 21]).await.unwrap();
        assert_eq!(pair.count("partition_bytes_held"), 7);
        pair.network.heal("a", "b", Direction::OneWay);
        let (rest, end) = read_all(&mut server).await;
        assert_eq!(rest, b"during ");
        end.unwrap();
    });
}

#[test]
fn a_reader_that_waits_is_woken_by_the_end_of_a_partition() {
    for_each_seed(|pair| async move {
        let (mut client, mut server) = pair.connect().await;
        let reading = pair.b.spawn(async move { (read_some(&mut server).await.unwrap(), now()) });
        client.writer.write_all(b"x").await.unwrap();
        pair.network.partition("a", "b", Direction::BothWays);
        later(10).await;
        let healed_at = now();
        pair.network.heal("a", "b", Direction::BothWays);
        let (got, read_at) = reading.await.unwrap();
        assert_eq!(got, b"x");
        assert!(healed_at < read_at && read_at < healed_at + Duration::from_millis(2));
    });
}

#[test]
fn a_window_that_is_read_while_acknowledgements_are_lost_stays_full_until_the_path_heals() {
    for_each_seed(|pair| async move {
        let (mut client, mut server) = pair.connect().await;
        client.writer.write_all(&[1; 64 << 10]).await.unwrap();
        later(1).await;
        pair.network.partition("b", "a", Direction::OneWay);
        server.reader.read_exact(&mut vec![0; 64 << 10]).await.unwrap();
        assert!(within_a_second(client.writer.write(b"x")).await.is_none(), "the writer cannot know");
        pair.network.heal("b", "a", Direction::OneWay);
        assert_eq!(client.writer.write(b"x").await.unwrap(), 1);
    });
}

#[test]
fn connecting_through_a_partition_times_out_and_through_a_shorter_one_succeeds() {
    for_each_seed(|pair| async move {
        let (listening, connecting, again) = (pair.env(), pair.env(), pair.env());
        let listener = pair.on(&pair.b, async move { listening.listen("b:7").await.unwrap() }).await;
        pair.network.partition("b", "a", Direction::OneWay);
        let before = now();
        let error = pair.on(&pair.a, async move { connecting.connect("b:7").await.err().unwrap() }).await;
        assert_eq!((error.kind(), (now() - before).as_secs()), (ErrorKind::TimedOut, 3));
        let attempt = pair.a.spawn(async move { again.connect("b:7").await });
        madsim::time::sleep(Duration::from_millis(500)).await;
        pair.network.heal_all();
        drop(attempt.await.unwrap().unwrap());
        assert!(pair.count("connect_unanswered") >= 2);
        drop(listener);
    });
}

#[test]
fn the_peers_of_a_process_that_dies_read_what_arrived_and_then_a_reset() {
    for_each_seed(|pair| async move {
        let (mut client, mut server) = pair.connect().await;
        client.writer.write_all(b"arrived").await.unwrap();
        later(1).await;
        client.writer.write_all(b" in flight").await.unwrap();
        pair.kill(&pair.a, "a", Crash::Process);
        drop(client);
        let (got, end) = read_all(&mut server).await;
        assert!(b"arrived in flight".starts_with(&got[..]) && got.len() >= 7, "{got:?}");
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(server.writer.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(pair.count("connection_reset"), 1);
        assert_eq!(pair.count("crash_bytes_lost"), 17 - got.len() as u64);
        drop(server);
        assert_eq!(pair.network.open_connections(), 0);
    });
}

#[test]
fn a_writer_that_waits_for_a_process_that_dies_gets_a_reset() {
    for_each_seed(|pair| async move {
        let (mut client, server) = pair.connect().await;
        let writing = pair.a.spawn(async move { client.writer.write_all(&[0; 1 << 20]).await });
        later(1).await;
        pair.kill(&pair.b, "b", Crash::Process);
        assert_eq!(writing.await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
        drop(server);
    });
}

#[test]
fn a_process_that_dies_behind_a_partition_leaves_its_peer_half_open_until_it_says_something() {
    for_each_seed(|pair| async move {
        let (client, mut server) = pair.connect().await;
        pair.network.partition("a", "b", Direction::BothWays);
        pair.kill(&pair.a, "a", Crash::Process);
        drop(client);
        assert!(within_a_second(read_some(&mut server)).await.is_none());
        pair.network.heal_all();
        assert!(within_a_second(read_some(&mut server)).await.is_none());
        server.writer.write_all(b"still there?").await.unwrap();
        assert_eq!(read_some(&mut server).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn what_was_written_to_a_dead_peer_during_a_partition_is_answered_with_a_reset_when_it_heals() {
    for_each_seed(|pair| async move {
        let (client, mut server) = pair.connect().await;
        pair.network.partition("a", "b", Direction::BothWays);
        pair.kill(&pair.a, "a", Crash::Process);
        drop(client);
        server.writer.write_all(b"held").await.unwrap();
        assert!(within_a_second(read_some(&mut server)).await.is_none());
        pair.network.heal("a", "b", Direction::BothWays);
        assert_eq!(
            within_a_second(read_some(&mut server)).await.unwrap().unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    });
}

#[test]
fn a_machine_without_power_is_silent_and_resets_old_connections_when_it_is_back() {
    for_each_seed(|pair| async move {
        let (client, mut server) = pair.connect().await;
        pair.kill(&pair.a, "a", Crash::Machine);
        drop(client);
        server.writer.write_all(b"hello?").await.unwrap();
        assert!(within_a_second(read_some(&mut server)).await.is_none());
        let connecting = pair.env();
        let error = pair.on(&pair.b, async move { connecting.connect("a:1").await.err().unwrap() }).await;
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        pair.network.start("a");
        assert_eq!(read_some(&mut server).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_process_that_is_killed_sends_nothing_while_its_tasks_are_dropped_and_its_port_is_free_again() {
    for_each_seed(|pair| async move {
        let (listening, connecting) = (pair.env(), pair.env());
        let (up_out, up) = oneshot::channel();
        pair.b.spawn(async move {
            let mut listener = listening.listen("b:7").await.unwrap();
            up_out.send(()).unwrap();
            let mut stream = listener.accept().await.unwrap();
            read_all(&mut stream).await.1.unwrap();
        });
        up.await.unwrap();
        let mut client = pair.on(&pair.a, async move { connecting.connect("b:7").await.unwrap() }).await;
        later(1).await;
        pair.kill(&pair.b, "b", Crash::Process);
        assert_eq!(read_some(&mut client).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        pair.network.start("b");
        Handle::current().restart(pair.b.id());
        // The old handle starts tasks of the process that was killed.
        let b = Handle::current().get_node(pair.b.id()).unwrap();
        let (listening, connecting) = (pair.env(), pair.env());
        let listener = pair.on(&b, async move { listening.listen("b:7").await.unwrap() }).await;
        drop(pair.on(&pair.a, async move { connecting.connect("b:7").await.unwrap() }).await);
        drop(listener);
    });
}

#[test]
fn a_dead_process_can_neither_connect_nor_write() {
    for_each_seed(|pair| async move {
        let (mut client, mut server) = pair.connect().await;
        pair.network.crash("a", Crash::Process);
        let env = pair.env();
        assert!(within_a_second(pair.a.spawn(async move { env.connect("b:40000").await })).await.is_none());
        assert!(within_a_second(client.writer.write(b"x")).await.is_none());
        assert_eq!(read_some(&mut server).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn connections_that_are_cut_are_reset_at_both_ends() {
    for_each_seed(|pair| async move {
        let (mut client, mut server) = pair.connect().await;
        let waiting = pair.b.spawn(async move { read_some(&mut server).await });
        later(1).await;
        assert_eq!(pair.network.reset_connections("b", "a"), 1);
        assert_eq!(pair.network.reset_all_connections(), 1);
        assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(client.writer.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_clogged_link_stops_data_but_not_connects_and_a_slow_one_delays_it() {
    for_each_seed(|pair| async move {
        let (mut client, mut server) = pair.connect().await;
        pair.network.clog("a", "b", Direction::OneWay);
        client.writer.write_all(b"x").await.unwrap();
        assert!(within_a_second(read_some(&mut server)).await.is_none());
        drop(pair.connect().await);
        pair.network.unclog("a", "b", Direction::OneWay);
        assert_eq!(read_some(&mut server).await.unwrap(), b"x");
        assert_eq!(pair.count("clog_bytes_held"), 1);

        let speed = LinkSpeed { latency_factor: 100, bytes_per_second: Some(1_000) };
        pair.network.slow("a", "b", Direction::OneWay, speed);
        let before = now();
        client.writer.write_all(&[0; 5_000]).await.unwrap();
        server.reader.read_exact(&mut vec![0; 5_000]).await.unwrap();
        let took = now() - before;
        assert!(Duration::from_secs(5) < took && took < Duration::from_millis(5_100), "{took:?}");
        assert_eq!(pair.count("slow_link"), 1);
    });
}

#[test]
fn order_and_content_survive_any_number_of_partitions() {
    for_each_seed(|pair| async move {
        let (mut client, mut server) = pair.connect().await;
        let bytes: Vec<u8> = (0..500_000_u32).map(|at| (at ^ (at >> 8)) as u8).collect();
        let sent = bytes.clone();
        let writing = pair.a.spawn(async move {
            for piece in sent.chunks(777) {
                client.writer.write_all(piece).await.unwrap();
            }
            drop(client);
        });
        let reading = pair.b.spawn(async move { read_all(&mut server).await });
        for round in 0..20 {
            let direction = if round % 2 == 0 { Direction::OneWay } else { Direction::BothWays };
            pair.network.partition("a", "b", direction);
            madsim::time::sleep(Duration::from_millis(3)).await;
            pair.network.heal_all();
            madsim::time::sleep(Duration::from_millis(1)).await;
        }
        writing.await.unwrap();
        let (got, end) = reading.await.unwrap();
        end.unwrap();
        assert!(got == bytes, "the bytes differ");
    });
}
