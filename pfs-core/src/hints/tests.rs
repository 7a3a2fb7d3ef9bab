//! Hints as they are given, agreed about and told back, and their table in the documentation.

use super::*;
use crate::ids::ServerId;
use smallvec::smallvec;

#[test]
fn known_hints_are_taken_and_others_reported() {
    let (hints, unknown) = Hints::parse([
        ("striping_unit", "65536"),
        ("striping_factor", "4"),
        ("panfs_concurrent_write", "1"),
        ("cb_buffer_size", "100"),
        ("romio_cb_write", "ENABLE"),
    ])
    .unwrap();
    assert_eq!((hints.striping_unit, hints.striping_factor), (Some(65536), Some(4)));
    assert_eq!(hints.cb_buffer_bytes, CB_BUFFER_BYTES_MIN, "raised to the least that works");
    assert_eq!(hints.cb_write, Switch::Enable);
    assert_eq!(unknown, ["panfs_concurrent_write"]);
}

#[test]
fn hints_come_back_as_they_were_given() {
    let given = [("cb_nodes", "3"), ("romio_cb_read", "disable"), ("start_iodevice", "0")];
    let (hints, _) = Hints::parse(given).unwrap();
    let pairs = hints.pairs();
    let (again, unknown) = Hints::parse(pairs.iter().map(|(key, value)| (*key, value.as_str()))).unwrap();
    assert_eq!((again, unknown.len()), (hints, 0));
}

#[test]
fn hints_of_an_open_file_change_without_the_others() {
    let (before, _) = Hints::parse([("striping_factor", "2"), ("cb_nodes", "3"), ("pfs_io_depth", "7")]).unwrap();
    let change =
        [("cb_nodes", "1"), ("striping_factor", "9"), ("striping_unit", "12"), ("other", "1"), ("nb_proc", "5")];
    let (after, unknown) = before.changed(change).unwrap();
    assert_eq!((after, unknown), (Hints { cb_nodes: Some(1), ..before.clone() }, vec!["other"]));
    assert!(before.changed([("pfs_io_depth", "0")]).is_err());
}

#[test]
fn values_that_make_no_sense_are_refused() {
    let refused = |key, value| Hints::parse([(key, value)]).unwrap_err().to_string();
    assert!(refused("striping_unit", "5000").contains("multiple of 4096"));
    assert!(refused("striping_factor", "0").contains("from 1 to 4096"));
    assert!(refused("cb_nodes", "two").contains("cb_nodes=\"two\""));
    assert!(refused("cb_nodes", "-1").contains("whole number"));
    assert!(refused("romio_cb_write", "maybe").contains("enable, disable or automatic"));
    assert!(refused("cb_buffer_size", "").contains("whole number"));
}

#[test]
fn every_hint_goes_to_the_others_and_comes_back() {
    let given = [
        ("cb_config_list", "n1:2,*:*"),
        ("collective_buffering", "false"),
        ("romio_no_indep_rw", "true"),
        ("pfs_node_gather", "disable"),
        ("pfs_node_memory", "disable"),
        ("romio_ds_read", "enable"),
        ("romio_ds_write", "disable"),
        ("ind_rd_buffer_size", "65536"),
        ("ind_wr_buffer_size", "8192"),
        ("pfs_list_io", "disable"),
        ("pfs_io_depth", "16"),
    ];
    let (hints, unknown) = Hints::parse(given).unwrap();
    let pairs = hints.pairs();
    assert!(given.iter().all(|(key, value)| pairs.contains(&(key, (*value).to_owned()))), "{pairs:?}");
    let (again, _) = Hints::parse(pairs.iter().map(|(key, value)| (*key, value.as_str()))).unwrap();
    assert_eq!((again, unknown.len()), (hints, 0));
    for (key, wrong) in [("pfs_io_depth", "0"), ("pfs_io_depth", "1025"), ("romio_no_indep_rw", "maybe")] {
        assert!(Hints::parse([(key, wrong)]).is_err(), "{key}={wrong}");
    }
}

#[test]
fn a_switch_of_its_own_counts_more_than_one_for_both_directions() {
    let of = |pairs: &[(&'static str, &'static str)]| {
        let (hints, _) = Hints::parse(pairs.iter().copied()).unwrap();
        [Direction::Read, Direction::Write].map(|direction| hints.collective(direction))
    };
    let (auto, on, off) = (Switch::Automatic, Switch::Enable, Switch::Disable);
    assert_eq!(of(&[]), [auto, auto]);
    assert_eq!(of(&[("collective_buffering", "true")]), [auto, auto], "true allows it");
    assert_eq!(of(&[("collective_buffering", "false")]), [off, off]);
    assert_eq!(of(&[("romio_cb_read", "enable"), ("collective_buffering", "false")]), [on, off]);
    assert_eq!(of(&[("romio_no_indep_rw", "true")]), [on, on]);
    assert_eq!(of(&[("romio_no_indep_rw", "true"), ("romio_cb_write", "disable")]), [on, off]);
}

#[test]
fn aggregators_are_where_the_list_allows_them() {
    let nodes = Nodes::new(["a", "a", "b", "b"]);
    let ranks = |pairs: &[(&'static str, &'static str)]| {
        let (hints, _) = Hints::parse(pairs.iter().copied()).unwrap();
        hints.aggregator_ranks(2, &nodes)
    };
    assert_eq!(ranks(&[]), [0, 2]);
    assert_eq!(ranks(&[("cb_config_list", "b:*")]), [2, 3]);
    assert_eq!(ranks(&[("cb_config_list", "b:1")]), [2], "one for both servers");
    assert_eq!(ranks(&[("cb_config_list", "*:1"), ("cb_nodes", "1")]), [0]);
    assert_eq!(ranks(&[("cb_config_list", "elsewhere:4")]), [0, 2], "it names no node of the job");
}

fn in_effect(hints: &Hints) -> Vec<(&'static str, String)> {
    let recipe = Recipe::new(65536, vec![smallvec![ServerId::new(1).unwrap()]; 3]).unwrap();
    hints.in_effect(OpenFacts { path: "/a", recipe: &recipe, nodes: &Nodes::new(["x"; 2]) })
}

#[test]
fn what_is_in_effect_is_told_whatever_was_asked_for() {
    let asked =
        [("cb_nodes", "99"), ("romio_cb_pfr", "disable"), ("romio_no_indep_rw", "true"), ("cb_buffer_size", "5")];
    let (hints, unknown) = Hints::parse(asked).unwrap();
    assert!(unknown.is_empty());
    let told = in_effect(&hints);
    let value = |key: &str| told.iter().find(|(other, _)| *other == key).map(|(_, value)| value.as_str());
    assert_eq!(value("cb_nodes"), Some("2"));
    assert_eq!(value("romio_cb_pfr"), None);
    assert_eq!(value("romio_cb_write"), Some("enable"));
    assert_eq!((value("cb_buffer_size"), value("cb_block_size")), (Some("4096"), Some("4096")));
    assert_eq!((value("striping_factor"), value("access_style")), (Some("3"), None));
}

/// The table of the code: every hint is accepted, and told with its default if it has one; nothing else is told.
#[test]
fn the_table_is_what_the_code_does() {
    let told = in_effect(&Hints::default());
    for known in TABLE {
        let value = match known.key {
            "striping_factor" | "cb_nodes" | "pfs_io_depth" | "start_iodevice" => "2",
            "striping_unit" | "cb_buffer_size" | "ind_rd_buffer_size" | "ind_wr_buffer_size" => "8192",
            "collective_buffering" | "romio_no_indep_rw" => "true",
            "cb_config_list" => "*:1",
            _ => "enable",
        };
        let (hints, unknown) = Hints::parse([(known.key, value)]).unwrap();
        assert!(unknown.is_empty(), "{} is known", known.key);
        if known.acts == Acts::Nowhere {
            assert_eq!(hints, Hints::default(), "{} changes nothing", known.key);
        }
        let default = told.iter().find(|(key, _)| *key == known.key).map(|(_, value)| value.as_str());
        match known.default {
            "" => assert_eq!(default, None, "{}", known.key),
            fact if fact.starts_with('[') => assert!(default.is_some(), "{}", known.key),
            fixed => assert_eq!(default, Some(fixed), "{}", known.key),
        }
    }
    assert!(told.iter().all(|(key, _)| find(key).is_some()), "{told:?}");
}

/// `docs/HINTS.md` has a row for each hint, with its values and its default, and no other rows.
#[test]
fn the_documentation_has_the_table() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/HINTS.md")).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let expected: Vec<[String; 3]> = TABLE
        .iter()
        .map(|known| {
            let default = match known.default {
                "" => "–".to_owned(),
                fact if fact.starts_with('[') => fact.trim_matches(['[', ']']).to_owned(),
                fixed => format!("`{fixed}`"),
            };
            [format!("`{}`", known.key), known.values.to_owned(), default]
        })
        .collect();
    let found: Vec<[String; 3]> = rows.iter().map(|row| [0, 1, 2].map(|at| row[at].to_owned())).collect();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
    assert!(rows.iter().all(|row| row.len() == 4 && !row[3].is_empty()), "each row says what the hint does");
}
