//! Which subtask gets a record, how many subtasks there are, and event times that begin anew in the middle of a job.

use super::*;

/// The numbers that each subtask of a sink of so many got, when the stream is sent as `ship` says.
fn dealt(senders: u32, receivers: u32, ship: impl Fn(&DataStream<i64>) -> DataStream<i64>) -> Result<Vec<Vec<i64>>> {
    let job = environment(2);
    let numbers = CollectionSource::new((0..24).collect()).with_splits(senders);
    let numbers = job.from_source("numbers", numbers, ascending()).set_parallelism(senders);
    let collected: Collected<i64> = Arc::new(Mutex::new(Vec::new()));
    let sink = collected.clone();
    ship(&numbers).sink("dealt", move || CollectSink::new(sink.clone())).set_parallelism(receivers);
    run(&job)?;
    let mut dealt = vec![Vec::new(); receivers as usize];
    for (subtask, record) in collected.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        dealt[*subtask as usize].push(record.value);
    }
    dealt.iter_mut().for_each(|numbers| numbers.sort_unstable());
    Ok(dealt)
}

#[test]
fn a_rescaled_stream_stays_among_neighbours() {
    let from_one = dealt(1, 3, DataStream::rescale).unwrap();
    assert_eq!(from_one.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 8], "one sender deals to all in turn");
    let sent = dealt(2, 2, DataStream::forward).unwrap();
    let halves = dealt(2, 4, DataStream::rescale).unwrap();
    let joined = |halves: &[Vec<i64>]| {
        let mut both = halves.concat();
        both.sort_unstable();
        both
    };
    assert_eq!([joined(&halves[..2]), joined(&halves[2..])], [sent[0].clone(), sent[1].clone()]);
    assert!(halves.iter().all(|half| half.len() == 6), "{halves:?}");
    assert_eq!(dealt(4, 2, DataStream::rescale).unwrap().concat().len(), 24);
}

#[test]
fn a_shuffled_stream_loses_nothing() {
    let shuffled = dealt(2, 3, DataStream::shuffle).unwrap();
    let mut all = shuffled.concat();
    all.sort_unstable();
    assert_eq!(all, (0..24).collect::<Vec<_>>(), "{shuffled:?}");
}

#[test]
fn between_different_parallelisms_records_are_dealt_out_in_turn_unless_forward_is_asked_for() {
    let dealt_in_turn = dealt(1, 3, DataStream::clone).unwrap();
    assert_eq!(dealt_in_turn[0], [0, 3, 6, 9, 12, 15, 18, 21]);
    let error = dealt(1, 3, DataStream::forward).unwrap_err().to_string();
    assert!(error.contains("different parallelism") && error.contains("rescale()"), "{error}");
}

#[test]
fn an_operator_has_the_parallelism_of_the_job_whatever_comes_before_it() {
    let job = environment(3);
    let numbers = job.from_source("numbers", CollectionSource::new(vec![1, 2, 3]), ascending()).set_parallelism(1);
    let doubled = numbers.map(|number| 2 * number);
    assert_eq!((numbers.parallelism(), doubled.parallelism()), (1, 3));
    let total = doubled.window_all(TumblingWindows::of(Duration::from_secs(1)).unwrap());
    let total = total.reduce(|sum, number| *sum += number);
    assert_eq!((total.parallelism(), total.map(|total| total).parallelism()), (1, 3));
    let gathered = Gathered::of(&total, "total");
    run(&job).unwrap();
    assert_eq!(gathered.values(), [12]);
}

#[test]
fn new_event_times_replace_the_watermarks_from_upstream() {
    let job = environment(1);
    // By the source's watermarks, which come after each record, nothing would ever be late.
    let of_source = WatermarkStrategy::for_punctuated(|_: &i64, time| Some(time))
        .with_timestamp_assigner(|number: &i64| Timestamp(1_000_000 + number));
    let numbers = job.from_source("numbers", CollectionSource::new(vec![5, 10, 7, 11, 20, 10, 21]), of_source);
    let punctuated = WatermarkStrategy::for_punctuated(|number: &i64, time| (number % 10 == 0).then_some(time))
        .with_timestamp_assigner(|number: &i64| Timestamp(*number));
    let timed_anew = numbers.map(|number| number).assign_timestamps_and_watermarks(punctuated);
    let in_time = timed_anew.transform("in time", || InTime { watermark: Timestamp::MIN });
    let summed = timed_anew.window_all(TumblingWindows::of(Duration::from_millis(15)).unwrap());
    let summed = Gathered::of(&summed.reduce(|sum, number| *sum += number), "summed");
    let in_time = Gathered::of(&in_time, "in time");
    run(&job).unwrap();
    assert_eq!(timed(in_time.records()), [(5, 5), (10, 10), (11, 11), (20, 20), (21, 21)]);
    // The window up to 15 has fired behind the record 20; the record 7 came before that, the second 10 after it. The last
    // window fires because the end of the input is handed on.
    assert_eq!(timed(summed.records()), [(33, 14), (41, 29)]);
}

#[test]
fn event_times_can_be_given_late_on_every_subtask_and_windows_fire_all_the_same() {
    let job = environment(3);
    let numbers = CollectionSource::new((0..90).collect()).with_splits(3);
    let numbers = job.from_source("numbers", numbers, WatermarkStrategy::no_watermarks());
    let bounded = WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_secs(1))
        .with_timestamp_assigner(|number: &i64| Timestamp(*number));
    let counted = numbers.rebalance().assign_timestamps_and_watermarks(bounded).map(|number| (number / 30, 1));
    let windows = TumblingWindows::of(Duration::from_millis(30)).unwrap();
    let counted = counted.key_by(|(third, _)| *third).window(windows).reduce(|sum, one| sum.1 += one.1);
    let counted = Gathered::of(&counted, "counted");
    run(&job).unwrap();
    assert_eq!(counted.sorted(), [(0, 30), (1, 30), (2, 30)]);
}

#[test]
fn alignment_in_the_middle_of_a_job_is_refused() {
    let job = environment(1);
    let aligned = ascending().with_watermark_alignment("g", Duration::from_secs(1), Duration::from_secs(1));
    let numbers = job.from_source("numbers", CollectionSource::new(vec![1]), ascending());
    let _never_built = Gathered::of(&numbers.assign_timestamps_and_watermarks(aligned), "gathered");
    let error = job.build().err().unwrap().to_string();
    assert!(error.contains("only sources can be aligned"), "{error}");
}
