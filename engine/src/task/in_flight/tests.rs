//! What was under way, dealt to other subtasks than it was under way to.

use std::time::Duration;

use super::*;
use crate::{
    Timestamp,
    api::{StreamEnvironment, TumblingWindows},
    config::JobConfig,
    connector::{CollectionSource, DiscardSink},
    id::VertexId,
    record::{AnyBatch, StreamRecord},
    time::WatermarkStrategy,
};

const SOURCE: VertexId = VertexId(0);
const SUMS: VertexId = VertexId(1);

fn key_groups() -> KeyGroups {
    KeyGroups::new(16).unwrap()
}

/// Numbers, summed by number.
fn program(parallelism: u32) -> Program {
    let job = StreamEnvironment::new(JobConfig { parallelism, max_parallelism: Some(16), ..JobConfig::default() });
    let strategy = WatermarkStrategy::for_bounded_out_of_orderness(Duration::ZERO);
    job.from_source("numbers", CollectionSource::new(Vec::<(i64, i64)>::new()), strategy)
        .key_by(|numbered: &(i64, i64)| numbered.0)
        .window(TumblingWindows::of(Duration::from_millis(1)).unwrap())
        .reduce(|sum: &mut (i64, i64), numbered: (i64, i64)| sum.1 += numbered.1)
        .sink("out", DiscardSink::default);
    job.build().unwrap()
}

fn subtask(vertex: VertexId, index: u32) -> SubtaskId {
    SubtaskId { vertex, index }
}

fn batch(records: &[(i64, i64)]) -> StreamElement {
    let records = records.iter().map(|record| StreamRecord::new(*record, Timestamp(0))).collect();
    StreamElement::Batch(AnyBatch::new(records))
}

fn channel(peer: u32, elements: Vec<StreamElement>) -> ChannelState {
    ChannelState { edge: 0, peer, elements: elements.into_iter().map(Into::into).collect() }
}

/// The subtask that has the key now.
fn owner(key: i64, parallelism: u32) -> u32 {
    key_groups().subtask(key_groups().of_key(&key), parallelism)
}

/// Of two senders and three receivers: for each key, from each sender, 0 has arrived, then 1, and 2 has not been sent.
fn under_way() -> BTreeMap<SubtaskId, InFlightState> {
    let mut all: BTreeMap<SubtaskId, InFlightState> = BTreeMap::new();
    for from in 0..2 {
        for key in 0..40 {
            let (to, first) = (owner(key, 3), i64::from(from) * 10);
            let arrived =
                vec![batch(&[(key, first)]), StreamElement::Watermark(Timestamp(5)), batch(&[(key, first + 1)])];
            all.entry(subtask(SUMS, to)).or_default().inputs.push(channel(from, arrived));
            let waiting = vec![batch(&[(key, first + 2)])];
            all.entry(subtask(SOURCE, from)).or_default().outputs.push(channel(to, waiting));
        }
    }
    all
}

fn records(elements: &[StreamElement]) -> Vec<(i64, i64)> {
    let batches = elements.iter().map(|element| match element {
        StreamElement::Batch(batch) => batch.clone().into_typed::<(i64, i64)>(),
        other => panic!("only records are dealt out, not {other:?}"),
    });
    batches.flatten().map(|record| record.value).collect()
}

#[test]
fn each_record_comes_to_the_subtask_of_its_key_and_behind_those_that_it_was_behind() {
    for parallelism in [1, 2, 4, 5] {
        let program = program(parallelism);
        let mut seen = 0;
        for index in 0..parallelism {
            let share =
                read(LoadedInFlight::OfOthers(under_way()), &program, subtask(SUMS, index), key_groups()).unwrap();
            assert!(share.outputs.is_empty());
            let records: Vec<(i64, i64)> = share.inputs.values().flat_map(|elements| records(elements)).collect();
            seen += records.len();
            for key in records.iter().map(|(key, _)| *key) {
                assert_eq!(owner(key, parallelism), index, "of {parallelism}");
                let of_key: Vec<i64> = records.iter().filter(|record| record.0 == key).map(|record| record.1).collect();
                assert_eq!(of_key, [0, 1, 2, 10, 11, 12], "{key} of {parallelism}");
            }
        }
        assert_eq!(seen, 2 * 3 * 40, "of {parallelism}");
        let of_source =
            read(LoadedInFlight::OfOthers(under_way()), &program, subtask(SOURCE, 0), key_groups()).unwrap();
        assert!(of_source.is_empty(), "its receivers take what it had not sent");
    }
}

#[test]
fn data_of_an_edge_that_binds_its_subtasks_cannot_be_dealt() {
    let mut program = program(2);
    let mut edges = program.graph.edges.clone();
    edges[0].overtaking = Overtaking::Forbidden;
    program.graph.edges = edges;
    let refused = read(LoadedInFlight::OfOthers(under_way()), &program, subtask(SUMS, 0), key_groups());
    let error = refused.err().expect("it is refused");
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("numbers"), "{error}");
}
