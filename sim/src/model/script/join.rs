//! Joins: with rules, by an interval of time, by a shared window.

use std::{collections::BTreeMap, sync::Arc};

use tidegate::pipeline::{
    BoundKind, Datum, JoinKind, LateRecords, PlannedEnrich, PlannedIntervalJoin, PlannedWindowJoin, Row, Unmatched,
};

use super::{
    contents::FoldError,
    element::{Element, Output},
    keys::KeyGroups,
    pane::Pane,
    timers::Timers,
};

/// Which input a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The first.
    Left,
    /// The second.
    Right,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    fn datum(self) -> Datum {
        Datum::Bool(self == Self::Right)
    }

    /// The side and the record of one that has its side as an additional first value.
    pub(super) fn untag(row: &Row) -> (Self, Row) {
        let side = if *row.get(0) == Self::Left.datum() { Self::Left } else { Self::Right };
        (side, row.values()[1..].iter().cloned().collect())
    }

    /// A record with its side as an additional first value.
    pub(super) fn tag(self, row: &Row) -> Row {
        std::iter::once(self.datum()).chain(row.values().iter().cloned()).collect()
    }
}

/// One subtask of a join with rules: all rules, the newest of each key.
#[derive(Debug, Clone)]
pub(super) struct EnrichStage {
    pub planned: Arc<PlannedEnrich>,
    pub rules: BTreeMap<Row, Row>,
}

impl EnrichStage {
    pub(super) fn new(planned: Arc<PlannedEnrich>) -> Self {
        Self { planned, rules: BTreeMap::new() }
    }

    pub(super) fn element(&mut self, side: Side, element: Element, out: &mut Output) -> Result<(), FoldError> {
        if side == Side::Right {
            self.rules.insert(element.row.project(&self.planned.rule_key), element.row);
            return Ok(());
        }
        let nulls: Row = self.planned.rule_schema.fields.iter().map(|_| Datum::Null).collect();
        let rule = self.rules.get(&element.row.project(&self.planned.key));
        if rule.is_none() && self.planned.declared.unmatched == Unmatched::Drop {
            return Ok(());
        }
        let both = pair(&[element.row.values(), rule.unwrap_or(&nulls).values()]);
        out.record(fields(&self.planned.fields, &both)?, element.time_ms);
        Ok(())
    }
}

/// One subtask of a join by an interval: for each side, key and event time the records.
#[derive(Debug, Clone)]
pub(super) struct IntervalJoinStage {
    pub planned: Arc<PlannedIntervalJoin>,
    pub kept: BTreeMap<(Side, Row), BTreeMap<i64, Vec<Row>>>,
    pub timers: Timers<Side>,
    pub dropped: u64,
    watermark_ms: i64,
}

impl IntervalJoinStage {
    pub(super) fn new(planned: Arc<PlannedIntervalJoin>, key_groups: KeyGroups) -> Self {
        Self { planned, kept: BTreeMap::new(), timers: Timers::new(key_groups), dropped: 0, watermark_ms: i64::MIN }
    }

    /// The least and greatest distance from a left to a right record, both inclusive.
    fn interval(&self) -> (i64, i64) {
        let declared = &self.planned.declared;
        let exclusive = |bound| i64::from(bound == BoundKind::Exclusive);
        (declared.lower_ms + exclusive(declared.lower), declared.upper_ms - exclusive(declared.upper))
    }

    pub(super) fn element(&mut self, side: Side, element: Element, out: &mut Output) -> Result<(), FoldError> {
        let side = match &self.planned.left {
            Some(left) if left.holds(&element.row)? => Side::Left,
            Some(_) => Side::Right,
            None => side,
        };
        if element.time_ms < self.watermark_ms {
            match self.planned.declared.late_records {
                LateRecords::SideOutput => out.late(element),
                LateRecords::Drop => self.dropped += 1,
            }
            return Ok(());
        }
        let key = element.row.project(match side {
            Side::Left => &self.planned.key,
            Side::Right => &self.planned.right_key,
        });
        let time_ms = element.time_ms;
        let of_time = self.kept.entry((side, key.clone())).or_default();
        of_time.entry(time_ms).or_default().push(element.row.clone());
        let (lower_ms, upper_ms) = self.interval();
        for (other_ms, rows) in self.kept.get(&(side.other(), key.clone())).into_iter().flatten() {
            for other in rows {
                let (left, left_ms, right, right_ms) = match side {
                    Side::Left => (&element.row, time_ms, other, *other_ms),
                    Side::Right => (other, *other_ms, &element.row, time_ms),
                };
                if (lower_ms..=upper_ms).contains(&(right_ms - left_ms)) {
                    let both = pair(&[left.values(), &[Datum::Int(left_ms)], right.values(), &[Datum::Int(right_ms)]]);
                    out.record(fields(&self.planned.fields, &both)?, time_ms.max(*other_ms));
                }
            }
        }
        // Until then a partner may come.
        let until_ms = match side {
            Side::Left => time_ms.saturating_add(upper_ms.max(0)),
            Side::Right => time_ms.saturating_add((-lower_ms).max(0)),
        };
        self.timers.register(until_ms, &key, &side);
        Ok(())
    }

    pub(super) fn watermark(&mut self, watermark_ms: i64) {
        self.watermark_ms = watermark_ms;
        let (lower_ms, upper_ms) = self.interval();
        while let Some(timer) = self.timers.take_due(watermark_ms) {
            let side = timer.namespace;
            let waited_ms = match side {
                Side::Left => upper_ms.max(0),
                Side::Right => (-lower_ms).max(0),
            };
            let place = (side, timer.key);
            if let Some(of_time) = self.kept.get_mut(&place) {
                of_time.remove(&timer.time_ms.saturating_sub(waited_ms));
                if of_time.is_empty() {
                    self.kept.remove(&place);
                }
            }
        }
    }
}

/// The results of a join in one window, whose records have their side as an additional first value.
pub(super) fn joined(
    planned: &PlannedWindowJoin,
    left_fields: usize,
    pane: Pane,
    contents: &[Element],
) -> Result<Vec<Row>, FoldError> {
    let sided: Vec<(Side, Row)> = contents.iter().map(|element| Side::untag(&element.row)).collect();
    let of = |wanted: Side| sided.iter().filter(move |(side, _)| *side == wanted).map(|(_, row)| row.clone()).collect();
    let (left, right): (Vec<Row>, Vec<Row>) = (of(Side::Left), of(Side::Right));
    let kind = planned.declared.kind;
    let null_left: Row = std::iter::repeat_n(Datum::Null, left_fields).collect();
    let null_right: Row = planned.right_schema.fields.iter().map(|_| Datum::Null).collect();
    let mut pairs = Vec::new();
    for one in &left {
        pairs.extend(right.iter().map(|other| (one, other)));
        if right.is_empty() && matches!(kind, JoinKind::Left | JoinKind::Full) {
            pairs.push((one, &null_right));
        }
    }
    if left.is_empty() && matches!(kind, JoinKind::Right | JoinKind::Full) {
        pairs.extend(right.iter().map(|other| (&null_left, other)));
    }
    let bounds = match pane {
        Pane::Time { start_ms, end_ms } => [Datum::Int(start_ms), Datum::Int(end_ms)],
        Pane::Global => [Datum::Null, Datum::Null],
    };
    let row = |(one, other): (&Row, &Row)| fields(&planned.fields, &pair(&[one.values(), other.values(), &bounds]));
    pairs.into_iter().map(row).collect()
}

fn pair(parts: &[&[Datum]]) -> Row {
    parts.iter().flat_map(|part| part.iter().cloned()).collect()
}

fn fields(fields: &[tidegate::pipeline::Expression], row: &Row) -> Result<Row, FoldError> {
    Ok(fields.iter().map(|field| field.evaluate(row)).collect::<Result<Row, _>>()?)
}
