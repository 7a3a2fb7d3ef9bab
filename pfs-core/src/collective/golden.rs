//! Golden texts of plans: `testdata/collective.txt` has commands and the plans they must give.
//!
//! A block is `write|read unit=BYTES slots=N [cb_nodes=N] [cb_buffer=BYTES] [cb=enable|disable]
//! [node_ranks=N]` (ranks of a node, with messages between nodes by way of their leaders), a line
//! `OFFSET +LENGTH` for each rank, `----`, and the plan up to the next empty line. A rank's line may go on with
//! ` by BLOCK every STRIDE` (blocks at that distance), this with `, COUNT every OUTER` (so many blocks, and the same again
//! at that distance), or with ` at FROM+BYTES,…` (blocks at these places). With `PFS_GOLDEN=write` in the environment the test
//! writes the plans it gets instead of comparing; read them before you commit them.

use super::*;
use crate::datatype::{Datatype, View};
use crate::ids::ServerId;
use smallvec::smallvec;
use std::fmt::Write;
use std::sync::Arc;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/collective.txt");

#[test]
fn plans_match_their_golden_text() {
    let expected = std::fs::read_to_string(PATH).expect("the golden text is part of the source");
    let mut actual = String::new();
    for block in expected.split("\n\n") {
        match block.split_once("\n----") {
            Some((question, _)) => write!(actual, "{question}\n----\n{}\n\n", answer(question)).unwrap(),
            None => write!(actual, "{block}\n\n").unwrap(),
        }
    }
    let actual = format!("{}\n", actual.trim_end());
    if std::env::var_os("PFS_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(PATH, &actual).expect("the golden text can be written");
    } else {
        assert_eq!(actual, expected, "{PATH} differs; see this module's doc");
    }
}

/// The plan for a block's lines; lines that start with `#` are for the reader.
fn answer(question: &str) -> String {
    let mut lines = question.lines().filter(|line| !line.starts_with('#'));
    let command = lines.next().expect("a block has a command");
    let accesses: Result<Vec<Access>, BeyondLimits> = lines.map(access).collect();
    let (direction, options) = command.split_once(' ').expect("a command has options");
    let option = |key: &str| options.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str| option(key).map(|value| value.parse::<u64>().expect("a number"));
    let direction = match direction {
        "read" => Direction::Read,
        "write" => Direction::Write,
        other => panic!("{other:?} is neither read nor write"),
    };
    let slots = (1..=number("slots").unwrap() as u32).map(|id| smallvec![ServerId::new(id).unwrap()]).collect();
    let recipe = Recipe::new(number("unit").unwrap(), slots).unwrap();
    let switch = match option("cb") {
        None => Switch::Automatic,
        Some("enable") => Switch::Enable,
        Some("disable") => Switch::Disable,
        Some(other) => panic!("cb={other}"),
    };
    let hints = Hints {
        cb_nodes: number("cb_nodes").map(|n| n as u32),
        cb_buffer_bytes: number("cb_buffer").unwrap_or(Hints::default().cb_buffer_bytes),
        cb_read: switch,
        cb_write: switch,
        ..Hints::default()
    };
    match accesses {
        Ok(accesses) => {
            let ranks = accesses.len() as u32;
            let plan = match number("node_ranks") {
                None => CollectivePlan::new(direction, accesses, &recipe, &hints),
                Some(node_ranks) => {
                    let nodes = Nodes::new((0..ranks).map(|rank| (u64::from(rank) / node_ranks).to_string()));
                    let hints = Hints { node_gather: Switch::Enable, ..hints };
                    CollectivePlan::with_nodes(direction, accesses, &recipe, &hints, &nodes)
                }
            };
            text(&plan, ranks)
        }
        Err(error) => format!("error: {error}"),
    }
}

fn access(line: &str) -> Result<Access, BeyondLimits> {
    let (offset, rest) = line.split_once(" +").expect("OFFSET +LENGTH");
    let number = |text: &str| text.parse::<u64>().unwrap();
    if let Some((length, list)) = rest.split_once(" at ") {
        let blocks = list.split(',').map(|block| block.split_once('+').expect("FROM+BYTES"));
        let blocks: Vec<(i64, u64)> = blocks.map(|(from, bytes)| (from.parse().unwrap(), number(bytes))).collect();
        let byte = Datatype::elementary(1).unwrap();
        let view = View::new(number(offset), &byte, &Datatype::hindexed(&blocks, &byte).unwrap()).unwrap();
        return Access::new(Arc::new(view), 0, number(length));
    }
    let Some((length, blocks)) = rest.split_once(" by ") else { return Access::range(number(offset), number(rest)) };
    let (block, stride) = blocks.split_once(" every ").expect("by BLOCK every STRIDE");
    let view = match stride.split_once(", ").map(|(stride, outer)| (stride, outer.split_once(" every ").unwrap())) {
        Some((stride, (count, outer))) => {
            nested(number(offset), number(block), number(stride), number(count), number(outer))
        }
        None => strided(number(offset), number(block), number(stride)),
    };
    Access::new(Arc::new(view), 0, number(length))
}

/// Rows of blocks.
fn nested(offset: u64, block: u64, stride: u64, count: u64, outer: u64) -> View {
    let (byte, block) = (Datatype::elementary(1).unwrap(), Datatype::elementary(block).unwrap());
    let row = Datatype::hvector(count, 1, stride as i64, &block).unwrap();
    View::new(offset, &byte, &row.resized(0, outer as i64).unwrap()).unwrap()
}

/// Blocks at equal distances.
pub(super) fn strided(offset: u64, block: u64, stride: u64) -> View {
    let (byte, block) = (Datatype::elementary(1).unwrap(), Datatype::elementary(block).unwrap());
    View::new(offset, &byte, &block.resized(0, stride as i64).unwrap()).unwrap()
}

fn text(plan: &CollectivePlan, ranks: u32) -> String {
    let mut out = String::new();
    match plan.method() {
        Method::Direct => {
            writeln!(out, "direct").unwrap();
            for rank in 0..ranks {
                let extents: Vec<Extent> = plan.direct(rank).iter().map(|piece| piece.extent).collect();
                writeln!(out, "  rank {rank}: {extents:?}").unwrap();
            }
        }
        Method::Exchange(exchange) => {
            let (ranks_used, rounds) = (exchange.aggregators(), plan.rounds(0).count());
            writeln!(out, "exchange, aggregators on ranks {ranks_used:?}, rounds {rounds}").unwrap();
            for number in 0..rounds {
                (0..ranks).for_each(|rank| round_text(&mut out, plan, number, rank));
            }
        }
    }
    write!(out, "tokens {:?}", plan.tokens()).unwrap();
    out
}

fn round_text(out: &mut String, plan: &CollectivePlan, number: usize, rank: u32) {
    let round = plan.rounds(rank).nth(number).expect("every rank has equally many rounds");
    let arrow = if plan.direction() == Direction::Write { "<-" } else { "->" };
    for message in &round.served {
        writeln!(out, "  round {number}: rank {rank} {arrow} rank {}: {:?}", message.peer, extents(message)).unwrap();
    }
    for Relayed { member, aggregator, bytes } in &round.relayed {
        let (from, to) = if plan.direction() == Direction::Write { (member, aggregator) } else { (aggregator, member) };
        writeln!(out, "  round {number}: rank {rank} passes {bytes} bytes on from rank {from} to rank {to}").unwrap();
    }
    if !round.io.is_empty() {
        writeln!(out, "  round {number}: rank {rank} and the servers: {:?}", round.io).unwrap();
    }
}

fn extents(message: &Message) -> Vec<Extent> {
    message.pieces.iter().map(|piece| piece.extent).collect()
}
