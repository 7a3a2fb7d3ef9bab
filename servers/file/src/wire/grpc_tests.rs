//! Messages cut into frames in every way.

use super::*;
use crate::wire::fed_body::fed;
use proptest::prelude::*;

async fn all(body: Body, bytes_max: usize) -> Result<Vec<Bytes>, ErrorDetail> {
    let mut messages = Messages::new(body, bytes_max);
    let mut found = Vec::new();
    while let Some(message) = poll_fn(|cx| messages.poll_next(cx)).await {
        found.push(message?);
    }
    Ok(found)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.iter().flat_map(|message| [&prefix(message.len())[..], message].concat()).collect()
}

proptest! {
    #[test]
    fn frames_may_be_cut_anywhere(
        lengths in prop::collection::vec(0..200usize, 0..8),
        cuts in prop::collection::vec(0..120usize, 1..30),
    ) {
        let messages: Vec<Vec<u8>> = lengths.into_iter().map(|length| vec![9; length]).collect();
        let bytes = framed(&messages);
        let mut rest = Bytes::from(bytes.clone());
        let mut frames = Vec::new();
        for cut in cuts {
            frames.push(rest.split_to(cut.min(rest.len())));
        }
        frames.push(rest);
        prop_assert_eq!(run(all(fed(frames.clone(), false), 200)).unwrap(), messages.clone());
        if !bytes.is_empty() {
            let mut short = Bytes::from(bytes.clone());
            short.truncate(bytes.len() - 1);
            prop_assert_eq!(run(all(fed([short], false), 200)).unwrap_err().code, ErrorCode::Unavailable);
        }
    }
}

#[test]
fn what_is_no_message_is_refused() {
    let large = run(all(fed([framed(&[vec![0; 11]])], false), 10)).unwrap_err();
    assert_eq!(large.code, ErrorCode::TooLarge);
    let declared = run(all(fed([vec![0, 0xff, 0xff, 0xff, 0xff]], false), 10)).unwrap_err();
    assert_eq!(declared.code, ErrorCode::TooLarge);
    let compressed = run(all(fed([vec![1, 0, 0, 0, 1, 7]], false), 10)).unwrap_err();
    assert_eq!(compressed.code, ErrorCode::InvalidArgument);
}

#[test]
fn a_request_of_one_message_has_one() {
    assert_eq!(run(only_message(fed([framed(&[vec![5; 3]])], false), 10)).unwrap(), [5; 3][..]);
    for messages in [vec![], vec![vec![1], vec![2]]] {
        let refused = run(only_message(fed([framed(&messages)], false), 10)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidArgument);
    }
}

#[test]
fn an_end_says_how_it_went() {
    assert_eq!(trailers(Ok(()))["grpc-status"], "0");
    let error = pfs_proto::status::status(ErrorCode::Stale, "gone: ä\n");
    let sent = trailers(Err(error));
    assert_eq!(sent["grpc-status"], "10");
    let heard = Status::from_header_map(&sent).unwrap();
    assert_eq!(error_detail(&heard).code, ErrorCode::Stale);
}
