//! The numbers that order rules (reference section 1.8): the first is 1000, an appended rule gets the maximum plus 1000
//! plus a small random step. Draws no random number itself: the caller passes it in.

/// The precedence of the first rule of a hook.
pub const FIRST: i64 = 1_000;
/// The distance between neighbours after a reorder.
pub const STEP: i64 = 1_000;
/// The largest precedence the API accepts; leaves room to append.
pub const MAX: i64 = i32::MAX as i64;

/// Why a precedence could not be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrecedenceError {
    /// Appending would exceed [`MAX`].
    #[error("no precedence is left above {0}: reorder the rules first")]
    Exhausted(i64),
    /// A reorder did not name every rule exactly once.
    #[error("a reorder names every rule exactly once: {0}")]
    NotAPermutation(String),
}

/// Returns the precedence of a rule added at the bottom. `random` is any number; it is reduced to 1 to 100.
///
/// # Errors
/// If the number would exceed [`MAX`].
pub fn append(existing: impl IntoIterator<Item = i64>, random: u64) -> Result<i64, PrecedenceError> {
    let Some(maximum) = existing.into_iter().max() else {
        return Ok(FIRST);
    };
    let jitter = i64::try_from(random % 100).unwrap_or(0) + 1;
    let next = maximum.saturating_add(STEP).saturating_add(jitter);
    if next > MAX { Err(PrecedenceError::Exhausted(maximum)) } else { Ok(next.max(FIRST)) }
}

/// Returns the new precedence of each rule for the wanted `order`, changing only as few numbers as that order needs:
/// numbers that already ascend stay, the rest are renumbered in steps. The result is in the order given.
///
/// # Errors
/// If `order` does not name every rule of `current` exactly once.
pub fn reorder<Id: Copy + Eq + Ord + std::fmt::Display>(
    current: &[(Id, i64)],
    order: &[Id],
) -> Result<Vec<(Id, i64)>, PrecedenceError> {
    let known: std::collections::BTreeMap<Id, i64> = current.iter().copied().collect();
    let mut seen = std::collections::BTreeSet::new();
    let mut numbers = Vec::with_capacity(order.len());
    for id in order {
        let number = known.get(id).ok_or_else(|| PrecedenceError::NotAPermutation(format!("{id} is not a rule")))?;
        if !seen.insert(*id) {
            return Err(PrecedenceError::NotAPermutation(format!("{id} stands twice")));
        }
        numbers.push(*number);
    }
    if let Some((missing, _)) = known.iter().find(|(id, _)| !seen.contains(id)) {
        return Err(PrecedenceError::NotAPermutation(format!("{missing} is missing")));
    }
    if numbers.windows(2).all(|pair| pair[0] < pair[1]) {
        return Ok(order.iter().copied().zip(numbers).collect());
    }
    // The same numbers in ascending order keep what outside tools know about the range; duplicates are spread.
    numbers.sort_unstable();
    if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
        numbers = (1..).map(|index| index * STEP).take(order.len()).collect();
    }
    Ok(order.iter().copied().zip(numbers).collect())
}

#[cfg(test)]
mod tests {
    use super::{MAX, append, reorder};

    #[test]
    fn the_first_rule_is_1000_and_the_next_follows_the_maximum() {
        assert_eq!(append([], 7), Ok(1_000));
        assert_eq!(append([1_000], 0), Ok(2_001));
        assert_eq!(append([1_000, 5_300], 99), Ok(6_400));
        assert_eq!(append([5], 199), Ok(1_105));
        assert_eq!(append([-5_000], 1), Ok(1_000));
        assert!(append([MAX], 0).is_err());
    }

    #[test]
    fn a_reorder_reuses_the_numbers_in_the_new_order() {
        let current = [('a', 10), ('b', 20), ('c', 30)];
        assert_eq!(reorder(&current, &['c', 'a', 'b']).unwrap(), [('c', 10), ('a', 20), ('b', 30)]);
        assert_eq!(reorder(&current, &['a', 'b', 'c']).unwrap(), current);
        let clash = [('a', 10), ('b', 10)];
        assert_eq!(reorder(&clash, &['b', 'a']).unwrap(), [('b', 1_000), ('a', 2_000)]);
    }

    #[test]
    fn a_reorder_that_is_no_permutation_is_refused() {
        let current = [('a', 10), ('b', 20)];
        for order in [vec!['a'], vec!['a', 'a'], vec!['a', 'b', 'c'], vec![]] {
            assert!(reorder(&current, &order).is_err(), "{order:?}");
        }
    }
}
