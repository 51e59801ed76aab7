//! A value of a row, in a form for both engines.

use uuid::Uuid;

/// The types of columns, by PostgreSQL's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `int8`; `INTEGER` in SQLite.
    Integer,
    /// `bool`; `INTEGER` in SQLite, 0 or 1.
    Boolean,
    /// `text`.
    Text,
    /// `bytea`; `BLOB` in SQLite.
    Bytes,
    /// `uuid`; `BLOB` of 16 bytes in SQLite.
    Uuid,
}

impl Kind {
    pub(super) fn of(type_name: &str) -> Option<Self> {
        match type_name {
            "int8" => Some(Self::Integer),
            "bool" => Some(Self::Boolean),
            "text" => Some(Self::Text),
            "bytea" => Some(Self::Bytes),
            "uuid" => Some(Self::Uuid),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Boolean(bool),
    Text(String),
    Bytes(Vec<u8>),
    Uuid(Uuid),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Uuid(value)
    }
}

/// Reads the values of a row of either engine.
macro_rules! values {
    ($row:expr, $table:expr) => {{
        let mut values = Vec::with_capacity($table.columns.len());
        for (at, column) in $table.columns.iter().enumerate() {
            let value = match column.kind {
                Kind::Integer => $row.try_get::<Option<i64>, _>(at)?.map(Value::from),
                Kind::Boolean => $row.try_get::<Option<bool>, _>(at)?.map(Value::from),
                Kind::Text => $row.try_get::<Option<String>, _>(at)?.map(Value::from),
                Kind::Bytes => $row.try_get::<Option<Vec<u8>>, _>(at)?.map(Value::from),
                Kind::Uuid => $row.try_get::<Option<uuid::Uuid>, _>(at)?.map(Value::from),
            };
            values.push(value.unwrap_or(Value::Null));
        }
        values
    }};
}

pub(super) use values;

/// Appends a row in the text form of PostgreSQL's `COPY`.
pub(super) fn write_line(values: &[Value], line: &mut Vec<u8>) {
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            line.push(b'\t');
        }
        match value {
            Value::Null => line.extend(b"\\N"),
            Value::Integer(number) => line.extend(number.to_string().bytes()),
            Value::Boolean(value) => line.push(if *value { b't' } else { b'f' }),
            Value::Uuid(uuid) => line.extend(uuid.as_simple().to_string().bytes()),
            Value::Bytes(bytes) => {
                line.extend(b"\\\\x");
                line.extend(hex::encode(bytes).bytes());
            }
            Value::Text(text) => {
                for byte in text.bytes() {
                    match byte {
                        b'\\' => line.extend(b"\\\\"),
                        b'\n' => line.extend(b"\\n"),
                        b'\r' => line.extend(b"\\r"),
                        b'\t' => line.extend(b"\\t"),
                        byte => line.push(byte),
                    }
                }
            }
        }
    }
    line.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_text_form_of_copy() {
        let mut line = Vec::new();
        let values = [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Boolean(true),
            Value::Text("a\tb\\N\r\nc\u{1f511}".to_owned()),
            Value::Text(String::new()),
            Value::Bytes(vec![0, 255, b'\n']),
            Value::Uuid(Uuid::from_u128(1)),
        ];
        write_line(&values, &mut line);
        let expected = "\\N\t-9223372036854775808\tt\ta\\tb\\\\N\\r\\nc\u{1f511}\t\t\\\\x00ff0a\t00000000000000000000000000000001\n";
        assert_eq!(String::from_utf8(line).as_deref(), Ok(expected));
    }
}
