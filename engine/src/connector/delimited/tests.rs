//! Examples of every rule, and the property that makes splits safe: each record comes exactly once.

use proptest::prelude::*;

use super::{BadRecord, Decoded, Defect, FileSplit, Layout, RecordDecoder};
use crate::{
    pipeline::{Field, FieldType, Row, Schema},
    row,
};

fn schema() -> Schema {
    Schema::new([
        Field::new("id", FieldType::Int),
        Field::nullable("x", FieldType::Float),
        Field::new("t", FieldType::Text),
    ])
}

type Outcome = Result<Decoded<Row>, BadRecord>;

fn drain(decoder: &mut RecordDecoder<Schema>, file: &[u8], chunk_bytes: usize) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    loop {
        while let Some(outcome) = decoder.next() {
            outcomes.push(outcome);
        }
        if decoder.is_finished() {
            return outcomes;
        }
        let at = usize::try_from(decoder.offset()).unwrap();
        if at == file.len() {
            decoder.end_of_file();
        } else {
            decoder.push(&file[at..(at + chunk_bytes).min(file.len())]);
        }
    }
}

fn decode(file: &[u8], layout: &Layout, split_bytes: Option<u64>, chunk_bytes: usize) -> Vec<Outcome> {
    FileSplit::cover("f.csv", file.len() as u64, split_bytes)
        .into_iter()
        .flat_map(|split| drain(&mut RecordDecoder::new(split, layout.clone(), schema()), file, chunk_bytes))
        .collect()
}

fn rows(file: &str, layout: &Layout) -> Vec<Row> {
    let outcomes = decode(file.as_bytes(), layout, None, 7);
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|bad| panic!("{bad}")).record).collect()
}

/// The bad records of a file, as text, with the number of good ones.
fn bad(file: &[u8], layout: &Layout) -> (usize, String) {
    let outcomes = decode(file, layout, None, 5);
    let bad: Vec<String> =
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(ToString::to_string).collect();
    (outcomes.len() - bad.len(), bad.join("\n"))
}

fn with_header() -> Layout {
    Layout { has_header: true, ..Layout::default() }
}

#[test]
fn values_get_the_types_of_their_columns() {
    let file = "id,x,t\n1,2.5,a\n-2,,\"b, \"\"c\"\"\"\r\n\n\r\n3,1e3,";
    assert_eq!(rows(file, &with_header()), [row![1, 2.5, "a"], row![-2, None::<f64>, "b, \"c\""], row![3, 1000.0, ""]]);
}

#[test]
fn one_split_may_have_line_breaks_inside_quotes() {
    assert_eq!(rows("1,2,\"a\nb\"\n2,3,c\n", &Layout::default()), [row![1, 2.0, "a\nb"], row![2, 3.0, "c"]]);
}

#[test]
fn a_byte_order_mark_and_another_delimiter_are_understood() {
    let layout = Layout { delimiter: b';', ..with_header() };
    assert_eq!(rows("\u{feff}id;x;t\n1;2;a,b\n", &layout), [row![1, 2.0, "a,b"]]);
}

#[test]
fn a_record_behind_a_byte_order_mark_belongs_to_the_first_split() {
    let outcomes = decode("\u{feff}1,2,a\n2,3,b\n".as_bytes(), &Layout::default(), Some(1), 3);
    let ids: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().record.get(0).clone()).collect();
    assert_eq!(ids, [1.into(), 2.into()]);
}

#[test]
fn an_empty_file_has_no_records() {
    assert_eq!(rows("", &Layout::default()), []);
    assert_eq!(rows("\n\r\n\r", &Layout::default()), []);
    assert_eq!(rows("id,x,t\n", &with_header()), []);
}

#[test]
fn bad_records_say_where_and_what_and_the_others_are_still_read() {
    let file = b"id,x,t\n1,2,a\none,2,a\n1,2\n1,2,a,b\n1,2,\xff\n1,two,a\n,2,a\n99999999999999999999,1,a\n2,3,b\n3,4";
    let (good, text) = bad(file, &with_header());
    assert_eq!(good, 2);
    insta::assert_snapshot!(text, @r#"
    f.csv:3 at byte 13: column `id` holds `one`, expected a whole number of 64 bits
    f.csv:4 at byte 21: column `t` is missing: found 2 values, expected 3
    f.csv:5 at byte 25: found 4 values, expected 3
    f.csv:6 at byte 33: column `t` is not UTF-8
    f.csv:7 at byte 39: column `x` holds `two`, expected a number
    f.csv:8 at byte 47: column `id` holds ``, expected a whole number of 64 bits
    f.csv:9 at byte 52: column `id` holds `99999999999999999999`, expected a whole number of 64 bits
    f.csv:11 at byte 83: column `t` is missing: found 2 values, expected 3
    "#);
}

#[test]
fn a_wrong_header_is_a_bad_record_of_its_own_kind() {
    let outcomes = decode(b"id,y,t\n1,2,a\n", &with_header(), None, 100);
    let bad = outcomes[0].as_ref().unwrap_err();
    assert!(matches!(bad.defect, Defect::Header { .. }));
    insta::assert_snapshot!(bad, @r#"f.csv:1 at byte 0: the header names the columns id,y,t, expected id,x,t"#);
}

#[test]
fn a_blank_line_before_the_header_is_a_wrong_header() {
    for split_bytes in [None, Some(1)] {
        let outcomes = decode(b"\r\nid,x,t\n", &with_header(), split_bytes, 1);
        let bad = outcomes[0].as_ref().unwrap_err();
        assert!(matches!(bad.defect, Defect::Header { .. }), "{bad}");
    }
}

#[test]
fn an_unclosed_quote_costs_one_line() {
    let layout = Layout { max_record_bytes: 30, ..Layout::default() };
    insta::assert_snapshot!(bad(b"1,2,\"a\n2,3,b\n3,4,c\n", &layout).1, @r#"f.csv:1 at byte 0: the file ends inside a quoted value"#);
    let (good, text) = bad(b"1,2,\"a\n2,3,b\n3,4,c\n4,5,d\n5,6,e\n6,7,f\n", &layout);
    assert_eq!(good, 5);
    insta::assert_snapshot!(text, @r#"f.csv:1 at byte 0: the record is longer than 30 bytes"#);
}

#[test]
fn a_record_that_is_too_long_is_skipped_to_its_line_break() {
    let layout = Layout { max_record_bytes: 20, ..Layout::default() };
    let file = format!("1,2,a\n2,3,{}\n3,4,c\n", "b".repeat(100));
    for chunk_bytes in [1, 10, 1000] {
        let outcomes = decode(file.as_bytes(), &layout, None, chunk_bytes);
        let bad = outcomes[1].as_ref().unwrap_err();
        assert_eq!((bad.offset, bad.next_offset), (6, 111), "{bad}");
        assert_eq!(outcomes[2].as_ref().unwrap().record, row![3, 4.0, "c"]);
    }
}

#[test]
fn splits_cover_the_file() {
    let ranges = |length, split_bytes| {
        let splits = FileSplit::cover("f", length, split_bytes);
        splits.into_iter().map(|split| (split.start, split.end)).collect::<Vec<_>>()
    };
    assert_eq!(ranges(10, Some(4)), [(0, 4), (4, 8), (8, 10)]);
    assert_eq!(ranges(8, Some(4)), [(0, 4), (4, 8)]);
    assert_eq!(ranges(10, None), [(0, 10)]);
    assert_eq!(ranges(0, Some(4)), [(0, 0)]);
}

#[test]
fn the_flights_are_all_read() {
    use FieldType::{Int, Text};
    let file = include_bytes!("../../../../tests/data/flights-2013-01-week1.csv");
    let columns = Schema::new([
        Field::new("sched_ms", Int),
        Field::nullable("dep_delay_min", Int),
        Field::new("carrier", Text),
        Field::new("flight", Int),
        Field::nullable("tailnum", Text),
        Field::new("origin", Text),
        Field::new("dest", Text),
        Field::new("distance_mi", Int),
    ]);
    let mut rows = Vec::new();
    for split in FileSplit::cover("flights.csv", file.len() as u64, Some(65536)) {
        let mut decoder = RecordDecoder::new(split, with_header(), columns.clone());
        rows.extend(drain(&mut decoder, file, 8192).into_iter().map(|outcome| outcome.unwrap().record));
    }
    assert_eq!(rows.len(), 6099);
    assert_eq!(rows.iter().filter(|row| row.get(1).is_null()).count(), 35);
    assert_eq!(rows[0], row![1_357_035_300_000, 2, "UA", 1545, "N14228", "EWR", "IAH", 1400]);
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (any::<i64>(), prop::option::of(-10_i32..10), "[a-z ,\"]{0,5}").prop_map(|(id, x, text)| {
            let x = x.map(|x| x.to_string()).unwrap_or_default();
            format!("{id},{x},\"{}\"", text.replace('"', "\"\""))
        }),
        1 => Just(String::new()),
        1 => "[a-z,\r]{1,6}",
    ]
}

fn file() -> impl Strategy<Value = String> {
    let lines = prop::collection::vec((line(), prop::sample::select(vec!["\n", "\r\n"])), 0..12);
    (lines, any::<bool>(), any::<bool>()).prop_map(|(lines, mark, cut)| {
        let mut file = if mark { "\u{feff}".to_owned() } else { String::new() };
        for (line, end) in lines {
            file.push_str(&line);
            file.push_str(end);
        }
        if cut {
            file.pop();
        }
        file
    })
}

/// An outcome without what only a reader from the start can know.
fn comparable(outcome: Outcome) -> Outcome {
    outcome.map_err(|bad| BadRecord { line: None, ..bad })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_record_comes_exactly_once_from_any_splits_and_chunks(
        file in file(), split_bytes in 1_u64..60, chunk_bytes in 1_usize..40, has_header: bool,
    ) {
        let layout = Layout { has_header, ..Layout::default() };
        let whole = decode(file.as_bytes(), &layout, None, usize::MAX / 2);
        let pieces = decode(file.as_bytes(), &layout, Some(split_bytes), chunk_bytes);
        prop_assert_eq!(
            pieces.into_iter().map(comparable).collect::<Vec<_>>(),
            whole.into_iter().map(comparable).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_decoder_resumed_at_a_kept_offset_yields_the_rest(
        file in file(), split_bytes in 1_u64..80, chunk_bytes in 1_usize..40, taken in 0_usize..12,
    ) {
        for split in FileSplit::cover("f.csv", file.len() as u64, Some(split_bytes)) {
            let layout = Layout::default();
            let all = drain(&mut RecordDecoder::new(split.clone(), layout.clone(), schema()), file.as_bytes(), chunk_bytes);
            let taken = taken.min(all.len());
            let next_offset = all[..taken].last().map_or(split.start, |outcome| match outcome {
                Ok(decoded) => decoded.next_offset,
                Err(bad) => bad.next_offset,
            });
            let mut resumed = RecordDecoder::resume(split, layout, schema(), next_offset);
            let rest = drain(&mut resumed, file.as_bytes(), chunk_bytes);
            prop_assert_eq!(
                rest.into_iter().map(comparable).collect::<Vec<_>>(),
                all[taken..].iter().cloned().map(comparable).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn plain_records_of_small_splits_keep_their_order(ids in prop::collection::vec(any::<i64>(), 0..20)) {
        let file: String = ids.iter().map(|id| format!("{id},,t\n")).collect();
        let found: Vec<Row> =
            decode(file.as_bytes(), &Layout::default(), Some(16), 9).into_iter().map(|outcome| outcome.unwrap().record).collect();
        prop_assert_eq!(found, ids.into_iter().map(|id| row![id, None::<f64>, "t"]).collect::<Vec<_>>());
    }
}
