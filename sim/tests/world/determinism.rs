//! The same seed gives the same run, to the nanosecond; another seed gives another.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use madsim::{runtime::Handle, time::TimeHandle};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tidegate::{
    env::{
        ByteStream, Env,
        io_traits::{AsyncReadExt as _, AsyncWriteExt as _},
        sim::simulate,
    },
    storage::{FileSystem as _, replace_file},
};
use tidegate_sim::world::{
    disk::{DiskConfig, DiskFault, DiskFaultKind, SimDisk},
    network::{Crash, Direction, NetworkConfig, SimNetwork},
};

#[derive(Clone, Default)]
struct Trace(Arc<Mutex<String>>);

impl Trace {
    fn note(&self, who: &str, what: &str) {
        let at = TimeHandle::current().elapsed().as_nanos();
        writeln!(self.0.lock().unwrap(), "{at} {who}: {what}").unwrap();
    }
}

async fn serve(trace: Trace, disk: SimDisk, mut stream: ByteStream) {
    let mut buffer = [0; 4096];
    for number in 0.. {
        let read = stream.reader.read(&mut buffer).await;
        trace.note("server", &format!("read {read:?}"));
        let Ok(1..) = read else { return };
        let (temporary, path) = (format!("/out/t{number}"), format!("/out/f{}", number % 5));
        let stored = replace_file(&disk, Path::new(&temporary), Path::new(&path), &buffer[..10]).await;
        trace.note("server", &format!("stored {stored:?}"));
    }
}

async fn request(trace: Trace, env: Env, name: &'static str) {
    loop {
        let connected = env.connect("server:6123").await;
        trace.note(name, &format!("connected {:?}", connected.as_ref().map(|_| ()).map_err(ToString::to_string)));
        if let Ok(mut stream) = connected {
            while stream.writer.write_all(&[7; 3000]).await.is_ok() {
                env.sleep(Duration::from_millis(env.entropy() % 20)).await;
            }
        }
        env.sleep(Duration::from_millis(50)).await;
    }
}

/// A server that stores what it gets, two clients, and a nemesis that does everything it can.
fn run(seed: u64) -> String {
    simulate(
        seed,
        |_| {},
        move || async move {
            let (trace, disk) = (Trace::default(), SimDisk::new(seed, DiskConfig::default()));
            let network = SimNetwork::new(seed, NetworkConfig::default());
            disk.create_directories(Path::new("/out")).await.unwrap();
            let log = trace.clone();
            disk.on_visible(Box::new(move |_, event| log.note("disk", &format!("{event:?}"))));
            let (serving, shared, env) = (trace.clone(), disk.clone(), Env::simulated(network.clone()));
            let start = move || {
                let (trace, disk, env) = (serving.clone(), shared.clone(), env.clone());
                async move {
                    let mut listener = env.listen("server:6123").await.unwrap();
                    while let Ok(stream) = listener.accept().await {
                        let _task = env.spawn(serve(trace.clone(), disk.clone(), stream));
                    }
                }
            };
            let server = Handle::current().create_node().name("server").init(start).build();
            network.add_node(server.id(), "server");
            for name in ["client-1", "client-2"] {
                let client = Handle::current().create_node().name(name).build();
                network.add_node(client.id(), name);
                client.spawn(request(trace.clone(), Env::simulated(network.clone()), name));
            }
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            for _ in 0..30 {
                madsim::time::sleep(Duration::from_millis(random.gen_range(1..100))).await;
                torment(&mut random, &network, &disk, server.id());
            }
            trace.note("end", &format!("{:?} {:?}", network.fault_counts(), disk.fault_counts()));
            trace.note("end", &format!("{:?}", disk.visible_view().keys()));
            trace.0.lock().unwrap().clone()
        },
    )
    .unwrap()
}

fn torment(random: &mut ChaCha8Rng, network: &SimNetwork, disk: &SimDisk, server: madsim::task::NodeId) {
    match random.gen_range(0..9) {
        0 => network.partition("client-1", "server", Direction::BothWays),
        1 => network.partition("server", "client-2", Direction::OneWay),
        2 => network.clog("client-2", "server", Direction::OneWay),
        3 | 4 => {
            network.heal_all();
            disk.clear_faults();
        }
        5 => {
            network.reset_all_connections();
        }
        6 => {
            network.crash("server", Crash::Process);
            Handle::current().kill(server);
            network.start("server");
            Handle::current().restart(server);
        }
        7 => {
            disk.power_loss();
            disk.restore_power();
        }
        _ => {
            let kind = DiskFaultKind::ALL[random.gen_range(0..DiskFaultKind::ALL.len())];
            disk.inject(DiskFault { per_mille: 300, ..DiskFault::always(kind, "/") });
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_in_any_order_and_different_seeds_differ() {
    let first: Vec<String> = (0..50).map(run).collect();
    let second: Vec<String> = (0..50).rev().map(run).collect();
    for (seed, (first, second)) in first.iter().zip(second.iter().rev()).enumerate() {
        assert!(first == second, "seed {seed} gave two traces:\n{}", first_difference(first, second));
    }
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 50);
    let all = first.concat();
    for kind in ["connection_reset", "partition_bytes_held", "clog_bytes_held", "unsynced_names_lost", "lying_sync"] {
        assert!(all.contains(kind), "{kind} never had an effect");
    }
}

fn first_difference(a: &str, b: &str) -> String {
    let differing = a.lines().zip(b.lines()).find(|(a, b)| a != b);
    differing.map_or("one is longer".to_owned(), |(a, b)| format!("{a}\n{b}"))
}

#[test]
fn a_connection_more_does_not_shift_the_latencies_of_another_pair_of_nodes() {
    let arrival = |extra: bool| {
        simulate(
            3,
            |_| {},
            move || async move {
                let network =
                    SimNetwork::new(3, NetworkConfig { short_reads_per_mille: 0, ..NetworkConfig::default() });
                let [a, b, c] = ["a", "b", "c"].map(|name| {
                    let node = Handle::current().create_node().name(name).build();
                    network.add_node(node.id(), name);
                    node
                });
                let (listening, connecting, other) =
                    (Env::simulated(network.clone()), Env::simulated(network.clone()), Env::simulated(network.clone()));
                let mut listener = b.spawn(async move { listening.listen("b:1").await.unwrap() }).await.unwrap();
                if extra {
                    drop(c.spawn(async move { other.connect("b:1").await.unwrap() }).await.unwrap());
                    drop(listener.accept().await.unwrap());
                }
                let client = a.spawn(async move {
                    let before = TimeHandle::current().elapsed();
                    let stream = connecting.connect("b:1").await.unwrap();
                    (stream, (TimeHandle::current().elapsed() - before).as_micros())
                });
                client.await.unwrap().1
            },
        )
        .unwrap()
    };
    // The executor's own steps take some 100 ns each; latencies are drawn in nanoseconds over hundreds of microseconds.
    assert!(arrival(false).abs_diff(arrival(true)) <= 1);
}
