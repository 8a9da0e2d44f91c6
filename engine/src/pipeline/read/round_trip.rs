//! The two formats as inverse functions of any value of the model.

use std::time::Duration;

use proptest::prelude::*;

use crate::{config::CheckpointingMode, pipeline::*};

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_-]{0,6}"
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}|[a-z ()+'\"\\\\\n]{0,12}"
}

fn millis() -> impl Strategy<Value = Duration> {
    (0_u64..10_000_000).prop_map(Duration::from_millis)
}

fn field() -> impl Strategy<Value = Field> {
    let types = prop::sample::select(vec![FieldType::Bool, FieldType::Int, FieldType::Float, FieldType::Text]);
    (text(), types, any::<bool>()).prop_map(|(name, field_type, nullable)| {
        if nullable { Field::nullable(name, field_type) } else { Field::new(name, field_type) }
    })
}

fn row() -> impl Strategy<Value = Row> {
    let datum = prop_oneof![
        Just(Datum::Null),
        any::<bool>().prop_map(Datum::Bool),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Datum::float),
        text().prop_map(Datum::text),
    ];
    prop::collection::vec(datum, 0..4).prop_map(Row::new)
}

fn script() -> impl Strategy<Value = ScriptSource> {
    let action = prop_oneof![
        (row(), any::<i64>()).prop_map(|(row, time_ms)| ScriptAction::Element { row, time_ms }),
        any::<i64>().prop_map(ScriptAction::Watermark),
        prop::sample::select(vec![
            ScriptAction::Idle,
            ScriptAction::Active,
            ScriptAction::Checkpoint,
            ScriptAction::Fail,
            ScriptAction::Stop
        ]),
    ];
    let step = (0_u32..3, action).prop_map(|(input, action)| ScriptStep { input, action });
    let fields = prop::collection::vec(field(), 0..4);
    (fields, 0_u32..4, prop::collection::vec(step, 0..4), any::<bool>(), any::<bool>(), millis()).prop_map(
        |(columns, inputs, steps, drain, kept, interval)| ScriptSource {
            columns,
            inputs,
            steps,
            at_end: if drain { AtScriptEnd::Drain } else { AtScriptEnd::Stop },
            restored_watermark: if kept { RestoredWatermark::Kept } else { RestoredWatermark::Lost },
            interval,
        },
    )
}

fn source_kind() -> impl Strategy<Value = SourceKind> {
    let fields = || prop::collection::vec(field(), 0..4);
    prop_oneof![
        (
            text(),
            fields(),
            any::<bool>(),
            prop::option::of(1_u64..1_000_000),
            prop::option::of(1_u64..1000),
            any::<bool>(),
        )
            .prop_map(|(path, columns, header, split_bytes, rate, skip)| {
                let header = if header { Header::Present } else { Header::Absent };
                let on_bad_record = if skip { OnBadRecord::Skip } else { OnBadRecord::Fail };
                SourceKind::Csv(CsvSource { header, split_bytes, rate, on_bad_record, ..CsvSource::new(path, columns) })
            }),
        (
            prop::option::of(0..u64::MAX / 2),
            prop::option::of(1_u64..1000),
            1_u64..100,
            any::<bool>(),
            any::<i64>(),
            millis(),
            any::<u64>()
        )
            .prop_map(|(count, rate, keys, skewed, start_ms, step, seed)| {
                let key_distribution = if skewed { KeyDistribution::Skewed } else { KeyDistribution::Uniform };
                SourceKind::Generator(GeneratorSource {
                    count,
                    rate,
                    keys,
                    key_distribution,
                    start_ms,
                    step,
                    seed,
                    ..GeneratorSource::default()
                })
            }),
        (fields(), prop::collection::vec(row(), 0..4), 1_u32..5).prop_map(|(mut columns, rows, splits)| {
            // Reading widens integers in float columns, so these rows hold none; see `widen`.
            columns.truncate(4);
            SourceKind::Collection(CollectionSource { columns, rows, splits })
        }),
        script().prop_map(SourceKind::Script),
    ]
}

fn event_time() -> impl Strategy<Value = EventTime> {
    let on_missing = prop::sample::select(vec![None, Some(OnMissingEventTime::Drop), Some(OnMissingEventTime::Fail)]);
    (text(), on_missing, millis(), prop::option::of(millis())).prop_map(
        |(expression, on_missing, max_out_of_orderness, idle_timeout)| EventTime {
            expression,
            on_missing,
            max_out_of_orderness,
            idle_timeout,
        },
    )
}

fn assignments() -> impl Strategy<Value = Vec<Assignment>> {
    prop::collection::btree_map(text(), text(), 0..4)
        .prop_map(|fields| fields.into_iter().rev().map(|(name, text)| Assignment::new(name, text)).collect())
}

fn threshold() -> impl Strategy<Value = Float> {
    any::<i32>().prop_map(|number| Float::new(f64::from(number) / 4.0))
}

fn assigner() -> impl Strategy<Value = Assigner> {
    prop_oneof![
        (millis(), millis()).prop_map(|(size, offset)| Assigner::Tumbling { size, offset }),
        (millis(), millis(), millis()).prop_map(|(size, slide, offset)| Assigner::Sliding { size, slide, offset }),
        millis().prop_map(|gap| Assigner::Session { gap }),
        text().prop_map(|gap| Assigner::DynamicSession { gap }),
        (0_u64..9, prop::option::of(0_u64..9)).prop_map(|(size, slide)| Assigner::Count { size, slide }),
        Just(Assigner::Global),
    ]
}

fn trigger() -> impl Strategy<Value = Trigger> {
    let leaf = prop_oneof![
        prop::sample::select(vec![Trigger::EventTime, Trigger::ProcessingTime, Trigger::Never, Trigger::EndOfStream]),
        (0_u64..100).prop_map(|n| Trigger::Count { n }),
        millis().prop_map(|interval| Trigger::ContinuousEventTime { interval }),
        millis().prop_map(|interval| Trigger::ContinuousProcessingTime { interval }),
        (threshold(), text()).prop_map(|(threshold, value)| Trigger::Delta { threshold, value }),
    ];
    leaf.prop_recursive(2, 3, 1, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Trigger::Purging { inner: Box::new(inner) }),
            (inner, millis(), any::<bool>(), any::<bool>()).prop_map(|(inner, timeout, reset, clear)| {
                Trigger::ProcessingTimeout {
                    inner: Box::new(inner),
                    timeout,
                    reset_timer_on_new_record: reset,
                    clear_on_timeout: clear,
                }
            }),
        ]
    })
}

fn evictor() -> impl Strategy<Value = Evictor> {
    let phase = || prop::sample::select(vec![EvictionPhase::Before, EvictionPhase::After]);
    prop_oneof![
        (0_u64..100, phase()).prop_map(|(n, phase)| Evictor::Count { n, phase }),
        (millis(), phase()).prop_map(|(size, phase)| Evictor::Time { size, phase }),
        (threshold(), text(), phase()).prop_map(|(threshold, value, phase)| Evictor::Delta { threshold, value, phase }),
    ]
}

fn key() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(text(), 0..3)
}

fn time() -> impl Strategy<Value = WindowTime> {
    prop::sample::select(vec![WindowTime::Event, WindowTime::Processing])
}

fn late_records() -> impl Strategy<Value = LateRecords> {
    prop::sample::select(vec![LateRecords::Drop, LateRecords::SideOutput])
}

fn window() -> impl Strategy<Value = WindowOperation> {
    let function = prop_oneof![
        assignments().prop_map(WindowFunction::Aggregate),
        assignments().prop_map(WindowFunction::Reduce),
        assignments().prop_map(WindowFunction::Process),
    ];
    let bounds = prop::sample::select(vec![WindowBounds::Shown, WindowBounds::Hidden]);
    let when = (time(), prop::option::of(trigger()), prop::option::of(evictor()), millis(), late_records());
    (key(), assigner(), when, function, bounds).prop_map(|(key, assigner, when, function, bounds)| {
        let (time, trigger, evictor, allowed_lateness, late_records) = when;
        WindowOperation { key, assigner, time, trigger, evictor, allowed_lateness, late_records, function, bounds }
    })
}

fn ttl() -> impl Strategy<Value = StateTtl> {
    let update = vec![TtlUpdate::Disabled, TtlUpdate::OnCreateAndWrite, TtlUpdate::OnReadAndWrite];
    let visibility = vec![TtlVisibility::NeverReturnExpired, TtlVisibility::ReturnExpiredIfNotCleanedUp];
    let cleanup = (any::<[bool; 3]>(), prop::option::of(any::<u32>()), prop::option::of(0..i64::MAX as u64));
    (millis(), prop::sample::select(update), prop::sample::select(visibility), cleanup).prop_map(
        |(ttl, update, visibility, (flags, incremental, query_time_after_entries))| {
            let [in_background, full_snapshot, run_for_every_record] = flags;
            let cleanup = TtlCleanup {
                in_background,
                full_snapshot,
                incremental,
                run_for_every_record,
                query_time_after_entries,
            };
            StateTtl { ttl, update, visibility, cleanup }
        },
    )
}

fn process() -> impl Strategy<Value = ProcessOperation> {
    let pattern = vec![TimerPattern::Every, TimerPattern::Timeout, TimerPattern::Replace];
    let function =
        prop_oneof![
            (0_u64..9).prop_map(|n| ProcessFunction::ValueAvg { n }),
            (0_u64..9).prop_map(|n| ProcessFunction::ListAvg { n }),
            (0_u64..9).prop_map(|n| ProcessFunction::MapAvg { n }),
            (0_u64..9).prop_map(|n| ProcessFunction::MapCount { n }),
            prop::sample::select(vec![
                ProcessFunction::ReducingSum,
                ProcessFunction::AggregatingContains,
                ProcessFunction::AggregatingAvg,
                ProcessFunction::ValueCount,
                ProcessFunction::Dedup,
                ProcessFunction::RawCount,
            ]),
            (prop::sample::select(pattern), millis(), time())
                .prop_map(|(pattern, delay, time)| ProcessFunction::Timers { pattern, delay, time }),
        ];
    (key(), function, text(), prop::option::of(ttl()), prop::option::of(text()), any::<bool>()).prop_map(
        |(key, function, value, ttl, processed_at, every_record)| {
            let value = function.reads_value().then_some(value);
            ProcessOperation { key, function, value, ttl, processed_at, every_record }
        },
    )
}

fn interval_join() -> impl Strategy<Value = IntervalJoinOperation> {
    let sides = prop_oneof![Just(JoinSides::Inputs), text().prop_map(JoinSides::Condition)];
    let bound = || prop::sample::select(vec![BoundKind::Inclusive, BoundKind::Exclusive]);
    let interval = (any::<i64>(), bound(), any::<i64>(), bound());
    (sides, key(), key(), interval, late_records(), prop::option::of(ttl()), assignments()).prop_map(
        |(sides, key, right_key, (lower_ms, lower, upper_ms, upper), late_records, ttl, fields)| {
            IntervalJoinOperation { sides, key, right_key, lower_ms, lower, upper_ms, upper, late_records, ttl, fields }
        },
    )
}

fn join() -> impl Strategy<Value = Operation> {
    let kind = prop::sample::select(vec![JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full]);
    let unmatched = prop::sample::select(vec![Unmatched::Keep, Unmatched::Drop]);
    prop_oneof![
        (key(), key(), unmatched, assignments()).prop_map(|(key, rule_key, unmatched, fields)| {
            Operation::Enrich(EnrichOperation { key, rule_key, unmatched, fields })
        }),
        interval_join().prop_map(Operation::IntervalJoin),
        (kind, key(), key(), assigner(), time(), prop::option::of(trigger()), assignments()).prop_map(
            |(kind, key, right_key, assigner, time, trigger, fields)| {
                Operation::WindowJoin(WindowJoinOperation { kind, key, right_key, assigner, time, trigger, fields })
            }
        ),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let mode = prop::sample::select(vec![BufferMode::Split, BufferMode::Union, BufferMode::Raw]);
    prop_oneof![
        text().prop_map(|condition| Operation::Filter { condition }),
        assignments().prop_map(|fields| Operation::Map { fields }),
        (0_u64..9, text()).prop_map(|(count, index)| Operation::Repeat { count, index }),
        window().prop_map(Operation::Window),
        process().prop_map(Operation::Process),
        join(),
        (key(), assignments()).prop_map(|(key, fields)| Operation::Rolling(RollingOperation { key, fields })),
        (0_u64..9, mode, assignments()).prop_map(|(threshold, mode, aggregates)| {
            Operation::Buffer(BufferOperation { threshold, mode, aggregates })
        }),
        (key(), assignments(), any::<bool>()).prop_map(|(key, aggregates, last)| {
            let emit = if last { Emit::Final } else { Emit::Updates };
            Operation::Aggregate(AggregateOperation { key, aggregates, emit })
        }),
    ]
}

fn sink_kind() -> impl Strategy<Value = SinkKind> {
    prop_oneof![
        Just(SinkKind::Print),
        Just(SinkKind::Discard),
        prop::option::of(text()).prop_map(|label| SinkKind::Trace { label }),
        (text(), any::<bool>(), any::<bool>()).prop_map(|(path, json, once)| {
            let format = if json { Format::Json } else { Format::Csv };
            let delivery = if once { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce };
            SinkKind::File(FileSink { path, format, delivery })
        }),
    ]
}

fn checkpoint() -> impl Strategy<Value = Checkpoint> {
    (millis(), prop::option::of(text()), any::<bool>()).prop_map(|(interval, dir, once)| {
        let mode = if once { CheckpointingMode::ExactlyOnce } else { CheckpointingMode::AtLeastOnce };
        Checkpoint { interval, dir, mode }
    })
}

prop_compose! {
    /// Any value of the model that the formats can hold, right or wrong.
    fn pipeline()(
        name in text(),
        parallelism in 0_u32..10,
        max_parallelism in prop::option::of(0_u32..1000),
        checkpoint in prop::option::of(checkpoint()),
        config in prop::collection::btree_map("[a-z.]{1,9}", text(), 0..3),
        sources in prop::collection::vec((name(), prop::option::of(1_u32..4), source_kind(), prop::option::of(event_time())), 0..3),
        stages in prop::collection::vec((name(), prop::collection::vec(name(), 0..3), prop::option::of(1_u32..4), operation()), 0..4),
        sinks in prop::collection::vec((name(), prop::collection::vec(name(), 0..3), prop::option::of(1_u32..4), sink_kind()), 0..3),
    ) -> Pipeline {
        Pipeline {
            name, parallelism, max_parallelism, checkpoint, config,
            sources: sources.into_iter()
                .map(|(name, parallelism, kind, event_time)| {
                    // The formats have no event time for a script.
                    let event_time = event_time.filter(|_| !matches!(kind, SourceKind::Script(_)));
                    Source { name, parallelism, kind, event_time }
                })
                .collect(),
            stages: stages.into_iter()
                .map(|(name, inputs, parallelism, operation)| Stage { name, inputs, parallelism, operation })
                .collect(),
            sinks: sinks.into_iter()
                .map(|(name, inputs, parallelism, kind)| Sink { name, inputs, parallelism, kind })
                .collect(),
        }
    }
}

proptest! {
    #[test]
    fn pipelines_survive_toml(pipeline in pipeline()) {
        let text = pipeline.to_toml();
        prop_assert_eq!(&toml::from_str::<Pipeline>(&text).unwrap(), &pipeline, "{}", text);
    }

    #[test]
    fn pipelines_survive_json(pipeline in pipeline()) {
        let text = pipeline.to_json();
        prop_assert_eq!(&serde_json::from_str::<Pipeline>(&text).unwrap(), &pipeline, "{}", text);
    }
}
