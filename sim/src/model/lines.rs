//! Rows as lines of a file, and back: written a second time, apart from the engine.

use tidegate::pipeline::{Datum, FieldType, Format, Row, Schema};

/// The line of a row, without its end.
pub(super) fn write(format: Format, schema: &Schema, row: &Row) -> String {
    match format {
        Format::Csv => row.values().iter().map(csv_value).collect::<Vec<_>>().join(","),
        Format::Json => {
            let members = schema.names().zip(row.values()).map(|(name, value)| {
                let name = serde_json::Value::from(name);
                format!("{name}:{}", json_value(value))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
    }
}

fn csv_value(value: &Datum) -> String {
    match value {
        Datum::Null => String::new(),
        Datum::Text(text) if text.is_empty() || text.contains(['"', ',', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Datum::Text(text) => text.to_string(),
        Datum::Bool(_) | Datum::Int(_) | Datum::Float(_) => value.to_string(),
    }
}

fn json_value(value: &Datum) -> serde_json::Value {
    match value {
        Datum::Null => serde_json::Value::Null,
        Datum::Bool(value) => (*value).into(),
        Datum::Int(number) => (*number).into(),
        // Becomes null if it is no number.
        Datum::Float(float) => float.get().into(),
        Datum::Text(text) => text.as_str().into(),
    }
}

/// The row of a line; `None` if it is none of this schema.
pub(super) fn read(format: Format, schema: &Schema, line: &str) -> Option<Row> {
    let row: Row = match format {
        Format::Csv => {
            let values = split_csv(line)?;
            let typed = values.iter().zip(&schema.fields).map(|(value, field)| from_csv(value, field.field_type));
            if values.len() != schema.fields.len() {
                return None;
            }
            typed.collect::<Option<Row>>()?
        }
        Format::Json => {
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
            let value = |name| from_json(object.get(name)?);
            schema.names().map(value).collect::<Option<Row>>()?
        }
    };
    (write(format, schema, &row) == line).then_some(row)
}

/// A value of a line, and whether it stood in quotes.
type CsvValue = (String, bool);

fn split_csv(line: &str) -> Option<Vec<CsvValue>> {
    let mut values = Vec::new();
    let mut rest = line;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut value = String::new();
            let mut tail = quoted;
            loop {
                let (before, after) = tail.split_once('"')?;
                value.push_str(before);
                match after.strip_prefix('"') {
                    Some(more) => {
                        value.push('"');
                        tail = more;
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            }
            values.push((value, true));
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            values.push((rest[..end].to_owned(), false));
            rest = &rest[end..];
        }
        if rest.is_empty() {
            return Some(values);
        }
        rest = rest.strip_prefix(',')?;
    }
}

fn from_csv((value, quoted): &CsvValue, field_type: FieldType) -> Option<Datum> {
    if value.is_empty() && !quoted {
        return Some(Datum::Null);
    }
    match field_type {
        FieldType::Bool => value.parse().ok().map(Datum::Bool),
        FieldType::Int => value.parse().ok().map(Datum::Int),
        FieldType::Float => value.parse().ok().map(Datum::float),
        FieldType::Text => Some(Datum::text(value)),
    }
}

fn from_json(value: &serde_json::Value) -> Option<Datum> {
    use serde_json::Value;
    Some(match value {
        Value::Null => Datum::Null,
        Value::Bool(value) => Datum::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Datum::Int(number),
            None => Datum::float(number.as_f64()?),
        },
        Value::String(text) => Datum::text(text),
        Value::Array(_) | Value::Object(_) => return None,
    })
}
