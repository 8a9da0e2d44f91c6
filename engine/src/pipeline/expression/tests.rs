//! Tables of texts with their values or errors, and properties against a naive reading of the language.

use proptest::prelude::*;

use super::Expression;
use crate::{
    pipeline::{
        Datum, Row,
        schema::{Field, FieldType, Schema},
    },
    row,
};

fn schema() -> Schema {
    Schema::new([
        Field::new("a", FieldType::Int),
        Field::nullable("b", FieldType::Int),
        Field::new("x", FieldType::Float),
        Field::new("t", FieldType::Text),
        Field::nullable("p", FieldType::Bool),
        Field::new("odd name", FieldType::Int),
    ])
}

/// a = 7, b = null, x = 2.5, t = 'it''s', p = null, `odd name` = -3
fn record() -> Row {
    row![7, None::<i64>, 2.5, "it's", None::<bool>, -3]
}

fn value(text: &str) -> Datum {
    let expression = Expression::parse(text, &schema()).unwrap_or_else(|error| panic!("{error}"));
    expression.evaluate(&record()).unwrap_or_else(|error| panic!("{error}"))
}

fn parse_error(text: &str) -> String {
    Expression::parse(text, &schema()).map(|expression| expression.field_type()).unwrap_err().to_string()
}

fn evaluate_error(text: &str) -> String {
    Expression::parse(text, &schema()).unwrap().evaluate(&record()).unwrap_err().to_string()
}

#[test]
fn operators_and_functions_have_the_values_of_sql() {
    let null = Datum::Null;
    let cases: Vec<(&str, Datum)> = vec![
        ("1 + 2 * 3", 7.into()),
        ("(1 + 2) * 3", 9.into()),
        ("10 - 4 - 3", 3.into()),
        ("-a", (-7).into()),
        ("--a", 7.into()),
        ("7 / 2", 3.into()),
        ("-7 / 2", (-3).into()),
        ("-7 % 3", (-1).into()),
        ("floor_mod(-7, 3)", 2.into()),
        ("floor_mod(7, -3)", (-2).into()),
        ("-9223372036854775808", i64::MIN.into()),
        ("-9223372036854775808 % -1", 0.into()),
        ("a / 2.0", 3.5.into()),
        ("x * 2", 5.0.into()),
        ("1 / 0.0", f64::INFINITY.into()),
        ("1e3 + 0.5", 1000.5.into()),
        ("`odd name` + 1", (-2).into()),
        ("a = 7", true.into()),
        ("a <> 7", false.into()),
        ("a != 7", false.into()),
        ("x > a", false.into()),
        ("t < 'z'", true.into()),
        ("t = 'it''s'", true.into()),
        ("not a = 7", false.into()),
        ("not (a < 0) and x >= 2.5", true.into()),
        ("b + 1", null.clone()),
        ("b = b", null.clone()),
        ("b is null", true.into()),
        ("b is not null", false.into()),
        ("a + b is null", true.into()),
        ("p and false", false.into()),
        ("false and p", false.into()),
        ("p and true", null.clone()),
        ("p or true", true.into()),
        ("p or false", null.clone()),
        ("not p", null.clone()),
        ("a = 7 or 1 / 0 = 1", true.into()),
        ("coalesce(b, a, 1)", 7.into()),
        ("coalesce(b, b)", null.clone()),
        ("coalesce(b, x)", 2.5.into()),
        ("min(3, a, 5)", 3.into()),
        ("max(3, x)", 3.0.into()),
        ("max(a, b)", null.clone()),
        ("abs(`odd name`)", 3.into()),
        ("abs(-2.5)", 2.5.into()),
        ("concat(t, '-', text(a))", "it's-7".into()),
        ("concat(t, text(b))", null),
        ("text(x)", "2.5".into()),
        ("text(true)", "true".into()),
        ("int('42') + int(2.9)", 44.into()),
        ("float(a)", 7.0.into()),
        ("A = 1 OR TRUE", true.into()),
    ];
    for (text, expected) in cases {
        // The last case checks keywords in capitals; its field does not exist in capitals.
        let text = text.replace("A = 1", "a = 1");
        assert_eq!(value(&text), expected, "{text}");
    }
}

#[test]
fn types_and_nullability_are_known_before_any_record() {
    use crate::pipeline::schema::Nullability::{NotNull, Nullable};
    let cases = [
        ("a + 1", FieldType::Int, NotNull),
        ("a + x", FieldType::Float, NotNull),
        ("a + b", FieldType::Int, Nullable),
        ("b is null", FieldType::Bool, NotNull),
        ("coalesce(b, 0)", FieldType::Int, NotNull),
        ("p and b > 1", FieldType::Bool, Nullable),
        ("concat(t, t)", FieldType::Text, NotNull),
    ];
    for (text, field_type, nullability) in cases {
        let expression = Expression::parse(text, &schema()).unwrap();
        assert_eq!((expression.field_type(), expression.nullability()), (field_type, nullability), "{text}");
    }
}

#[test]
fn an_unknown_field_is_marked_and_the_nearest_is_suggested() {
    insta::assert_snapshot!(parse_error("a + od * 2"), @r#"
    unknown field `od` (at byte 4)
      a + od * 2
          ^^
      hint: fields: a, b, x, t, p, odd name
    "#);
    insta::assert_snapshot!(parse_error("'größe' = tt"), @r#"
    unknown field `tt` (at byte 12)
      'größe' = tt
                ^^
      hint: did you mean `t`? fields: a, b, x, t, p, odd name
    "#);
}

#[test]
fn malformed_texts_are_explained() {
    let texts = [
        "",
        "a +",
        "(a",
        "a b",
        "a < 1 < 2",
        "a == 1",
        "\"t\" = t",
        "'open",
        "1x",
        "99999999999999999999",
        "null",
        "a $ 1",
        "coalesce()",
        "abs(1, 2)",
        "mni(1, 2)",
        "sum(a)",
        "max(a)",
        "t || t",
        "a is 1",
    ];
    let errors: Vec<String> = texts.iter().map(|text| parse_error(text).replace('\n', "\n    ")).collect();
    insta::assert_snapshot!(errors.join("\n"), @r#"
    expected a value, found the end (at byte 0)
          
          ^
    expected a value, found the end (at byte 3)
          a +
             ^
    expected `)`, found the end (at byte 2)
          (a
            ^
    expected an operator or the end, found `b` (at byte 2)
          a b
            ^
    comparisons do not chain (at byte 6)
          a < 1 < 2
                ^
          hint: join them with `and`
    unknown operator `==` (at byte 2)
          a == 1
            ^^
          hint: use `=`
    unexpected character `"` (at byte 0)
          "t" = t
          ^
          hint: text stands in single quotes, field names in back quotes
    the quote ' is not closed (at byte 0)
          'open
          ^^^^^
    a name cannot start with a digit (at byte 0)
          1x
          ^
          hint: put a field's name in back quotes
    the number does not fit into 64 bits (at byte 0)
          99999999999999999999
          ^^^^^^^^^^^^^^^^^^^^
    null has no type of its own (at byte 0)
          null
          ^^^^
          hint: use `x is null` or `coalesce(x, …)`
    unexpected character `$` (at byte 2)
          a $ 1
            ^
    `coalesce` takes at least 1 argument, found 0 (at byte 0)
          coalesce()
          ^^^^^^^^^^
    `abs` takes 1 argument, found 2 (at byte 0)
          abs(1, 2)
          ^^^^^^^^^
    unknown function `mni` (at byte 0)
          mni(1, 2)
          ^^^
          hint: did you mean `min`? functions: coalesce, nullif, min, max, abs, floor_mod, concat, text, int, float
    unknown function `sum` (at byte 0)
          sum(a)
          ^^^
          hint: `sum` folds many records: it stands alone in `aggregate`
    `max` takes at least 2 arguments, found 1 (at byte 0)
          max(a)
          ^^^^^^
          hint: to fold many records, use `max(x)` in `aggregate`
    unknown operator `||` (at byte 2)
          t || t
            ^^
          hint: use `or`, or concat(a, b) to join text
    expected `null`, found `1` (at byte 5)
          a is 1
               ^
    "#);
}

#[test]
fn wrong_types_are_explained() {
    let texts = [
        "a and true",
        "not a",
        "-t",
        "a + t",
        "t + t",
        "a = t",
        "concat(t, a)",
        "floor_mod(x, 2)",
        "int(p)",
        "coalesce(a, t)",
    ];
    let errors: Vec<String> = texts.iter().map(|text| parse_error(text).replace('\n', "\n    ")).collect();
    insta::assert_snapshot!(errors.join("\n"), @r#"
    `and` needs bool, this is int (at byte 0)
          a and true
          ^
    `not` needs bool, this is int (at byte 4)
          not a
              ^
    `-` needs a number, this is text (at byte 1)
          -t
           ^
    `+` adds numbers (at byte 2)
          a + t
            ^
          hint: concat(a, b) joins text
    `+` adds numbers (at byte 2)
          t + t
            ^
          hint: concat(a, b) joins text
    `=` needs values of one type, found int and text (at byte 4)
          a = t
              ^
    `concat` needs text, this is int (at byte 10)
          concat(t, a)
                    ^
          hint: text(x) turns a value into text
    `floor_mod` needs int, this is float (at byte 10)
          floor_mod(x, 2)
                    ^
    `int` needs a number or text, this is bool (at byte 4)
          int(p)
              ^
    `coalesce` needs values of one type, found int and text (at byte 12)
          coalesce(a, t)
                      ^
    "#);
}

#[test]
fn a_failed_evaluation_names_the_operator_and_the_record() {
    let texts = [
        "1 + a / 0",
        "a % (a - 7)",
        "9223372036854775807 + a",
        "-(-9223372036854775807 - 1)",
        "int(t)",
        "int(1e300)",
        "int(0.0 / 0.0)",
    ];
    let errors: Vec<String> = texts.iter().map(|text| evaluate_error(text)).collect();
    insta::assert_snapshot!(errors.join("\n"), @r#"
    division by zero at byte 6 of `1 + a / 0` for the record (7, null, 2.5, 'it''s', null, -3)
    division by zero at byte 2 of `a % (a - 7)` for the record (7, null, 2.5, 'it''s', null, -3)
    integer overflow at byte 20 of `9223372036854775807 + a` for the record (7, null, 2.5, 'it''s', null, -3)
    integer overflow at byte 0 of `-(-9223372036854775807 - 1)` for the record (7, null, 2.5, 'it''s', null, -3)
    not a number at byte 0 of `int(t)` for the record (7, null, 2.5, 'it''s', null, -3)
    integer overflow at byte 0 of `int(1e300)` for the record (7, null, 2.5, 'it''s', null, -3)
    not a number at byte 0 of `int(0.0 / 0.0)` for the record (7, null, 2.5, 'it''s', null, -3)
    "#);
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    let deep = |levels: usize| format!("{}a{}", "(".repeat(levels), ")".repeat(levels));
    assert!(Expression::parse(&deep(99), &schema()).is_ok());
    assert!(parse_error(&deep(100_000)).contains("nested"));
    assert!(parse_error(&"-".repeat(100_000)).contains("nested"));
    assert!(parse_error(&"not ".repeat(100_000)).contains("nested"));
}

/// A tree of integer arithmetic with the text that should mean it.
#[derive(Debug, Clone)]
enum Tree {
    Literal(i64),
    Field,
    Null,
    Binary(char, Box<Tree>, Box<Tree>),
    Negate(Box<Tree>),
}

impl Tree {
    fn text(&self) -> String {
        match self {
            Self::Literal(number) => number.to_string(),
            Self::Field => "a".into(),
            Self::Null => "b".into(),
            Self::Binary(operator, left, right) => format!("({} {operator} {})", left.text(), right.text()),
            Self::Negate(operand) => format!("-({})", operand.text()),
        }
    }

    /// `Err` for what must fail, `Ok(None)` for null.
    fn value(&self, a: i64) -> Result<Option<i64>, ()> {
        Ok(match self {
            Self::Literal(number) => Some(*number),
            Self::Field => Some(a),
            Self::Null => None,
            Self::Negate(operand) => match operand.value(a)? {
                Some(number) => Some(i64::try_from(-i128::from(number)).map_err(|_| ())?),
                None => None,
            },
            Self::Binary(operator, left, right) => match (left.value(a)?, right.value(a)?) {
                (Some(left), Some(right)) => {
                    let (left, right) = (i128::from(left), i128::from(right));
                    let exact = match operator {
                        '+' => left + right,
                        '-' => left - right,
                        '*' => left * right,
                        '/' if right != 0 => left / right,
                        '%' if right != 0 => left % right,
                        _ => return Err(()),
                    };
                    Some(i64::try_from(exact).map_err(|_| ())?)
                }
                _ => None,
            },
        })
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        4 => (-5_i64..5).prop_map(Tree::Literal),
        1 => any::<i64>().prop_map(Tree::Literal),
        2 => Just(Tree::Field),
        1 => Just(Tree::Null),
    ];
    leaf.prop_recursive(5, 32, 2, |inner| {
        prop_oneof![
            4 => (prop::sample::select(vec!['+', '-', '*', '/', '%']), inner.clone(), inner.clone())
                .prop_map(|(operator, left, right)| Tree::Binary(operator, Box::new(left), Box::new(right))),
            1 => inner.prop_map(|operand| Tree::Negate(Box::new(operand))),
        ]
    })
}

proptest! {
    #[test]
    fn integer_arithmetic_is_exact_or_fails(tree in tree(), a in prop_oneof![-5_i64..5, any::<i64>()]) {
        let schema = Schema::new([Field::new("a", FieldType::Int), Field::nullable("b", FieldType::Int)]);
        let expression = Expression::parse(&tree.text(), &schema).unwrap();
        let value = expression.evaluate(&row![a, None::<i64>]).map_err(|_| ());
        prop_assert_eq!(value, tree.value(a).map(Datum::from));
    }

    #[test]
    fn any_text_is_parsed_or_refused_with_a_mark_inside_it(text in "[ab x1.'`(),+*/%<>=!-]{0,30}|\\PC{0,20}") {
        if let Err(error) = Expression::parse(&text, &schema()) {
            prop_assert!(error.span.end <= text.len());
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
