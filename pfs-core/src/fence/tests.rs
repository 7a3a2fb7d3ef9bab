//! Each rule by itself, then all of them against a model that remembers everything ever refused.

use super::*;
use proptest::prelude::*;

fn client(number: u64) -> ClientId {
    ClientId::new(number).unwrap()
}

fn file(number: u64) -> FileId {
    FileId::new(number).unwrap()
}

fn group(number: u64) -> GroupId {
    GroupId::new(number).unwrap()
}

fn boot(number: u64) -> Boot {
    Boot::new(number).unwrap()
}

fn stamp(boot_number: u64, incarnation: u64) -> Stamp {
    let incarnation = client(incarnation);
    Stamp { boot: boot(boot_number), holder: Holder::Client(incarnation), incarnation }
}

fn group_stamp(group_number: u64, incarnation: u64) -> Stamp {
    Stamp { boot: boot(1), holder: Holder::Group(group(group_number)), incarnation: client(incarnation) }
}

fn dead(clients: impl IntoIterator<Item = u64>) -> Fences {
    Fences { incarnations: clients.into_iter().map(client).collect(), ..Fences::default() }
}

#[test]
fn stamps_of_earlier_boots_are_refused() {
    let mut admission = Admission::default();
    let ticket = raise_boot_floor(&mut admission, Some(3));
    assert!(admission.is_done(&ticket));
    let refused = admission.begin(stamp(2, 1), Some(1), file(1)).unwrap_err();
    assert_eq!(refused, Refused::EarlierBoot { stamp: stamp(2, 1), floor: boot(3) });
    assert!(admission.begin(stamp(3, 1), Some(1), file(1)).is_ok());
    let _ = raise_boot_floor(&mut admission, None);
    assert!(admission.begin(stamp(2, 1), Some(2), file(1)).is_err(), "a floor is never lowered");
}

fn raise_boot_floor(admission: &mut Admission, floor: Option<u64>) -> Ticket {
    admission.fence(&Fences { boot_floor: floor.and_then(Boot::new), ..Fences::default() })
}

#[test]
fn a_dead_client_is_refused_under_every_holder() {
    let mut admission = Admission::default();
    let _ = admission.fence(&dead([7]));
    assert!(matches!(admission.begin(stamp(1, 7), Some(1), file(1)), Err(Refused::FencedClient { .. })));
    assert!(matches!(admission.begin(group_stamp(2, 7), Some(1), file(1)), Err(Refused::FencedClient { .. })));
    assert!(admission.begin(group_stamp(2, 8), Some(1), file(1)).is_ok(), "the other members go on");
}

#[test]
fn a_fenced_group_is_refused_and_its_members_go_on_outside_of_it() {
    let mut admission = Admission::default();
    let _ = admission.fence(&Fences { groups: [group(2)].into(), ..Fences::default() });
    assert!(matches!(admission.begin(group_stamp(2, 8), Some(1), file(1)), Err(Refused::FencedGroup { .. })));
    assert!(admission.begin(group_stamp(3, 8), Some(2), file(1)).is_ok());
    assert!(admission.begin(stamp(1, 8), Some(3), file(1)).is_ok());
}

#[test]
fn below_the_floor_only_listed_clients_live_and_the_table_shrinks() {
    let mut fences = dead([3, 12]);
    fences.merge(&Fences {
        incarnation_floor: 10,
        live_below_floor: [client(3), client(5)].into(),
        ..Fences::default()
    });
    assert!(fences.refuses_client(client(3)), "a dead client is not brought back by a list");
    assert!(fences.refuses_client(client(4)));
    assert!(!fences.refuses_client(client(5)));
    assert!(!fences.refuses_client(client(10)));
    assert_eq!(fences.incarnations, [client(12)].into());
    assert_eq!(fences.live_below_floor, [client(5)].into());
}

#[test]
fn a_fence_waits_for_the_chunk_and_stops_the_next_one() {
    let mut admission = Admission::default();
    let inside = admission.begin(stamp(1, 1), Some(1), file(1)).unwrap();
    let between = admission.begin(stamp(1, 1), Some(2), file(1)).unwrap();
    let other = admission.begin(stamp(1, 2), Some(1), file(1)).unwrap();
    admission.enter_chunk(inside).unwrap();
    admission.enter_chunk(other).unwrap();
    let ticket = admission.fence(&dead([1]));
    assert!(!admission.is_done(&ticket));
    assert!(admission.enter_chunk(between).is_err());
    let again = admission.fence(&dead([1]));
    assert!(!admission.is_done(&again), "a repeated fence waits for the same chunk");
    admission.leave_chunk(inside);
    assert!(admission.is_done(&ticket), "neither the client nor an operation between two chunks is waited for");
    assert!(admission.is_done(&again));
    assert!(admission.enter_chunk(inside).is_err());
    assert!(admission.end(inside).is_err(), "an operation that was fenced before its end does not succeed");
    assert!(admission.end(between).is_err());
    admission.leave_chunk(other);
    assert_eq!(admission.end(other), Ok(()));
    assert_eq!(admission.running(), 0);
}

#[test]
fn a_drain_ends_earlier_operations_of_the_stamp_and_refuses_late_ones() {
    let mut admission = Admission::default();
    let early = admission.begin(stamp(1, 1), Some(4), file(1)).unwrap();
    let late = admission.begin(stamp(1, 1), Some(6), file(1)).unwrap();
    let grouped = admission.begin(group_stamp(2, 1), Some(3), file(1)).unwrap();
    let unnamed = admission.begin(stamp(1, 1), None, file(1)).unwrap();
    admission.enter_chunk(early).unwrap();
    let ticket = admission.drain(stamp(1, 1), 5);
    assert!(!admission.is_done(&ticket));
    admission.leave_chunk(early);
    assert!(admission.is_done(&ticket));
    assert_eq!(admission.end(early), Err(Refused::Drained { stamp: stamp(1, 1), sequence: 4 }));
    assert!(admission.end(late).and(admission.end(grouped)).and(admission.end(unnamed)).is_ok());
    assert!(admission.begin(stamp(1, 1), Some(5), file(2)).is_err(), "it arrived after the drain");
    assert!(admission.begin(stamp(1, 1), Some(6), file(1)).is_ok());
    assert!(admission.begin(group_stamp(2, 1), Some(3), file(1)).is_ok(), "another holder's stamp");
    assert!(admission.drain(stamp(1, 1), 2).inside.is_empty());
    assert!(admission.begin(stamp(1, 1), Some(5), file(1)).is_err(), "a drain is never taken back");
}

#[test]
fn drains_of_fenced_stamps_are_forgotten() {
    let mut admission = Admission::default();
    let _ = admission.drain(stamp(1, 1), 5);
    let _ = admission.drain(stamp(1, 2), 5);
    let _ = admission.fence(&dead([1]));
    let _ = admission.drain(stamp(1, 1), 9);
    assert_eq!(admission.drained.len(), 1);
    assert!(matches!(admission.begin(stamp(1, 1), Some(1), file(1)), Err(Refused::FencedClient { .. })));
}

#[test]
fn a_removal_ends_the_files_operations_whatever_their_stamp() {
    let mut admission = Admission::default();
    let doomed = admission.begin(stamp(1, 1), Some(1), file(1)).unwrap();
    let other = admission.begin(stamp(1, 1), Some(2), file(2)).unwrap();
    admission.enter_chunk(doomed).unwrap();
    let ticket = admission.remove_file(file(1));
    assert!(!admission.is_done(&ticket));
    admission.leave_chunk(doomed);
    assert!(admission.is_done(&ticket));
    assert_eq!(admission.enter_chunk(doomed), Err(Refused::Deleted(file(1))));
    assert_eq!(admission.begin(stamp(1, 2), Some(1), file(1)), Err(Refused::Deleted(file(1))));
    assert!(admission.end(other).is_ok());
}

#[test]
fn remembered_deletions_are_bounded() {
    let mut admission = Admission::default();
    for number in 1..=DELETED_FILES_MAX as u64 + 10 {
        let _ = admission.remove_file(file(number));
    }
    assert_eq!(admission.deleted.len(), DELETED_FILES_MAX);
    assert!(admission.is_deleted(file(DELETED_FILES_MAX as u64 + 10)));
}

fn any_fences() -> impl Strategy<Value = Fences> {
    let clients = || prop::collection::btree_set((1u64..12).prop_map(client), 0..4);
    let groups = prop::collection::btree_set((1u64..4).prop_map(group), 0..2);
    (0u64..4, clients(), groups, 0u64..12, clients()).prop_map(
        |(floor, incarnations, groups, incarnation_floor, live)| Fences {
            boot_floor: Boot::new(floor),
            incarnations,
            groups,
            incarnation_floor,
            live_below_floor: live,
        },
    )
}

fn any_stamp() -> impl Strategy<Value = Stamp> {
    let holder = prop_oneof![
        (1u64..12).prop_map(|number| Holder::Client(client(number))),
        (1u64..4).prop_map(|number| Holder::Group(group(number))),
    ];
    (1u64..4, holder, 1u64..12).prop_map(|(number, holder, incarnation)| Stamp {
        boot: boot(number),
        holder,
        incarnation: client(incarnation),
    })
}

#[derive(Clone, Debug)]
enum Step {
    Begin(Stamp, u64, u64),
    Enter(prop::sample::Index),
    Leave(prop::sample::Index),
    End(prop::sample::Index),
    Fence(Fences),
    Drain(Stamp, u64),
    Remove(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (any_stamp(), 1u64..9, 1u64..4).prop_map(|(stamp, sequence, file)| Step::Begin(stamp, sequence, file)),
        4 => index().prop_map(Step::Enter),
        3 => index().prop_map(Step::Leave),
        2 => index().prop_map(Step::End),
        1 => any_fences().prop_map(Step::Fence),
        1 => (any_stamp(), 1u64..9).prop_map(|(stamp, sequence)| Step::Drain(stamp, sequence)),
        1 => (1u64..4).prop_map(Step::Remove),
    ]
}

/// A client may have gone over to a new boot before this server has. A drain of its write is confirmed then, too, and must
/// hold when the boot has become known: the write may still be on its way.
#[test]
fn a_drain_of_a_boot_that_is_not_known_yet_holds_when_it_is() {
    let mut admission = Admission::default();
    let _ = raise_boot_floor(&mut admission, Some(2));
    assert!(matches!(admission.begin(stamp(3, 7), Some(1), file(1)), Err(Refused::LaterBoot { .. })));
    let ticket = admission.drain(stamp(3, 7), 5);
    assert!(admission.is_done(&ticket));
    let _ = raise_boot_floor(&mut admission, Some(3));
    assert!(matches!(admission.begin(stamp(3, 7), Some(5), file(1)), Err(Refused::Drained { .. })));
    let running = admission.begin(stamp(3, 7), Some(6), file(1)).unwrap();
    // A late one of an earlier start of the metadata server touches nothing of this boot.
    let _ = raise_boot_floor(&mut admission, Some(2));
    admission.enter_chunk(running).unwrap();
}

#[derive(Clone, Copy, Debug)]
struct ModelOperation {
    id: OperationId,
    stamp: Stamp,
    sequence: u64,
    file: u64,
    inside: bool,
}

/// Everything ever refused, one by one, and the operations that run.
#[derive(Default)]
struct Model {
    refusals: Vec<Step>,
    running: Vec<ModelOperation>,
    tickets: Vec<(Ticket, Step)>,
}

impl Model {
    fn covers(refusal: &Step, stamp: Stamp, sequence: u64, file: u64) -> bool {
        match refusal {
            Step::Fence(fences) => fences.lasting_verdict(stamp).is_some(),
            Step::Drain(drained, up_to) => *drained == stamp && sequence <= *up_to,
            Step::Remove(removed) => *removed == file,
            _ => unreachable!("only refusals are kept"),
        }
    }

    fn refuses(&self, stamp: Stamp, sequence: u64, file: u64) -> bool {
        self.refusals.iter().any(|refusal| Self::covers(refusal, stamp, sequence, file))
    }

    /// A boot that was not heard of yet, though another was.
    fn is_later(&self, stamp: Stamp) -> bool {
        let floors =
            self.refusals.iter().map(|step| if let Step::Fence(fences) = step { fences.boot_floor } else { None });
        floors.max().flatten().is_some_and(|floor| stamp.boot > floor)
    }

    fn pick(&mut self, index: prop::sample::Index, inside: bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.running.len()).filter(|&i| self.running[i].inside == inside).collect();
        (!fitting.is_empty()).then(|| fitting[index.index(fitting.len())])
    }

    fn refuse(&mut self, refusal: Step, ticket: Ticket) {
        self.refusals.push(refusal.clone());
        self.tickets.push((ticket, refusal));
    }
}

fn apply(admission: &mut Admission, model: &mut Model, step: Step) {
    match step {
        Step::Begin(stamp, sequence, number) => {
            let begun = admission.begin(stamp, Some(sequence), file(number));
            let refused = model.refuses(stamp, sequence, number) || model.is_later(stamp);
            assert_eq!(begun.is_err(), refused, "{begun:?}");
            model.running.extend(begun.ok().map(|id| ModelOperation {
                id,
                stamp,
                sequence,
                file: number,
                inside: false,
            }));
        }
        Step::Enter(index) => {
            let Some(i) = model.pick(index, false) else { return };
            let operation = model.running[i];
            let entered = admission.enter_chunk(operation.id).is_ok();
            assert_eq!(entered, !model.refuses(operation.stamp, operation.sequence, operation.file));
            model.running[i].inside = entered;
        }
        Step::Leave(index) => {
            let Some(i) = model.pick(index, true) else { return };
            admission.leave_chunk(model.running[i].id);
            model.running[i].inside = false;
        }
        Step::End(index) => {
            let Some(i) = model.pick(index, false) else { return };
            let operation = model.running.swap_remove(i);
            let refused = model.refuses(operation.stamp, operation.sequence, operation.file);
            assert_eq!(admission.end(operation.id).is_err(), refused);
        }
        Step::Fence(ref fences) => {
            let ticket = admission.fence(fences);
            model.refuse(step, ticket);
        }
        Step::Drain(stamp, sequence) => {
            let ticket = admission.drain(stamp, sequence);
            model.refuse(step, ticket);
        }
        Step::Remove(number) => {
            let ticket = admission.remove_file(file(number));
            model.refuse(step, ticket);
        }
    }
}

proptest! {
    /// Merging refuses what either refused, in any order and any number of times.
    #[test]
    fn merged_fences_refuse_what_one_of_them_refused(all in prop::collection::vec(any_fences(), 0..6), stamp in any_stamp()) {
        let mut forward = Fences::default();
        let mut backward = Fences::default();
        all.iter().for_each(|fences| forward.merge(fences));
        all.iter().rev().for_each(|fences| backward.merge(fences));
        let refused = all.iter().any(|fences| fences.lasting_verdict(stamp).is_some());
        prop_assert_eq!(forward.lasting_verdict(stamp).is_some(), refused);
        prop_assert_eq!(backward.lasting_verdict(stamp).is_some(), refused);
        let later = all.iter().filter_map(|fences| fences.boot_floor).max().is_some_and(|floor| stamp.boot > floor);
        prop_assert_eq!(forward.verdict(stamp).is_some(), refused || later);
        let before = forward.clone();
        forward.merge(&before);
        prop_assert_eq!(forward, before);
    }

    /// An operation is let in, goes on and succeeds exactly if nothing refused it, and a ticket is done exactly
    /// if no operation that its refusal covers is inside a chunk.
    #[test]
    fn admission_follows_the_model(steps in prop::collection::vec(any_step(), 0..80)) {
        let mut admission = Admission::default();
        let mut model = Model::default();
        for step in steps {
            apply(&mut admission, &mut model, step);
            for (ticket, refusal) in &model.tickets {
                let inside = model.running.iter().any(|operation| {
                    operation.inside && Model::covers(refusal, operation.stamp, operation.sequence, operation.file)
                });
                prop_assert_eq!(admission.is_done(ticket), !inside, "{:?}", refusal);
            }
        }
    }
}
