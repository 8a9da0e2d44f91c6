//! How rows are written: one line each.

use super::{
    model::Format,
    row::{Datum, Row},
    schema::Schema,
};

impl Format {
    /// Appends a row with its line break.
    ///
    /// CSV: null is nothing, text is quoted if it must be, or if it is empty. JSON: an object in the order of the
    /// fields; floats that are no numbers become null, which JSON lacks.
    pub fn write(self, schema: &Schema, row: &Row, out: &mut Vec<u8>) {
        match self {
            Self::Csv => write_csv(row, out),
            Self::Json => write_json(schema, row, out),
        }
        out.push(b'\n');
    }
}

fn write_csv(row: &Row, out: &mut Vec<u8>) {
    for (index, value) in row.values().iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match value {
            Datum::Null => {}
            Datum::Text(text) if text.is_empty() || text.contains([',', '"', '\n', '\r']) => {
                out.push(b'"');
                out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
                out.push(b'"');
            }
            Datum::Text(text) => out.extend_from_slice(text.as_bytes()),
            Datum::Bool(_) | Datum::Int(_) | Datum::Float(_) => out.extend_from_slice(value.to_string().as_bytes()),
        }
    }
}

fn write_json(schema: &Schema, row: &Row, out: &mut Vec<u8>) {
    const MEMORY: &str = "memory takes whatever is written";
    out.push(b'{');
    for (index, (name, value)) in schema.names().zip(row.values()).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, name).expect(MEMORY);
        out.push(b':');
        match value {
            Datum::Null => out.extend_from_slice(b"null"),
            value => serde_json::to_writer(&mut *out, value).expect(MEMORY),
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pipeline::schema::{Field, FieldType},
        row,
    };

    #[test]
    fn rows_are_lines() {
        let names = ["a", "b", "c", "d \"e\""];
        let schema = Schema::new(names.map(|name| Field::nullable(name, FieldType::Text)));
        let rows = [row![1, 2.0, true, "x"], row![None::<i64>, f64::NAN, "", "say \"a, b\"\n"]];
        let lines = |format: Format| {
            let mut out = Vec::new();
            rows.iter().for_each(|row| format.write(&schema, row, &mut out));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(lines(Format::Csv), "1,2.0,true,x\n,NaN,\"\",\"say \"\"a, b\"\"\n\"\n");
        assert_eq!(
            lines(Format::Json),
            "{\"a\":1,\"b\":2.0,\"c\":true,\"d \\\"e\\\"\":\"x\"}\n\
             {\"a\":null,\"b\":null,\"c\":\"\",\"d \\\"e\\\"\":\"say \\\"a, b\\\"\\n\"}\n"
        );
    }
}
