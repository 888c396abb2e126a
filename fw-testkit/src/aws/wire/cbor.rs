//! CBOR (RFC 8949) as the RPC v2 CBOR protocol of Smithy uses it, read into JSON values and written from them. Times are
//! numbers under tag 1; of a JSON value, an object with the one key [`TIME`] is such a time.

use serde_json::{Map, Number, Value, json};

/// The key of an object that stands for a time, in seconds since 1970.
pub(crate) const TIME: &str = "$time";

/// How deep values may lie in each other.
const DEEPEST: usize = 32;

/// A time as a value.
pub(crate) fn time(seconds: f64) -> Value {
    json!({ TIME: seconds })
}

/// Reads one value, which must be all that there is.
pub(crate) fn read(bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader { bytes };
    let value = reader.value(0)?;
    reader.bytes.is_empty().then_some(value)
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// The major type, the rest of the first byte, and the number that it stands for; none for an indefinite length.
    fn head(&mut self) -> Option<(u8, u8, Option<u64>)> {
        let first = self.byte()?;
        let (major, info) = (first >> 5, first & 31);
        let argument = match info {
            0..24 => Some(u64::from(info)),
            24..28 => {
                let bytes = self.take(1 << (info - 24))?;
                Some(bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
            }
            31 => None,
            _ => return None,
        };
        Some((major, info, argument))
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        let (major, info, argument) = self.head()?;
        match (major, argument) {
            (0, Some(number)) => Some(json!(number)),
            (1, Some(number)) => Some(json!(-1 - i64::try_from(number).ok()?)),
            (3, Some(length)) => self.text(length).map(Value::String),
            (4, length) => self.many(length, |reader| reader.value(depth + 1)).map(Value::Array),
            (5, length) => {
                let pairs = self.many(length, |reader| {
                    let name = reader.value(depth + 1)?.as_str()?.to_owned();
                    Some((name, reader.value(depth + 1)?))
                })?;
                Some(Value::Object(pairs.into_iter().collect()))
            }
            (6, Some(1)) => self.value(depth + 1)?.as_f64().map(time),
            (7, _) => simple(info, argument?),
            _ => None,
        }
    }

    fn text(&mut self, length: u64) -> Option<String> {
        String::from_utf8(self.take(usize::try_from(length).ok()?)?.to_vec()).ok()
    }

    /// So many things, or all until the break of an indefinite length.
    fn many<T>(&mut self, length: Option<u64>, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut all = Vec::new();
        while length.is_none_or(|length| (all.len() as u64) < length) {
            if length.is_none() && self.bytes.first() == Some(&0xff) {
                self.byte()?;
                break;
            }
            all.push(one(self)?);
        }
        Some(all)
    }
}

/// Booleans, null and floating point numbers of 32 and 64 bits.
fn simple(info: u8, argument: u64) -> Option<Value> {
    match info {
        20 => Some(Value::Bool(false)),
        21 => Some(Value::Bool(true)),
        22 | 23 => Some(Value::Null),
        26 => Number::from_f64(f64::from(f32::from_bits(u32::try_from(argument).ok()?))).map(Value::Number),
        27 => Number::from_f64(f64::from_bits(argument)).map(Value::Number),
        _ => None,
    }
}

/// Writes a value.
pub(crate) fn write(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, value);
    bytes
}

fn put(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => bytes.push(0xf6),
        Value::Bool(no) => bytes.push(if *no { 0xf5 } else { 0xf4 }),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => head(bytes, 0, number),
            (None, Some(number)) => head(bytes, 1, number.unsigned_abs() - 1),
            (None, None) => double(bytes, number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => {
            head(bytes, 3, text.len() as u64);
            bytes.extend(text.as_bytes());
        }
        Value::Array(all) => {
            head(bytes, 4, all.len() as u64);
            all.iter().for_each(|one| put(bytes, one));
        }
        Value::Object(fields) => put_fields(bytes, fields),
    }
}

fn put_fields(bytes: &mut Vec<u8>, fields: &Map<String, Value>) {
    if let Some(seconds) = fields.get(TIME).and_then(Value::as_f64) {
        head(bytes, 6, 1);
        double(bytes, seconds);
        return;
    }
    head(bytes, 5, fields.len() as u64);
    for (name, value) in fields {
        put(bytes, &Value::String(name.clone()));
        put(bytes, value);
    }
}

fn double(bytes: &mut Vec<u8>, number: f64) {
    bytes.push(0xfb);
    bytes.extend(number.to_be_bytes());
}

fn head(bytes: &mut Vec<u8>, major: u8, number: u64) {
    let major = major << 5;
    match number {
        0..24 => bytes.push(major | number as u8),
        24..0x100 => bytes.extend([major | 24, number as u8]),
        0x100..0x1_0000 => {
            bytes.push(major | 25);
            bytes.extend((number as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            bytes.push(major | 26);
            bytes.extend((number as u32).to_be_bytes());
        }
        _ => {
            bytes.push(major | 27);
            bytes.extend(number.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_in_the_examples_of_the_rfc() {
        // RFC 8949, appendix A.
        for (value, bytes) in [
            (json!(0), vec![0x00]),
            (json!(1000), vec![0x19, 0x03, 0xe8]),
            (json!(1_000_000), vec![0x1a, 0x00, 0x0f, 0x42, 0x40]),
            (json!(-1000), vec![0x39, 0x03, 0xe7]),
            (json!(1.1), vec![0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a]),
            (json!("IETF"), vec![0x64, 0x49, 0x45, 0x54, 0x46]),
            (json!([1, [2, 3]]), vec![0x82, 0x01, 0x82, 0x02, 0x03]),
            (json!({"a": 1, "b": [true, null]}), vec![0xa2, 0x61, 0x61, 0x01, 0x61, 0x62, 0x82, 0xf5, 0xf6]),
        ] {
            assert_eq!(write(&value), bytes, "{value}");
            assert_eq!(read(&bytes), Some(value));
        }
    }

    #[test]
    fn indefinite_lengths_and_times_are_read() {
        // {_ "Fun": true, "Amt": -2} of appendix A, and its 1(1363896240.5).
        let fun = [0xbf, 0x63, 0x46, 0x75, 0x6e, 0xf5, 0x63, 0x41, 0x6d, 0x74, 0x21, 0xff];
        assert_eq!(read(&fun), Some(json!({"Fun": true, "Amt": -2})));
        let at = [0xc1, 0xfb, 0x41, 0xd4, 0x52, 0xd9, 0xec, 0x20, 0x00, 0x00];
        assert_eq!(read(&at), Some(time(1_363_896_240.5)));
        assert_eq!(write(&time(1_363_896_240.5)), at);
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_refused() {
        assert_eq!(read(&[0x82, 0x01]), None);
        assert_eq!(read(&[0x01, 0x01]), None);
        assert_eq!(read(&[0x81; 100]), None);
    }
}
