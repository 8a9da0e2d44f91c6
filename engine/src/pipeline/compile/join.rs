//! Joins of two streams.

use super::{
    Compiler, Windowed, failed,
    window::{any_trigger, millis},
};
use crate::{
    api::DataStream,
    error::Result,
    operator::{
        FullWindow, IntervalJoinOperator, JoinContext, JoinInterval, OutputTag, Tagged, TaggedKey,
        TimestampedCollector, WindowContext, WindowOperator,
    },
    pipeline::{
        expression::Expression,
        function::Enrich,
        model::{Assigner, BoundKind, JoinKind, LateRecords, WindowTime},
        plan::{PlannedEnrich, PlannedIntervalJoin, PlannedStage, PlannedWindowJoin, Stream},
        row::{Datum, Row},
        row_window::{Bounded, RowKey},
    },
    window::{GlobalWindows, SessionWindows, SlidingWindows, TumblingWindows, WindowAssigner, WindowPeriod},
};

type TaggedRow = Tagged<Row, Row>;

/// Makes the row of a pair.
#[derive(Clone)]
struct PairFields {
    stage: String,
    fields: Vec<Expression>,
}

impl PairFields {
    fn new(stage: &PlannedStage, fields: &[Expression]) -> Self {
        Self { stage: stage.name.clone(), fields: fields.to_vec() }
    }

    fn of(&self, pair: &Row) -> Result<Row> {
        let values = self.fields.iter().map(|field| field.evaluate(pair)).collect::<Result<Row, _>>();
        values.map_err(|error| failed(&self.stage, error))
    }
}

impl Compiler<'_> {
    /// The two inputs of a join.
    fn two(&self, inputs: &[Stream]) -> Result<(DataStream<Row>, DataStream<Row>)> {
        let [first, second] = inputs else { unreachable!("a planned join has two inputs") };
        Ok((self.rows(*first)?.stream.clone(), self.rows(*second)?.stream.clone()))
    }

    pub(super) fn interval_join(&self, stage: &PlannedStage, planned: &PlannedIntervalJoin) -> Result<Windowed> {
        let declared = &planned.declared;
        if declared.ttl.is_some() {
            return Err(super::unsupported(&stage.name, "a time to live of a join"));
        }
        let lower = declared.lower_ms.saturating_add(i64::from(declared.lower == BoundKind::Exclusive));
        let upper = declared.upper_ms.saturating_sub(i64::from(declared.upper == BoundKind::Exclusive));
        let interval = JoinInterval::from_range_ms(lower..=upper)?;
        let fields = PairFields::new(stage, &planned.fields);
        let pair = move |left: &Row, right: &Row, context: &JoinContext, out: &mut TimestampedCollector<'_, Row>| {
            let left_time = [Datum::Int(context.left_timestamp.0)];
            let right_time = [Datum::Int(context.right_timestamp.0)];
            let left = left.values().iter().chain(&left_time);
            let pair: Row = left.chain(right.values()).chain(&right_time).cloned().collect();
            out.collect(fields.of(&pair)?);
            Ok(())
        };
        let (left_key, right_key) = (RowKey::new(&planned.key), RowKey::new(&planned.right_key));
        let tag = (declared.late_records == LateRecords::SideOutput).then(|| OutputTag::<Row>::new("late"));
        let late_tag = tag.clone();
        let results = match &planned.left {
            Some(condition) => {
                let (condition, name) = (condition.clone(), stage.name.clone());
                let rows = self.unpartitioned(&stage.inputs)?;
                let tagged = rows.flat_map(move |row: Row, out| {
                    let is_left = condition.holds(&row).map_err(|error| failed(&name, error))?;
                    out.collect(if is_left { TaggedRow::First(row) } else { TaggedRow::Second(row) });
                    Ok(())
                });
                let tagged =
                    tagged.name("sides").uid(&format!("{}.sides", stage.name)).set_parallelism(rows.parallelism());
                let keyed = tagged.key_by_selector(TaggedKey(left_key.clone(), right_key.clone()));
                keyed.transform("interval_join", move || {
                    IntervalJoinOperator::new(left_key.clone(), right_key.clone(), interval, pair.clone())
                        .with_late_outputs(late_tag.clone(), late_tag.clone())
                })
            }
            None => {
                let (left, right) = self.two(&stage.inputs)?;
                let (left, right) = (left.key_by_selector(left_key), right.key_by_selector(right_key));
                let mut join = left.interval_join(&right).between_ms(lower..=upper)?;
                if let Some(tag) = &tag {
                    join = join.side_output_left_late_data(tag).side_output_right_late_data(tag);
                }
                join.process(pair)
            }
        };
        let late = tag.map(|tag| results.get_side_output(&tag));
        Ok(Windowed { results, late })
    }

    pub(super) fn enrich(&self, stage: &PlannedStage, planned: &PlannedEnrich) -> Result<DataStream<Row>> {
        let (records, rules) = self.two(&stage.inputs)?;
        let function = Enrich::new(&stage.name, planned);
        Ok(records.key_by_selector(RowKey::new(&planned.key)).connect_broadcast(&rules.broadcast()).process(function))
    }

    pub(super) fn window_join(&self, stage: &PlannedStage, planned: &PlannedWindowJoin) -> Result<DataStream<Row>> {
        let (left, right) = self.two(&stage.inputs)?;
        let left = tagged(&left, &format!("{}.left", stage.name), TaggedRow::First);
        let right = tagged(&right, &format!("{}.right", stage.name), TaggedRow::Second);
        let both = left.union(&[&right]);
        let processing = planned.declared.time == WindowTime::Processing;
        let join = WindowJoin { stage, planned };
        Ok(match &planned.declared.assigner {
            Assigner::Tumbling { size, offset } => {
                let period = WindowPeriod { size_ms: millis(*size), offset_ms: millis(*offset) };
                let assigner = TumblingWindows::of_period(period)?;
                join.apply(&both, if processing { assigner.in_processing_time() } else { assigner })
            }
            Assigner::Sliding { size, slide, offset } => {
                let slides = WindowPeriod { size_ms: millis(*slide), offset_ms: millis(*offset) };
                let assigner = SlidingWindows::of(*size, slides)?;
                join.apply(&both, if processing { assigner.in_processing_time() } else { assigner })
            }
            Assigner::Session { gap } => {
                let assigner = SessionWindows::with_gap(*gap)?;
                join.apply(&both, if processing { assigner.in_processing_time() } else { assigner })
            }
            Assigner::Global => join.apply(&both, GlobalWindows),
            Assigner::DynamicSession { .. } | Assigner::Count { .. } => {
                unreachable!("a planned join has windows that both inputs share")
            }
        })
    }
}

fn tagged(rows: &DataStream<Row>, uid: &str, tag: fn(Row) -> TaggedRow) -> DataStream<TaggedRow> {
    rows.map(tag).name("side").uid(uid).set_parallelism(rows.parallelism())
}

struct WindowJoin<'a> {
    stage: &'a PlannedStage,
    planned: &'a PlannedWindowJoin,
}

impl WindowJoin<'_> {
    fn apply<A>(&self, both: &DataStream<TaggedRow>, assigner: A) -> DataStream<Row>
    where
        A: WindowAssigner<TaggedRow> + Clone + Sync,
        A::Window: Bounded,
    {
        let Self { stage, planned } = self;
        let (left_width, right_width) = (stage.input_schema.fields.len(), planned.right_schema.fields.len());
        let (kind, fields) = (planned.declared.kind, PairFields::new(stage, &planned.fields));
        let pairs = move |_key: &Row,
                          context: &mut WindowContext<'_, Row, A::Window>,
                          elements: Vec<TaggedRow>,
                          out: &mut TimestampedCollector<'_, Row>| {
            let (mut left, mut right) = Tagged::separate(elements);
            let nothing = |width: usize| vec![Row::new(vec![Datum::Null; width])];
            if left.is_empty() && matches!(kind, JoinKind::Right | JoinKind::Full) {
                left = nothing(left_width);
            }
            if right.is_empty() && matches!(kind, JoinKind::Left | JoinKind::Full) {
                right = nothing(right_width);
            }
            let bounds = context.window.bounds();
            for left in &left {
                for right in &right {
                    let values = left.values().iter().chain(right.values()).chain(&bounds);
                    out.collect(fields.of(&values.cloned().collect())?);
                }
            }
            Ok(())
        };
        let selector = TaggedKey(RowKey::new(&planned.key), RowKey::new(&planned.right_key));
        let keyed = both.key_by_selector(selector.clone());
        let trigger = planned.declared.trigger.as_ref().map(any_trigger);
        match trigger {
            None => keyed.transform("window_join", move || {
                let trigger = assigner.default_trigger();
                WindowOperator::new(selector.clone(), assigner.clone(), trigger, FullWindow::new(pairs.clone()))
            }),
            Some(trigger) => keyed.transform("window_join", move || {
                WindowOperator::new(selector.clone(), assigner.clone(), trigger.clone(), FullWindow::new(pairs.clone()))
            }),
        }
    }
}
