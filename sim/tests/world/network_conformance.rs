//! The same test on the simulated network and on the host's TCP: what a healthy connection does.

use std::{
    future::{Future, poll_fn},
    io::{self, ErrorKind},
    sync::Arc,
    task::Poll,
};

use tidegate::env::{
    ByteStream, Env,
    channel::oneshot,
    io_traits::{AsyncReadExt as _, AsyncWriteExt as _},
    sim::simulate,
};
use tidegate_sim::world::network::{NetworkConfig, SimNetwork};
use tokio::sync::Notify;

/// Runs two ends of a connection, on the host and on two simulated nodes. The ends share a bell, new in each run.
fn on_both<S, C, SF, CF>(server: S, client: C)
where
    S: FnOnce(Arc<Notify>, ByteStream) -> SF + Clone + Send + 'static,
    C: FnOnce(Arc<Notify>, ByteStream) -> CF + Clone + Send + 'static,
    SF: Future<Output = ()> + Send + 'static,
    CF: Future<Output = ()> + Send + 'static,
{
    let (host_server, host_client) = (server.clone(), client.clone());
    Env::run_on_host(2, |env| async move {
        let mut listener = env.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address();
        let (done, served) = oneshot::channel();
        let (bell, server_bell) = bells();
        let _task = env.spawn(async move {
            let stream = listener.accept().await.unwrap();
            host_server(server_bell, stream).await;
            done.send(()).unwrap();
        });
        let stream = env.connect(&address).await.unwrap();
        host_client(bell, stream).await;
        served.await.expect("the server does its part");
    })
    .unwrap();
    for seed in 0..5 {
        let (server, client) = (server.clone(), client.clone());
        simulate(seed, |_| {}, move || in_simulation(seed, server, client)).unwrap();
    }
}

async fn in_simulation<S, C, SF, CF>(seed: u64, server: S, client: C)
where
    S: FnOnce(Arc<Notify>, ByteStream) -> SF + Send + 'static,
    C: FnOnce(Arc<Notify>, ByteStream) -> CF + Send + 'static,
    SF: Future<Output = ()> + Send + 'static,
    CF: Future<Output = ()> + Send + 'static,
{
    let network = SimNetwork::new(seed, NetworkConfig::default());
    let env = Env::simulated(network.clone());
    let (address_out, address) = oneshot::channel();
    let (served_by, connecting) = (env.clone(), env);
    let (bell, server_bell) = bells();
    let server = node(&network, "server").spawn(async move {
        let mut listener = served_by.listen("server:0").await.unwrap();
        address_out.send(listener.local_address()).unwrap();
        let stream = listener.accept().await.unwrap();
        server(server_bell, stream).await;
    });
    let client = node(&network, "client").spawn(async move {
        let stream = connecting.connect(&address.await.unwrap()).await.unwrap();
        client(bell, stream).await;
    });
    server.await.unwrap();
    client.await.unwrap();
    assert_eq!(network.open_connections(), 0, "nothing leaks");
}

fn node(network: &SimNetwork, name: &str) -> madsim::runtime::NodeHandle {
    let node = madsim::runtime::Handle::current().create_node().name(name).build();
    network.add_node(node.id(), name);
    node
}

fn bells() -> (Arc<Notify>, Arc<Notify>) {
    let bell = Arc::new(Notify::new());
    (bell.clone(), bell)
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 31 + at / 251) as u8).collect()
}

#[test]
fn bytes_arrive_complete_and_in_order_whatever_the_pieces() {
    on_both(
        |_, mut stream| async move {
            let mut received = Vec::new();
            stream.reader.read_to_end(&mut received).await.unwrap();
            assert!(received == pattern(300_000), "the bytes differ");
        },
        |_, mut stream| async move {
            let bytes = pattern(300_000);
            let mut rest = &bytes[..];
            let mut piece = 1;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(piece.min(rest.len()));
                stream.writer.write_all(now).await.unwrap();
                rest = later;
                piece = piece * 3 % 10_007;
            }
        },
    );
}

#[test]
fn both_directions_work_at_once_and_a_half_closed_connection_still_answers() {
    on_both(
        |_, mut stream| async move {
            let mut request = Vec::new();
            stream.reader.read_to_end(&mut request).await.unwrap();
            request.reverse();
            stream.writer.write_all(&request).await.unwrap();
        },
        |_, mut stream| async move {
            stream.writer.write_all(b"request").await.unwrap();
            stream.writer.shutdown().await.unwrap();
            let mut answer = Vec::new();
            stream.reader.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"tseuqer");
        },
    );
}

#[test]
fn a_dropped_writer_ends_the_stream_behind_its_last_byte() {
    on_both(
        |_, mut stream| async move {
            let mut buffer = [0; 100];
            let mut received = Vec::new();
            loop {
                let read = stream.reader.read(&mut buffer).await.unwrap();
                if read == 0 {
                    break;
                }
                received.extend_from_slice(&buffer[..read]);
            }
            assert_eq!(received, b"last words");
            assert_eq!(stream.reader.read(&mut buffer).await.unwrap(), 0, "the end stays the end");
        },
        |_, mut stream| async move {
            stream.writer.write_all(b"last words").await.unwrap();
            drop(stream.writer);
            let mut nothing = Vec::new();
            stream.reader.read_to_end(&mut nothing).await.unwrap();
            assert_eq!(nothing, b"");
        },
    );
}

// More than the host's kernel buffers for a connection, and more than the simulated window.
const MORE_THAN_ANY_WINDOW: usize = 32 << 20;

/// Writes that many bytes, or until an error; tells `blocked` whenever it has to wait. Returns how many were written.
async fn write_all_and_tell(stream: &mut ByteStream, blocked: &Notify) -> (usize, io::Result<()>) {
    let bytes = vec![7; MORE_THAN_ANY_WINDOW];
    let mut written = 0;
    while written < bytes.len() {
        let mut write = std::pin::pin!(stream.writer.write(&bytes[written..]));
        let at_once = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
        let accepted = match at_once {
            Poll::Ready(accepted) => accepted,
            Poll::Pending => {
                blocked.notify_one();
                write.await
            }
        };
        match accepted {
            Ok(accepted) => written += accepted,
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[test]
fn a_writer_waits_for_a_reader_that_does_not_read_and_goes_on_when_it_does() {
    on_both(
        |writer_waits, mut stream| async move {
            writer_waits.notified().await;
            let mut buffer = vec![0; 1 << 20];
            let mut received = 0;
            loop {
                match stream.reader.read(&mut buffer).await.unwrap() {
                    0 => break,
                    read => received += read,
                }
            }
            assert_eq!(received, MORE_THAN_ANY_WINDOW);
        },
        |blocked, mut stream| async move {
            let (written, outcome) = write_all_and_tell(&mut stream, &blocked).await;
            outcome.unwrap();
            assert_eq!(written, MORE_THAN_ANY_WINDOW);
        },
    );
}

#[test]
fn a_writer_that_waits_for_an_end_that_closes_gets_an_error() {
    on_both(
        |writer_waits, stream| async move {
            writer_waits.notified().await;
            drop(stream);
        },
        |blocked, mut stream| async move {
            let (_, outcome) = write_all_and_tell(&mut stream, &blocked).await;
            let error = outcome.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
        },
    );
}

#[test]
fn bytes_for_an_end_that_is_closed_are_answered_with_an_error() {
    on_both(
        |_, stream| async move { drop(stream) },
        |_, mut stream| async move {
            let mut buffer = [0; 10];
            assert_eq!(stream.reader.read(&mut buffer).await.unwrap(), 0);
            let error = loop {
                if let Err(error) = stream.writer.write_all(b"anybody there?").await {
                    break error;
                }
                let mut end = stream.reader.read(&mut buffer).await;
                if let Err(error) = &mut end {
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                }
            };
            assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
        },
    );
}

#[test]
fn a_port_is_taken_once_and_nobody_is_refused_where_nobody_listens() {
    async fn body(env: Env, host: &str) {
        let listener = env.listen(&format!("{host}:0")).await.unwrap();
        let address = listener.local_address();
        assert_eq!(env.listen(&address).await.err().unwrap().kind(), ErrorKind::AddrInUse);
        drop(env.connect(&address).await.unwrap());
        drop(listener);
        assert_eq!(env.connect(&address).await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        drop(env.listen(&address).await.unwrap());
    }
    Env::run_on_host(1, |env| body(env, "127.0.0.1")).unwrap();
    simulate(
        1,
        |_| {},
        || async {
            let network = SimNetwork::new(1, NetworkConfig::default());
            let env = Env::simulated(network.clone());
            node(&network, "alone").spawn(async move { body(env, "alone").await }).await.unwrap();
        },
    )
    .unwrap();
}
