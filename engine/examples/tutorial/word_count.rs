//! 1.1: counts words; each word gives its count so far. The state of a running sum is the engine's business.

use tidegate::Result;

use crate::harness::{self, Printed};

type Count = (String, u64);

/// Counts the words of some lines.
pub fn word_count(lines: &[&str], parallelism: u32) -> Result<Vec<(u32, Count)>> {
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    harness::run(lines, harness::timeless, move |lines| {
        lines
            .flat_map(|line: String, out| {
                line.split_whitespace().for_each(|word| out.collect((word.to_owned(), 1)));
                Ok(())
            })
            .key_by(|(word, _): &Count| word.clone())
            .reduce(|sum: &mut Count, next| sum.1 += next.1)
            .set_parallelism(parallelism)
    })
}

pub fn printed() -> Result<Vec<Printed>> {
    let counts = word_count(&["hadoop hadoop", "hadoop", "hive hadoop"], 8)?;
    Ok(harness::printed(counts, |(word, count)| format!("({word},{count})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The subtasks that print are those of Flink's hash: the tutorial's own `8>` and `1>` come out.
    #[test]
    fn each_word_gives_its_count_so_far_where_flink_would_print_it() {
        let lines: Vec<String> = printed().unwrap().iter().map(Printed::to_string).collect();
        let of = |word: &str| lines.iter().filter(|line| line.contains(word)).cloned().collect::<Vec<_>>();
        assert_eq!(of("hadoop"), ["8> (hadoop,1)", "8> (hadoop,2)", "8> (hadoop,3)", "8> (hadoop,4)"]);
        assert_eq!(of("hive"), ["1> (hive,1)"]);
        assert_eq!(lines.len(), 5);
    }
}
