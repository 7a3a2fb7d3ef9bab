//! What does not fit together: IOR's errors and warnings, before anything is touched.

use crate::aiori::Api;
use crate::ior::params::{Line, Params};

/// Fills in what IOR takes for granted and checks the parameters of a test. Warnings tell what was changed.
pub fn checked(mut params: Params, line: &Line) -> Result<(Params, Vec<String>), String> {
    let mut warnings = Vec::new();
    if params.write == 0 && params.read == 0 && !params.checks() {
        (params.write, params.read) = (1, 1);
    }
    if params.repetitions == 0 {
        warnings.push("too few test repetitions; taking 1".to_owned());
        params.repetitions = 1;
    }
    if params.status_file.is_some() && line.script.is_some() {
        warnings.push(
            "the StoneWallingStatusFile only preserves the last experiment, make sure that each run uses a separate \
             status file!"
                .to_owned(),
        );
    }
    sizes(&params)?;
    stonewalling(&params)?;
    orders(&params)?;
    data(&params)?;
    interface(&params)?;
    Ok((params, warnings))
}

fn ensure(holds: bool, message: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message.to_owned()) }
}

fn sizes(params: &Params) -> Result<(), String> {
    let Params { block_bytes, transfer_bytes, segments, .. } = *params;
    ensure(params.tasks != Some(0), "too few tasks for testing")?;
    ensure(segments > 0, "segment count must be positive value")?;
    ensure(transfer_bytes > 0, "test will not complete with zero transfer size")?;
    ensure(block_bytes.is_multiple_of(8), "block size must be a multiple of access size (8 bytes)")?;
    ensure(transfer_bytes.is_multiple_of(8), "transfer size must be a multiple of access size (8 bytes)")?;
    ensure(block_bytes >= transfer_bytes, "block size must not be smaller than transfer size")?;
    ensure(block_bytes.is_multiple_of(transfer_bytes), "block size must be a multiple of transfer size")?;
    ensure(params.segments_per_call > 0, "a call must move at least one segment")?;
    ensure(
        params.array == 0 || block_bytes == transfer_bytes,
        "an array of three dimensions is moved as a whole: block size and transfer size must be the same",
    )
}

fn stonewalling(params: &Params) -> Result<(), String> {
    let has_file = params.status_file.is_some();
    ensure(
        !has_file || params.keep > 0,
        "a StoneWallingStatusFile is only sensible when splitting write/read into multiple executions of ior, please \
         use -k",
    )?;
    ensure(
        !has_file || params.wear_out > 0 || params.write == 0,
        "the StoneWallingStatusFile is only sensible for a write test when using stoneWallingWearOut",
    )?;
    ensure(
        params.wear_out == 0 || params.deadline_s > 0,
        "the stoneWallingWearOut is only sensible when setting a stonewall deadline with -D",
    )
}

fn orders(params: &Params) -> Result<(), String> {
    let (random, reorder, shuffled) = (params.random, params.reorder, params.reorder_random);
    ensure(
        reorder == 0 || shuffled == 0,
        "Both Constant and Random task re-ordering specified. Choose one and resubmit",
    )?;
    ensure(
        random != 1 || params.block_bytes > params.transfer_bytes,
        "IOR will randomize access within a block and repeats the same pattern for all segments, therefore choose \
         blocksize > transferSize",
    )?;
    let shared = params.file_per_rank == 0;
    ensure(
        random == 0 || shuffled == 0 || !shared,
        "random offset and random reorder tasks specified with single-shared-file. Choose one and resubmit",
    )?;
    ensure(
        random == 0 || reorder == 0 || !shared,
        "random offset and constant reorder tasks specified with single-shared-file. Choose one and resubmit",
    )?;
    ensure(
        random > 0 || params.prefill_bytes == 0,
        "Setting the randomPrefill option without using random is not useful",
    )?;
    ensure(
        params.prefill_bytes == 0 || params.block_bytes.is_multiple_of(params.prefill_bytes),
        "The randomPrefill option must divide the blockSize",
    )?;
    ensure(
        params.prefill_bytes.is_multiple_of(8),
        "the randomPrefill option must be a multiple of access size (8 bytes)",
    )
}

fn data(params: &Params) -> Result<(), String> {
    ensure(
        params.signature > 0 || params.write > 0 || !params.checks(),
        "using readCheck only requires to write a timeStampSignature -- use -G (the run that writes shows it with -vv)",
    )?;
    ensure(
        params.random == 0 || !params.checks() || params.random_seed.is_some() || params.write > 0,
        "random offset with read check option requires to set the random seed (--random-offset-seed)",
    )?;
    ensure(
        params.random < 2 || !params.checks() || params.file_per_rank > 0,
        "random places that several tasks may write can not be checked; use -F, or -z once",
    )?;
    ensure(params.unique_dir == 0 || params.file_per_rank > 0, "a unique directory for each task's file needs -F")?;
    ensure(
        params.unique_dir == 0 || !params.file.contains('@'),
        "cannot use multiple file names with unique directories",
    )
}

fn interface(params: &Params) -> Result<(), String> {
    let name = params.api.name();
    let views = matches!(params.api, Api::Pfs | Api::Mpiio);
    let refuse = |used: bool, what: &str| match used {
        true => Err(format!("{what} not available with {name}")),
        false => Ok(()),
    };
    let pieces = params.api == Api::RawShared;
    refuse(params.api == Api::Raw && params.file_per_rank == 0, "a shared file (without -F) is")?;
    refuse(pieces && params.file_per_rank > 0, "a file per task (-F) is")?;
    refuse(pieces && params.collective == 0, "a transfer by one task (without -c) is")?;
    refuse(params.collective > 0 && !views && !pieces, "collective transfers (-c) are")?;
    refuse(params.view > 0 && !views, "file views (-V) are")?;
    refuse(params.hints_file.is_some() && !views, "hints (-U) are")?;
    refuse(params.show_hints > 0 && !views, "hints (-H) are")?;
    refuse(params.direct > 0 && params.api != Api::Posix, "O_DIRECT is")?;
    refuse(params.array > 0 && params.file_per_rank > 0, "arrays in a file per task (-F) are")?;
    if views {
        ensure(
            params.random == 0 || params.collective == 0,
            &format!("random offset not available with collective {name}"),
        )?;
        ensure(params.random == 0 || params.view == 0, &format!("random offset not available with {name} fileviews"))?;
    }
    ensure(params.strided == 0 || params.view > 0, "a strided datatype (-S) needs a file view (-V)")?;
    ensure(params.array == 0 || params.view > 0, "an array of three dimensions needs a file view (-V)")?;
    ensure(params.segments_per_call == 1 || params.view > 0, "several segments in a call need a file view (-V)")?;
    ensure(
        params.strided == 0 || (params.array == 0 && params.segments_per_call == 1),
        "a strided datatype (-S) already moves all segments in a call",
    )?;
    let call = params.segments_per_call.min(params.segments).max(if params.strided > 0 { params.segments } else { 1 });
    let bytes = call.checked_mul(if params.segments_per_call > 1 { params.block_bytes } else { params.transfer_bytes });
    ensure(bytes.is_some_and(|bytes| bytes < 1 << 31), "a call must move less than 2 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ior::options::parse;
    use std::ffi::OsString;

    fn check(text: &str) -> Result<(Params, Vec<String>), String> {
        let (line, _) = parse(text.split_whitespace().map(OsString::from)).unwrap();
        checked(line.params.clone(), &line)
    }

    #[test]
    fn without_any_access_it_writes_and_reads() {
        let (params, warnings) = check("-o x").unwrap();
        assert_eq!((params.write, params.read, params.check_read, warnings.len()), (1, 1, 0, 0));
        assert_eq!(check("-w").unwrap().0.read, 0);
        assert_eq!(check("-r -R -G 1").unwrap().0.write, 0);
        let (params, warnings) = check("-i 0").unwrap();
        assert_eq!((params.repetitions, warnings.len()), (1, 1));
    }

    #[test]
    fn every_preset_fits_together() {
        for preset in crate::ior::presets::Preset::ALL {
            let mut line = Line::default();
            preset.apply(&mut line.params);
            checked(line.params.clone(), &line).unwrap_or_else(|error| panic!("{}: {error}", preset.name()));
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (text, why) in [
            ("-b 24 -t 16", "block size must be a multiple of transfer size"),
            ("-b 12 -t 12", "multiple of access size"),
            ("-t 0", "zero transfer size"),
            ("-b 8 -t 16", "smaller than transfer size"),
            ("-s 0", "segment count"),
            ("-N 0", "too few tasks"),
            ("-r -R", "use -G"),
            ("-C -Z", "Both Constant and Random"),
            ("-z -C", "constant reorder"),
            ("-z -Z", "random reorder"),
            ("-z -b 256k", "choose blocksize > transferSize"),
            ("-z -c", "random offset not available with collective PFS"),
            ("-z -V", "random offset not available with PFS fileviews"),
            ("-zz -W -w", "use -F"),
            ("-r -R -z -F -G 1", "random seed"),
            ("--randomPrefill 1m", "without using random"),
            ("-z -b 1m --randomPrefill 768k", "must divide"),
            ("-O stoneWallingWearOut=1", "with -D"),
            ("-O stoneWallingStatusFile=x", "please use -k"),
            ("-k -O stoneWallingStatusFile=x", "when using stoneWallingWearOut"),
            ("-a POSIX -c", "collective transfers (-c) are not available with POSIX"),
            ("-a PFSCLIENT -V", "file views"),
            ("-a RAWTCP", "a shared file"),
            ("-a RAWTCPSHARED -c -F", "a file per task"),
            ("-a RAWTCPSHARED", "without -c"),
            ("-a POSIX -U x", "hints"),
            ("-B", "O_DIRECT"),
            ("-S", "needs a file view"),
            ("-u", "needs -F"),
            ("-u -F -o a@b", "multiple file names"),
            ("--segmentsPerCall 2", "need a file view"),
            ("-V --segmentsPerCall 2048 -s 4096", "2 GiB"),
        ] {
            let error = check(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
