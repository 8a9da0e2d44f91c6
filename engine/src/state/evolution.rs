//! Values that an older version of a program kept, read as what the newer one asks for.
//!
//! A checkpoint says which version of its type each state was kept with. A descriptor that asks for another version
//! finds a migration from that one, or the state is refused: old bytes are never read as a new type.
//! Flink: `TypeSerializerSnapshot`, `StateSerializerProvider`; here the author names the old type.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::TimeToLive;
use crate::{
    codec::{self, Data, DecodeError},
    time::Timestamp,
};

/// Reads a value of an older type at the beginning of bytes; returns it as the newer type, and the rest.
type Reader<T> = Arc<dyn for<'a> Fn(&'a [u8]) -> Result<(T, &'a [u8]), DecodeError> + Send + Sync>;

/// From the bytes of an entry's value to those of the newer type.
pub(crate) type Rewrite = Box<dyn Fn(&[u8]) -> Result<Vec<u8>, DecodeError>>;

/// How values of older versions become values of `T`.
pub(crate) struct Migrations<T> {
    from: BTreeMap<u32, Reader<T>>,
}

impl<T> Default for Migrations<T> {
    fn default() -> Self {
        Self { from: BTreeMap::new() }
    }
}

impl<T> Clone for Migrations<T> {
    fn clone(&self) -> Self {
        Self { from: self.from.clone() }
    }
}

impl<T> fmt::Debug for Migrations<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.from.keys()).finish()
    }
}

impl<T: Data> Migrations<T> {
    pub(crate) fn add<Old: Data>(&mut self, version: u32, migrate: impl Fn(Old) -> T + Send + Sync + 'static) {
        let reader: Reader<T> = Arc::new(move |bytes| {
            let (old, rest) = codec::decode_prefix(bytes)?;
            Ok((migrate(old), rest))
        });
        self.from.insert(version, reader);
    }

    /// For a state of one value per key and namespace.
    pub(crate) fn of_value(&self, version: u32, time_to_live: TimeToLive) -> Option<Rewrite> {
        let read = self.from.get(&version)?.clone();
        Some(Box::new(move |bytes| {
            let mut new = Vec::new();
            let rest = element(&read, time_to_live, bytes, &mut new)?;
            nothing_left(rest, new)
        }))
    }

    /// For a state of lists.
    pub(crate) fn of_list(&self, version: u32, time_to_live: TimeToLive) -> Option<Rewrite> {
        let read = self.from.get(&version)?.clone();
        Some(Box::new(move |bytes| {
            let (length, mut rest) = codec::decode_prefix::<usize>(bytes)?;
            let mut new = codec::encode(&length);
            for _ in 0..length {
                rest = element(&read, time_to_live, rest, &mut new)?;
            }
            nothing_left(rest, new)
        }))
    }

    /// For a state of maps: their values; user keys stay what they are.
    pub(crate) fn of_map<UK: Data>(&self, version: u32, time_to_live: TimeToLive) -> Option<Rewrite> {
        let read = self.from.get(&version)?.clone();
        Some(Box::new(move |bytes| {
            let (length, mut rest) = codec::decode_prefix::<usize>(bytes)?;
            let mut new = codec::encode(&length);
            for _ in 0..length {
                let (user_key, value) = codec::decode_prefix::<UK>(rest)?;
                new.append(&mut codec::encode(&user_key));
                rest = element(&read, time_to_live, value, &mut new)?;
            }
            nothing_left(rest, new)
        }))
    }
}

/// Rewrites one value, with its time of last use if there is one; returns what comes after it.
fn element<'a, T: Data>(
    read: &Reader<T>,
    time_to_live: TimeToLive,
    bytes: &'a [u8],
    new: &mut Vec<u8>,
) -> Result<&'a [u8], DecodeError> {
    let mut rest = bytes;
    match time_to_live {
        TimeToLive::Disabled => {}
        TimeToLive::Enabled => {
            let (last_used, value) = codec::decode_prefix::<Timestamp>(bytes)?;
            new.append(&mut codec::encode(&last_used));
            rest = value;
        }
    }
    let (value, rest) = read(rest)?;
    new.append(&mut codec::encode(&value));
    Ok(rest)
}

fn nothing_left(rest: &[u8], new: Vec<u8>) -> Result<Vec<u8>, DecodeError> {
    if rest.is_empty() {
        return Ok(new);
    }
    Err(DecodeError { what: "the older type of a state", reason: format!("{} bytes left over", rest.len()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::TtlValue;

    fn widened() -> Migrations<(u64, String)> {
        let mut migrations = Migrations::default();
        migrations.add(3, |old: u32| (u64::from(old), "old".to_owned()));
        migrations
    }

    fn new(value: u64) -> (u64, String) {
        (value, "old".to_owned())
    }

    #[test]
    fn values_lists_and_maps_are_rewritten_as_what_the_new_types_would_have_kept() {
        let value = widened().of_value(3, TimeToLive::Disabled).unwrap();
        assert_eq!(value(&codec::encode(&300_u32)).unwrap(), codec::encode(&new(300)));

        let stamped = |value| TtlValue { last_used: Timestamp(-7), value };
        let list = widened().of_list(3, TimeToLive::Enabled).unwrap();
        let kept = codec::encode(&vec![stamped(1_u32), stamped(300)]);
        let expected = vec![
            TtlValue { last_used: Timestamp(-7), value: new(1) },
            TtlValue { last_used: Timestamp(-7), value: new(300) },
        ];
        assert_eq!(list(&kept).unwrap(), codec::encode(&expected));

        let map = widened().of_map::<String>(3, TimeToLive::Disabled).unwrap();
        let kept = BTreeMap::from([("a".to_owned(), 1_u32), ("b".to_owned(), 2)]);
        let expected = BTreeMap::from([("a".to_owned(), new(1)), ("b".to_owned(), new(2))]);
        assert_eq!(map(&codec::encode(&kept)).unwrap(), codec::encode(&expected));
    }

    #[test]
    fn what_is_not_the_older_type_is_refused() {
        let value = widened().of_value(3, TimeToLive::Disabled).unwrap();
        assert!(value(&[]).is_err());
        assert!(value(&codec::encode(&(1_u32, 2_u32))).is_err(), "bytes are left over");
        assert!(widened().of_value(2, TimeToLive::Disabled).is_none());
    }
}
