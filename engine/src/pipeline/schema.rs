//! Schemas: the names and types of a row's fields.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::row::{Datum, Row};

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// True or false (`BOOLEAN`).
    Bool,
    /// A 64-bit whole number (`BIGINT`).
    Int,
    /// A 64-bit floating-point number (`DOUBLE`).
    Float,
    /// Text (`STRING`).
    Text,
}

impl FieldType {
    /// Whether a value has this type; null has every type.
    pub fn admits(self, value: &Datum) -> bool {
        match value {
            Datum::Null => true,
            Datum::Bool(_) => self == Self::Bool,
            Datum::Int(_) => self == Self::Int,
            Datum::Float(_) => self == Self::Float,
            Datum::Text(_) => self == Self::Text,
        }
    }

    /// Whether it is a number.
    pub fn is_number(self) -> bool {
        match self {
            Self::Int | Self::Float => true,
            Self::Bool | Self::Text => false,
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Text => "text",
        })
    }
}

/// Whether a field may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Nullability {
    /// It always has a value.
    NotNull,
    /// It may be null.
    Nullable,
}

impl Nullability {
    /// Nullable if either is.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.max(other)
    }
}

/// A field of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name, unique in the schema.
    pub name: String,
    /// Its type.
    pub field_type: FieldType,
    /// Whether it may be null.
    pub nullability: Nullability,
}

impl Field {
    /// A field that always has a value.
    pub fn new(name: impl Into<String>, field_type: FieldType) -> Self {
        Self { name: name.into(), field_type, nullability: Nullability::NotNull }
    }

    /// A field that may be null.
    pub fn nullable(name: impl Into<String>, field_type: FieldType) -> Self {
        Self { name: name.into(), field_type, nullability: Nullability::Nullable }
    }
}

/// The fields of a row, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    /// The fields.
    pub fields: Vec<Field>,
}

impl Schema {
    /// A schema of these fields.
    pub fn new(fields: impl Into<Vec<Field>>) -> Self {
        Self { fields: fields.into() }
    }

    /// The position of a field.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The names of the fields, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }

    /// Whether a row has the right number of values of the right types.
    pub fn admits(&self, row: &Row) -> bool {
        row.values().len() == self.fields.len()
            && self.fields.iter().zip(row.values()).all(|(field, value)| {
                field.field_type.admits(value) && (field.nullability == Nullability::Nullable || !value.is_null())
            })
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (index, field) in self.fields.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let null = if field.nullability == Nullability::Nullable { "?" } else { "" };
            write!(f, "{comma}{} {}{null}", field.name, field.field_type)?;
        }
        f.write_str(")")
    }
}
