//! Which values a datatype has, in their order, without their places.
//!
//! Packed data and the data of a file are the same values in the same order, so a conversion needs to know nothing else.
//! Repetitions stay repetitions.

use crate::contents::{Contents, Envelope};
use crate::datarep::Representation;
use crate::datatype::size;
use crate::element::Element;
use crate::error::{Error, ErrorClass};
use mpi::ffi::MPI_Datatype;
use std::ops::ControlFlow;
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    count: u64,
    of: Part,
}

#[derive(Clone, Debug)]
enum Part {
    Element(Element),
    Sequence(Arc<[Signature]>),
}

impl Signature {
    /// `count` values of a datatype, which is alive.
    pub(crate) fn of(count: u64, datatype: MPI_Datatype) -> Result<Signature, Error> {
        let envelope = Envelope::of(datatype)?;
        if envelope.types == 0 {
            return Signature::predefined(count, datatype);
        }
        let contents = Contents::of(datatype, envelope)?;
        if contents.is_structure()? {
            let parts = contents.types.iter().zip(&contents.integers[1..]);
            let parts = parts.map(|(&of, &length)| Signature::of(u64::try_from(length).unwrap_or_default(), of));
            let parts = parts.collect::<Result<Vec<_>, Error>>()?;
            return Ok(Signature { count, of: Part::Sequence(parts.into()) });
        }
        // Whatever the others do with places, they repeat one type.
        let inner = Signature::of(1, contents.types[0])?;
        let (whole, one) = (size(datatype)?, size(contents.types[0])?);
        inner.times(count.checked_mul(whole.checked_div(one).unwrap_or_default()))
    }

    fn predefined(count: u64, datatype: MPI_Datatype) -> Result<Signature, Error> {
        Ok(match Element::all_of(datatype)?.as_slice() {
            [one] => Signature { count, of: Part::Element(*one) },
            pair => {
                let part = |element: &Element| Signature { count: 1, of: Part::Element(*element) };
                Signature { count, of: Part::Sequence(pair.iter().map(part).collect()) }
            }
        })
    }

    fn times(self, turns: Option<u64>) -> Result<Signature, Error> {
        let too_large =
            || Error::new(ErrorClass::Type, "a datatype has more values than a number of 64 bits can count");
        let turns = turns.ok_or_else(too_large)?;
        if self.count == 1 || matches!(self.of, Part::Element(_)) {
            let count = self.count.checked_mul(turns).ok_or_else(too_large)?;
            return Ok(Signature { count, of: self.of });
        }
        Ok(Signature { count: turns, of: Part::Sequence([self].into()) })
    }

    /// Bytes in a file of this representation.
    pub(crate) fn file_bytes(&self, representation: &Representation) -> Result<u64, Error> {
        let one = match &self.of {
            Part::Element(element) => representation.file_bytes(*element)?,
            Part::Sequence(parts) => parts.iter().try_fold(0u64, |sum, part| {
                sum.checked_add(part.file_bytes(representation)?).ok_or_else(too_many_bytes)
            })?,
        };
        one.checked_mul(self.count).ok_or_else(too_many_bytes)
    }

    /// Packed values as a file has them.
    pub(crate) fn write(&self, representation: &Representation, mut memory: &[u8]) -> Result<Vec<u8>, Error> {
        let mut file = vec![0; length(self.file_bytes(representation)?)];
        let mut rest = &mut file[..];
        let done = self.runs(&mut |element, count| {
            let (from, after) = memory.split_at(length(count * element.bytes()));
            let (to, rest_after) =
                std::mem::take(&mut rest).split_at_mut(length(count * representation.file_bytes(element)?));
            (memory, rest) = (after, rest_after);
            representation.write(element, from, to)?;
            Ok(ControlFlow::Continue(()))
        });
        done.map(|_| file)
    }

    /// The values that lie whole in `file`, the start of what a file has of them, into packed memory. Returns how many bytes
    /// of memory they are.
    pub(crate) fn read(&self, representation: &Representation, file: &[u8], memory: &mut [u8]) -> Result<usize, Error> {
        let (mut from, mut at) = (file, 0);
        let _stopped = self.runs(&mut |element, count| {
            let (there, here) = (representation.file_bytes(element)?, element.bytes());
            let whole = (from.len() as u64).checked_div(there).map_or(count, |whole| whole.min(count));
            let (run, after) = from.split_at(length(whole * there));
            let to = &mut memory[at..at + length(whole * here)];
            representation.read(element, run, to)?;
            (from, at) = (after, at + to.len());
            Ok(if whole < count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(at)
    }

    /// How many values the first `bytes` bytes of packed memory are, if they are whole values.
    pub(crate) fn elements_in(&self, bytes: u64) -> Result<Option<u64>, Error> {
        let (mut rest, mut elements) = (bytes, 0);
        let _stopped = self.runs(&mut |element, count| {
            let whole = (rest / element.bytes()).min(count);
            rest -= whole * element.bytes();
            elements += whole;
            Ok(if whole < count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok((rest == 0).then_some(elements))
    }

    /// Calls `run` for values of one kind that follow each other, until it breaks off.
    fn runs(
        &self,
        run: &mut dyn FnMut(Element, u64) -> Result<ControlFlow<()>, Error>,
    ) -> Result<ControlFlow<()>, Error> {
        if let Part::Element(element) = self.of {
            return if self.count == 0 { Ok(ControlFlow::Continue(())) } else { run(element, self.count) };
        }
        let Part::Sequence(parts) = &self.of else { return Ok(ControlFlow::Continue(())) };
        for _ in 0..self.count {
            for part in parts.iter() {
                if part.runs(run)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn too_many_bytes() -> Error {
    Error::new(ErrorClass::Type, "the data of a buffer has too many bytes")
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).expect("the data of a buffer lies in memory")
}
