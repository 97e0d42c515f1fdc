//! The one sort of this program: a sort of the standard library is compiled anew for each type of item and
//! of key, 3 to 8 KB each time, and there were forty of them. Here one sort of positions serves all.

use std::cmp::Ordering;

/// Sorts by a key that each item is asked for once. Items with equal keys keep their order.
pub fn by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    let keys: Vec<K> = items.iter().map(key).collect();
    let order = positions(keys.len(), &|one, other| keys[one].cmp(&keys[other]));
    arrange(order, &mut |one, other| items.swap(one, other));
}

/// Sorts by what `compare` says of two items. Equal items keep their order.
pub fn by<T>(items: &mut [T], compare: &dyn Fn(&T, &T) -> Ordering) {
    let order = positions(items.len(), &|one, other| {
        compare(&items[one], &items[other])
    });
    arrange(order, &mut |one, other| items.swap(one, other));
}

/// Sorts by the items' own order.
pub fn ascending<T: Ord>(items: &mut [T]) {
    by(items, &T::cmp);
}

/// The positions `0..count`, in the order of what is at them.
fn positions(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..count).collect();
    positions.sort_by(|one, other| compare(*one, *other));
    positions
}

/// Moves to each place what was at the position named there, by swapping.
fn arrange(mut positions: Vec<usize>, swap: &mut dyn FnMut(usize, usize)) {
    for place in 0..positions.len() {
        let mut from = positions[place];
        // What was at an earlier place was swapped away when that place was filled.
        while from < place {
            from = positions[from];
        }
        positions[place] = from;
        swap(place, from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_as_the_standard_library_does() {
        // A linear congruential generator (Knuth's MMIX): few keys, so that many are equal.
        let mut state = 42_u64;
        for count in 0..200 {
            let mut random = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % 20
            };
            let items: Vec<(u64, usize)> = (0..count).map(|at| (random(), at)).collect();
            let (mut ours, mut expected) = (items.clone(), items.clone());
            by_key(&mut ours, |(key, _)| *key);
            expected.sort_by_key(|(key, _)| *key);
            assert_eq!(ours, expected);
            let (mut ours, mut expected) = (items.clone(), items);
            by_key(&mut ours, |(_, at)| std::cmp::Reverse(*at));
            ascending(&mut ours);
            expected.sort();
            assert_eq!(ours, expected);
        }
    }
}
