//! Data representations: how values that are so in memory are stored in a file (MPI-4.1, 14.5).
//!
//! `native` and `internal` store the bytes of memory as they are. `external32` is the same on every machine. Others are a
//! program's own, [registered](register_datarep) under a name.

use crate::element::Element;
use crate::error::{Error, ErrorClass};
use crate::external32;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Converts values of one predefined datatype: the bytes of the first slice become those of the second one. Each has the
/// same number of values, without gaps.
pub type ConversionFn = dyn Fn(Element, &[u8], &mut [u8]) -> Result<(), Error> + Send + Sync;

/// Bytes that a value of a predefined datatype takes in a file.
pub type FileExtentFn = dyn Fn(Element) -> Result<u64, Error> + Send + Sync;

/// Longest name of a data representation, in bytes.
pub const DATAREP_NAME_BYTES_MAX: usize = 127;

/// How a file stores values.
#[derive(Clone)]
pub(crate) enum Representation {
    /// As memory has them; with the name that was asked for.
    Native(&'static str),
    External32,
    User(Arc<UserRepresentation>),
}

/// A representation of the program's own.
pub(crate) struct UserRepresentation {
    name: String,
    read: Option<Box<ConversionFn>>,
    write: Option<Box<ConversionFn>>,
    file_extent: Box<FileExtentFn>,
}

static REGISTERED: Mutex<BTreeMap<String, Arc<UserRepresentation>>> = Mutex::new(BTreeMap::new());

/// Makes a data representation known to this process under a name that no other one has (class `DupDatarep` otherwise). It
/// stays known. Every rank registers it before a view uses it.
///
/// `read` converts values of a file to memory, `write` those of memory to a file, and `file_extent` says how many bytes a
/// value takes in a file. Without a function (MPI's `MPI_CONVERSION_FN_NULL`) the bytes are copied. The functions are called
/// for runs of values of one predefined datatype, dense on both sides, on whatever thread does the access. An error that they
/// return ends the access in the class `Conversion`.
pub fn register_datarep(
    name: &str,
    read: Option<Box<ConversionFn>>,
    write: Option<Box<ConversionFn>>,
    file_extent: Box<FileExtentFn>,
) -> Result<(), Error> {
    if name.is_empty() || name.len() > DATAREP_NAME_BYTES_MAX {
        let message = format!("the name of a data representation has 1 to {DATAREP_NAME_BYTES_MAX} bytes: {name:?}");
        return Err(Error::new(ErrorClass::Arg, message));
    }
    let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    if Representation::predefined(name).is_some() || registered.contains_key(name) {
        let message = format!("there is a data representation {name:?} already");
        return Err(Error::new(ErrorClass::DupDatarep, message));
    }
    let user = UserRepresentation { name: name.to_owned(), read, write, file_extent };
    registered.insert(name.to_owned(), Arc::new(user));
    Ok(())
}

impl Representation {
    fn predefined(name: &str) -> Option<Representation> {
        match name {
            "native" => Some(Representation::Native("native")),
            "internal" => Some(Representation::Native("internal")),
            "external32" => Some(Representation::External32),
            _ => None,
        }
    }

    /// The representation of a name.
    pub(crate) fn find(name: &str) -> Result<Representation, Error> {
        let registered = || REGISTERED.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let found = Representation::predefined(name).or_else(|| registered().map(Representation::User));
        found.ok_or_else(|| {
            let message = format!(
                "the data representation {name:?} is not known; native, internal and external32 are, and those that were \
                 registered"
            );
            Error::new(ErrorClass::UnsupportedDatarep, message)
        })
    }

    /// What it was asked for as.
    pub(crate) fn name(&self) -> &str {
        match self {
            Representation::Native(name) => name,
            Representation::External32 => "external32",
            Representation::User(user) => &user.name,
        }
    }

    /// Whether files have the bytes of memory.
    pub(crate) fn is_native(&self) -> bool {
        matches!(self, Representation::Native(_))
    }

    /// Whether a conversion can fail on one rank alone.
    pub(crate) fn can_fail(&self) -> bool {
        matches!(self, Representation::User(_))
    }

    /// Bytes of a value in a file.
    pub(crate) fn file_bytes(&self, element: Element) -> Result<u64, Error> {
        match self {
            Representation::Native(_) => Ok(element.bytes()),
            Representation::External32 => element.external().map(|external| external.units * external.unit_bytes),
            Representation::User(user) => user.file_bytes(element),
        }
    }

    /// Values of memory as a file has them.
    pub(crate) fn write(&self, element: Element, memory: &[u8], file: &mut [u8]) -> Result<(), Error> {
        match self {
            Representation::Native(_) => file.copy_from_slice(memory),
            Representation::External32 => {
                let external = element.external()?;
                external32::write(external, unit_bytes(element, external.units), memory, file);
            }
            Representation::User(user) => user.convert(user.write.as_deref(), element, memory, file)?,
        }
        Ok(())
    }

    /// Values of a file as memory has them.
    pub(crate) fn read(&self, element: Element, file: &[u8], memory: &mut [u8]) -> Result<(), Error> {
        match self {
            Representation::Native(_) => memory.copy_from_slice(file),
            Representation::External32 => {
                let external = element.external()?;
                external32::read(external, unit_bytes(element, external.units), file, memory);
            }
            Representation::User(user) => user.convert(user.read.as_deref(), element, file, memory)?,
        }
        Ok(())
    }
}

fn unit_bytes(element: Element, units: u64) -> usize {
    usize::try_from(element.bytes() / units).expect("a value has few bytes")
}

impl UserRepresentation {
    fn file_bytes(&self, element: Element) -> Result<u64, Error> {
        if element.as_raw().is_none() {
            let message = format!("the data representation {:?} can not store pairs of predefined values", self.name);
            return Err(Error::new(ErrorClass::Type, message));
        }
        (self.file_extent)(element).map_err(|error| self.failed(element, &error))
    }

    fn convert(
        &self,
        function: Option<&ConversionFn>,
        element: Element,
        from: &[u8],
        to: &mut [u8],
    ) -> Result<(), Error> {
        match function {
            Some(function) => function(element, from, to).map_err(|error| self.failed(element, &error)),
            None if from.len() == to.len() => {
                to.copy_from_slice(from);
                Ok(())
            }
            None => Err(self.failed(element, &"its values have another size in a file, and no function converts them")),
        }
    }

    fn failed(&self, element: Element, why: &dyn fmt::Display) -> Error {
        let name = element.name().unwrap_or_default();
        Error::new(ErrorClass::Conversion, format!("the data representation {:?} fails for {name}: {why}", self.name))
    }
}

impl fmt::Debug for Representation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Representation").field(&self.name()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(name: &str) -> Result<(), Error> {
        register_datarep(name, None, None, Box::new(|element| Ok(element.bytes())))
    }

    #[test]
    fn a_name_is_given_once() {
        let class = |result: Result<(), Error>| result.err().map(|error| error.class());
        assert_eq!(class(register("mine")), None);
        for taken in ["mine", "native", "internal", "external32"] {
            assert_eq!(class(register(taken)), Some(ErrorClass::DupDatarep), "{taken}");
        }
        assert_eq!(class(register("")), Some(ErrorClass::Arg));
        assert_eq!(class(register(&"x".repeat(128))), Some(ErrorClass::Arg));
        assert_eq!(Representation::find("mine").unwrap().name(), "mine");
        assert_eq!(Representation::find("yours").unwrap_err().class(), ErrorClass::UnsupportedDatarep);
    }
}
