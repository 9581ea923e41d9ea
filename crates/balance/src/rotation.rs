//! Whose turn it is to be named first, where several members are named at a time: in answers of the DNS.

/// Orders of members that follow each other, so that each is the first as often as its weight says, evenly
/// spread. The choice is made beforehand: who looks an order up changes nothing.
///
/// ```
/// let rotation = balance::Rotation::new(&[200, 100], 2);
/// let firsts: Vec<u16> = (0..6).map(|turn| rotation.order(turn)[0]).collect();
/// assert_eq!(firsts, [0, 1, 0, 0, 1, 0]);
/// assert_eq!(rotation.order(0), [0, 1]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    orders: Vec<Vec<u16>>,
}

impl Rotation {
    /// For members with these weights, named by their places among them. Who has the weight 0 is not named.
    /// An order has `count_max` members at most.
    pub fn new(weights: &[u32], count_max: usize) -> Self {
        let firsts = turns(&reduced(weights));
        let named = weights.iter().filter(|&&weight| weight > 0).count();
        let count = named.min(count_max);
        let order = |start: usize| {
            let mut order: Vec<u16> = Vec::with_capacity(count);
            for &place in firsts.iter().cycle().skip(start).take(firsts.len()) {
                if order.len() == count {
                    break;
                }
                if !order.contains(&place) {
                    order.push(place);
                }
            }
            order
        };
        Self {
            orders: (0..firsts.len()).map(order).collect(),
        }
    }

    /// The members to name at that turn, the first one first. Empty where there is none.
    pub fn order(&self, turn: usize) -> &[u16] {
        let place = turn.checked_rem(self.orders.len());
        place.map_or(&[], |place| &self.orders[place])
    }
}

/// The same proportions in numbers as small as can be, so that they add up to [`TURNS_MAX`] at most.
fn reduced(weights: &[u32]) -> Vec<u32> {
    let weights = &weights[..weights.len().min(MEMBERS_MAX)];
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor);
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    if divisor == 0 || sum / u64::from(divisor) <= TURNS_MAX {
        return weights
            .iter()
            .map(|weight| weight / divisor.max(1))
            .collect();
    }
    // Who has any weight at all keeps a turn.
    let scaled = |weight: u32| {
        let turns = (u64::from(weight) * TURNS_MAX / sum).max(u64::from(weight > 0));
        u32::try_from(turns).unwrap_or(u32::MAX)
    };
    weights.iter().map(|&weight| scaled(weight)).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        _ => greatest_common_divisor(b, a % b),
    }
}

/// A round of turns: each saves its weight, and the richest pays what all have saved (nginx's smooth
/// weighted round robin).
fn turns(weights: &[u32]) -> Vec<u16> {
    let sum: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
    let mut credits = vec![0; weights.len()];
    let mut turns = Vec::new();
    for _ in 0..sum {
        for (credit, weight) in credits.iter_mut().zip(weights) {
            *credit += i64::from(*weight);
        }
        let places = (0_u16..).zip(&credits);
        let richest = places.reduce(|best, next| if next.1 > best.1 { next } else { best });
        let Some((place, _)) = richest else { break };
        credits[usize::from(place)] -= sum;
        turns.push(place);
    }
    turns
}

/// More members than that have no turn: an answer names a few.
const MEMBERS_MAX: usize = 1024;
/// Orders that are kept at most, but for those that give everybody a turn.
const TURNS_MAX: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn firsts(weights: &[u32]) -> Vec<u16> {
        let rotation = Rotation::new(weights, 8);
        (0..rotation.orders.len())
            .map(|turn| rotation.order(turn)[0])
            .collect()
    }

    #[test]
    fn equals_take_turns() {
        assert_eq!(firsts(&[100, 100, 100]), [0, 1, 2]);
        let rotation = Rotation::new(&[7, 7, 7], 2);
        assert_eq!(rotation.order(1), [1, 2]);
        assert_eq!(rotation.order(5), [2, 0]);
    }

    #[test]
    fn weights_are_kept_to_and_none_means_never() {
        let firsts = firsts(&[300, 0, 100]);
        assert_eq!(firsts, [0, 0, 2, 0]);
        assert_eq!(Rotation::new(&[300, 0, 100], 8).order(0), [0, 2]);
    }

    #[test]
    fn odd_weights_are_bounded_and_nobody_is_lost() {
        let rotation = Rotation::new(&[1000, 999, 1], 8);
        assert!(rotation.orders.len() <= 1026, "{}", rotation.orders.len());
        let ones = (0..rotation.orders.len()).filter(|&turn| rotation.order(turn)[0] == 2);
        assert_eq!(ones.count(), 1);
        assert!(rotation.orders.iter().all(|order| order.len() == 3));
    }

    #[test]
    fn nobody_is_nobody() {
        assert!(Rotation::new(&[], 8).order(3).is_empty());
        assert!(Rotation::new(&[0, 0], 8).order(3).is_empty());
    }
}
