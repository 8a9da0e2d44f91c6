use std::{path::PathBuf, sync::Arc, time::Duration};
use tidegate::{api::*, config::*, connector::*, record::StreamRecord, runtime::*, Timestamp, env::Env};

struct P; impl tidegate::event::Observer for P { fn observe(&self, f: &tidegate::event::Fact<'_>) -> tidegate::event::Directive { if std::env::var("V").is_ok() { eprintln!("{f}"); } tidegate::event::Directive::Continue } }
fn main() {
    let n: u64 = std::env::args().nth(1).map_or(10_000, |a| a.parse().unwrap());
    let p: u32 = std::env::args().nth(2).map_or(1, |a| a.parse().unwrap());
    let tms: u32 = std::env::args().nth(3).map_or(1, |a| a.parse().unwrap());
    let dir = PathBuf::from("/tmp/smoke"); let _ = std::fs::remove_dir_all(&dir);
    let mut config = JobConfig { parallelism: p, ..JobConfig::default() };
    config.checkpoints.interval = Some(Duration::from_millis(1000));
    config.checkpoints.storage = CheckpointStorageConfig::FileSystem { directory: dir.join("cp") };
    let job = StreamEnvironment::new(config.clone());
    let source = GeneratorSource::new(n, |i| StreamRecord::new((i % 1000, i), Timestamp(i as i64 / 10))).with_splits(p);
    let out = dir.join("out");
    job.from_source("gen", source, WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_millis(100)))
        .key_by(|r: &(u64, u64)| r.0)
        .window(TumblingWindows::of(Duration::from_secs(10)).unwrap())
        .reduce(|a, b| a.1 += b.1)
        .sink_exactly_once("files", move || FileSink::new(out.clone(), |r: &(u64, u64), b: &mut Vec<u8>| b.extend(format!("{},{}\n", r.0, r.1).bytes())));
    let program = Arc::new(job.build().unwrap());
    let t = std::time::Instant::now();
    let summary = Env::run_on_host(1, |env| async move {
        let mut c = LocalCluster::new(config); c.task_managers = tms; c.observer = Arc::new(P);
        c.run(&env, program).await
    }).unwrap().unwrap();
    println!("{summary:?} {:.2}s {:.2} M/s", t.elapsed().as_secs_f64(), n as f64 / t.elapsed().as_secs_f64() / 1e6);
}
