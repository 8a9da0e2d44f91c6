//! What is drawn: every kind, always a pipeline that has a model, and readable from a capsule.

use std::collections::BTreeSet;

use super::*;
use crate::model::Model;

fn drawn(fixed: &Fixed, number: u64) -> Workload {
    Workload::drawn(Shape::Generated, fixed, Parallelism::Fixed, Seed(number).child("tests"))
}

#[test]
fn every_pipeline_that_is_drawn_is_valid() {
    for number in 0..500 {
        let workload = drawn(&Fixed::default(), number);
        assert!(workload.pipeline().validate().is_ok(), "{number}: {:?}", workload.pipeline().validate());
    }
}

#[test]
fn a_pinned_kind_is_the_one_that_is_drawn_and_its_pipeline_is_valid() {
    for kind in StageKind::all() {
        for number in 0..5 {
            let fixed = Fixed { stage: vec![kind.name()], stages_max: Some(1), ..Fixed::default() };
            let workload = drawn(&fixed, number);
            assert_eq!(workload.generated.as_ref().unwrap().kinds, [kind.name()]);
            assert!(workload.pipeline().validate().is_ok(), "{}: {:?}", kind.name(), workload.pipeline().validate());
        }
    }
}

#[test]
fn every_kind_that_no_clock_decides_is_drawn_sooner_or_later() {
    let drawn: BTreeSet<String> =
        (0..6_000).flat_map(|number| drawn(&Fixed::default(), number).generated.unwrap().kinds).collect();
    let wanted = StageKind::all().into_iter().filter(|kind| !kind.has_clock()).map(StageKind::name);
    let missing: Vec<String> = wanted.filter(|name| !drawn.contains(name)).collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn a_workload_is_read_from_a_capsule_as_it_was_drawn() {
    for number in 0..200 {
        let workload = drawn(&Fixed::default(), number);
        let text = toml::to_string(&workload).unwrap();
        assert_eq!(toml::from_str::<Workload>(&text).unwrap(), workload, "{text}");
    }
}

#[test]
fn simpler_pipelines_are_valid_and_simpler() {
    for number in 0..40 {
        let workload = drawn(&Fixed::default(), number);
        let generated = workload.generated.as_ref().unwrap();
        for (_, simpler) in generated.simpler() {
            assert!(simpler.kinds.len() < generated.kinds.len() || simpler.steps() < generated.steps());
            let workload = Workload { generated: Some(Box::new(simpler)), ..workload.clone() };
            assert!(workload.pipeline().validate().is_ok(), "{number}: {:?}", workload.pipeline().validate());
        }
    }
}

#[test]
fn the_model_knows_the_one_right_result_of_every_pipeline_that_no_clock_decides() {
    let refused = |workload: &Workload| Model::new(&workload.pipeline()).err().map(|error| error.to_string());
    for number in 0..400 {
        let workload = drawn(&Fixed::default(), number);
        assert_eq!(refused(&workload), None, "{number}: {:?}", workload.generated.unwrap().kinds);
    }
}
