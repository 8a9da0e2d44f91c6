#![allow(clippy::disallowed_methods)]
use tidegate_sim::{run::run, scenario::parse, trace::Keep};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n: u64 = a[1].parse().unwrap();
    let v = a.len() > 2;
    let text = if std::env::var("CALM").is_ok() { "claim='c'\nsetup='s'\ndisturbance='d'\nwould_catch='w'\nshape='both'" } else { "claim='c'\nsetup='s'\ndisturbance='d'\nwould_catch='w'\nshape='both'\n[swarm]\nfaults_max=3" };
    let s = parse("swarm", text).unwrap();
    let seeds: Vec<u64> = if v { vec![n] } else { (0..n).collect() };
    let t = std::time::Instant::now();
    let mut bad = 0;
    for seed in seeds {
        let plan = s.plan(seed);
        let r = run(&plan, if v { Keep::Lines } else { Keep::Hash });
        let r2 = run(&plan, Keep::Hash);
        if r.hash != r2.hash { println!("NONDETERMINISTIC {seed}"); }
        if v { for l in &r.lines { println!("{l}"); } println!("{:?}", plan); }
        if !r.violations.is_empty() || v { bad += 1; println!("{seed} {:?} {:?} {:?} {} ev {:?} sim {:?}", r.verdict(), r.struck, r.missed, r.events, r.violations, r.simulated); }
    }
    println!("{} bad, {:?}", bad, t.elapsed());
}
