//! Durations as text, in the grammar of Flink's options: a whole number and a unit (`"500 ms"`, `"10min"`); a
//! number alone is milliseconds.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration: expected a whole number and a unit (ms, s, min, h, d), such as \"500 ms\"")]
pub struct DurationError {
    text: String,
}

/// Reads a duration.
///
/// # Errors
/// If the text is not a whole number with a known unit, or does not fit into 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError { text: text.to_owned() };
    let trimmed = text.trim();
    let digits_end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(digits_end);
    let number: u64 = digits.parse().map_err(|_| error())?;
    let unit_ms = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return Err(error()),
    };
    let total_ms = number.checked_mul(unit_ms).filter(|total| i64::try_from(*total).is_ok()).ok_or_else(error)?;
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration with the largest unit that divides it. Less than a millisecond is cut off.
pub fn format_duration(duration: Duration) -> String {
    let total_ms = duration.as_millis();
    for (unit_ms, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")] {
        if total_ms > 0 && total_ms.is_multiple_of(unit_ms) {
            return format!("{} {unit}", total_ms / unit_ms);
        }
    }
    format!("{total_ms} ms")
}

/// For `#[serde(with = "duration")]`.
pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}

/// For `#[serde(with = "duration")]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// For `#[serde(default, skip_serializing_if = "Option::is_none", with = "duration::optional")]`.
pub(crate) mod optional {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_and_plain_milliseconds_are_read() {
        let cases = [
            ("500 ms", 500),
            ("500ms", 500),
            ("1 s", 1_000),
            ("10 min", 600_000),
            ("2m", 120_000),
            ("15 h", 54_000_000),
            ("1 d", 86_400_000),
            (" 42 ", 42),
            ("0", 0),
        ];
        for (text, total_ms) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(total_ms)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "ms", "-1 s", "1.5 s", "1 week", "1 s 5 ms", "99999999999999999999", "9223372036854775807 d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(total_ms in prop_oneof![0_u64..100_000, 0..=i64::MAX as u64]) {
            let duration = Duration::from_millis(total_ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
