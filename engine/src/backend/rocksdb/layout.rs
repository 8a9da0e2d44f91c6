//! How entries lie in RocksDB: the bytes of keys, and of the values of list states.
//!
//! ```text
//!  value state   key group (2, big endian) · len · key · len · namespace             → value
//!  list state    the same                                                            → chunk · chunk · …
//!  map state     the same · user key                                                 → user value
//!  chunk         number of elements · len · elements
//! ```
//! Lengths are variable-length integers, which no other one is a prefix of; so is what they lead. Guarantee: of two
//! (key, namespace) pairs neither's bytes are a prefix of the other's, so that all keys with the bytes of one as prefix
//! are its own. Key groups are in order, so that those of a range are neighbours. Flink:
//! `CompositeKeySerializationUtils`.

use crate::{
    codec::{self, Data},
    state::{Key, KeyGroups, Namespace},
};

/// The bytes of a key and namespace: the whole key of a value or list, the prefix of the entries of a map.
pub(super) fn prefix<K: Key, N: Namespace>(key_groups: KeyGroups, key: &K, namespace: &N) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    bytes.extend_from_slice(&key_groups.of_key(key).to_be_bytes());
    push_encoded(push_encoded(bytes, key), namespace)
}

/// Appends the encoding of a value, led by its length.
fn push_encoded<T: Data>(mut bytes: Vec<u8>, value: &T) -> Vec<u8> {
    let start = bytes.len();
    bytes.push(0);
    let mut bytes = codec::encode_into(value, bytes);
    match bytes.len() - start - 1 {
        // The byte that was left free is enough.
        length @ 0..0x80 => bytes[start] = length as u8,
        _ => {
            let encoded = bytes.split_off(start + 1);
            bytes.truncate(start);
            push_part(&mut bytes, &encoded);
        }
    }
    bytes
}

/// The parts of a key in RocksDB.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// The key group.
    pub(super) key_group: u16,
    /// The encoded key.
    pub(super) key: &'a [u8],
    /// The encoded namespace.
    pub(super) namespace: &'a [u8],
    /// What follows: empty, or the encoded user key of a map.
    pub(super) user_key: &'a [u8],
    /// What comes before the user key.
    pub(super) prefix: &'a [u8],
}

/// Takes a key in RocksDB apart; `None` if nobody wrote such a one.
pub(super) fn parts(bytes: &[u8]) -> Option<Parts<'_>> {
    let (key_group, rest) = bytes.split_first_chunk()?;
    let (key, rest) = take_part(rest)?;
    let (namespace, user_key) = take_part(rest)?;
    let prefix = &bytes[..bytes.len() - user_key.len()];
    Some(Parts { key_group: u16::from_be_bytes(*key_group), key, namespace, user_key, prefix })
}

/// The elements of a list, as its encoding has them: what is appended to the bytes that are there.
pub(super) fn chunk(encoded_list: &[u8]) -> Option<Vec<u8>> {
    let (count, elements) = take_number(encoded_list)?;
    let mut bytes = Vec::with_capacity(encoded_list.len() + 5);
    push_number(&mut bytes, count);
    push_part(&mut bytes, elements);
    Some(bytes)
}

/// The encoding of the list that was appended in chunks; `None` if these are no chunks.
pub(super) fn joined(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let (mut count, mut elements) = (0, Vec::with_capacity(chunks.len()));
    while !chunks.is_empty() {
        let (more, rest) = take_number(chunks)?;
        let (part, rest) = take_part(rest)?;
        count += more;
        elements.extend_from_slice(part);
        chunks = rest;
    }
    let mut bytes = Vec::with_capacity(elements.len() + 3);
    push_number(&mut bytes, count);
    bytes.append(&mut elements);
    Some(bytes)
}

/// The encoding of a map of these encoded entries, in their order.
pub(super) fn map<'a>(entries: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_number(&mut bytes, entries.len() as u64);
    for (user_key, user_value) in entries {
        bytes.extend_from_slice(user_key);
        bytes.extend_from_slice(user_value);
    }
    bytes
}

fn push_part(bytes: &mut Vec<u8>, part: &[u8]) {
    push_number(bytes, part.len() as u64);
    bytes.extend_from_slice(part);
}

fn take_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = take_number(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// Seven bits per byte, lowest first, as the codec writes lengths.
fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn key_groups() -> KeyGroups {
        KeyGroups::new(128).unwrap()
    }

    proptest! {
        #[test]
        fn no_key_and_namespace_is_a_prefix_of_another(
            one in (any::<Vec<u8>>(), any::<Vec<u8>>()),
            other in (any::<Vec<u8>>(), any::<Vec<u8>>()),
        ) {
            let bytes = |(key, namespace): &(Vec<u8>, Vec<u8>)| prefix(key_groups(), key, namespace);
            prop_assert_eq!(bytes(&one).starts_with(&bytes(&other)), one == other);
        }

        #[test]
        fn a_key_comes_apart_into_what_it_was_made_of(key: String, namespace: (i64, i64), user_key: Vec<u8>) {
            let mut bytes = prefix(key_groups(), &key, &namespace);
            let before = bytes.clone();
            bytes.extend_from_slice(&user_key);
            prop_assert_eq!(parts(&bytes), Some(Parts {
                key_group: key_groups().of_key(&key),
                key: &codec::encode(&key),
                namespace: &codec::encode(&namespace),
                user_key: &user_key,
                prefix: &before,
            }));
        }

        #[test]
        fn chunks_join_into_the_encoding_of_the_whole_list(lists: Vec<Vec<String>>) {
            let chunks: Vec<u8> = lists.iter().flat_map(|list| chunk(&codec::encode(list)).unwrap()).collect();
            prop_assert_eq!(joined(&chunks), Some(codec::encode(&lists.concat())));
        }

        #[test]
        fn entries_join_into_the_encoding_of_their_map(entries: BTreeMap<u8, String>) {
            let encoded: Vec<_> = entries.iter().map(|(k, v)| (codec::encode(k), codec::encode(v))).collect();
            let joined = map(encoded.iter().map(|(k, v)| (k.as_slice(), v.as_slice())));
            prop_assert_eq!(joined, codec::encode(&entries));
        }

        #[test]
        fn bytes_that_nobody_wrote_are_no_reason_to_panic(bytes: Vec<u8>) {
            let _ = (parts(&bytes), chunk(&bytes), joined(&bytes));
        }
    }

    #[test]
    fn long_keys_and_short_ones_have_the_length_in_front() {
        for length in [0, 1, 126, 127, 128, 300, 20_000] {
            let key = "k".repeat(length);
            let encoded = codec::encode(&key);
            let mut expected = key_groups().of_key(&key).to_be_bytes().to_vec();
            push_part(&mut expected, &encoded);
            push_part(&mut expected, &[]);
            assert_eq!(prefix(key_groups(), &key, &()), expected, "{length}");
        }
    }

    #[test]
    fn lists_of_values_without_bytes_keep_their_length() {
        let chunks = [chunk(&codec::encode(&vec![(); 3])).unwrap(), chunk(&codec::encode(&vec![(); 2])).unwrap()];
        assert_eq!(joined(&chunks.concat()), Some(codec::encode(&vec![(); 5])));
    }
}
