//! MPI's predefined datatypes, one value at a time: what it is called, and its form in `external32`.
//!
//! MPIs give handles different types and values, so a type is known by its name. The sizes are those of MPI-4.1, 14.5.2;
//! a value of more than one unit (a complex number) is its units one after the other.

use crate::datatype::size;
use crate::error::{Error, ErrorClass};
use crate::pending::error_text;
use mpi::ffi::{self, MPI_Datatype};
use std::ffi::c_char;
use std::os::raw::{c_int, c_long, c_short};

/// A predefined datatype, or one of the two parts of a pair such as `MPI_DOUBLE_INT`.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// Of a part, the pair.
    datatype: MPI_Datatype,
    bytes: u64,
    name: Name,
    is_part: bool,
}

// SAFETY: the handle is of a predefined datatype, which is there for all threads until MPI ends.
unsafe impl Send for Element {}
// SAFETY: as above.
unsafe impl Sync for Element {}

/// What MPI calls a predefined datatype: its place among the known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Known(usize),
    Other,
}

/// How a unit is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// An integer with a sign, in two's complement.
    Signed,
    /// Any other integer, a character, a truth value, a byte.
    Unsigned,
    /// A number of IEEE 754 as it is in memory.
    Float,
    /// A number that has more than 64 bits.
    Long,
}

/// A datatype in `external32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct External {
    pub(crate) form: Form,
    /// Units of a value.
    pub(crate) units: u64,
    /// Bytes of a unit.
    pub(crate) unit_bytes: u64,
}

macro_rules! externals {
    ($($form:ident $units:literal * $bytes:literal: $($name:literal)+;)*) => {
        &[$($(($name, External { form: Form::$form, units: $units, unit_bytes: $bytes }),)+)*]
    };
}

/// Names without their `MPI_`.
const EXTERNALS: &[(&str, External)] = externals! {
    Unsigned 1 * 1: "BYTE" "PACKED" "CHAR" "UNSIGNED_CHAR" "UINT8_T" "C_BOOL" "CXX_BOOL" "CHARACTER";
    Signed 1 * 1: "SIGNED_CHAR" "INT8_T" "INTEGER1";
    Unsigned 1 * 2: "WCHAR" "UNSIGNED_SHORT" "UINT16_T";
    Signed 1 * 2: "SHORT" "INT16_T" "INTEGER2";
    Unsigned 1 * 4: "UNSIGNED" "UNSIGNED_LONG" "UINT32_T" "LOGICAL";
    Signed 1 * 4: "INT" "LONG" "INT32_T" "INTEGER" "INTEGER4";
    Unsigned 1 * 8: "UNSIGNED_LONG_LONG" "UINT64_T";
    Signed 1 * 8: "LONG_LONG_INT" "LONG_LONG" "INT64_T" "INTEGER8" "AINT" "COUNT" "OFFSET";
    Signed 1 * 16: "INTEGER16";
    Float 1 * 2: "REAL2";
    Float 1 * 4: "FLOAT" "REAL" "REAL4";
    Float 1 * 8: "DOUBLE" "DOUBLE_PRECISION" "REAL8";
    Long 1 * 16: "LONG_DOUBLE" "REAL16";
    Float 2 * 2: "COMPLEX4";
    Float 2 * 4: "C_COMPLEX" "C_FLOAT_COMPLEX" "CXX_FLOAT_COMPLEX" "COMPLEX" "COMPLEX8";
    Float 2 * 8: "C_DOUBLE_COMPLEX" "CXX_DOUBLE_COMPLEX" "DOUBLE_COMPLEX" "COMPLEX16";
    Long 2 * 16: "C_LONG_DOUBLE_COMPLEX" "CXX_LONG_DOUBLE_COMPLEX" "COMPLEX32";
};

/// Pairs of a value and its place: names, and the names of both parts with their bytes in memory.
const PAIRS: &[(&str, [(&str, usize); 2])] = &[
    ("FLOAT_INT", [("FLOAT", size_of::<f32>()), ("INT", size_of::<c_int>())]),
    ("DOUBLE_INT", [("DOUBLE", size_of::<f64>()), ("INT", size_of::<c_int>())]),
    ("LONG_INT", [("LONG", size_of::<c_long>()), ("INT", size_of::<c_int>())]),
    ("SHORT_INT", [("SHORT", size_of::<c_short>()), ("INT", size_of::<c_int>())]),
    ("LONG_DOUBLE_INT", [("LONG_DOUBLE", 16), ("INT", size_of::<c_int>())]),
    ("2INT", [("INT", size_of::<c_int>()), ("INT", size_of::<c_int>())]),
    ("2INTEGER", [("INTEGER", 4), ("INTEGER", 4)]),
    ("2REAL", [("REAL", 4), ("REAL", 4)]),
    ("2DOUBLE_PRECISION", [("DOUBLE_PRECISION", 8), ("DOUBLE_PRECISION", 8)]),
];

impl Element {
    /// The values of a predefined datatype, which is alive: one, or the two of a pair.
    pub(crate) fn all_of(datatype: MPI_Datatype) -> Result<Vec<Element>, Error> {
        let (bytes, name) = (size(datatype)?, name(datatype)?);
        let name = name.strip_prefix("MPI_").unwrap_or(&name);
        let Some((_, pair)) = PAIRS.iter().find(|(known, _)| *known == name) else {
            let name = known(name).map_or(Name::Other, Name::Known);
            return Ok(vec![Element { datatype, bytes, name, is_part: false }]);
        };
        let part = |&(name, bytes): &(&str, usize)| {
            let name = Name::Known(known(name).expect("parts of pairs are listed"));
            Element { datatype, bytes: bytes as u64, name, is_part: true }
        };
        let parts: Vec<Element> = pair.iter().map(part).collect();
        if parts.iter().map(Element::bytes).sum::<u64>() != bytes {
            return Err(Error::new(ErrorClass::Type, format!("the pair MPI_{name} has an unusual size")));
        }
        Ok(parts)
    }

    /// MPI's handle of the datatype; none for a part of a pair.
    pub fn as_raw(&self) -> Option<MPI_Datatype> {
        (!self.is_part).then_some(self.datatype)
    }

    /// Bytes of a value in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// MPI's name of the datatype.
    pub fn name(&self) -> Result<String, Error> {
        match self.name {
            Name::Known(known) => Ok(format!("MPI_{}", EXTERNALS[known].0)),
            Name::Other => name(self.datatype),
        }
    }

    /// The form in `external32`.
    pub(crate) fn external(&self) -> Result<External, Error> {
        let refused = |why: &str| {
            let name = self.name()?;
            Err(Error::new(ErrorClass::Type, format!("the data representation external32 {why} {name}")))
        };
        let Name::Known(known) = self.name else { return refused("has no form for the datatype") };
        let (_, external) = EXTERNALS[known];
        let unit = self.bytes / external.units;
        let fits = match external.form {
            Form::Float => unit == external.unit_bytes,
            Form::Long => unit == 16,
            Form::Signed | Form::Unsigned => (1..=16).contains(&unit),
        };
        if fits { Ok(external) } else { refused("can not be made of this machine's form of") }
    }
}

fn check(code: c_int) -> Result<(), Error> {
    let Some(text) = error_text(code) else { return Ok(()) };
    Err(Error::new(ErrorClass::Type, format!("MPI does not know a predefined datatype: {text}")))
}

/// The place of a name without its `MPI_` in the list.
fn known(name: &str) -> Option<usize> {
    EXTERNALS.iter().position(|(known, _)| *known == name)
}

fn name(datatype: MPI_Datatype) -> Result<String, Error> {
    let mut text = [0; ffi::MPI_MAX_OBJECT_NAME as usize + 1];
    let mut length: c_int = 0;
    // SAFETY: the datatype is alive, and the text has the room that MPI asks for.
    check(unsafe { ffi::MPI_Type_get_name(datatype, text.as_mut_ptr(), &mut length) })?;
    let bytes = text.iter().map(|&byte: &c_char| byte.to_ne_bytes()[0]);
    let bytes: Vec<u8> = bytes.take(usize::try_from(length).unwrap_or_default()).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_form() {
        for (at, (name, external)) in EXTERNALS.iter().enumerate() {
            assert!(EXTERNALS[..at].iter().all(|(other, _)| other != name), "{name}");
            assert!(external.unit_bytes.is_power_of_two() && external.unit_bytes <= 16, "{name}");
            assert_eq!(external.form == Form::Long, external.unit_bytes == 16 && *name != "INTEGER16", "{name}");
        }
    }
}
