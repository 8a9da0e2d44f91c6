//! Which tasks a failure restarts is what Flink's `RestartPipelinedRegionFailoverStrategy` says.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate::job::{Dependence, FailoverRegions, ResultType};
use tidegate_tests::vectors::{expect, known, list, run, text, words};

#[test]
fn every_vector_of_failover_regions_holds() {
    run(include_str!("../data/vectors/12_region_failover.json"), &[], restarts);
}

fn restarts(vector: &Value) -> Result<(), String> {
    known(vector, &["vertices", "edges", "cases"])?;
    let vertices = list(vector, "vertices");
    let dependences = list(vector, "edges").iter().map(|edge| Dependence {
        producer: text(edge, "source"),
        consumer: text(edge, "target"),
        result: match text(edge, "type") {
            "PIPELINED" => ResultType::Pipelined,
            "BLOCKING" => ResultType::Blocking,
            other => panic!("unknown type {other}"),
        },
    });
    let regions = FailoverRegions::new(vertices.iter().map(|vertex| text(vertex, "name")), dependences.collect());
    // What was not deployed yet has nothing to start again.
    let created: BTreeSet<&str> = vertices
        .iter()
        .filter(|vertex| text(vertex, "state") == "CREATED")
        .map(|vertex| text(vertex, "name"))
        .collect();
    for case in list(vector, "cases") {
        known(case, &["failed", "unavailable_partitions_of", "restart"])?;
        let lost = words(case, "unavailable_partitions_of").into_iter().collect();
        let restarted = regions.to_restart(&text(case, "failed"), &lost);
        let restarted: Vec<&str> = restarted.into_iter().filter(|task| !created.contains(task)).collect();
        expect(case, &restarted, &words(case, "restart"))?;
    }
    Ok(())
}
