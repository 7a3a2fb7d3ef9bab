//! Opening a file by all ranks of a communicator, and deleting one.
//!
//! Every rank finds the file's place from its own environment and rank 0's file name. Rank 0 opens the file once
//! for all; the others attach to what it got. If any of the steps fails on any rank, no rank has the file open.

use crate::amode::AccessMode;
use crate::drive::drive;
use crate::error::{Error, ErrorClass};
use crate::file::{File, OpenFile, Owner, Terms};
use crate::group::{Group, ROOT};
use crate::hints;
use crate::info::Info;
use crate::job;
use crate::nodes::{self, Place};
use crate::process::{self, SharedClient};
use crate::report::Form;
use crate::threads;
use crate::times::{Counter, Phase};
use mpi::traits::*;
use pfs_client::{EntryKind, FileDescriptor, LayoutRequest, OpenOptions, OpenedFile, parse_url};
use pfs_core::hints::Hints;
use pfs_core::ids::ClientId;
use pfs_core::path::PfsPath;
use std::time::Instant;

/// A rank's arguments, checked.
struct Arguments {
    address: Option<String>,
    path: PfsPath,
    hints: Hints,
    options: OpenOptions,
    report: Form,
}

impl File {
    /// Opens a file on all ranks of a communicator. Collective: all ranks give the same name and access mode; the
    /// hints are those of rank 0. The name is `pfs://host:port/path`, or `pfs:/path` with `PFS_METADATA` set.
    pub fn open<C: Communicator>(comm: &C, path: &str, amode: AccessMode, info: &Info) -> Result<File, Error> {
        threads::check()?;
        let begun = Instant::now();
        let group = Group::duplicate(comm)?;
        let place = Place::find(comm)?;
        let open = drive(OpenFile::open(group, place, path, amode, info))?;
        let kind = if open.group.size() == 1 { Counter::IndependentOpens } else { Counter::CollectiveOpens };
        open.times.note(kind);
        open.times.add(Counter::Hints, u64::from(info.iter().next().is_some()));
        open.times.book(Phase::Meta, begun.elapsed());
        Ok(File { open: Owner::new(open) })
    }

    /// Takes part in an open with the error that this rank has found before: all ranks get it, or that of a lower rank.
    pub fn refuse_open<C: Communicator>(comm: &C, error: Error) -> Error {
        let agreed = threads::check().and_then(|()| {
            let group = Group::duplicate(comm)?;
            Place::find(comm)?;
            drive(group.agree(Err::<(), Error>(error.clone())))
        });
        agreed.err().unwrap_or(error)
    }

    /// Deletes a file. Not collective: one rank calls it.
    pub fn delete(path: &str) -> Result<(), Error> {
        let (address, path) = parse(path)?;
        let client = process::client(address)?;
        Ok(client.remove(&path, Some(EntryKind::File))?)
    }
}

/// Deletes a file. Not collective: one rank calls it. A file that is open goes when the last one closes it.
pub fn delete(path: &str) -> Result<(), Error> {
    File::delete(path)
}

/// Makes the folders that a file of this name would lie in, as far as they are missing. Not collective: one rank calls it.
pub fn make_parents(path: &str) -> Result<(), Error> {
    let (address, path) = parse(path)?;
    let (parent, _) = path.split_last()?;
    Ok(process::client(address)?.make_directory(&parent, true)?)
}

impl OpenFile {
    async fn open(group: Group, place: Place, path: &str, amode: AccessMode, info: &Info) -> Result<OpenFile, Error> {
        let arguments = agree_arguments(&group, path, amode, info).await?;
        let nodes = nodes::agree(&group, &place).await?;
        let (client, members) = agree_clients(&group, process::client(arguments.address.clone())).await?;
        let opened = open_for_all(&group, &client, &arguments, &members).await?;
        let attached = client.as_async().attach(opened, arguments.options.access).map_err(Error::from);
        let file = agree_attached(&group, attached).await?;
        let Arguments { path, hints, report, .. } = arguments;
        let open = OpenFile::new(group, members, client, file, Terms { path, amode, hints, nodes, report });
        open.start_at_end().await?;
        if report != Form::None {
            open.group.agree(job::opened(report, &open.group)).await?;
        }
        Ok(open)
    }
}

/// Checks the arguments on every rank, and that the ranks agree about them.
async fn agree_arguments(group: &Group, path: &str, amode: AccessMode, info: &Info) -> Result<Arguments, Error> {
    let own = group.agree(check_arguments(path, amode, info, group.is_root())).await?;
    if group.size() == 1 {
        return Ok(Arguments { options: options(amode, &own.hints, own.options), ..own });
    }
    let own_open = format!("{} with {amode}", own.path);
    let first = group.ask(ROOT, async { Ok(encode_terms(&own_open, own.report, &own.hints)) }).await?;
    let same = decode_terms(&first).and_then(|(first_open, report, hints)| {
        if first_open != own_open {
            return Err(Error::new(ErrorClass::NotSame, format!("opens {own_open}, and rank 0 opens {first_open}")));
        }
        let options = options(amode, &hints, own.options);
        Ok(Arguments { options, hints, report, ..own })
    });
    group.agree(same).await
}

fn check_arguments(path: &str, amode: AccessMode, info: &Info, is_root: bool) -> Result<Arguments, Error> {
    let (address, path) = parse(path)?;
    let access = amode.access()?;
    let hints = if is_root { hints::gathered(info)? } else { Hints::parse(info.iter())?.0 };
    let options = OpenOptions { access, ..OpenOptions::default() };
    let report = if is_root { Form::from_environment()? } else { Form::None };
    Ok(Arguments { address, path, hints, options, report })
}

fn options(amode: AccessMode, hints: &Hints, own: OpenOptions) -> OpenOptions {
    let layout = LayoutRequest {
        stripe_unit: hints.striping_unit,
        stripe_count: hints.striping_factor,
        start_server: hints.start_iodevice,
    };
    OpenOptions {
        create: amode.contains(AccessMode::CREATE),
        exclusive: amode.contains(AccessMode::CREATE | AccessMode::EXCL),
        truncate: false,
        layout,
        ..own
    }
}

fn parse(path: &str) -> Result<(Option<String>, PfsPath), Error> {
    parse_url(path).map_err(|error| Error::new(ErrorClass::BadFile, error.to_string()))
}

/// Rank 0 opens the file, and every rank learns what it got.
async fn open_for_all(
    group: &Group,
    client: &SharedClient,
    arguments: &Arguments,
    members: &[ClientId],
) -> Result<OpenedFile, Error> {
    let open = client.as_async().open_for_group(&arguments.path, &arguments.options, members);
    if group.size() == 1 {
        return Ok(open.await?);
    }
    let opened = group.ask(ROOT, async { Ok(open.await?.to_bytes()) }).await?;
    Ok(OpenedFile::from_bytes(&opened)?)
}

/// Gives the file back where it was attached if a rank could not.
async fn agree_attached(group: &Group, own: Result<FileDescriptor, Error>) -> Result<FileDescriptor, Error> {
    let (own, file) = match own {
        Ok(file) => (Ok(()), Some(file)),
        Err(error) => (Err(error), None),
    };
    let agreed = group.agree(own).await;
    match (agreed, file) {
        (Ok(()), Some(file)) => Ok(file),
        (Ok(()), None) => unreachable!("a rank without the file has an error, so the agreement is an error"),
        (Err(error), file) => {
            match file {
                Some(file) if group.is_root() => drop(file.close().await),
                Some(file) => drop(file.detach().await),
                None => {}
            }
            Err(error)
        }
    }
}

/// Every rank's client, by rank; an error of one is an error on all.
async fn agree_clients(
    group: &Group,
    own: Result<SharedClient, Error>,
) -> Result<(SharedClient, Vec<ClientId>), Error> {
    let id = own.as_ref().map_or(0, |client| client.id().get());
    let members = group.all_gather([id]).await?;
    let members: Option<Vec<ClientId>> = members.iter().map(|[id]| ClientId::new(*id)).collect();
    match members {
        Some(members) => Ok((own?, members)),
        None => Err(match group.agree(own).await {
            Err(error) => error,
            Ok(_) => Error::new(ErrorClass::Io, "a rank sent the client id 0"),
        }),
    }
}

/// What rank 0 opens, and what the others take over from it, travels as lines: the form of the report, what is opened, which is
/// one line as paths have no control characters, and the hints.
fn encode_terms(open: &str, report: Form, hints: &Hints) -> Vec<u8> {
    format!("{}\n{open}\n{}", report.name(), hints::lines(hints)).into_bytes()
}

fn decode_terms(bytes: &[u8]) -> Result<(String, Form, Hints), Error> {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(3, '\n');
    let mut part = || parts.next().unwrap_or_default();
    let (report, open, hints) = (part(), part(), part());
    Ok((open.to_owned(), Form::parse(report)?, hints::from_lines(hints)?))
}
