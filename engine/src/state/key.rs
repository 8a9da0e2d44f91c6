//! Keys and their hash: Java's `hashCode`, so that each key falls into the key group that Flink puts it in.
//!
//! Guarantees: equal keys have equal hashes, on every machine and in every build. A key's hash decides where its
//! state is looked for after a restore, so the hash of a key type must never change while state of it lives.

use std::hash::{Hash, Hasher};

use crate::{codec::Data, time::Timestamp};

/// What a stream can be keyed by.
///
/// For a type of your own, `impl Key for MyKey {}` is enough: by default the derived `Hash` is run through
/// [`KeyHasher`]. Give `key_hash` yourself if the type's fields may be reordered while state of it lives.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidegate::state::Key;
///
/// #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
/// struct Plane { tail_number: String }
/// impl Key for Plane {}
///
/// assert_eq!("hadoop".to_owned().key_hash(), -1224864731); // what Java's "hadoop".hashCode() says
/// ```
pub trait Key: Data + Eq + Hash + Ord {
    /// The hash from which the key group follows.
    fn key_hash(&self) -> i32 {
        let mut hasher = KeyHasher::default();
        self.hash(&mut hasher);
        java_long_hash(hasher.finish())
    }
}

/// A hasher with a fixed key and a fixed definition: FxHash over little-endian 64-bit words.
///
/// The definition is ours to keep, unlike that of a hashing crate, because kept state depends on it.
#[derive(Debug, Default, Clone)]
pub struct KeyHasher {
    state: u64,
}

impl KeyHasher {
    fn add(&mut self, word: u64) {
        self.state = (self.state.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    // The provided methods would hash the machine's own byte order and word size.
    fn write_u8(&mut self, value: u8) {
        self.add(u64::from(value));
    }
    fn write_u16(&mut self, value: u16) {
        self.add(u64::from(value));
    }
    fn write_u32(&mut self, value: u32) {
        self.add(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }
    fn write_u128(&mut self, value: u128) {
        self.add(value as u64);
        self.add((value >> 64) as u64);
    }
    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

/// Java's `Long.hashCode`: the halves, folded.
#[inline]
fn java_long_hash(value: u64) -> i32 {
    (value ^ (value >> 32)) as i32
}

macro_rules! integer_keys {
    ($($integer:ty),*; $long:ty => $hash:expr) => {$(
        impl Key for $integer {
            #[inline]
            fn key_hash(&self) -> i32 {
                let hash: fn($long) -> i32 = $hash;
                hash(<$long>::from(*self))
            }
        }
    )*};
}

// As Java's Byte, Short, Integer and Character: the value itself.
integer_keys!(i8, i16, i32, u8, u16; i32 => |value| value);
// As Java's Long; what does not fit a Java integer is a long there as well.
integer_keys!(i64; i64 => |value| java_long_hash(value as u64));
integer_keys!(u32, u64; u64 => java_long_hash);

impl Key for char {
    fn key_hash(&self) -> i32 {
        *self as i32
    }
}

impl Key for Timestamp {
    fn key_hash(&self) -> i32 {
        self.0.key_hash()
    }
}

impl Key for bool {
    fn key_hash(&self) -> i32 {
        if *self { 1231 } else { 1237 }
    }
}

impl Key for () {
    fn key_hash(&self) -> i32 {
        0
    }
}

impl Key for String {
    fn key_hash(&self) -> i32 {
        if self.is_ascii() {
            self.bytes().fold(0, |hash, byte| join(hash, i32::from(byte)))
        } else {
            self.encode_utf16().fold(0, |hash, unit| join(hash, i32::from(unit)))
        }
    }
}

impl<K: Key> Key for Option<K> {
    fn key_hash(&self) -> i32 {
        self.as_ref().map_or(0, Key::key_hash)
    }
}

impl<K: Key> Key for Vec<K> {
    fn key_hash(&self) -> i32 {
        self.iter().fold(1, |hash, element| join(hash, element.key_hash()))
    }
}

/// The step of all of Java's composed hashes.
#[inline]
fn join(hash: i32, next: i32) -> i32 {
    hash.wrapping_mul(31).wrapping_add(next)
}

macro_rules! tuple_keys {
    ($(($first:ident $(, $rest:ident)*)),*) => {$(
        impl<$first: Key $(, $rest: Key)*> Key for ($first, $($rest,)*) {
            #[expect(non_snake_case, reason = "the type parameters name the fields as well")]
            fn key_hash(&self) -> i32 {
                let ($first, $($rest,)*) = self;
                let hash = $first.key_hash();
                $(let hash = join(hash, $rest.key_hash());)*
                hash
            }
        }
    )*};
}

// As Flink's Tuple1 to Tuple6: the first field's hash is the start, not 31 plus it.
tuple_keys!((A), (A, B), (A, B, C), (A, B, C, D), (A, B, C, D, E), (A, B, C, D, E, F));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_hash_as_in_java() {
        for (string, hash) in
            [("", 0), ("a", 97), ("hadoop", -1_224_864_731), ("hive", 3_202_928), ("é€😀", 16_752_006)]
        {
            assert_eq!(string.to_owned().key_hash(), hash, "{string:?}");
        }
    }

    #[test]
    fn numbers_hash_as_in_java() {
        assert_eq!((-7_i32).key_hash(), -7);
        assert_eq!((-1_i64).key_hash(), 0);
        assert_eq!(0x1_0000_0002_i64.key_hash(), 3);
        assert_eq!(u32::MAX.key_hash(), -1);
        assert_eq!(u64::MAX.key_hash(), 0);
        assert_eq!(true.key_hash(), 1231);
        assert_eq!(false.key_hash(), 1237);
    }

    #[test]
    fn composed_keys_hash_as_in_java() {
        assert_eq!((7_i32,).key_hash(), 7);
        assert_eq!((1_i32, 2_i32).key_hash(), 33);
        assert_eq!((1_i32, 2_i32, 3_i32).key_hash(), 1026);
        assert_eq!(vec![1_i32, 2].key_hash(), 994);
        assert_eq!(None::<i32>.key_hash(), 0);
        assert_eq!(Some(5_i32).key_hash(), 5);
    }

    #[test]
    fn the_default_hash_of_a_type_is_pinned() {
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        struct Plane {
            carrier: u16,
            tail_number: u64,
        }
        impl Key for Plane {}
        let plane = Plane { carrier: 3, tail_number: 14_228 };
        let by_hand = {
            let first = 3_u64.wrapping_mul(0x517c_c1b7_2722_0a95);
            let second = (first.rotate_left(5) ^ 14_228).wrapping_mul(0x517c_c1b7_2722_0a95);
            (second ^ (second >> 32)) as i32
        };
        assert_eq!(plane.key_hash(), by_hand);
    }
}
