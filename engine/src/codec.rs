//! The one encoding of everything that leaves a process or is kept: compact, self-contained, and equal for equal values.
//!
//! It is [postcard](https://docs.rs/postcard); what must be found again after a change of the type carries a
//! version of its own (state descriptors, frames, metadata).

use serde::{Serialize, de::DeserializeOwned};

/// What may travel between tasks and be kept in state: owned, cloneable, and serializable.
pub trait Data: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {}

impl<T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Data for T {}

/// Why bytes could not be turned into a value.
#[derive(Debug, thiserror::Error)]
#[error("cannot decode {what}: {reason}")]
pub struct DecodeError {
    /// The Rust type that was expected.
    pub what: &'static str,
    /// What the decoder said.
    pub reason: String,
}

/// Encodes a value.
///
/// # Panics
/// Only if the value's own `Serialize` fails, which is a defect of that type.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Keys, windows and small values fit at once.
    encode_into(value, Vec::with_capacity(16))
}

/// Appends the encoding of a value to `bytes`.
pub fn encode_into<T: Serialize + ?Sized>(value: &T, bytes: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(value, bytes).expect("a value with a correct Serialize always encodes to memory")
}

/// Decodes a value and insists that nothing is left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes::<T>(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(decode_error::<T>(format!("{} bytes left over", rest.len()))),
        Err(error) => Err(decode_error::<T>(error.to_string())),
    }
}

/// Decodes a value at the beginning of the bytes; returns it and the rest.
///
/// # Errors
/// If they do not begin with one.
pub fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    postcard::take_from_bytes(bytes).map_err(|error| decode_error::<T>(error.to_string()))
}

fn decode_error<T>(reason: String) -> DecodeError {
    DecodeError { what: std::any::type_name::<T>(), reason }
}
