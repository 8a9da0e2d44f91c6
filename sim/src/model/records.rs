//! The records of sources, all at once: those of each split, in order.

use std::{sync::Arc, time::Duration};

use tidegate::pipeline::{Datum, OnMissingEventTime, PlannedSource, Row, SourceKind};

use super::ModelError;

/// A record with what the model knows about where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The values.
    pub row: Row,
    /// Event time, if it has one.
    pub time_ms: Option<i64>,
    /// Its place among the records with which it must stay in order, if there are such.
    pub place: Option<Place>,
}

/// A place in a sequence whose order is kept: records of a split by position, updates of a key by number, results of a
/// key by window.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Names the sequence.
    pub sequence: String,
    /// Where in it.
    pub position: i64,
}

/// What a source holds: per split its records by offset; `None` is one that is left out for want of an event time.
pub(super) type SourceRecords = Vec<Vec<Option<Arc<Record>>>>;

pub(super) fn of_source(source: &PlannedSource) -> Result<SourceRecords, ModelError> {
    let rows = rows(source)?;
    let mut splits = Vec::new();
    for (split, rows) in rows.into_iter().enumerate() {
        let mut records = Vec::new();
        for (offset, row) in rows.into_iter().enumerate() {
            let place = Place { sequence: format!("split {split} of {}", source.name), position: offset as i64 };
            records.push(with_event_time(source, row, place)?.map(Arc::new));
        }
        check_disorder(source, &records)?;
        splits.push(records);
    }
    Ok(splits)
}

fn rows(source: &PlannedSource) -> Result<Vec<Vec<Row>>, ModelError> {
    match &source.kind {
        SourceKind::Csv(_) => Err(ModelError::not_modelled(&source.name, "files")),
        SourceKind::Script(_) => Err(ModelError::not_modelled(&source.name, "a script")),
        SourceKind::Generator(generator) => {
            let Some(count) = generator.count else {
                return Err(ModelError::not_modelled(&source.name, "a generator that never ends"));
            };
            Ok(deal((0..count).map(|sequence| generator.record(sequence)), generator.splits))
        }
        SourceKind::Collection(collection) => Ok(deal(collection.rows.iter().cloned(), collection.splits)),
    }
}

/// Record `i` belongs to split `i % splits`.
fn deal(rows: impl Iterator<Item = Row>, splits: u32) -> Vec<Vec<Row>> {
    let mut dealt = vec![Vec::new(); splits as usize];
    for (index, row) in rows.enumerate() {
        dealt[index % splits as usize].push(row);
    }
    dealt
}

fn with_event_time(source: &PlannedSource, row: Row, place: Place) -> Result<Option<Record>, ModelError> {
    let Some(event_time) = &source.event_time else {
        return Ok(Some(Record { row, time_ms: None, place: Some(place) }));
    };
    let time = event_time.expression.evaluate(&row).map_err(|error| ModelError::fails(&source.name, error))?;
    match (time, event_time.on_missing) {
        (Datum::Int(time_ms), _) => Ok(Some(Record { row, time_ms: Some(time_ms), place: Some(place) })),
        (_, OnMissingEventTime::Drop) => Ok(None),
        (_, OnMissingEventTime::Fail) => Err(ModelError::fails(&source.name, format!("{row} has no event time"))),
    }
}

/// Refuses splits in which a record lies further back than the watermark allows for.
fn check_disorder(source: &PlannedSource, records: &[Option<Arc<Record>>]) -> Result<(), ModelError> {
    let Some(event_time) = &source.event_time else { return Ok(()) };
    let bound_ms = millis(event_time.max_out_of_orderness);
    let mut latest = i64::MIN;
    for time_ms in records.iter().flatten().filter_map(|record| record.time_ms) {
        latest = latest.max(time_ms);
        if latest.saturating_sub(time_ms) > bound_ms {
            return Err(ModelError::MayDropLateRecords {
                name: source.name.clone(),
                why: format!("a record lies {} ms back, of which {bound_ms} are allowed for", latest - time_ms),
            });
        }
    }
    Ok(())
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
