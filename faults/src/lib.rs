//! What all who take part in a round of faults have in common: units of the file, records, the clock and the seeds.

pub mod clock;
pub mod random;
pub mod record;
pub mod unit;
