//! Windows: assigners, triggers, evictors and functions of a plan as those of the typed operator.
//!
//! Windows of aggregates with nothing that looks at whole rows are folded from reduced records; all others keep or fold the
//! rows themselves.

use std::{sync::Arc, time::Duration};

use super::{Compiler, failed};
use crate::{
    api::{DataStream, KeyedStream},
    error::Result,
    operator::{
        Aggregate, AtFire, EvictingWindow, FullWindow, OutputTag, Reduce, Then, WindowFunction, WindowOperator,
    },
    pipeline::{
        expression::Expression,
        fold::{Fold, Reduced, WindowResult},
        model::{self, Assigner, EvictionPhase, LateRecords, WindowTime},
        plan::{PlannedReduce, PlannedStage, PlannedWindow, PlannedWindowFunction},
        row::{Datum, Row},
        row_window::{Bounded, ReducedResult, RowFold, RowKey, WholeWindow},
    },
    state::{KeyRef, KeySelector},
    window::{
        AnyTrigger, ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountEvictor, CountTrigger,
        DeltaEvictor, DeltaTrigger, EndOfStreamTrigger, EventTimeTrigger, Evictor, GlobalWindows, NeverTrigger, Phase,
        ProcessingTimeTrigger, ProcessingTimeoutTrigger, PurgingTrigger, SessionWindows, SlidingWindows, TimeEvictor,
        Trigger, TumblingWindows, Window, WindowAssigner, WindowPeriod,
        trigger::{OnTimeout, TimeoutAfter},
    },
};

type RowTrigger<T, W> = Box<dyn Trigger<T, Row, W>>;

/// The results of a window, and what came too late for it.
pub(super) struct Windowed {
    pub(super) results: DataStream<Row>,
    pub(super) late: Option<DataStream<Row>>,
}

/// What is done with the assigner of the declared kind.
macro_rules! with_assigner {
    ($planned:expr, $assigner:ident => $call:expr; dynamic $dynamic:ident => $dynamic_call:expr) => {{
        let declared = &$planned.declared;
        let processing = declared.time == WindowTime::Processing;
        match &declared.assigner {
            Assigner::Tumbling { size, offset } => {
                let period = WindowPeriod { size_ms: millis(*size), offset_ms: millis(*offset) };
                let $assigner = TumblingWindows::of_period(period)?;
                let $assigner = if processing { $assigner.in_processing_time() } else { $assigner };
                $call
            }
            Assigner::Sliding { size, slide, offset } => {
                let slides = WindowPeriod { size_ms: millis(*slide), offset_ms: millis(*offset) };
                let $assigner = SlidingWindows::of(*size, slides)?;
                let $assigner = if processing { $assigner.in_processing_time() } else { $assigner };
                $call
            }
            Assigner::Session { gap } => {
                let $assigner = SessionWindows::with_gap(*gap)?;
                let $assigner = if processing { $assigner.in_processing_time() } else { $assigner };
                $call
            }
            Assigner::DynamicSession { .. } => {
                let $dynamic = processing;
                $dynamic_call
            }
            Assigner::Global | Assigner::Count { .. } => {
                let $assigner = GlobalWindows;
                $call
            }
        }
    }};
}

/// Whether nothing in a window looks at whole rows.
pub(super) fn is_reducible(planned: &PlannedWindow) -> bool {
    let declared = &planned.declared;
    let evicts = declared.evictor.is_some() || matches!(declared.assigner, Assigner::Count { slide: Some(_), .. });
    matches!(planned.function, PlannedWindowFunction::Aggregate(_))
        && !evicts
        && planned.gap.is_none()
        && planned.trigger_value.is_none()
        && declared.late_records == LateRecords::Drop
}

impl Compiler<'_> {
    pub(super) fn window(&self, stage: &PlannedStage, planned: &PlannedWindow) -> Result<Windowed> {
        if let PlannedWindowFunction::Aggregate(aggregates) = &planned.function
            && is_reducible(planned)
        {
            let fold = Fold::new(&stage.name, aggregates.clone());
            let keyed = self.reduced(stage, &planned.key, aggregates)?.key_by_selector(KeyRef(Reduced::key));
            let has_bounds = planned.has_bounds;
            let results = with_assigner!(planned, assigner => {
                reduced_windows(planned, &keyed, assigner, fold, has_bounds)
            }; dynamic _processing => unreachable!("a gap of its own looks at the row"));
            return Ok(Windowed { results, late: None });
        }
        let rows = self.unpartitioned(&stage.inputs)?;
        let keyed = rows.key_by_selector(RowKey::new(&planned.key));
        let rows = Rows { stage, planned };
        with_assigner!(planned, assigner => rows.apply(&keyed, assigner); dynamic processing => {
            let gap = value_of(&stage.name, planned.gap.as_ref().expect("a planned dynamic session has a gap"));
            let gap = move |row: &Row| gap(row).as_int().expect("a planned gap is an int");
            let assigner = SessionWindows::with_dynamic_gap(gap);
            rows.apply(&keyed, if processing { assigner.in_processing_time() } else { assigner })
        })
    }
}

fn reduced_windows<S, A>(
    planned: &PlannedWindow,
    keyed: &KeyedStream<Reduced, S>,
    assigner: A,
    fold: Fold,
    has_bounds: bool,
) -> DataStream<Row>
where
    S: KeySelector<Reduced, Key = Row> + Clone + Sync,
    A: WindowAssigner<Reduced> + Clone + Sync,
    A::Window: Bounded,
{
    let lateness = planned.declared.allowed_lateness;
    let function = move || Then::new(Aggregate(fold.clone()), WindowResult { fold: fold.clone(), has_bounds });
    let selector = keyed.selector();
    let trigger = match (&planned.declared.trigger, &planned.declared.assigner) {
        (None, Assigner::Count { size, .. }) => Some(AnyTrigger::Count(CountTrigger::of(*size)).purging()),
        (None, _) => None,
        (Some(trigger), _) => Some(any_trigger(trigger)),
    };
    match trigger {
        // The trigger that the assigner itself names is inlined.
        None => keyed.transform("window", move || {
            let trigger = assigner.default_trigger();
            WindowOperator::new(selector.clone(), assigner.clone(), trigger, function()).with_allowed_lateness(lateness)
        }),
        Some(trigger) => keyed.transform("window", move || {
            WindowOperator::new(selector.clone(), assigner.clone(), trigger.clone(), function())
                .with_allowed_lateness(lateness)
        }),
    }
}

/// A trigger that does not look at records.
pub(super) fn any_trigger<W: Window>(trigger: &model::Trigger) -> AnyTrigger<W> {
    match trigger {
        model::Trigger::EventTime => AnyTrigger::EventTime(EventTimeTrigger),
        model::Trigger::ProcessingTime => AnyTrigger::ProcessingTime(ProcessingTimeTrigger),
        model::Trigger::Count { n } => AnyTrigger::Count(CountTrigger::of(*n)),
        model::Trigger::ContinuousEventTime { interval } => {
            AnyTrigger::ContinuousEventTime(ContinuousEventTimeTrigger::of(*interval))
        }
        model::Trigger::ContinuousProcessingTime { interval } => {
            AnyTrigger::ContinuousProcessingTime(ContinuousProcessingTimeTrigger::of(*interval))
        }
        model::Trigger::Delta { .. } => unreachable!("a delta trigger looks at records"),
        model::Trigger::ProcessingTimeout { inner, .. } => {
            AnyTrigger::ProcessingTimeout(Box::new(timeout(any_trigger(inner), trigger)))
        }
        model::Trigger::Never => AnyTrigger::Never(NeverTrigger),
        model::Trigger::EndOfStream => AnyTrigger::EndOfStream(EndOfStreamTrigger),
        model::Trigger::Purging { inner } => any_trigger(inner).purging(),
    }
}

fn timeout<R, W: Window>(inner: R, declared: &model::Trigger) -> ProcessingTimeoutTrigger<R, W> {
    let model::Trigger::ProcessingTimeout { timeout, reset_timer_on_new_record, clear_on_timeout, .. } = declared
    else {
        unreachable!("only timeouts are made here")
    };
    ProcessingTimeoutTrigger::of(inner, *timeout)
        .after(if *reset_timer_on_new_record { TimeoutAfter::LatestElement } else { TimeoutAfter::FirstElement })
        .on_timeout(if *clear_on_timeout { OnTimeout::Clear } else { OnTimeout::Keep })
}

/// Windows of whole rows.
struct Rows<'a> {
    stage: &'a PlannedStage,
    planned: &'a PlannedWindow,
}

impl Rows<'_> {
    fn apply<A>(&self, keyed: &KeyedStream<Row, RowKey>, assigner: A) -> Result<Windowed>
    where
        A: WindowAssigner<Row> + Clone + Sync,
        A::Window: Bounded,
    {
        let Self { stage, planned } = self;
        let (name, has_bounds) = (stage.name.clone(), planned.has_bounds);
        let evicts = planned.declared.evictor.is_some()
            || matches!(planned.declared.assigner, Assigner::Count { slide: Some(_), .. });
        let evictor = self.evictor();
        match &planned.function {
            PlannedWindowFunction::Aggregate(aggregates) => {
                let fold = Fold::new(&name, aggregates.clone());
                let incremental = RowFold::new(fold.clone(), aggregates);
                let result = WindowResult { fold, has_bounds };
                if evicts {
                    let at_fire = AtFire::new(Aggregate(incremental), result);
                    self.transform(keyed, assigner, move || EvictingWindow::new(evictor(), at_fire.clone()))
                } else {
                    self.transform(keyed, assigner, move || Then::new(Aggregate(incremental.clone()), result.clone()))
                }
            }
            PlannedWindowFunction::Reduce(reduce) => {
                let reduce = reduction(&name, reduce);
                let result = ReducedResult { has_bounds };
                if evicts {
                    let at_fire = AtFire::new(Reduce(reduce), result);
                    self.transform(keyed, assigner, move || EvictingWindow::new(evictor(), at_fire.clone()))
                } else {
                    self.transform(keyed, assigner, move || Then::new(Reduce(reduce.clone()), result))
                }
            }
            PlannedWindowFunction::Process(aggregates) => {
                let whole = WholeWindow::new(Fold::new(&name, aggregates.clone()), aggregates, has_bounds);
                if evicts {
                    self.transform(keyed, assigner, move || EvictingWindow::new(evictor(), whole.clone()))
                } else {
                    self.transform(keyed, assigner, move || FullWindow::new(whole.clone()))
                }
            }
        }
    }

    fn transform<A, F>(
        &self,
        keyed: &KeyedStream<Row, RowKey>,
        assigner: A,
        function: impl Fn() -> F + Send + Sync + 'static,
    ) -> Result<Windowed>
    where
        A: WindowAssigner<Row> + Clone + Sync,
        F: WindowFunction<Row, Row, A::Window, Out = Row>,
    {
        let lateness = self.planned.declared.allowed_lateness;
        let tag =
            (self.planned.declared.late_records == LateRecords::SideOutput).then(|| OutputTag::<Row>::new("late"));
        let (selector, trigger, late_tag) = (keyed.selector(), self.trigger(), tag.clone());
        let results = keyed.transform("window", move || {
            WindowOperator::new(selector.clone(), assigner.clone(), trigger(), function())
                .with_allowed_lateness(lateness)
                .with_late_side_output(late_tag.clone())
        });
        let late = tag.map(|tag| results.get_side_output(&tag));
        Ok(Windowed { results, late })
    }

    fn trigger<W: Window>(&self) -> impl Fn() -> RowTrigger<Row, W> + Send + Sync + 'static {
        let declared =
            match (&self.planned.declared.trigger, &self.planned.declared.assigner, self.planned.declared.time) {
                (Some(trigger), ..) => trigger.clone(),
                (None, Assigner::Count { size, slide: None }, _) => {
                    model::Trigger::Purging { inner: Box::new(model::Trigger::Count { n: *size }) }
                }
                (None, Assigner::Count { slide: Some(slide), .. }, _) => model::Trigger::Count { n: *slide },
                (None, Assigner::Global, _) => model::Trigger::Never,
                (None, _, WindowTime::Event) => model::Trigger::EventTime,
                (None, _, WindowTime::Processing) => model::Trigger::ProcessingTime,
            };
        let value = self.planned.trigger_value.as_ref().map(|value| value_of(&self.stage.name, value));
        move || row_trigger(&declared, value.as_ref())
    }

    fn evictor<W: Window>(&self) -> impl Fn() -> Box<dyn Evictor<Row, W>> + Send + Sync + 'static {
        let declared = match (&self.planned.declared.evictor, &self.planned.declared.assigner) {
            (Some(evictor), _) => Some(evictor.clone()),
            (None, Assigner::Count { size, .. }) => {
                Some(model::Evictor::Count { n: *size, phase: EvictionPhase::Before })
            }
            (None, _) => None,
        };
        let value = self.planned.evictor_value.as_ref().map(|value| value_of(&self.stage.name, value));
        let phase = |phase: EvictionPhase| match phase {
            EvictionPhase::Before => Phase::Before,
            EvictionPhase::After => Phase::After,
        };
        move || match declared.as_ref().expect("an evicting window has an evictor") {
            model::Evictor::Count { n, phase: when } => Box::new(CountEvictor::of(*n, phase(*when))),
            model::Evictor::Time { size, phase: when } => Box::new(TimeEvictor::of(*size, phase(*when))),
            model::Evictor::Delta { threshold, phase: when, .. } => {
                let value = value.clone().expect("a planned delta evictor has a value");
                Box::new(DeltaEvictor::of(threshold.get(), distance(value), phase(*when)))
            }
        }
    }
}

fn row_trigger<W: Window>(trigger: &model::Trigger, value: Option<&ValueOf>) -> RowTrigger<Row, W> {
    match trigger {
        model::Trigger::Delta { threshold, .. } => {
            let value = value.cloned().expect("a planned delta trigger has a value");
            Box::new(DeltaTrigger::of(threshold.get(), distance(value)))
        }
        model::Trigger::Purging { inner } => Box::new(PurgingTrigger::of(row_trigger(inner, value))),
        model::Trigger::ProcessingTimeout { inner, .. } => Box::new(timeout(row_trigger::<W>(inner, value), trigger)),
        other => Box::new(any_trigger::<W>(other)),
    }
}

/// Computes a value of a row.
pub(super) type ValueOf = Arc<dyn Fn(&Row) -> Datum + Send + Sync>;

/// The value of an expression; one that cannot be computed ends the attempt.
pub(super) fn value_of(stage: &str, expression: &Expression) -> ValueOf {
    let (stage, expression) = (stage.to_owned(), expression.clone());
    Arc::new(move |row| expression.evaluate(row).unwrap_or_else(|error| failed(&stage, error).end_subtask()))
}

fn distance(value: ValueOf) -> impl Fn(&Row, &Row) -> f64 + Clone + Send + Sync + 'static {
    let number = |datum: Datum| match datum {
        Datum::Int(number) => number as f64,
        Datum::Float(float) => float.get(),
        Datum::Null | Datum::Bool(_) | Datum::Text(_) => f64::NAN,
    };
    move |one, other| (number(value(one)) - number(value(other))).abs()
}

/// How two rows become one; where that cannot be computed, the attempt ends.
pub(super) fn reduction(stage: &str, reduce: &PlannedReduce) -> impl Fn(&mut Row, Row) + Clone + Send + Sync + 'static {
    let (stage, fields): (String, Arc<[Option<Expression>]>) = (stage.to_owned(), reduce.fields.clone().into());
    move |reduced: &mut Row, next: Row| {
        let pair: Row = reduced.values().iter().chain(next.values()).cloned().collect();
        let value = |(kept, field): (&Datum, &Option<Expression>)| match field {
            Some(field) => field.evaluate(&pair).unwrap_or_else(|error| failed(&stage, error).end_subtask()),
            None => kept.clone(),
        };
        *reduced = pair.values().iter().zip(fields.iter()).map(value).collect();
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
