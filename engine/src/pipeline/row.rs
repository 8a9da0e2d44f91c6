//! Rows: the records of a declarative pipeline.
//!
//! A [`Datum`] takes 24 bytes and text of up to 23 bytes lies inside it, so that a row is one allocation and a
//! clone of its text copies nothing. A row of one value, as most keys are, is no allocation at all. Values that compare equal have equal hashes, equal bytes and equal text: floats
//! are canonical (one NaN, no negative zero).
//!
//! Key hashes are Java's (`Long.hashCode`, `String.hashCode`, tuples as `31 * h + …`), so that a key lands in
//! the key group in which Flink puts it.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, SeqAccess, Visitor},
};
use smol_str::SmolStr;

use crate::state::Key;

/// A float with a total order: NaN is one value, greater than all others, and there is only one zero.
#[derive(Clone, Copy)]
pub struct Float(f64);

impl Float {
    /// The canonical form of a number.
    pub fn new(number: f64) -> Self {
        if number.is_nan() {
            Self(f64::from_bits(0x7ff8_0000_0000_0000))
        } else {
            // Adding zero turns the negative zero into the positive one and changes nothing else.
            Self(number + 0.0)
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Float {}

impl Ord for Float {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::hash::Hash for Float {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl fmt::Debug for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self::new)
    }
}

/// One value of a row.
///
/// Values of different types are ordered by type; an integer never equals a float.
/// In TOML and JSON a datum is written as the plain literal; null, which TOML lacks, as an empty list.
#[derive(Debug, Clone, Eq, PartialOrd, Ord, Default)]
pub enum Datum {
    /// No value.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(Float),
    /// Text.
    Text(SmolStr),
}

// Written out to be inlined where keys are compared and hashed, once per record.
impl PartialEq for Datum {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(one), Self::Int(other)) => one == other,
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::Float(one), Self::Float(other)) => one == other,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Null, other) => other.is_null(),
            (Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_), _) => false,
        }
    }
}

impl std::hash::Hash for Datum {
    #[inline(always)]
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Self::Null => state.write_u8(0),
            Self::Bool(value) => value.hash(state),
            Self::Int(number) => number.hash(state),
            Self::Float(float) => float.hash(state),
            Self::Text(text) => text.hash(state),
        }
    }
}

impl Datum {
    /// Text.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::Text(SmolStr::new(text))
    }

    /// A float, made canonical.
    pub fn float(number: f64) -> Self {
        Self::Float(Float::new(number))
    }

    /// Whether there is no value.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The whole number, if this is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Null | Self::Bool(_) | Self::Float(_) | Self::Text(_) => None,
        }
    }

    /// The text, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => None,
        }
    }

    /// What Java's `hashCode` gives for the same value (`Boolean`, `Long`, `Double`, `String`); null is 0.
    pub fn java_hash(&self) -> i32 {
        match self {
            Self::Null => 0,
            Self::Bool(true) => 1231,
            Self::Bool(false) => 1237,
            Self::Int(number) => fold_to_i32(number.cast_unsigned()),
            Self::Float(float) => fold_to_i32(float.0.to_bits()),
            Self::Text(text) => {
                text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
            }
        }
    }
}

/// The upper half folded onto the lower half: `(int) (bits ^ (bits >>> 32))`.
fn fold_to_i32(bits: u64) -> i32 {
    let [a, b, c, d, ..] = (bits ^ (bits >> 32)).to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(number) => number.fmt(f),
            // Debug keeps the ".0" that tells a float from an integer.
            Self::Float(float) => write!(f, "{:?}", float.0),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
        }
    }
}

impl From<i64> for Datum {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Datum {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Datum {
    fn from(number: f64) -> Self {
        Self::float(number)
    }
}

impl From<&str> for Datum {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl<T: Into<Datum>> From<Option<T>> for Datum {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The tagged form of a datum, for encodings that do not describe themselves.
#[derive(Serialize, Deserialize)]
enum TaggedDatum {
    Null,
    Bool(bool),
    Int(i64),
    Float(Float),
    Text(SmolStr),
}

impl Serialize for Datum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const NAME: &str = "Datum";
        let plain = serializer.is_human_readable();
        match self {
            Self::Null if plain => <[u8; 0]>::serialize(&[], serializer),
            Self::Bool(value) if plain => serializer.serialize_bool(*value),
            Self::Int(number) if plain => serializer.serialize_i64(*number),
            Self::Float(float) if plain => serializer.serialize_f64(float.0),
            Self::Text(text) if plain => serializer.serialize_str(text),
            Self::Null => serializer.serialize_unit_variant(NAME, 0, "Null"),
            Self::Bool(value) => serializer.serialize_newtype_variant(NAME, 1, "Bool", value),
            Self::Int(number) => serializer.serialize_newtype_variant(NAME, 2, "Int", number),
            Self::Float(float) => serializer.serialize_newtype_variant(NAME, 3, "Float", float),
            Self::Text(text) => serializer.serialize_newtype_variant(NAME, 4, "Text", text.as_str()),
        }
    }
}

impl<'de> Deserialize<'de> for Datum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(PlainDatum);
        }
        Ok(match TaggedDatum::deserialize(deserializer)? {
            TaggedDatum::Null => Self::Null,
            TaggedDatum::Bool(value) => Self::Bool(value),
            TaggedDatum::Int(number) => Self::Int(number),
            TaggedDatum::Float(float) => Self::Float(float),
            TaggedDatum::Text(text) => Self::Text(text),
        })
    }
}

struct PlainDatum;

impl<'de> Visitor<'de> for PlainDatum {
    type Value = Datum;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer, a float, text, true, false, or [] for null")
    }

    fn visit_unit<E>(self) -> Result<Datum, E> {
        Ok(Datum::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Datum, E> {
        Ok(Datum::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Datum, E> {
        Ok(Datum::Int(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Datum, E> {
        i64::try_from(number).map(Datum::Int).map_err(|_| E::custom(format!("{number} does not fit into 64 bits")))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Datum, E> {
        Ok(Datum::float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Datum, E> {
        Ok(Datum::text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Datum, A::Error> {
        match list.next_element::<serde::de::IgnoredAny>()? {
            None => Ok(Datum::Null),
            Some(_) => Err(A::Error::custom("a value cannot be a list; [] stands for null")),
        }
    }
}

/// A record: values in the order of its schema's fields.
#[derive(Clone)]
pub struct Row(Values);

/// A row of one value is always `One`.
#[derive(Clone)]
enum Values {
    One([Datum; 1]),
    NotOne(Box<[Datum]>),
}

impl Row {
    /// A row of these values.
    pub fn new(values: impl Into<Box<[Datum]>>) -> Self {
        let mut values: Box<[Datum]> = values.into();
        Self(match &mut *values {
            [one] => Values::One([std::mem::take(one)]),
            _ => Values::NotOne(values),
        })
    }

    /// A row of one value.
    #[inline(always)]
    pub fn one(value: Datum) -> Self {
        Self(Values::One([value]))
    }

    /// The values.
    #[inline]
    pub fn values(&self) -> &[Datum] {
        match &self.0 {
            Values::One(one) => one,
            Values::NotOne(values) => values,
        }
    }

    /// The values, to be changed.
    #[inline]
    pub(crate) fn values_mut(&mut self) -> &mut [Datum] {
        match &mut self.0 {
            Values::One(one) => one,
            Values::NotOne(values) => values,
        }
    }

    /// The value at a position of the schema.
    ///
    /// # Panics
    /// If the row has no such position: it was built for another schema.
    #[inline]
    pub fn get(&self, index: usize) -> &Datum {
        &self.values()[index]
    }

    /// The values at these positions, as a row of their own: a key.
    #[inline(always)]
    pub fn project(&self, indices: &[usize]) -> Self {
        if let [index] = indices {
            return Self::one(self.get(*index).clone());
        }
        indices.iter().map(|index| self.get(*index).clone()).collect()
    }

    /// Java's hash of the same values: of the value itself if there is one, of a Flink tuple if there are several.
    pub fn java_hash(&self) -> i32 {
        match self.values() {
            [] => 0,
            [first, rest @ ..] => {
                rest.iter().fold(first.java_hash(), |hash, value| hash.wrapping_mul(31).wrapping_add(value.java_hash()))
            }
        }
    }
}

impl Key for Row {
    fn key_hash(&self) -> i32 {
        self.java_hash()
    }
}

impl FromIterator<Datum> for Row {
    fn from_iter<I: IntoIterator<Item = Datum>>(values: I) -> Self {
        let mut values = values.into_iter();
        let Some(first) = values.next() else { return Self::default() };
        let Some(second) = values.next() else { return Self(Values::One([first])) };
        let mut all = Vec::with_capacity(2 + values.size_hint().0);
        all.extend([first, second]);
        all.extend(values);
        Self(Values::NotOne(all.into()))
    }
}

impl Default for Row {
    fn default() -> Self {
        Self(Values::NotOne(Box::default()))
    }
}

impl PartialEq for Row {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Values::One([one]), Values::One([other])) => one == other,
            _ => self.values() == other.values(),
        }
    }
}

impl Eq for Row {}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.values().cmp(other.values())
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::hash::Hash for Row {
    #[inline]
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match &self.0 {
            Values::One([one]) => one.hash(state),
            Values::NotOne(values) => values.hash(state),
        }
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Row").field(&self.values()).finish()
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.values().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<[Datum]>::deserialize(deserializer).map(Self::new)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (index, value) in self.values().iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            value.fmt(f)?;
        }
        f.write_str(")")
    }
}

/// A row of the given values: `row![1, "a", 2.5]`.
#[macro_export]
macro_rules! row {
    ($($value:expr),* $(,)?) => {
        $crate::pipeline::Row::new(vec![$($crate::pipeline::Datum::from($value)),*])
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec;

    pub(crate) fn datum() -> impl Strategy<Value = Datum> {
        prop_oneof![
            Just(Datum::Null),
            any::<bool>().prop_map(Datum::Bool),
            any::<i64>().prop_map(Datum::Int),
            prop::num::f64::ANY.prop_map(Datum::float),
            ".{0,40}".prop_map(Datum::text),
        ]
    }

    #[test]
    fn a_datum_and_a_row_take_24_bytes_each() {
        assert_eq!(size_of::<Datum>(), 24);
        assert_eq!(size_of::<Row>(), 24);
    }

    #[test]
    fn key_hashes_are_those_of_java() {
        // By the formulas that the Java documentation gives for Boolean, Long, Double and String.
        let cases: [(Datum, i32); 11] = [
            (Datum::Null, 0),
            (true.into(), 1231),
            (false.into(), 1237),
            (0.into(), 0),
            ((-1).into(), 0),
            (4_294_967_296.into(), 1),
            (i64::MIN.into(), i32::MIN),
            (1.0.into(), 1_072_693_248),
            ("hello".into(), 99_162_322),
            ("key-1".into(), 101_943_363),
            ("😀".into(), 1_772_899),
        ];
        for (datum, hash) in cases {
            assert_eq!(datum.java_hash(), hash, "{datum}");
        }
        assert_eq!(row![7].java_hash(), 7);
        assert_eq!(row!["a", 2].java_hash(), 97 * 31 + 2);
    }

    #[test]
    fn floats_are_canonical() {
        assert_eq!(Datum::float(-0.0), Datum::float(0.0));
        assert_eq!(Datum::float(-f64::NAN), Datum::float(f64::NAN));
        assert!(Datum::float(f64::INFINITY) < Datum::float(f64::NAN));
    }

    proptest! {
        #[test]
        fn rows_survive_the_binary_encoding(values in prop::collection::vec(datum(), 0..6)) {
            let row = Row::new(values);
            prop_assert_eq!(&codec::decode::<Row>(&codec::encode(&row)).unwrap(), &row);
        }

        #[test]
        fn finite_rows_survive_json(values in prop::collection::vec(datum(), 0..6)) {
            prop_assume!(!values.iter().any(|value| matches!(value, Datum::Float(float) if !float.get().is_finite())));
            let row = Row::new(values);
            let json = serde_json::to_string(&row).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Row>(&json).unwrap(), &row);
        }
    }
}
