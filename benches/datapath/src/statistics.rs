//! Medians and how sure they are.

/// A median with the interval in which the true one lies with a probability of 95 % or more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Median {
    /// The median of what was seen.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// How many values it is of.
    pub count: usize,
}

impl Median {
    /// Of values in any order, of which there must be one. The interval is that of order statistics, which assumes nothing
    /// about how the values are distributed; of fewer than six it is all of them, and too narrow.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let cut = outside(sorted.len());
        let (lower, upper) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Median {
            value: f64::midpoint(lower, upper),
            low: sorted[cut],
            high: sorted[sorted.len() - 1 - cut],
            count: sorted.len(),
        }
    }

    /// Half the interval's width, as a part of the median; of the upper end if the median is 0.
    pub fn spread(&self) -> f64 {
        let of = if self.value == 0.0 { self.high } else { self.value.abs() };
        if self.high == self.low { 0.0 } else { (self.high - self.low) / 2.0 / of }
    }
}

/// How many of `count` values can be left out at each end: the most for which `count` fair coins show at most so many heads
/// with a probability of 2.5 % or less.
fn outside(count: usize) -> usize {
    let mut exactly = 0.5f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut at_most = 0.0;
    for heads in 0..count {
        at_most += exactly;
        if at_most > 0.025 {
            return heads.saturating_sub(1);
        }
        exactly *= (count - heads) as f64 / (heads + 1) as f64;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ranks of the tables: of 21 values the 6th and the 16th, of 10 the 2nd and the 9th, of 6 both ends.
    #[test]
    fn intervals_are_those_of_the_tables() {
        assert_eq!([outside(5), outside(6), outside(10), outside(21), outside(25)], [0, 0, 1, 5, 7]);
    }

    #[test]
    fn a_median_lies_in_its_interval() {
        let values: Vec<f64> = (1..=21).rev().map(f64::from).collect();
        assert_eq!(Median::of(&values), Median { value: 11.0, low: 6.0, high: 16.0, count: 21 });
        assert_eq!(Median::of(&[3.0, 1.0]), Median { value: 2.0, low: 1.0, high: 3.0, count: 2 });
        assert_eq!(Median::of(&[2.0]).spread(), 0.0);
    }
}
