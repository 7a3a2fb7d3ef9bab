//! The data representation `external32` (MPI-4.1, 14.5.2): big end first, IEEE 754, sizes of its own.
//!
//! An integer that is shorter in a file than in memory loses its highest bytes there and gets them back from its sign. The
//! `long double` of x86-64 has 80 bits; in a file it has 128, so it survives the way there and back. The other way round it
//! is rounded to the nearest.

use crate::element::{External, Form};

/// Bits of a fraction that a `long double` of x86-64 lacks.
const MISSING_BITS: u32 = 49;
const INTEGER_BIT: u64 = 1 << 63;
const SPECIAL: u16 = 0x7fff;

/// Values of memory as a file has them. Both lengths are those of the same number of values.
pub(crate) fn write(external: External, unit_bytes: usize, memory: &[u8], file: &mut [u8]) {
    let units = memory.chunks_exact(unit_bytes).zip(file.chunks_exact_mut(length(external)));
    if unit_bytes == length(external) && !is_extended(external) {
        return units.for_each(|(from, to)| turned(from, to));
    }
    for (from, to) in units {
        match external.form {
            Form::Long => to.copy_from_slice(&quadruple(from).to_be_bytes()),
            _ => {
                let mut wide = widened(from.iter().copied(), from.last(), external.form);
                wide.reverse();
                to.copy_from_slice(&wide[wide.len() - to.len()..]);
            }
        }
    }
}

/// Values of a file as memory has them.
pub(crate) fn read(external: External, unit_bytes: usize, file: &[u8], memory: &mut [u8]) {
    let units = file.chunks_exact(length(external)).zip(memory.chunks_exact_mut(unit_bytes));
    if unit_bytes == length(external) && !is_extended(external) {
        return units.for_each(|(from, to)| turned(from, to));
    }
    for (from, to) in units {
        match external.form {
            Form::Long => extended(u128::from_be_bytes(from.try_into().expect("16 bytes")), to),
            _ => {
                let wide = widened(from.iter().rev().copied(), from.first(), external.form);
                to.copy_from_slice(&wide[..to.len()]);
            }
        }
    }
}

fn length(external: External) -> usize {
    usize::try_from(external.unit_bytes).expect("at most 16")
}

fn is_extended(external: External) -> bool {
    external.form == Form::Long && cfg!(target_arch = "x86_64")
}

/// From one end first to the other. This machine has its little end first.
fn turned(from: &[u8], to: &mut [u8]) {
    match from.len() {
        1 => to.copy_from_slice(from),
        4 => to.copy_from_slice(&u32::from_le_bytes(from.try_into().expect("4 bytes")).to_be_bytes()),
        8 => to.copy_from_slice(&u64::from_le_bytes(from.try_into().expect("8 bytes")).to_be_bytes()),
        _ => {
            to.copy_from_slice(from);
            to.reverse();
        }
    }
}

/// An integer, little end first, with 16 bytes; `highest` has its sign.
fn widened(bytes: impl Iterator<Item = u8>, highest: Option<&u8>, form: Form) -> [u8; 16] {
    let is_negative = form == Form::Signed && highest.is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if is_negative { 0xff } else { 0 }; 16];
    wide.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
    wide
}

/// A `long double` of x86-64 (sign and exponent in 16 bits, a fraction of 64 with its first bit written) with 128 bits.
fn quadruple(extended: &[u8]) -> u128 {
    let fraction = u64::from_le_bytes(*extended.first_chunk().expect("16 bytes"));
    let top = u16::from_le_bytes([extended[8], extended[9]]);
    // A number below the smallest normal one whose first bit is written all the same.
    let exponent = if top & SPECIAL == 0 && fraction & INTEGER_BIT != 0 { top | 1 } else { top };
    u128::from(exponent) << 112 | u128::from(fraction & !INTEGER_BIT) << MISSING_BITS
}

fn extended(quadruple: u128, to: &mut [u8]) {
    let mut top = u16::try_from(quadruple >> 112).expect("16 bits are left");
    let long = quadruple & ((1 << 112) - 1);
    let mut fraction = u64::try_from(long >> MISSING_BITS).expect("63 bits are left");
    let (rest, half) = (long & ((1 << MISSING_BITS) - 1), 1 << (MISSING_BITS - 1));
    if top & SPECIAL == SPECIAL {
        // No number stays none, whatever bits are lost.
        fraction |= u64::from(rest != 0) << 62;
    } else if rest > half || rest == half && fraction & 1 == 1 {
        fraction += 1;
        if fraction == INTEGER_BIT {
            (top, fraction) = (top + 1, 0);
        }
    }
    fraction |= if top & SPECIAL == 0 { 0 } else { INTEGER_BIT };
    to.fill(0);
    to[..8].copy_from_slice(&fraction.to_le_bytes());
    to[8..10].copy_from_slice(&top.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(form: Form, unit_bytes: u64) -> External {
        External { form, units: 1, unit_bytes }
    }

    fn there_and_back(external: External, memory: &[u8], file: &[u8]) {
        let mut written = vec![0; file.len()];
        write(external, memory.len(), memory, &mut written);
        assert_eq!(written, file);
        let mut read_back = vec![0xaa; memory.len()];
        read(external, memory.len(), file, &mut read_back);
        assert_eq!(read_back, memory);
    }

    #[test]
    fn the_big_end_comes_first() {
        there_and_back(external(Form::Float, 8), &1.5f64.to_le_bytes(), &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
        there_and_back(external(Form::Signed, 2), &[1, 2], &[2, 1]);
        there_and_back(external(Form::Unsigned, 1), &[200], &[200]);
    }

    #[test]
    fn integers_are_cut_and_get_their_sign_back() {
        there_and_back(external(Form::Signed, 4), &(-2i64).to_le_bytes(), &[0xff, 0xff, 0xff, 0xfe]);
        there_and_back(external(Form::Unsigned, 4), &0xffff_fffeu64.to_le_bytes(), &[0xff, 0xff, 0xff, 0xfe]);
        there_and_back(external(Form::Unsigned, 2), &0x263au32.to_le_bytes(), &[0x26, 0x3a]);
        let mut file = [0; 4];
        write(external(Form::Signed, 4), 8, &0x1_2345_6789i64.to_le_bytes(), &mut file);
        assert_eq!(file, [0x23, 0x45, 0x67, 0x89], "what does not fit is cut");
    }

    /// Sign, exponent and fraction of an x86-64 `long double`.
    fn long_double(top: u16, fraction: u64) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&fraction.to_le_bytes());
        bytes[8..10].copy_from_slice(&top.to_le_bytes());
        bytes
    }

    #[test]
    fn long_doubles_survive() {
        let external = external(Form::Long, 16);
        let one = [&[0x3f, 0xff][..], &[0; 14]].concat();
        there_and_back(external, &long_double(0x3fff, INTEGER_BIT), &one);
        let third = [&[0xbf, 0xfd][..], &[0x55; 7], &[0x56], &[0; 6]].concat();
        there_and_back(external, &long_double(0xbffd, 0xaaaa_aaaa_aaaa_aaab), &third);
        for (top, fraction) in [(0, 0), (0x8000, 0), (0, 5), (0x7fff, INTEGER_BIT), (0xffff, INTEGER_BIT | 1 << 62)] {
            let mut file = [0; 16];
            let memory = long_double(top, fraction);
            write(external, 16, &memory, &mut file);
            there_and_back(external, &memory, &file);
        }
    }

    #[test]
    fn a_longer_fraction_is_rounded() {
        let read_one = |low: u128, exponent: u128| {
            let mut memory = [0xaa; 16];
            read(external(Form::Long, 16), 16, &(exponent << 112 | low).to_be_bytes(), &mut memory);
            memory
        };
        let half = 1 << (MISSING_BITS - 1);
        assert_eq!(read_one(half, 0x3fff), long_double(0x3fff, INTEGER_BIT), "to the even one");
        assert_eq!(read_one(half + 1, 0x3fff), long_double(0x3fff, INTEGER_BIT | 1));
        assert_eq!(read_one((1 << 112) - 1, 0x3fff), long_double(0x4000, INTEGER_BIT));
        assert_eq!(read_one(1, 0x7fff), long_double(0x7fff, INTEGER_BIT | 1 << 62), "still not a number");
    }
}
