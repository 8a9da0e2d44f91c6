//! Values of a file that have a shape of their own: columns, seeds, names of inputs, expressions, options.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};

use crate::pipeline::{model::Assignment, schema::FieldType};

/// `{ name = "dep_delay_min", type = "int", nullable = true }`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ColumnFile {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) field_type: FieldType,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) nullable: bool,
}

/// A seed: TOML has no unsigned 64-bit integers, so large ones are written as text.
pub(crate) struct Seed(pub(crate) u64);

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(number) => serializer.serialize_i64(number),
            Err(_) => serializer.serialize_str(&self.0.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SeedVisitor;
        impl Visitor<'_> for SeedVisitor {
            type Value = Seed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0 to 2^64 - 1, as text if it is larger than 2^63 - 1")
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Seed, E> {
                let unexpected = serde::de::Unexpected::Signed(number);
                u64::try_from(number).map(Seed).map_err(|_| E::invalid_value(unexpected, &self))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Seed, E> {
                Ok(Seed(number))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Seed, E> {
                text.parse().map(Seed).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(SeedVisitor)
    }
}

/// One name, or a list of names.
pub(crate) struct Inputs(pub(crate) Vec<String>);

impl Serialize for Inputs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [input] => input.serialize(serializer),
            inputs => inputs.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputsVisitor;
        impl<'de> Visitor<'de> for InputsVisitor {
            type Value = Inputs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a source or stage, or a list of names")
            }

            fn visit_str<E>(self, name: &str) -> Result<Inputs, E> {
                Ok(Inputs(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Inputs, A::Error> {
                let mut inputs = Vec::new();
                while let Some(input) = list.next_element()? {
                    inputs.push(input);
                }
                Ok(Inputs(inputs))
            }
        }
        deserializer.deserialize_any(InputsVisitor)
    }
}

/// A table of texts whose order matters.
pub(crate) struct Assignments(pub(crate) Vec<Assignment>);

impl Serialize for Assignments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for Assignment { name, expression } in &self.0 {
            map.serialize_entry(name, expression)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Assignments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AssignmentsVisitor;
        impl<'de> Visitor<'de> for AssignmentsVisitor {
            type Value = Assignments;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of names and expressions")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Assignments, A::Error> {
                let mut assignments = Vec::new();
                while let Some((name, expression)) = map.next_entry()? {
                    assignments.push(Assignment { name, expression });
                }
                Ok(Assignments(assignments))
            }
        }
        deserializer.deserialize_map(AssignmentsVisitor)
    }
}

/// Options by Flink's names: quoted keys, or the nested tables that TOML makes of dotted ones. All values become text.
#[derive(Default)]
pub(crate) struct ConfigFile(pub(crate) BTreeMap<String, String>);

impl ConfigFile {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for ConfigFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "text, a number, true or false")]
enum ConfigValue {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Table(BTreeMap<String, ConfigValue>),
}

impl<'de> Deserialize<'de> for ConfigFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut flat = BTreeMap::new();
        flatten("", BTreeMap::deserialize(deserializer)?, &mut flat);
        Ok(Self(flat))
    }
}

fn flatten(prefix: &str, table: BTreeMap<String, ConfigValue>, flat: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        let text = match value {
            ConfigValue::Text(text) => text,
            ConfigValue::Integer(number) => number.to_string(),
            ConfigValue::Float(number) => number.to_string(),
            ConfigValue::Bool(value) => value.to_string(),
            ConfigValue::Table(table) => {
                flatten(&key, table, flat);
                continue;
            }
        };
        flat.insert(key, text);
    }
}
