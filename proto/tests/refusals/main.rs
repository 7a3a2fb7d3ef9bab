//! Every input that a conversion refuses: a good message, one change to it, and the field and problem that are named.

mod data;
mod files;
mod metadata;
mod registration;
mod token;

use pfs_proto::convert::{ConvertError, Problem};
use pfs_proto::v1;
use std::fmt::Debug;

/// One change to a good message, with what the refusal must say.
type Case<'a, W> = (&'a str, Problem, fn(&mut W));

/// The good message is accepted, and each changed one refused for the reason given.
fn refuses<W, C>(good: &W, cases: &[Case<W>])
where
    W: Clone + Debug,
    C: TryFrom<W, Error = ConvertError> + Debug,
{
    C::try_from(good.clone()).unwrap_or_else(|error| panic!("{good:?} is refused: {error}"));
    for (field, problem, change) in cases {
        let mut bad = good.clone();
        change(&mut bad);
        let error = C::try_from(bad.clone()).expect_err(&format!("accepted: {bad:?}"));
        assert_eq!(error, ConvertError::new(*field, problem.clone()), "{bad:?}");
    }
}

fn out_of_bounds(value: u64, min: u64, max: u64) -> Problem {
    Problem::OutOfBounds { value, min, max }
}

fn client_holder(id: u64) -> Option<v1::Holder> {
    Some(v1::Holder { kind: Some(v1::holder::Kind::Client(id)) })
}

fn group_holder(id: u64) -> Option<v1::Holder> {
    Some(v1::Holder { kind: Some(v1::holder::Kind::Group(id)) })
}

fn stamp() -> Option<v1::Stamp> {
    Some(v1::Stamp { boot: 3, holder: group_holder(5), incarnation: 7 })
}

fn range(start: u64, end: u64) -> v1::FileRange {
    v1::FileRange { start, end }
}

fn size(bytes: u64, generation: u64) -> Option<v1::FileSize> {
    Some(v1::FileSize { bytes, generation })
}

fn operation() -> Option<v1::OperationId> {
    Some(v1::OperationId { client_id: 7, slot: 63, sequence: 1 })
}

fn server() -> v1::ServerAddress {
    v1::ServerAddress { server_id: 2, address: "node-2:7100".into(), instance: 1, live: true }
}

/// Codes: what is too big is told apart from what is wrong, and another version from both.
#[test]
fn a_refusal_has_a_code_and_tells_its_field() {
    use pfs_proto::status::{ErrorCode, error_detail};
    for (problem, code) in [
        (Problem::Missing, ErrorCode::InvalidArgument),
        (Problem::TooMany { count: 9, limit: 8 }, ErrorCode::TooLarge),
        (Problem::TooLarge { bytes: 9, limit: 8 }, ErrorCode::TooLarge),
        (Problem::ProtocolVersion { theirs: 2, ours: 1 }, ErrorCode::WrongCluster),
    ] {
        let error = ConvertError::new("stamp.holder", problem);
        let detail = error_detail(&tonic::Status::from(error.clone()));
        assert_eq!(detail.code, code);
        assert_eq!(detail.message, format!("the request was refused: {error}"));
        assert!(detail.message.contains("stamp.holder "));
    }
}
