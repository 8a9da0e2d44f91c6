//! From the values of a delimited record to a row of a schema.

use super::{
    row::{Datum, Row},
    schema::{Field, FieldType, Nullability, Schema},
};
use crate::connector::delimited::{FieldDefect, Fields, FromFields};

/// An empty value is null where the column may be null, empty text in any other text column, and wrong elsewhere.
impl FromFields for Schema {
    type Record = Row;

    fn columns(&self) -> Vec<&str> {
        self.names().collect()
    }

    fn record(&self, fields: &Fields<'_>) -> Result<Row, (usize, FieldDefect)> {
        let datum = |(index, field): (usize, &Field)| {
            let text = std::str::from_utf8(fields.get(index)).map_err(|_| (index, FieldDefect::InvalidUtf8))?;
            datum(text, field).map_err(|expected| (index, FieldDefect::Expected(expected)))
        };
        self.fields.iter().enumerate().map(datum).collect()
    }
}

fn datum(text: &str, field: &Field) -> Result<Datum, &'static str> {
    if text.is_empty() && field.nullability == Nullability::Nullable {
        return Ok(Datum::Null);
    }
    match field.field_type {
        FieldType::Text => Ok(Datum::text(text)),
        FieldType::Int => text.parse().map(Datum::Int).map_err(|_| "a whole number of 64 bits"),
        FieldType::Float => text.parse().map(Datum::float).map_err(|_| "a number"),
        FieldType::Bool if text.eq_ignore_ascii_case("true") => Ok(Datum::Bool(true)),
        FieldType::Bool if text.eq_ignore_ascii_case("false") => Ok(Datum::Bool(false)),
        FieldType::Bool => Err("true or false"),
    }
}
